"""Where the two sides come from."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from .model_file import ModelFile, Parts
from .side import LiveSide, SideProcess, both, local_side

Start = Callable[[], LiveSide]


@contextmanager
def opened(a: Any, b: Any) -> Generator[tuple[LiveSide, LiveSide]]:
    """Start both sides at the same time, and end their processes afterwards.

    Parameters
    ----------
    a, b : str, Path, or object
        ``FILE.py`` or ``FILE.py:FUNCTION``, which runs in a process of its own; or a model, a dict
        with one, or a function without arguments that returns either, which run in this process.

    Raises
    ------
    ModelError
        If there is no such file, or it raises an error.
    """
    sources = [
        ModelFile.parse(str(each)) if isinstance(each, str | Path) else each for each in (a, b)
    ]
    with ExitStack() as processes:
        one, other = (
            _starter(processes, name, source) for name, source in zip("AB", sources, strict=True)
        )
        yield both(one, other)


def _starter(processes: ExitStack, name: str, source: Any) -> Start:
    """Return what starts a side."""
    if isinstance(source, ModelFile):
        return processes.enter_context(closing(SideProcess(name, source))).start
    parts = Parts.of_object(name, source)
    return lambda: local_side(name, parts)
