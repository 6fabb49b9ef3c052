"""Hides start-up notices of a framework that none of its settings turns off."""

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager

STDERR = 2


@contextmanager
def left_out(notices: Sequence[str]) -> Generator[None]:
    """Hide certain lines of standard error, also those of native code.

    All other lines are written when the ``with`` block ends, even if it ends with an exception.

    Parameters
    ----------
    notices : sequence of str
        Lines that contain one of these strings are hidden. If it is empty, nothing happens.
    """
    try:
        original = os.dup(STDERR) if notices else None
    except OSError:  # there is no standard error
        original = None
    if original is None:
        yield
        return
    from tempfile import TemporaryFile  # here, because most commands need neither

    with TemporaryFile() as written:
        _flush()
        os.dup2(written.fileno(), STDERR)
        try:
            yield
        finally:
            _flush()
            os.dup2(original, STDERR)
            os.close(original)
            written.seek(0)
            for line in written.read().splitlines(keepends=True):
                if not any(notice.encode() in line for notice in notices):
                    os.write(STDERR, line)


def _flush() -> None:
    if sys.stderr:  # a program without a console has none
        sys.stderr.flush()
