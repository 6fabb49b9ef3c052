"""The command ``triptych``, and ``python -m triptych``.

The installed command never imports from the working directory. ``python -m`` does, before a line of
this file has run: use it in a checkout of your own, not in a folder of downloaded files.
"""

from .search_path import leave_out, require_packages

leave_out()

import os
import signal
import sys
from typing import Any, NoReturn


def _quit(*_: Any) -> NoReturn:
    """End at once: while modules are imported, there is nothing to save and nothing to close."""
    os.write(2, b"\ntriptych: stopped\n")
    os._exit(130)


if __name__ == "__main__" or os.path.basename(sys.argv[0]).startswith("triptych"):
    # Before the slower imports, so that an early Ctrl-C does not end in a traceback.
    signal.signal(signal.SIGINT, _quit)
require_packages()


def main(arguments: list[str] | None = None, name: str = "triptych") -> None:
    """Run the command line; from here on, Ctrl-C never ends in a traceback.

    Parameters
    ----------
    arguments : list of str, optional
        Those of the process by default.
    name : str
        What help calls the program.
    """
    signal.signal(signal.SIGINT, _quit)
    from .cli.app import main as run

    run(arguments, name)


if __name__ == "__main__":
    main()
