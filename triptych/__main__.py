"""The command ``triptych``, and ``python -m triptych``.

The installed command never imports from the working directory. ``python -m`` does, before a line of
this file has run: use it in a checkout of your own, not in a folder of downloaded files.
"""

from .process.search_path import leave_out, require_packages

leave_out()
require_packages()

import os
import signal
from typing import Any, NoReturn


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


def _quit(*_: Any) -> NoReturn:
    """End at once: as long as modules are imported there is nothing to save and nothing to close."""
    os.write(2, b"\ntriptych: stopped\n")
    os._exit(130)


if __name__ == "__main__":
    main()
