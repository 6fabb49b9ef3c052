"""Where the two sides come from."""

from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager

from .model_file import ModelFile
from .side import LiveSide, SideProcess, both


@contextmanager
def opened(a: str, b: str) -> Generator[tuple[LiveSide, LiveSide]]:
    """Start both sides at the same time, and end their processes afterwards.

    Parameters
    ----------
    a, b : str
        ``FILE.py`` or ``FILE.py:FUNCTION``.

    Raises
    ------
    ModelError
        If there is no such file, or it raises an error.
    """
    files = [ModelFile.parse(text) for text in (a, b)]  # before a process is started
    with ExitStack() as processes:
        one, other = (
            processes.enter_context(closing(SideProcess(name, file)))
            for name, file in zip("AB", files, strict=True)
        )
        yield both(one.start, other.start)
