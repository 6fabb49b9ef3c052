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
from typing import TYPE_CHECKING, Any

from .. import search_path
from ..errors import TriptychError
from .reading import OnNotice, reading
from .settings import METRICS_VARIABLE, ServerSettings

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from uvicorn import Config

BACKLOG = 2048  # connections that wait to be accepted
SECONDS_TO_FINISH = 8  # for the requests in flight when the server is stopped
SECONDS_TO_EXIT = 0.5  # after that
SECONDS_IDLE = 60  # until a connection without requests is closed


def serve(settings: ServerSettings) -> None:
    """Serve until the process is told to stop by SIGTERM or Ctrl-C.

    Parameters
    ----------
    settings : ServerSettings
        What is served, and where.

    Raises
    ------
    TriptychError
        If a run cannot be served, or the port is taken.
    """
    with _listening(settings.host, settings.port) as listener:
        if settings.workers == 1:
            _serve_in_this_process(settings, listener)
        else:
            _serve_in_workers(settings, listener)


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


def _announce(listener: socket.socket) -> None:
    """Print the address of the server; raise `TriptychError` if that is impossible."""
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    try:
        print(f"Serving at {url}, until Ctrl-C", flush=True)
    except OSError as error:
        raise TriptychError(f"standard output: {error.strerror or error}") from None


def _serve_in_this_process(settings: ServerSettings, listener: socket.socket) -> None:
    """Load the models, and serve them without further processes."""
    app = _create_app(settings, _warn)
    from uvicorn import Server

    server = Server(_config(app, settings))

    def stop(*_: Any) -> None:
        server.should_exit = True

    with _signals_handled_by(stop):
        _announce(listener)
        server.run(sockets=[listener])


def _create_app(settings: ServerSettings, on_notice: OnNotice) -> "Starlette":
    """Load the models, and return the application."""
    with reading(settings.sources, on_notice) as reader:
        # Imported while the other process reads the runs.
        from .app import create_app
        from .models import ModelRepository

        return create_app(settings, ModelRepository(settings.sources, reader), _exit_soon)


def _exit_soon() -> None:
    """End this process, also if a thread still computes an answer that nobody waits for.

    Python itself would wait for the thread.
    """
    ending = threading.Timer(SECONDS_TO_EXIT, os._exit, [0])
    ending.daemon = True
    ending.start()


def _warn(notice: str) -> None:
    print(notice, file=sys.stderr, flush=True)


def _serve_in_workers(settings: ServerSettings, listener: socket.socket) -> None:
    """Start workers, which load the models; start another one for each that has died."""
    with reading(settings.sources, _warn) as reader:
        from uvicorn.config import STARTUP_FAILURE
        from uvicorn.supervisors import Multiprocess

        for _ in settings.sources:
            reader.read()  # a mistake is reported once, and not by each worker
    config = _config(partial(_create_worker, settings), settings)
    config.factory = True
    listener.set_inheritable(True)
    with _environment_of_workers(), _signals_handled_by(_ignore):
        supervisor = Multiprocess(config, sockets=[listener])  # it handles signals from now on
        _announce(listener)
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise TriptychError("a worker could not load the models, so the server has ended")


def _create_worker(settings: ServerSettings) -> "Starlette":
    """Return the application of a worker; end the process if that is impossible."""
    from uvicorn.config import STARTUP_FAILURE

    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        return _create_app(settings, _ignore)
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
