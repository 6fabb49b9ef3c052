"""What a process has printed."""

import re
from typing import IO


def last_line(log: IO[bytes], ignored: str | None = None) -> str:
    """Return the last line that a process has written to its log; empty if there is none.

    Parameters
    ----------
    log : binary file
        The log.
    ignored : str, optional
        Lines that begin with this regular expression are left out.
    """
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    lines = [line for line in lines if not ignored or not re.match(ignored, line)]
    return lines[-1] if lines else ""
