"""What computes the logits: ONNX Runtime, or the reference engine where that is not installed."""

from dataclasses import replace
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core import registry
from ..core.split import Split
from ..core.state import State, cast
from ..errors import EngineError, TriptychError
from ..exporting.model import INPUT, OUTPUT
from ..exporting.targets import target
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..training.trained import TrainedRun

Floats = NDArray[np.float32]


class Runtime(Protocol):
    """A loaded network; its methods may be called from several threads."""

    label: str  # the program that computes, and its version
    platform: str  # its name in the Open Inference Protocol

    def logits(self, images: Floats) -> Floats:
        """Return the logits of images (n, h, w, c), shape (n, classes)."""
        ...


class OnnxRuntime:
    """A network as an ONNX model, in ONNX Runtime.

    Parameters
    ----------
    network : Network
        What was trained.
    state : dict of str to ndarray
        Its weights and buffers in float32.
    """

    platform = "onnxruntime_onnx"

    def __init__(self, network: Network, state: State) -> None:
        import onnxruntime

        from ..exporting.onnx_graph import build_model

        options: Any = onnxruntime.SessionOptions()
        # Requests are computed side by side; threads inside of one would only compete with them.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # it would keep the memory of the largest request
        content = build_model(network, state, {}).SerializeToString()
        self._session: Any = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self.label = f"ONNX Runtime {onnxruntime.__version__}"

    def logits(self, images: Floats) -> Floats:
        """Return the logits of images."""
        return self._session.run([OUTPUT], {INPUT: images})[0]


class ReferenceRuntime:
    """A network in the reference engine; one request is computed at a time.

    Parameters
    ----------
    network : Network
        What was trained.
    recipe : Recipe
        Its dtype must be float32.
    state : dict of str to ndarray
        Weights, buffers and optimizer slots in float32.
    """

    platform = "triptych"

    def __init__(self, network: Network, recipe: Recipe, state: State) -> None:
        name = registry.REFERENCE
        self.label = f"{registry.entry(name).label} {np.__version__}"
        self._engine = registry.create(name, network, recipe)
        self._engine.load(state)
        self._lock = Lock()

    def logits(self, images: Floats) -> Floats:
        """Return the logits of images."""
        unlabelled = Split(images, np.zeros(len(images), np.int32))
        with self._lock:
            return self._engine.logits(self._engine.upload(unlabelled))


def make_runtime(run: TrainedRun) -> Runtime:
    """Load a trained network into the fastest runtime that is installed, and try it with one image.

    Raises
    ------
    TriptychError
        If the logits of a black image are not finite numbers, one for each class.
    """
    state = cast(run.state, "float32")
    runtime = _first_runtime(run.network, replace(run.recipe, dtype="float32"), state)
    logits = runtime.logits(np.zeros((1, *run.network.input_shape), np.float32))
    if logits.shape != (1, run.network.classes) or not np.isfinite(logits).all():
        raise TriptychError(f"{runtime.label} computes no finite logits of a black image")
    return runtime


def _first_runtime(network: Network, recipe: Recipe, state: State) -> Runtime:
    """Return ONNX Runtime with a network, or the reference engine if that is impossible."""
    if not target("onnx").missing:
        try:
            return OnnxRuntime(network, state)
        except EngineError:  # a layer of a plug-in that has no ONNX builder
            pass
    return ReferenceRuntime(network, recipe, state)
