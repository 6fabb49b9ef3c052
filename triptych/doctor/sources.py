"""Where the two sides come from."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from ..training.trained import TrainedRun
from .examination import ChangeableSide, Side
from .frameworks.adapter import ModelError
from .model_file import ModelFile, Parts
from .recorded import RecordedOther
from .side import LiveSide, SideProcess, both, local_side
from .side_file import SideFile, parse, trained_model
from .trace import RecordedSide, is_trace, read_trace


def recorded(source: Any) -> RecordedSide | None:
    """Return the side of a trace, None if the source is something else.

    Raises
    ------
    TriptychError
        If the trace is damaged.
    """
    if isinstance(source, str | Path) and is_trace(Path(source)):
        return read_trace(Path(source))
    return None


def file_of(source: Any) -> ModelFile | None:
    """Return the user's file that a text names, None if the source is something else."""
    parsed = _parsed(source)
    return parsed if isinstance(parsed, ModelFile) else None


@contextmanager
def opened(a: Any, b: Any) -> Generator[tuple[Side, ChangeableSide]]:
    """Start both sides at the same time, and end their processes afterwards.

    Parameters
    ----------
    a, b : str, Path, or object
        ``FILE.py`` or ``FILE.py:FUNCTION``, or the run folder of a trained network, ``RUN`` or
        ``RUN:ENGINE``, each of which gets a process of its own; or a model, a dict with one, a
        function without arguments that returns either, or a `TrainedRun`, which are used in this
        process.
        A may be a trace, or the `RecordedSide` of one; if it is, B may be a trace, too.

    Raises
    ------
    ModelError
        If there is no such file, or it raises an error.
    """
    reference = _parsed(a)  # both before a process is started
    other = _parsed(b)
    if isinstance(reference, RecordedSide) and isinstance(other, RecordedSide):
        yield reference, RecordedOther(other)
        return
    if isinstance(other, RecordedSide):
        raise ModelError(
            f"{b}: a trace can only be the reference; give it first: triptych doctor {b} {a}"
        )
    with ExitStack() as processes:
        start = _starter(processes, "B", other)
        if isinstance(reference, RecordedSide):
            yield reference, start()
        else:
            yield both(_starter(processes, "A", reference), start)


@contextmanager
def started(source: str) -> Generator[LiveSide]:
    """Start the process of one file or run folder, and end it afterwards.

    Raises
    ------
    ModelError
        If there is no such file, or it raises an error.
    """
    with closing(SideProcess("A", parse(source))) as process:
        yield process.start()


def _parsed(source: Any) -> Any:
    """Return the trace or the file that a text names, and every other source as it is."""
    if not isinstance(source, str | Path):
        return source
    return recorded(source) or parse(str(source))


def _starter(processes: ExitStack, name: str, source: Any) -> Callable[[], LiveSide]:
    """Return what starts a side."""
    if isinstance(source, SideFile):
        return processes.enter_context(closing(SideProcess(name, source))).start
    if isinstance(source, TrainedRun):
        parts = Parts(Path(name), lambda: trained_model(source))
    else:
        parts = Parts.of_object(name, source)
    return lambda: local_side(name, parts)
