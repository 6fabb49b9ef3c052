"""Prepare a script that a user starts directly, such as the lessons at the root."""

import io
import os
import signal
import sys
from typing import Any, NoReturn

from ..errors import counted
from ..search_path import leave_out, require_packages


def prepare_imports(threads: int) -> None:
    """Limit where modules are searched, and the threads of NumPy and of every framework.

    A script must call this before it imports NumPy: the libraries read the number of threads when
    they are imported. A variable that is already set keeps its value; a GPU stays visible.

    Parameters
    ----------
    threads : int
        Threads of each library.
    """
    require_packages()
    leave_out(os.path.dirname(sys.argv[0]) or os.curdir)  # the folder of a copied script
    from . import machine  # not at the top: it needs packages that may be missing

    for name, value in machine.environment(threads, "cuda").items():
        os.environ.setdefault(name, value)


def in_notebook() -> bool:
    """Return whether the code runs in a Jupyter kernel, which has no command line or terminal."""
    return "ipykernel" in sys.modules


def prepare_terminal() -> None:
    """Make a script end without a traceback on Ctrl-C, and when the reader of its output ends.

    What the terminal cannot show is printed as ``?``. In a notebook nothing is changed.
    """
    if in_notebook():
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    signal.signal(signal.SIGINT, _stop)
    if hasattr(signal, "SIGPIPE"):  # not on Windows
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in: python SCRIPT | head


def fail(error: Exception) -> NoReturn:
    """End the script with one line for a user's mistake, and exit status 2."""
    print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
    sys.exit(2)


def threads() -> str:
    """Return how many threads the libraries of linear algebra use, such as ``1 thread``."""
    from threadpoolctl import threadpool_info

    pools = [pool["num_threads"] for pool in threadpool_info()]
    return counted(max(pools, default=1), "thread")


def whole_or_full(text: str) -> int | str:
    """Return a whole number, or ``full``, from an option's text."""
    return text if text == "full" else int(text)


def _stop(*_: Any) -> NoReturn:
    sys.exit(130)
