"""What every driver does: the process that uses Ray, between the supervisor and Ray's processes."""

import os
import shutil
from typing import BinaryIO

from . import family


def take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Return the streams of requests and replies of this process, which nothing else uses then.

    From now on this process is the parent of every orphan below it.
    """
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # Ray's processes do not inherit the request
    os.dup2(2, 1)  # what Ray prints goes to the log, not into the replies
    family.adopt_orphans()
    return requests, replies


def end_all(folder: str) -> None:
    """End all processes below this one, and itself, because its input has ended.

    Parameters
    ----------
    folder : str
        Ray's own files; it is deleted.
    """
    # Before the processes end, because Ray may end this one when it loses its node; and after.
    shutil.rmtree(folder, ignore_errors=True)
    family.end_descendants()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
