"""The process that runs an exported model: ``python -P -m triptych.export.runner``.

It reads one JSON object from its standard input and writes a line for each batch that is done to
its standard output. It imports the target's runtime and nothing of the engines.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from .model import LoadedModel
from .targets import target

SECONDS_BETWEEN_LINES = 0.2


def main() -> None:
    """Run a model as the request wants, and write its logits or its layers' outputs to a file."""
    request = json.loads(sys.stdin.readline())
    images = load_file(request["images"])["images"]
    model = target(request["target"]).make_exporter().load(Path(request["folder"]))
    if request["layers"]:
        arrays = model.layer_outputs(images, request["layers"])
    else:
        arrays = {str(batch): _all_logits(model, images, batch) for batch in request["batch_sizes"]}
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, request["answer"])
    print(json.dumps({"version": model.version}), flush=True)


def _all_logits(model: LoadedModel, images: NDArray[Any], batch: int) -> NDArray[Any]:
    """Return the logits of all images, which are given in batches."""
    parts: list[NDArray[Any]] = []
    last_line = time.monotonic()
    for start in range(0, len(images), batch):
        parts.append(model.logits(images[start : start + batch]))
        if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            print(json.dumps({"batch_size": batch, "done": start + batch}), flush=True)
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
