"""What is being done, on standard error, so that standard output holds results alone."""

import sys


def progress(text: str, *, passing: bool = False) -> None:
    """Say what is being done; what is `passing` is overwritten by what comes next, and left out where nobody looks."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="" if passing else "\n", file=sys.stderr, flush=True)
    elif not passing:
        print(text, file=sys.stderr, flush=True)
