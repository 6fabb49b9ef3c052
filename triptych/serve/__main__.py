"""The process that serves: ``python -P -m triptych.serve FILE``.

``FILE`` is the number of an open file with the settings; see `triptych.serve.launch`.
"""

import os
import signal
import sys

from ..errors import TriptychError
from .server import serve
from .settings import ServerSettings


def main() -> int:
    """Serve until the process is told to stop; return its exit status."""
    # Ctrl-C ends the process at once until the server handles it: there is nothing to save.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    with os.fdopen(int(sys.argv[1]), encoding="utf-8") as file:
        settings = ServerSettings.from_json(file.read())
    try:
        serve(settings)
    except TriptychError as error:
        print(f"triptych: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
