"""Printing lines so that no word is broken on a terminal, and no line is broken in a pipe."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console

from ..errors import counted

if TYPE_CHECKING:
    from ..spec.recipe import Recipe

SECONDS_UNANNOUNCED = 2.0
SECONDS_WITHOUT_ESTIMATE = 60.0  # what takes longer begins with its estimate
UNITS = (
    ("second", 1.0, 100.0),
    ("minute", 60.0, 100.0),
    ("hour", 3600.0, 36.0),
    ("day", 86_400.0, float("inf")),
)


def say(console: Console, line: str, style: str = "", *, markup: bool = False) -> None:
    """Print a sentence.

    On a terminal it is broken between words. A pipe gets one long line, so that it can be searched.

    Parameters
    ----------
    console : Console
        Where it is printed.
    line : str
        The sentence.
    style : str
        A style of rich, for example ``yellow``.
    markup : bool
        Whether square brackets in the line are rich's markup.
    """
    console.print(
        line, style=style, highlight=False, markup=markup, soft_wrap=not console.is_terminal
    )


def say_unbroken(console: Console, line: str, style: str = "") -> None:
    """Print a line in one piece, also on a terminal: a path or a command in it can be copied."""
    console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def say_batch(console: Console, recipe: "Recipe", samples: int, kind: str) -> None:
    """Print a line if a batch is larger than the training split.

    Parameters
    ----------
    console : Console
        Where it is printed.
    recipe : Recipe
        With the batch size.
    samples : int
        Size of the training split.
    kind : str
        What the samples are, in the plural.
    """
    if recipe.batch_size != "full" and recipe.batch_size > samples:
        batch = f"Batch size {recipe.batch_size:,} is larger than the training split"
        say(console, f"{batch}: every step takes all {samples:,} {kind}.")


def say_if_unfinished(console: Console, run: Path) -> None:
    """Print a line if a path is the folder of a training that has not come to its end."""
    from ..training.run_folder import unfinished_notice

    notice = unfinished_notice(run)
    if notice:
        say(console, notice, "yellow")


@contextmanager
def announced(console: Console, what: str) -> Generator[None]:
    """Announce what the code in the ``with`` block does, if it takes long.

    Parameters
    ----------
    console : Console
        A terminal shows the announcement at once; a pipe gets a line after two seconds.
    what : str
        The announcement.
    """
    if console.is_terminal:
        with console.status(what):
            yield
        return
    timer = threading.Timer(SECONDS_UNANNOUNCED, say, (console, what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class StatusLine:
    """Shows on a terminal what is done, below what is printed. A context manager.

    Parameters
    ----------
    console : Console
        Where it is shown.
    doing : str
        What is done first.
    """

    def __init__(self, console: Console, doing: str) -> None:
        self._console = console
        self._status = console.status(doing, spinner="line")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def show(self, doing: str) -> None:
        """Show what is done from now on."""
        self._status.update(doing)


def duration(seconds: float) -> str:
    """Return a time in words, in the unit that a person would choose: ``22 hours``."""
    for unit, size, limit in UNITS:
        count = round(seconds / size)
        if count < limit:
            return counted(count, unit)
    raise AssertionError("the last unit has no limit")


def clock_in(seconds: float) -> str:
    """Return the local time of day after some seconds, such as ``15:43:10``."""
    return f"{datetime.now() + timedelta(seconds=seconds):%H:%M:%S}"
