"""What computes the logits: ONNX Runtime, or the reference engine where that is impossible."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.onnx_session import processor_session
from ..errors import TriptychError
from ..exporting.names import INPUT, OUTPUT
from .reading import Description, ReadRun

try:
    import onnxruntime
except ImportError:  # the reference engine computes
    onnxruntime: Any = None

Floats = NDArray[np.float32]


class Runtime(Protocol):
    """A loaded network; its methods may be called from several threads."""

    description: Description  # of the network
    label: str  # the program that computes, and its version
    platform: str  # its name in the Open Inference Protocol

    def logits(self, images: Floats) -> Floats:
        """Return the logits of images (n, h, w, c), shape (n, classes)."""
        ...


class OnnxRuntime:
    """A network as an ONNX model, in ONNX Runtime.

    Parameters
    ----------
    run : ReadRun
        What was trained, with an ONNX model.
    """

    platform = "onnxruntime_onnx"

    def __init__(self, run: ReadRun) -> None:
        options: Any = onnxruntime.SessionOptions()
        # Requests are computed side by side; threads inside of one would only compete with them.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # it would keep the memory of the largest request
        self._session = processor_session(run.onnx, options)
        self.description = run.description
        self.label = f"ONNX Runtime {onnxruntime.__version__}"

    def logits(self, images: Floats) -> Floats:
        """Return the logits of images."""
        return self._session.run([OUTPUT], {INPUT: images})[0]


def make_runtime(path: Path, run: ReadRun) -> Runtime:
    """Load a trained network into the fastest runtime that is installed, and try it with one image.

    Parameters
    ----------
    path : Path
        The run; the reference engine reads it again, because it needs more than an ONNX model.
    run : ReadRun
        What was read from it.

    Raises
    ------
    TriptychError
        If the logits of a black image are not finite numbers, one for each class.
    """
    runtime: Runtime
    if run.onnx:
        runtime = OnnxRuntime(run)
    else:
        from .reference import ReferenceRuntime

        runtime = ReferenceRuntime(path)
    described = runtime.description
    logits = runtime.logits(np.zeros((1, *described.input_shape), np.float32))
    if logits.shape != (1, described.classes) or not np.isfinite(logits).all():
        raise TriptychError(f"{path}: {runtime.label} computes no finite logits of a black image")
    return runtime
