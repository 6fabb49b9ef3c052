"""Runs, read for the serving process by another process, which ends afterwards.

Reading a run and writing it as an ONNX model needs 30 MiB of modules. Answering requests does not.
"""

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .. import search_path
from ..core.logs import last_line
from ..errors import TriptychError, one_line
from .settings import ModelSource

# What identifies the content of a file without reading it; None of a file that is not there.
FileVersion = tuple[int, int, int] | None
LONGEST_REASON = 200  # characters

OnNotice = Callable[[str], None]


@dataclass(frozen=True)
class Description:
    """What is known of a trained network without its weights.

    Attributes
    ----------
    name : str
        The network's name.
    architecture : str
        The network in one line.
    input_shape : tuple of int
        Of one image, (h, w, c).
    class_names : list of str
        What the classes are called.
    parameters : int
        How many numbers were trained.
    sha256 : str
        The digest of the state file.
    pixels : tuple of two floats, or None
        The smallest and the largest pixel of the training; None if they are not known.
    box : int or None
        The pixels of the box into which a drawing is scaled; None if they are not known.
    standardised : dict or None
        Of a network for rows of a table: what `Standardised.describe` returned.
    """

    name: str
    architecture: str
    input_shape: tuple[int, ...]
    class_names: list[str]
    parameters: int
    sha256: str
    pixels: tuple[float, float] | None
    box: int | None
    standardised: dict[str, Any] | None

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Description":
        """Return the description of which `dataclasses.asdict` made JSON."""
        changed: dict[str, Any] = {"input_shape": tuple(values["input_shape"])}
        if values["pixels"] is not None:
            changed["pixels"] = tuple(values["pixels"])
        return cls(**(values | changed))

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)


@dataclass(frozen=True)
class ReadRun:
    """A run, as the serving process gets it.

    Attributes
    ----------
    description : Description
        What it is.
    files : dict of Path to FileVersion
        The files that a run is read from, as they were before it was read.
    onnx : bytes
        The network with its weights as an ONNX model; empty if it cannot be one, because a package
        is missing or a layer of a plug-in has no ONNX builder.
    """

    description: Description
    files: dict[Path, FileVersion]
    onnx: bytes


class RunReader:
    """The other end of the process that reads runs; `reading` makes it.

    Parameters
    ----------
    process : Popen
        The process.
    log : binary file
        What it prints.
    on_notice : callable
        Called with a line for the user, if there is something to know about a run.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], log: IO[bytes], on_notice: OnNotice
    ) -> None:
        self._process = process
        self._log = log
        self._on_notice = on_notice

    def read(self) -> ReadRun:
        """Return the next run.

        Raises
        ------
        TriptychError
            If it cannot be read.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise TriptychError(self._why_ended())
        header = json.loads(line)
        if "error" in header:
            raise TriptychError(header["error"])
        onnx = self._process.stdout.read(header["onnx_bytes"])
        if len(onnx) < header["onnx_bytes"]:
            raise TriptychError(self._why_ended())
        if header["notice"]:
            self._on_notice(header["notice"])
        files = {Path(path): _version_of(values) for path, values in header["files"]}
        return ReadRun(Description.from_json(header["description"]), files, onnx)

    def _why_ended(self) -> str:
        """Return why the process has ended before its time."""
        status = self._process.wait()
        reason = one_line(last_line(self._log), LONGEST_REASON) or "it printed nothing"
        return f"the process that reads the runs has ended (status {status}: {reason})"


def _version_of(values: list[int] | None) -> FileVersion:
    """Return a file version, from the JSON of it."""
    return None if values is None else (values[0], values[1], values[2])


@contextmanager
def reading(
    sources: Sequence[ModelSource], on_notice: OnNotice = lambda notice: None
) -> Generator[RunReader]:
    """Start a process that reads runs, one after the other; end it at the end of the block.

    Parameters
    ----------
    sources : sequence of ModelSource
        What is read, in this order.
    on_notice : callable, optional
        As in `RunReader`.

    Raises
    ------
    TriptychError
        If no process can be started.
    """
    paths = [str(source.path) for source in sources]
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "triptych.serve.reader", *paths],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | search_path.for_children(),
                start_new_session=True,  # Ctrl-C must not reach it: this process ends it
            )
        except OSError as error:
            raise TriptychError(f"the process that reads the runs: {error}") from None
        try:
            yield RunReader(process, log, on_notice)
        finally:
            process.kill()
            process.communicate()


def file_version(path: Path) -> FileVersion:
    """Return what changes when the content of a file changes; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None  # the time of a folder does not depend on what its files hold
    return status.st_ino, status.st_mtime_ns, status.st_size
