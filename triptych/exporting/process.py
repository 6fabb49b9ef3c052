"""The fresh process in which a model is written, or run by its target's runtime.

A converter or a runtime may print, keep memory or crash: none of this reaches the caller. The files
that the process is given are in a temporary folder next to the export.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from ..core.logs import last_line
from ..core.state import State
from ..errors import TriptychError, one_line
from ..process import machine
from ..training import checkpoint
from .model import TrainedModel
from .targets import Target

BATCH_SIZES = (1, 256)

Array = NDArray[Any]
OnProgress = Callable[[int, int], None]  # samples done, samples in all


def ignore_progress(done: int, total: int) -> None:
    """Do nothing."""


def write_exported(target: Target, folder: Path, model: TrainedModel) -> None:
    """Write a model for a target.

    Parameters
    ----------
    target : Target
        The target.
    folder : Path
        An empty folder.
    model : TrainedModel
        What is written.

    Raises
    ------
    TriptychError
        If the target's packages cannot write the model.
    """
    with _files_for(folder) as temporary:
        state = Path(temporary) / checkpoint.STATE
        images = Path(temporary) / "calibration.safetensors"
        checkpoint.save_state(state, model.state, model.network, model.recipe, {})
        _write_images(images, model.calibration)
        request = {
            "do": "write",
            "target": target.name,
            "folder": str(folder.resolve()),
            "state": str(state),
            "images": str(images),
            "engine": model.engine,
            "sha256": model.sha256,
            "classes": model.classes,
            "input": model.input,
        }
        _converse(f"{target.label} could not be written", request, 0, ignore_progress)


def run_exported(
    target: Target,
    folder: Path,
    images: Array,
    on_progress: OnProgress = ignore_progress,
    *,
    layers: Sequence[str] = (),
) -> tuple[State, str]:
    """Run an exported model on images.

    Parameters
    ----------
    target : Target
        The target of the export.
    folder : Path
        What its exporter wrote.
    images : ndarray of float32, shape (n, h, w, c)
        The input.
    on_progress : callable, optional
        Called with the samples that are done and their number.
    layers : sequence of str
        If given, the outputs of these layers are wanted instead of the logits. The target must
        show them.

    Returns
    -------
    tuple of (dict of str to ndarray, str)
        The logits by batch size, or the layers' outputs as of `LayeredModel.layer_outputs`; and the
        version of the runtime.

    Raises
    ------
    TriptychError
        If the runtime cannot load or run the model.
    """
    with _files_for(folder) as temporary:
        question = Path(temporary) / "images.safetensors"
        answer = Path(temporary) / "answer.safetensors"
        _write_images(question, images)
        request = {
            "do": "layers" if layers else "logits",
            "target": target.name,
            "folder": str(folder.resolve()),
            "images": str(question),
            "answer": str(answer),
            "batch_sizes": BATCH_SIZES,
            "layers": list(layers),
        }
        failure = f"{target.runtime} could not run the exported model"
        version = _converse(failure, request, len(images), on_progress)
        return load_file(answer), version


def _files_for(folder: Path) -> "tempfile.TemporaryDirectory[str]":
    """Return a temporary folder next to an export, for what the process reads and writes."""
    return tempfile.TemporaryDirectory(prefix="files-", dir=folder.parent)


def _write_images(path: Path, images: Array) -> None:
    """Write images; safetensors' own function raises no `OSError` if the disk is full."""
    path.write_bytes(save({"images": np.ascontiguousarray(images)}))


def _converse(failure: str, request: Any, samples: int, on_progress: OnProgress) -> str:
    """Start the process, give it the request, report its progress, return the version it names.

    The process ends itself when its standard input is closed, as at the end of this one.

    Raises
    ------
    TriptychError
        If the process fails; `failure` begins the message.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "triptych.exporting.runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=machine.environment(machine.processors(), "cpu"),
            # Ctrl-C must not reach the process: this one ends it.
            start_new_session=True,
            text=True,
        )
        assert process.stdin
        assert process.stdout
        version = ""
        try:
            with suppress(BrokenPipeError):  # it has ended already: its status tells more
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
            for line in process.stdout:
                message = json.loads(line)
                version = message.get("version", "")
                if "done" in message:
                    before = sum(b < message["batch_size"] for b in BATCH_SIZES) * samples
                    on_progress(before + message["done"], samples * len(BATCH_SIZES))
                if "error" in message:
                    raise TriptychError(f"{failure} ({one_line(message['error'], 200)})")
            status = process.wait()
            if status or not version:
                reason = one_line(last_line(log), 200) or "the process printed nothing"
                raise TriptychError(f"{failure} (status {status}: {reason})")
            return version
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            with suppress(BrokenPipeError):
                process.stdin.close()
