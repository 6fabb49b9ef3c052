"""CSV loading: the file that people download from Kaggle, with a sixth of MNIST's rows."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from triptych.core import rng

from .processes import Command, alternate
from .reading import READERS, WARM_UP_FILE
from .timing import Line, Settings, Timing

SIDE = 28  # pixels of an image
PIXELS = SIDE * SIDE
WARM_UP_ROWS = 50  # of a file that is read before the clock starts
INK = 0.2  # of the pixels are not zero, as in MNIST: the time for a number depends on its length
REFERENCE = "loadtxt"


@dataclass(frozen=True)
class Loading:
    """Readers of one file, which has `rows` rows."""

    title: str
    rows: int
    timed = True

    def measure(self, name: str, settings: Settings) -> Iterator[Timing]:
        """Let every reader read the same file, in turn; a reader of something else is left out."""
        readers = {
            key: reader
            for key, reader in READERS.items()
            if find_spec(reader.requires) and (settings.all_backends or not reader.slow)
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "digits.csv"
            write_csv(path, self.rows)
            write_csv(path.with_name(WARM_UP_FILE), WARM_UP_ROWS)
            ended, others = alternate([_command(key, path) for key in readers], settings)
        answers = {key: [process.json() for process in ended[key]] for key in readers}
        digest = answers[REFERENCE][0]["digest"]
        wrong = [
            key for key in readers if any(answer["digest"] != digest for answer in answers[key])
        ]
        clock = "cpu" if settings.processor_time else "wall"
        lines = [
            Line(
                key,
                reader.description,
                key == "triptych",
                [answer[clock] for answer in answers[key]],
            )
            for key, reader in readers.items()
            if key not in wrong
        ]
        yield Timing(
            name,
            f"{self.title}, {self.rows:,} rows",
            settings,
            others,
            lines,
            proof="equal tables, by SHA-256",
            unit="a file",
            failed=[f"{key}: reads another table than numpy.{REFERENCE}" for key in wrong],
        )


def _command(key: str, path: Path) -> Command:
    """Return the command that reads a file with one reader."""
    arguments = ("-m", "benchmarks.reading", key, str(path))
    return Command(key, READERS[key].description, arguments, ours=key == "triptych")


def write_csv(path: Path, rows: int) -> None:
    """Write random digits with the header of Kaggle's files."""
    ink = rng.uniform((rows, PIXELS), "ink") < INK
    pixels = (ink * (1 + rng.uniform((rows, PIXELS), "pixels") * 255)).astype(np.uint8)
    labels = (rng.uniform((rows, 1), "labels") * 10).astype(np.uint8)
    names = [f"{1 + pixel // SIDE}x{1 + pixel % SIDE}" for pixel in range(PIXELS)]
    lines = [",".join(["label", *names])]
    lines += [",".join(map(str, row)) for row in np.hstack([labels, pixels]).tolist()]
    path.write_text("\n".join(lines) + "\n")
