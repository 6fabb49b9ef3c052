"""No process of Ray outlives the command that started it, however the command ends.

Ray starts a dozen processes, some of which start others and end before them. On Linux a process can
ask that such orphans become its own children (``PR_SET_CHILD_SUBREAPER`` of prctl(2)), so that it
finds all of them.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

import psutil

PR_SET_CHILD_SUBREAPER = 36  # of linux/prctl.h
SECONDS_TO_END = 20.0  # after which descendants that cannot be ended are given up
SECONDS_BETWEEN_LOOKS = 0.02
BYTES_AT_ONCE = 2**16


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent has ended; on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> None:
    """End every descendant of this process at once, and wait until none is left.

    A process that is being ended may just have started another one, so they are listed again until
    there is none.
    """
    end = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < end:
        descendants = psutil.Process().children(recursive=True)
        if not descendants:
            return
        for process in descendants:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        _reap()
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _reap() -> None:
    """Take the status of all children that have ended; until then they are listed as zombies."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def at_end_of_input(stream: BinaryIO, act: Callable[[], None]) -> None:
    """Call a function, in a thread, when a stream ends: when its writer closes it, or is killed.

    Parameters
    ----------
    stream : binary file
        What is read from it is discarded.
    act : callable
        Is called once.
    """

    def watch() -> None:
        while stream.read(BYTES_AT_ONCE):
            pass
        act()

    threading.Thread(target=watch, daemon=True).start()
