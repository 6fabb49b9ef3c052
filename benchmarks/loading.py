"""CSV loading: the file that people download from Kaggle, as large as a sixth of MNIST."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from triptych.core import rng

from .processes import Command, alternate
from .reading import READERS
from .timing import Line, Settings, Timing

PIXELS = 784
FEW = 50  # rows of what is read before the stopwatch starts
INK = 0.2  # of the pixels are not zero, as in MNIST: what a number takes depends on how long it is


@dataclass(frozen=True)
class Loading:
    """Readers of one file of so many rows."""

    title: str
    rows: int
    timed = True

    def measure(self, name: str, settings: Settings) -> Iterator[Timing]:
        """Let every reader read the same file in turn; who reads something else is left out."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "digits.csv"
            write_csv(path, self.rows)
            write_csv(path.with_name("few.csv"), FEW)
            wanted = {
                key: r
                for key, r in READERS.items()
                if find_spec(r.requires) and (settings.all_backends or not r.slow)
            }
            commands = [_command(key, path) for key in wanted]
            ended, others = alternate(commands, settings)
        read = {key: [run.json() for run in runs] for key, runs in ended.items()}
        truth = read["loadtxt"][0]["digest"]
        wrong = [key for key, runs in read.items() if any(run["digest"] != truth for run in runs)]
        clock = "cpu" if settings.processor_time else "wall"
        lines = [
            Line(c.key, wanted[c.key].about, c.ours, [run[clock] for run in read[c.key]])
            for c in commands
            if c.key not in wrong
        ]
        failed = [f"{key}: reads another table than numpy.loadtxt" for key in wrong]
        title = f"{self.title}, {self.rows:,} rows"
        yield Timing(
            name,
            title,
            settings,
            others,
            lines,
            "equal tables, by SHA-256",
            "a file",
            failed=failed,
        )


def _command(key: str, path: Path) -> Command:
    """Return what reads the file."""
    return Command(
        key, READERS[key].about, ("-m", "benchmarks.reading", key, str(path)), key == "triptych"
    )


def write_csv(path: Path, rows: int) -> None:
    """Write random digits with the header that Kaggle's files have."""
    ink = rng.uniform((rows, PIXELS), "ink") < INK
    pixels = (ink * (1 + rng.uniform((rows, PIXELS), "pixels") * 255)).astype(np.uint8)
    labels = (rng.uniform((rows, 1), "labels") * 10).astype(np.uint8)
    header = ",".join(["label", *(f"{1 + i // 28}x{1 + i % 28}" for i in range(PIXELS))])
    lines = (",".join(map(str, row)) for row in np.hstack([labels, pixels]).tolist())
    path.write_text("\n".join([header, *lines]) + "\n")
