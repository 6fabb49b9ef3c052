"""Start-up notices that a framework writes and that no setting of it turns off."""

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager

STDERR = 2


@contextmanager
def left_out(notices: Sequence[str]) -> Generator[None]:
    """Leave certain lines out of what is written to standard error, by native code, too.

    All other lines are written when the block ends, and also if it ends by an exception.

    Parameters
    ----------
    notices : sequence of str
        A line that contains one of them is left out. Without any, nothing is changed.
    """
    try:
        kept = os.dup(STDERR) if notices else None
    except OSError:  # there is no standard error
        kept = None
    if kept is None:
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
            os.dup2(kept, STDERR)
            os.close(kept)
            written.seek(0)
            for line in written.read().splitlines(keepends=True):
                if not any(notice.encode() in line for notice in notices):
                    os.write(STDERR, line)


def _flush() -> None:
    if sys.stderr:  # a program without a console has none
        sys.stderr.flush()
