"""The process that writes or runs an exported model: ``python -P -m triptych.exporting.runner``.

It reads one JSON object from its standard input and answers with lines of JSON: what is done so
far, and at last a version or an error. Whatever libraries print goes to its standard error.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from ..errors import TriptychError
from ..training import checkpoint
from ..version import __version__
from .model import Exporter, LayeredModel, LoadedModel, TrainedModel
from .targets import target

SECONDS_BETWEEN_LINES = 0.2

Json = dict[str, Any]


def main() -> None:
    """Do what the request wants."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # some libraries print to the standard output
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    exporter = target(request["target"]).make_exporter()
    try:
        if request["do"] == "write":
            exporter.write(_read_model(request), Path(request["folder"]))
            version = __version__
        else:
            version = _run(exporter, request, answers)
    except Exception as error:
        kind = "" if isinstance(error, TriptychError) else f"{type(error).__name__}: "
        print(json.dumps({"error": f"{kind}{error}"}), file=answers)
        raise
    print(json.dumps({"version": version}), file=answers)


def _end_with_parent() -> None:
    """End this process when its standard input is closed: the process that started it has ended.

    ``sys.stdin`` cannot be used: Python stops with a fatal error if a thread holds it at the end.
    """
    os.read(0, 1)
    os._exit(1)


def _read_model(request: Json) -> TrainedModel:
    """Return the model of a request, from the files that it names."""
    saved = checkpoint.read_state(Path(request["state"]))
    return TrainedModel(
        network=saved.network,
        recipe=saved.recipe,
        state=saved.state,
        engine=request["engine"],
        sha256=request["sha256"],
        calibration=load_file(request["images"])["images"],
        classes=request["classes"],
        input=request["input"],
    )


def _run(exporter: Exporter, request: Json, answers: TextIO) -> str:
    """Write logits or layers' outputs to the file of the request; return the runtime's version."""
    images = load_file(request["images"])["images"]
    model = exporter.load(Path(request["folder"]))
    if request["do"] == "layers":
        arrays = cast(LayeredModel, model).layer_outputs(images, request["layers"])
    else:
        arrays = {
            str(batch): _all_logits(model, images, batch, answers)
            for batch in request["batch_sizes"]
        }
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, request["answer"])
    return model.version


def _all_logits(
    model: LoadedModel, images: NDArray[Any], batch: int, answers: TextIO
) -> NDArray[Any]:
    """Return the logits of all images, which are given in batches."""
    parts: list[NDArray[Any]] = []
    last_line = time.monotonic()
    for start in range(0, len(images), batch):
        parts.append(model.logits(images[start : start + batch]))
        if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            done = min(start + batch, len(images))
            print(json.dumps({"batch_size": batch, "done": done}), file=answers)
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
