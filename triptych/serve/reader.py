"""The process that reads runs: ``python -P -m triptych.serve.reader RUN...``.

For each run it writes a line of JSON to its standard output, and after it the ONNX model; after an
error it ends. Whatever libraries print goes to its standard error.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from ..core.state import cast
from ..errors import EngineError, TriptychError
from ..exporting.targets import target
from ..training.checkpoint import STATE
from ..training.run_folder import unfinished_notice
from ..training.trained import TrainedRun
from .reading import Description, file_version


def main() -> None:
    """Read the runs of the command line."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a plug-in may print to the standard output
    for path in map(Path, sys.argv[1:]):
        try:
            header, onnx = _read(path)
        except Exception as error:
            _send(answers, {"error": _message(path, error)}, b"")
            raise
        _send(answers, header, onnx)


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return what is known of a run, and its network as an ONNX model."""
    files = [(str(file), file_version(file)) for file in _files_of(path)]
    run = TrainedRun.read(path)
    onnx = _onnx_of(run)
    header = {
        "description": asdict(describe(run)),
        "files": files,
        "notice": unfinished_notice(path),
        "onnx_bytes": len(onnx),
    }
    return header, onnx


def _files_of(path: Path) -> list[Path]:
    """Return the files that a run is read from; some of them need not exist."""
    return [path, *(folder / STATE for folder in (path, path / "last", path / "best"))]


def _onnx_of(run: TrainedRun) -> bytes:
    """Return a network with its weights as an ONNX model; empty if that is impossible."""
    if target("onnx").missing:
        return b""
    from ..exporting.onnx_graph import build_model

    try:
        return build_model(run.network, cast(run.state, "float32"), {}).SerializeToString()
    except EngineError:  # a layer of a plug-in that has no ONNX builder
        return b""


def _message(path: Path, error: Exception) -> str:
    """Return the line that a user reads."""
    if isinstance(error, TriptychError):
        return str(error)
    from ..core.memory import OUT_OF_MEMORY, ran_out_of_memory

    if ran_out_of_memory(error):
        return f"{path}: {OUT_OF_MEMORY}"
    return f"{path}: {type(error).__name__}: {error}"


def _send(answers: BinaryIO, header: dict[str, Any], content: bytes) -> None:
    answers.write(json.dumps(header).encode() + b"\n")
    answers.write(content)
    answers.flush()


def describe(run: TrainedRun) -> Description:
    """Return what is known of a run without its weights."""
    network = run.network
    return Description(
        name=network.name,
        architecture=network.architecture,
        input_shape=network.input_shape,
        class_names=run.classes,
        parameters=network.parameter_count,
        sha256=run.sha256,
        pixels=run.pixels,
        box=run.box,
        standardised=run.data["standardised"] if run.standardised else None,
    )


if __name__ == "__main__":
    main()
