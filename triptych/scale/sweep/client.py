"""The sweep's side of the processes in which Ray is: they get one request and send events."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from ... import search_path
from ...core.events import CellEnded, CellRetried, CellStarted, ClusterReady, Event
from ...core.logs import last_line
from ...core.state import State
from ...errors import EngineError, TriptychError, debugging
from ...process import machine, protocol

Json = dict[str, Any]

SUPERVISOR = "triptych.scale.sweep.supervisor"
INSTALL = "pip install 'triptych[scale]'"
NOT_ERRORS = r"\[[^\]]* [IW] \d"  # the beginning of a line of Ray's log, information or warning
SECONDS_TO_END = 30.0  # for the supervisor, after its output has ended
# Nothing is reported to the makers of Ray. A cluster that asks for a token gets it.
RAY_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0"}
EVENTS: dict[str, type[Event]] = {
    event.type: event for event in (CellEnded, CellRetried, CellStarted, ClusterReady)
}


def check_installed() -> None:
    """Raise `EngineError` if sweeps cannot run here, with what to install."""
    if sys.platform == "win32":
        raise EngineError("sweeps run on Linux and macOS; on Windows use its Linux subsystem (WSL)")
    if find_spec("ray") is None:
        raise EngineError(f"a sweep needs ray, which is not installed here: {INSTALL}")


class Driver:
    """The processes of a sweep: a supervisor, a driver below it, and Ray's below that.

    All of them end when this process ends, however it ends.

    Parameters
    ----------
    request : dict
        ``cells``, ``address`` and the descriptions of the data sets, as
        `triptych.scale.sweep.driver` reads them.
    arrays : dict of str to ndarray
        The data sets.
    """

    def __init__(self, request: Json, arrays: State) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", SUPERVISOR],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if debugging() else self._log,
            env=os.environ | machine.library_settings(1, "cpu") | _settings(),
            # Ctrl-C must not reach these processes: this one handles it, and ends them.
            start_new_session=True,
        )
        assert self._process.stdin
        with suppress(OSError):  # if the supervisor has ended, `events` reports why
            protocol.send(self._process.stdin, request, arrays)

    def events(self) -> Generator[Event]:
        """Yield what the driver sends, until it has sent all.

        Raises
        ------
        TriptychError
            If Ray cannot be started or reached, or has ended too early.
        """
        assert self._process.stdout
        while True:
            try:
                values = protocol.receive(self._process.stdout).values
            except EOFError:
                raise TriptychError(f"Ray has ended: {self._tail()}") from None
            if "error" in values:
                raise TriptychError(values["error"])
            if "end" in values:
                return
            yield EVENTS[values.pop("type")](**values)

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
