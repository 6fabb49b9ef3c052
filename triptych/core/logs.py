"""What a process has printed."""

from typing import IO


def last_line(log: IO[bytes]) -> str:
    """Return the last line that a process has written to its log; empty if there is none."""
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
