"""The command's side of the processes in which Ray is: they get requests and send messages."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec

from ... import search_path
from ...core.logs import last_line
from ...core.state import State
from ...errors import EngineError, TriptychError, debugging
from ...process import machine, protocol
from ...process.protocol import Message, Values

SUPERVISOR = "triptych.scale.ray.supervisor"
INSTALL = "pip install 'triptych[scale]'"
NOT_ERRORS = r"\[[^\]]* [IW] \d"  # the beginning of a line of Ray's log, information or warning
SECONDS_TO_END = 30.0  # for the supervisor, after its output has ended
# Nothing is reported to the makers of Ray. A cluster that asks for a token gets it.
RAY_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0"}


def check_installed(what: str, packages: Sequence[str] = ("ray",)) -> None:
    """Raise `EngineError` if Ray cannot be used here, with what to install.

    Parameters
    ----------
    what : str
        What needs it, for the message: ``a sweep``.
    packages : sequence of str
        The packages that must be installed.
    """
    if sys.platform == "win32":
        raise EngineError(
            f"{what} runs on Linux and macOS only; on Windows use its Linux subsystem (WSL)"
        )
    for name in packages:
        if find_spec(name) is None:
            raise EngineError(f"{what} needs {name}, which is not installed here: {INSTALL}")


class Driver:
    """The processes in which Ray is: a supervisor, a driver below it, and Ray's below that.

    All of them end when this process ends, however it ends.

    Parameters
    ----------
    module : str
        The driver's module.
    request : dict
        The first request, as the module reads it.
    arrays : dict of str to ndarray, optional
        Arrays that belong to the request.
    """

    def __init__(self, module: str, request: Values, arrays: State | None = None) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", SUPERVISOR, module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if debugging() else self._log,
            env=os.environ | machine.library_settings(1, "cpu") | _settings(),
            # Ctrl-C must not reach these processes: this one handles it, and ends them.
            start_new_session=True,
        )
        self.send(request, arrays)

    def send(self, request: Values, arrays: State | None = None) -> None:
        """Send a request; if the processes have ended, `receive` reports why."""
        assert self._process.stdin
        with suppress(OSError):
            protocol.send(self._process.stdin, request, arrays)

    def receive(self) -> Message:
        """Wait for the next message of the driver.

        Raises
        ------
        TriptychError
            If Ray cannot be started or reached, or has ended too early.
        """
        assert self._process.stdout
        try:
            message = protocol.receive(self._process.stdout)
        except EOFError:
            raise TriptychError(f"Ray has ended: {self._tail()}") from None
        if "error" in message.values:
            raise TriptychError(message.values["error"])
        return message

    def stop(self) -> None:
        """End all processes at once; a signal handler may call it. `close` must still be called."""
        self._process.terminate()

    def close(self) -> None:
        """End all processes, and wait until none is left."""
        with suppress(OSError):
            assert self._process.stdin
            self._process.stdin.close()
        assert self._process.stdout
        while self._process.stdout.read(2**16):
            pass
        self._process.stdout.close()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _tail(self) -> str:
        return last_line(self._log, NOT_ERRORS) or "it wrote no error"


def _settings() -> dict[str, str]:
    """Return the environment variables of the processes that are no library's thread settings."""
    return RAY_SETTINGS | search_path.for_children()
