"""From the command line to the process that serves, which needs none of its packages."""

import os
import signal
import sys
import tempfile
from importlib.util import find_spec

from .. import search_path
from ..errors import EngineError
from .settings import ServerSettings

MODULES = ("starlette", "uvicorn", "httptools", "prometheus_client")
INSTALL = "pip install 'triptych[serve]'"
# glibc then gives the memory of a large request back to the system. This is its own default, but as
# long as it is not set, large requests raise it (mallopt(3)).
MEMORY_SETTINGS = {"MALLOC_TRIM_THRESHOLD_": "131072"}


def launch(settings: ServerSettings) -> None:
    """Serve until the process is told to stop by SIGTERM or Ctrl-C.

    This process becomes ``python -m triptych.serve``, with the same number. So it is rid of what
    the command line has imported. Windows cannot do that; there the command line itself serves.

    Parameters
    ----------
    settings : ServerSettings
        What is served, and where.

    Raises
    ------
    TriptychError
        If a package is missing. On Windows also: if a run cannot be served, or the port is taken.
    """
    missing = [module for module in MODULES if find_spec(module) is None]
    if missing:
        raise EngineError(f"serving needs {', '.join(missing)}, not installed here: {INSTALL}")
    if os.name == "nt":
        from .server import serve

        serve(settings)
        return
    with tempfile.TemporaryFile() as file:  # the token must not be seen in the list of processes
        file.write(settings.to_json().encode())
        file.seek(0)
        number = file.fileno()
        os.set_inheritable(number, True)
        # Ctrl-C waits until the new program can handle it.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        command = [sys.executable, "-P", "-m", "triptych.serve", str(number)]
        environment = MEMORY_SETTINGS | os.environ | search_path.for_children()
        os.execve(sys.executable, command, environment)
