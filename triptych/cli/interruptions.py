"""Signals, and a terminal that is closed, while a training runs."""

import errno
import os
import signal
import stat
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

# The signal of a terminal that was closed; Windows has none.
HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)


@contextmanager
def stopping(stop: Callable[[], Any]) -> Generator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP stop a training; a second one changes nothing.

    Parameters
    ----------
    stop : callable
        Is called in the signal handler.
    """

    def handle(*_: Any) -> None:
        stop()

    numbers = [signal.SIGINT, signal.SIGTERM]
    # nohup lets a process ignore SIGHUP; then the training goes on.
    if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
        numbers.append(HANGUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def surviving_lost_terminal() -> Generator[None]:
    """Let what is shown fail silently if the terminal is gone.

    This happens where SIGHUP is ignored; the training goes on without being seen.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        forget_lost_terminal()


def forget_lost_terminal() -> None:
    """Send the output to nowhere if its terminal is gone: writing to it would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream):
            os.dup2(nowhere, stream)
    os.close(nowhere)


def on_thread_failure(failed: threading.ExceptHookArgs) -> None:
    """Ignore that the thread of the progress bar, or of TensorBoard's log, cannot write.

    On a full disk the next line of events.jsonl cannot be written either, and that is reported.
    """
    if not isinstance(failed.exc_value, OSError):
        threading.__excepthook__(failed)
    elif failed.exc_value.errno == errno.EIO:
        forget_lost_terminal()
