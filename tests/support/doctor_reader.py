"""A process that reads one file of the doctor after another: an argument is what they are.

It is given the path of a file, a line of JSON, and answers with another: with which error the file
is refused, what was read, processor time and memory. So a crash of a library does not end the
tests, and its memory can be measured.
"""

import json
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

import triptych as tt
from triptych.core import state
from triptych.data.reading import Options
from triptych.doctor.batch import read_batch
from triptych.doctor.diagnosis import diagnose
from triptych.doctor.frameworks.network.adapter import Trained
from triptych.doctor.model_file import Parts
from triptych.doctor.recorded import RecordedOther
from triptych.doctor.side import LiveSide, local_side
from triptych.doctor.side_file import OnnxFile
from triptych.doctor.trace import read_trace
from triptych.errors import TriptychError
from triptych.process import machine
from triptych.training.trained import TrainedRun

NETWORK = tt.Network(
    "small",
    (6, 6, 2),
    (
        tt.layers.Conv2D("conv", 4, 3, padding=1, bias=False),
        tt.layers.BatchNorm("norm"),
        tt.layers.LeakyReLU("leaky", 0.2),
        tt.layers.AvgPool2D("pool"),
        tt.layers.Flatten("flatten"),
        tt.layers.Dense("hidden", 5),
        tt.layers.Tanh("tanh"),
        tt.layers.Dense("logits", 3),
    ),
)
RECIPE = tt.Recipe(optimizer=tt.optimizers.Adam())


def weights() -> dict[str, np.ndarray]:
    """Return the weights of the network."""
    return state.initial(NETWORK, RECIPE)


def batch() -> dict[str, np.ndarray]:
    """Return a batch for the network."""
    rng = np.random.default_rng(1)
    return {"x": rng.normal(size=(4, 6, 6, 2)).astype(np.float32), "y": rng.integers(0, 3, 4)}


def network_side(name: str) -> LiveSide:
    """Return the network as a side."""
    run = TrainedRun(Path("run"), NETWORK, RECIPE, weights(), "", "numpy", None, Options(), {})
    return local_side(name, Parts(Path(name), lambda: {"model": Trained(run, "numpy")}))


def read_a_trace(path: Path) -> str:
    """Return the verdict on a trace, where the whole one is the other side."""
    whole = read_trace(path.with_name("whole.trace"))
    return diagnose(read_trace(path), RecordedOther(whole), whole.batch).to_json()["verdict"]


def read_b_trace(path: Path) -> str:
    """Return the verdict on a trace, where the whole one is the reference."""
    whole = read_trace(path.with_name("whole.trace"))
    return diagnose(whole, RecordedOther(read_trace(path)), whole.batch).to_json()["verdict"]


def read_a_batch(path: Path) -> Any:
    """Give a batch to the network; return the digests of its arrays."""
    arrays = read_batch(path)
    side = network_side(str(path))
    side.observe(side.inputs(arrays), training=False)
    return {
        name: sha256(f"{array.shape} {array.dtype}".encode() + array.tobytes()).hexdigest()
        for name, array in arrays.items()
    }


def read_onnx(path: Path) -> Any:
    """Compute an ONNX file; return the names of its layers."""
    side = local_side("B", OnnxFile(path).run())
    observation = side.observe(side.inputs({"x": batch()["x"]}), training=False)
    side.weights()
    side.framework_weights()
    side.description()
    return [call.layer for call in observation.anchors]


READERS: dict[str, Callable[[Path], Any]] = {
    "trace as A": read_a_trace,
    "trace as B": read_b_trace,
    "batch": read_a_batch,
    "onnx": read_onnx,
}


def main() -> None:
    """Answer until the end of the input."""
    read = READERS[sys.argv[1]]
    for line in sys.stdin:
        begun = time.process_time()
        refused, result = "", None
        try:
            result = read(Path(json.loads(line)))
        except TriptychError as error:
            refused = str(error)
        seconds = time.process_time() - begun
        print(json.dumps([refused, result, seconds, machine.peak_memory() or 0]), flush=True)


if __name__ == "__main__":
    main()
