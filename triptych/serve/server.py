"""Running the application: the listening socket, worker processes, a graceful end."""

import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .. import search_path
from ..errors import EngineError, TriptychError
from ..training.trained import TrainedRun
from .settings import METRICS_VARIABLE, ServerSettings

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from uvicorn import Config

MODULES = ("starlette", "uvicorn", "httptools", "prometheus_client")
INSTALL = "pip install 'triptych[serve]'"
BACKLOG = 2048  # connections that wait to be accepted
SECONDS_TO_FINISH = 8  # for the requests in flight when the server is stopped
SECONDS_IDLE = 60  # until a connection without requests is closed

OnReady = Callable[[str], None]


def serve(settings: ServerSettings, on_ready: OnReady) -> None:
    """Serve until the process is told to stop by SIGTERM or Ctrl-C.

    Parameters
    ----------
    settings : ServerSettings
        What is served, and where.
    on_ready : callable
        Called with the URL when the server accepts connections.

    Raises
    ------
    TriptychError
        If a package is missing, a run cannot be served, or the port is taken.
    """
    missing = [module for module in MODULES if find_spec(module) is None]
    if missing:
        raise EngineError(f"serving needs {', '.join(missing)}, not installed here: {INSTALL}")
    with _listening(settings.host, settings.port) as listener:
        url = _url(listener)
        if settings.workers == 1:
            _serve_in_this_process(settings, listener, url, on_ready)
        else:
            _serve_in_workers(settings, listener, url, on_ready)


@contextmanager
def _listening(host: str, port: int) -> Generator[socket.socket]:
    """Bind a socket, and close it at the end."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        is_unknown_host = isinstance(error, socket.gaierror)
        reason = error.strerror if is_unknown_host else os.strerror(error.errno or 0)
        raise TriptychError(
            f"{host}, port {port}: cannot listen ({reason}); take another --port or --host"
        ) from None
    with listener:
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _serve_in_this_process(
    settings: ServerSettings, listener: socket.socket, url: str, on_ready: OnReady
) -> None:
    """Load the models, and serve them without further processes."""
    from uvicorn import Server

    from .app import create_app

    server = Server(_config(create_app(settings), settings))

    def stop(*_: Any) -> None:
        server.should_exit = True

    with _signals_handled_by(stop):
        on_ready(url)
        server.run(sockets=[listener])


def _serve_in_workers(
    settings: ServerSettings, listener: socket.socket, url: str, on_ready: OnReady
) -> None:
    """Start workers, which load the models; start another one for each that has died."""
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    for source in settings.sources:
        TrainedRun.read(source.path)  # a mistake is reported once, and not by each worker
    config = _config(partial(_create_worker, settings), settings)
    config.factory = True
    listener.set_inheritable(True)
    with _environment_of_workers(), _signals_handled_by(_ignore):
        supervisor = Multiprocess(config, sockets=[listener])  # it handles signals from now on
        on_ready(url)
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise TriptychError("a worker could not load the models, so the server has ended")


def _create_worker(settings: ServerSettings) -> "Starlette":
    """Return the application of a worker; end the process if that is impossible."""
    from uvicorn.config import STARTUP_FAILURE

    from .app import create_app

    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        return create_app(settings)
    except TriptychError as error:
        print(f"triptych: {error}", file=sys.stderr, flush=True)
        sys.exit(STARTUP_FAILURE)


def _stop_with_parent() -> None:
    """Stop this worker when its parent has ended, which could not tell it if it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    signal.raise_signal(signal.SIGTERM)


def _config(app: Any, settings: ServerSettings) -> "Config":
    """Return uvicorn's settings."""
    from uvicorn import Config

    from .protocol import HttpProtocol

    return Config(
        app,
        http=HttpProtocol,
        ws="none",
        workers=settings.workers,
        log_level="error",
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=SECONDS_IDLE,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
    )


@contextmanager
def _signals_handled_by(handler: Callable[..., None]) -> Generator[None]:
    """Handle SIGTERM and Ctrl-C, where uvicorn does not do it.

    That is before it runs, and afterwards: it raises again what has stopped it, which must not
    become an exit status.
    """
    stopping = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handler) for number in stopping}
    yield
    for number, earlier in before.items():
        signal.signal(number, earlier)


def _ignore(*_: Any) -> None:
    pass


@contextmanager
def _environment_of_workers() -> Generator[None]:
    """Set what the workers inherit: where they look for modules, and where they add up metrics."""
    folder = tempfile.mkdtemp(prefix="triptych-metrics-")
    before = dict(os.environ)
    os.environ.update(search_path.for_children() | {METRICS_VARIABLE: folder})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)
