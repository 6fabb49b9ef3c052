"""TensorFlow's SavedModel, and LiteRT (TensorFlow Lite) in float32 and in int8."""

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..core.state import State
from .model import JOINED, Images, LoadedModel, Logits, TrainedModel, native_model
from .names import INPUT, OUTPUT

VERSION = "1"  # TensorFlow Serving wants a folder for each version of a model
LITERT = "model.tflite"
SIGNATURE = "serving_default"


class SavedModelExporter:
    """Writes a SavedModel into the folder ``1``, where TensorFlow Serving looks for it."""

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write the model with the signature ``serving_default``: ``images`` to ``logits``."""
        import tensorflow as tf

        native = native_model("tensorflow", model)
        signatures = {SIGNATURE: _function(model, native)}
        tf.saved_model.save(native, str(folder / VERSION), signatures=signatures)

    def load(self, folder: Path) -> LoadedModel:
        """Load the model in TensorFlow."""
        return SavedModel(folder / VERSION)


class LiteRTExporter:
    """Writes ``model.tflite`` in float32 and loads it in LiteRT."""

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write the model; its batch may have any size."""
        (folder / LITERT).write_bytes(_convert(model, None))

    def load(self, folder: Path) -> LoadedModel:
        """Load the model in LiteRT."""
        return LiteRTModel(folder / LITERT)


class QuantizedExporter(LiteRTExporter):
    """Writes ``model.tflite`` with int8 weights and activations; its input and output are float32.

    The ranges of the activations are those of training images.
    """

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write the model."""

        def examples() -> Iterator[list[Images]]:
            for image in model.calibration:
                yield [image[np.newaxis]]

        (folder / LITERT).write_bytes(_convert(model, examples))


class SavedModel:
    """A SavedModel in TensorFlow.

    Parameters
    ----------
    folder : Path
        The folder of the version.
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self.version: str = tf.__version__
        self._constant = tf.constant
        self._loaded: Any = tf.saved_model.load(str(folder))  # it keeps the variables
        self._function = self._loaded.signatures[SIGNATURE]

    def logits(self, images: Images) -> Logits:
        """Return the logits of a batch, shape (n, classes)."""
        return self._function(**{INPUT: self._constant(images)})[OUTPUT].numpy()


class LiteRTModel:
    """A model in LiteRT, on the processor.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        from importlib.metadata import version

        self.version = version("ai-edge-litert")
        self._path = path
        self._interpreter = _interpreter(path)

    def logits(self, images: Images) -> Logits:
        """Return the logits of a batch, shape (n, classes)."""
        return _run(self._interpreter, images)

    def layer_outputs(self, images: Images, layers: list[str]) -> State:
        """Return the outputs of layers; those that the converter has joined have one output."""
        interpreter = _interpreter(self._path, preserve=True)
        _run(interpreter, images)
        tensors: dict[tuple[str, ...], int] = {}
        for tensor in interpreter.get_tensor_details():
            joined = _layers_of(tensor["name"], layers)
            if joined and tensor["shape"].size > 1 and tensor["shape"][0] == len(images):
                tensors[joined] = tensor["index"]  # the last operation of several counts
        inner = {name for joined in tensors for name in joined[:-1]}
        return {
            JOINED.join(joined): interpreter.get_tensor(index)
            for joined, index in tensors.items()
            if joined[-1] not in inner
        }


def _function(model: TrainedModel, call: Callable[[Any], Any]) -> Any:
    """Return a graph from ``images`` to ``logits``, for a batch of any size."""
    import tensorflow as tf

    def serve(images: Any) -> dict[str, Any]:
        return {OUTPUT: call(images)}

    signature = tf.TensorSpec((None, *model.network.input_shape), tf.float32, name=INPUT)
    function: Any = tf.function(serve, input_signature=[signature])
    return function.get_concrete_function()


def _convert(model: TrainedModel, examples: Callable[[], Iterator[list[Images]]] | None) -> bytes:
    """Return the content of a LiteRT file; with examples it computes in int8."""
    import keras
    import tensorflow as tf

    native = native_model("tensorflow", model)
    # LiteRT has no values for variables of the graph, so they become constants.
    constants = [(variable, tf.constant(variable.numpy())) for variable in native.model.variables]

    def call(images: Any) -> Any:
        with keras.StatelessScope(state_mapping=constants):
            return native(images)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([_function(model, call)])
    if examples:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of statistics that only the older quantization has
        return converter.convert()


def _interpreter(path: Path, *, preserve: bool = False) -> Any:
    """Return an interpreter of a file; with `preserve` it keeps the outputs of all operators."""
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the memory that `preserve` needs
        interpreter = Interpreter(str(path), experimental_preserve_all_tensors=preserve)
    interpreter.allocate_tensors()
    return interpreter


def _run(interpreter: Any, images: Images) -> Logits:
    """Return the logits of a batch of any size."""
    given = interpreter.get_input_details()[0]
    if tuple(given["shape"]) != images.shape:
        interpreter.resize_tensor_input(given["index"], images.shape)
        interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def _layers_of(tensor: str, layers: list[str]) -> tuple[str, ...]:
    """Return the layers that a tensor's name lists, in the order of computation.

    The converter lists the operations that it has joined, the last one first, for example
    ``model/relu/Relu;model/hidden/MatMul``; a number may follow the name of a layer.
    """
    mentioned: set[str] = set()
    for operation in tensor.split(";"):
        for part in operation.split("/"):
            name = part if part in layers else re.sub(r"_\d+$", "", part)
            mentioned.add(name)
    return tuple(name for name in layers if name in mentioned)
