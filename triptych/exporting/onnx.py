"""ONNX: written from the network and its weights, without any framework; run by ONNX Runtime."""

from pathlib import Path

import numpy as np

from ..core.onnx_session import processor_session
from ..core.state import State
from .model import Images, LoadedModel, Logits, TrainedModel
from .names import INPUT, OUTPUT

FILE = "model.onnx"


class OnnxExporter:
    """Writes ``model.onnx`` and loads it in ONNX Runtime."""

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write the model; its metadata names the network and the state."""
        from .onnx_graph import build_model

        metadata = {"state_sha256": model.sha256, "engine": model.engine}
        built = build_model(model.network, model.state, metadata)
        (folder / FILE).write_bytes(built.SerializeToString())

    def load(self, folder: Path) -> LoadedModel:
        """Load the model in ONNX Runtime."""
        return OnnxModel(folder / FILE)


class OnnxModel:
    """A model in ONNX Runtime, on the processor.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self.version = onnxruntime.__version__
        self._path = path
        self._session = processor_session(path.read_bytes())

    def logits(self, images: Images) -> Logits:
        """Return the logits of a batch, shape (n, classes)."""
        return self._session.run([OUTPUT], {INPUT: images})[0]

    def layer_outputs(self, images: Images, layers: list[str]) -> State:
        """Return the outputs of all layers, images with their channels last."""
        import onnx

        from .onnx_graph import LAST_CHANNELS, LAYER_PREFIX

        model = onnx.load(self._path)
        tensors = [LAYER_PREFIX + layer for layer in layers]
        for tensor in tensors:
            model.graph.output.append(onnx.ValueInfoProto(name=tensor))
        arrays = processor_session(model.SerializeToString()).run(tensors, {INPUT: images})
        outputs: State = {}
        for layer, array in zip(layers, arrays, strict=True):
            channels_last = array.transpose(LAST_CHANNELS) if array.ndim == 4 else array
            outputs[layer] = np.ascontiguousarray(channels_last)
        return outputs
