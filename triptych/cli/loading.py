"""Loading data for a command, with a bar if it takes long, and a summary of the data."""

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..data import loading as data
from .say import say

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..data.reading import Options

LONG = 2  # seconds of waiting after which a message names the reason
NAMED = 10  # the largest number of images left out that are listed by name


def load(
    console: Console,
    source: str | None,
    seed: int,
    options: "Options",
    may_stream: bool = False,
) -> "Dataset":
    """Load a data set, and print which it is and what was left out."""
    with Decoding(console) as progress:
        dataset = data.load(source, seed, options, progress.see, may_stream)
    say(console, dataset.summary())
    more = len(dataset.left_out) - NAMED
    for line in [*dataset.left_out[:NAMED], *([f"… and {more:,} more"] if more > 0 else [])]:
        say(console, f"  left out: {line}", "yellow")
    return dataset


class Decoding:
    """A bar on a terminal, or a line into a pipe, if decoding takes long. A context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._begun = time.monotonic()
        self._shown = False
        columns = (
            TextColumn("decoding images"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._task = self._bar.add_task("")

    def __enter__(self) -> "Decoding":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._bar.stop()

    def see(self, done: int, total: int) -> None:
        """Take in how many images are decoded."""
        if not self._shown and time.monotonic() - self._begun > LONG:
            self._shown = True
            self._bar.start()
            if not self.console.is_terminal:
                self.console.print(
                    f"Decoding {total:,} images, once; the next time they are at hand.",
                    highlight=False,
                )
        self._bar.update(self._task, completed=done, total=total)
