"""Logs for TensorBoard, written with tensorboardX."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


class _LogFile:
    """A log file whose failures are ignored: a report or a resume writes it again."""

    def __init__(self, path: str) -> None:
        self._file = open(path.removeprefix(_LOGS), "wb")  # noqa: SIM115 - tensorboardX closes it

    def write(self, data: bytes) -> None:
        with suppress(OSError):
            self._file.write(data)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()


class _LogFiles:
    """What tensorboardX calls for paths that begin with `_LOGS`."""

    def open(self, path: str) -> _LogFile:
        return _LogFile(path)

    def directory_check(self, path: str) -> None:
        Path(path.removeprefix(_LOGS)).mkdir(parents=True, exist_ok=True)


_LOGS = "triptych:"


def summary_writer(folder: Path) -> Any:
    """Return a SummaryWriter for a folder, after deleting the older logs in it."""
    modules: dict[str, Any] = sys.modules
    hidden = (
        modules.setdefault("torch", None) is None
    )  # tensorboardX imports PyTorch if it can, for tensors: it takes over a second
    try:
        from tensorboardX import SummaryWriter
        from tensorboardX.record_writer import register_writer_factory
    finally:
        if hidden:
            del modules["torch"]
    for old in folder.glob("events.out.tfevents.*"):
        if old.is_symlink() or old.is_file():
            old.unlink()
    register_writer_factory(_LOGS.rstrip(":"), _LogFiles())
    return SummaryWriter(f"{_LOGS}{folder}")
