"""PyTorch: an exported program of `torch.export`, or TorchScript."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core import registry
from ..core.layout import to_canonical
from ..core.state import State
from .model import Images, LoadedModel, Logits, TrainedModel, native_model
from .names import INPUT

PROGRAM = "model.pt2"
SCRIPT = "model.pt"
LAYERS = "layers.json"  # a further file in the program; see `_describe_layers`
EXAMPLES = 2  # images; with a single one torch.export would fix the size of the batch


class ProgramExporter:
    """Writes ``model.pt2`` with `torch.export` and loads it again."""

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write the program; its batch may have any size."""
        native = native_model("torch", model)
        batch = torch.export.Dim("batch")
        program = torch.export.export(
            native, (_example(model),), dynamic_shapes={INPUT: {0: batch}}
        )
        layers = json.dumps(_describe_layers(model, native))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights in the channels-last order of memory
            torch.export.save(program, folder / PROGRAM, extra_files={LAYERS: layers})

    def load(self, folder: Path) -> LoadedModel:
        """Load the program."""
        return Program(folder / PROGRAM)


class ScriptExporter:
    """Writes ``model.pt`` as TorchScript, which PyTorch has deprecated, and loads it again."""

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Trace the model and write it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the deprecation, which the target's note tells
            script = torch.jit.trace(native_model("torch", model), _example(model))
            torch.jit.save(script, folder / SCRIPT)

    def load(self, folder: Path) -> LoadedModel:
        """Load the script."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Script(torch.jit.load(folder / SCRIPT))


def _describe_layers(model: TrainedModel, native: Any) -> dict[str, Any]:
    """Return of each layer, by the path of its module, what converts its output: for JSON."""
    places = {place.layer.name: place for place in model.network.places}
    return {
        path: {"name": name, "role": places[name].role, "sizes": places[name].image_shape}
        for path, name in native.layer_paths().items()
    }


def _example(model: TrainedModel) -> Tensor:
    """Return a batch of images from which the operations are recorded."""
    return torch.zeros(EXAMPLES, *model.network.input_shape)


class Script:
    """A model of PyTorch that is called with images.

    Parameters
    ----------
    module : callable
        It returns the logits of a batch.
    """

    def __init__(self, module: Any) -> None:
        self.version: str = str(torch.__version__)
        self._module = module

    def logits(self, images: Images) -> Logits:
        """Return the logits of a batch, shape (n, classes)."""
        with torch.inference_mode():
            return self._module(torch.from_numpy(images)).numpy()


class Program(Script):
    """An exported program.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        more = {LAYERS: ""}
        self._program = torch.export.load(path, extra_files=more)
        self._layers: dict[str, dict[str, Any]] = json.loads(more[LAYERS])
        super().__init__(self._program.module())

    def layer_outputs(self, images: Images, layers: list[str]) -> State:
        """Return the outputs of the layers that compute something, in the canonical layout."""
        del layers
        recorder = _Recorder(self._program.module(), self._layers)
        with torch.no_grad():
            recorder.run(torch.from_numpy(images))
        return recorder.outputs


class _Recorder(torch.fx.Interpreter):
    """Runs a program node by node and keeps the last output of each layer.

    Parameters
    ----------
    module : torch.nn.Module
        The program.
    layers : dict of str to dict
        As of `_describe_layers`.
    """

    def __init__(self, module: Any, layers: dict[str, dict[str, Any]]) -> None:
        super().__init__(module)
        self.outputs: State = {}
        self._layers = layers
        self._layout = registry.entry("torch").layout

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run a node; keep its output if it belongs to a layer."""
        result = super().run_node(n)
        layer = self._layer_of(n)
        if layer and isinstance(result, Tensor):
            role = layer["role"]
            sizes = tuple((axis, size) for axis, size in layer["sizes"] if role == "flat")
            if result.ndim == (4 if role == "image" else 2):  # not one on the way to the output
                array = to_canonical(self._layout, role, result.numpy(), sizes)
                self.outputs[layer["name"]] = array
        return result

    def _layer_of(self, node: torch.fx.Node) -> dict[str, Any] | None:
        """Return the innermost layer that a node belongs to, or None."""
        modules = node.meta.get("nn_module_stack", {})
        for path, _ in reversed(list(modules.values())):
            if path in self._layers:
                return self._layers[path]
        return None
