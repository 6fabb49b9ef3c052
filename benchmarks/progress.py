"""What is being done, on standard error, so that standard output holds results alone."""

import sys


def progress(text: str, *, passing: bool = False) -> None:
    """Print what is being done.

    Parameters
    ----------
    text : str
    passing : bool
        Whether the next text overwrites this one. Such a text is printed only to a terminal.
    """
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="" if passing else "\n", file=sys.stderr, flush=True)
    elif not passing:
        print(text, file=sys.stderr, flush=True)
