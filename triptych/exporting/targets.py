"""The targets of an export: an explicit table, which imports no runtime."""

import re
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..errors import EngineError, TriptychError, suggest

if TYPE_CHECKING:
    from ..spec.network import Network
    from .model import Exporter


@dataclass(frozen=True)
class Target:
    """What is known of a target before its packages are imported.

    Attributes
    ----------
    name : str
        Its name on the command line and of its folder.
    label : str
        What people call the format.
    runtime : str
        The program that loads the model for the verification.
    file : str
        The path of the model in the target's folder; ``NAME`` in it is the network's `folder_name`.
    exporter : str
        ``module:class`` of its `Exporter`.
    requires : tuple of str
        The modules that must be installed.
    install : str
        The command that installs them.
    shows_layers : bool
        Whether the runtime shows the outputs of layers, with the loaded model's `layer_outputs`.
    quantized : bool
        Whether the model computes in a lower precision than float32, so that its accuracy is
        verified instead of its logits.
    is_page : bool
        Whether the export is a web page, with the test split and the runtime of the browser.
    note : str
        What a user has to know about the target; may be empty.
    """

    name: str
    label: str
    runtime: str
    file: str
    exporter: str
    requires: tuple[str, ...]
    install: str
    shows_layers: bool = False
    quantized: bool = False
    is_page: bool = False
    note: str = ""

    @property
    def missing(self) -> list[str]:
        """The modules that are not installed."""
        return [module for module in self.requires if find_spec(module) is None]

    def check_installed(self) -> None:
        """Raise `EngineError` if a package is missing; the message says how to install it."""
        if self.missing:
            names = ", ".join(self.missing)
            raise EngineError(f"{self.label} needs {names}, not installed here: {self.install}")

    def path_of(self, network: "Network") -> str:
        """Return the path of the model of a network in the target's folder."""
        return self.file.replace("NAME", folder_name(network))

    def make_exporter(self) -> "Exporter":
        """Import the target's module and return its exporter."""
        module, _, name = self.exporter.partition(":")
        return getattr(import_module(module), name)()


TARGETS = {
    target.name: target
    for target in (
        Target(
            "onnx",
            "ONNX",
            "ONNX Runtime",
            "model.onnx",
            "triptych.exporting.onnx:OnnxExporter",
            ("onnx", "onnxruntime"),
            "pip install 'triptych[export]'",
            shows_layers=True,
        ),
        Target(
            "torch-export",
            "PyTorch's exported program",
            "torch.export",
            "model.pt2",
            "triptych.exporting.torch:ProgramExporter",
            ("torch",),
            "pip install torch",
            shows_layers=True,
        ),
        Target(
            "torchscript",
            "TorchScript",
            "torch.jit",
            "model.pt",
            "triptych.exporting.torch:ScriptExporter",
            ("torch",),
            "pip install torch",
            note="legacy: PyTorch has deprecated TorchScript; take torch-export for new work",
        ),
        Target(
            "saved-model",
            "TensorFlow SavedModel",
            "TensorFlow",
            "1/saved_model.pb",
            "triptych.exporting.tensorflow:SavedModelExporter",
            ("tensorflow",),
            "pip install tensorflow",
        ),
        Target(
            "litert",
            "LiteRT (TensorFlow Lite)",
            "LiteRT",
            "model.tflite",
            "triptych.exporting.tensorflow:LiteRTExporter",
            ("tensorflow", "ai_edge_litert"),
            "pip install tensorflow 'triptych[export]'",
            shows_layers=True,
        ),
        Target(
            "litert-int8",
            "LiteRT with int8 weights and activations",
            "LiteRT",
            "model.tflite",
            "triptych.exporting.tensorflow:QuantizedExporter",
            ("tensorflow", "ai_edge_litert"),
            "pip install tensorflow 'triptych[export]'",
            quantized=True,
        ),
        Target(
            "triton",
            "a model repository for Triton and KServe",
            "ONNX Runtime",
            "NAME/1/model.onnx",
            "triptych.exporting.triton:TritonExporter",
            ("onnx", "onnxruntime"),
            "pip install 'triptych[export]'",
            shows_layers=True,
            note=(
                "verified in ONNX Runtime, and config.pbtxt was compared with the model; "
                "Triton itself was not run"
            ),
        ),
        Target(
            "web",
            "a web page",
            "onnxruntime-web",
            "index.html",
            "triptych.exporting.web:WebExporter",
            ("onnx",),
            "pip install 'triptych[export]'",
            is_page=True,
            note=(
                "serve the folder: python -m http.server --bind 127.0.0.1 --directory {folder}; "
                "its page verify.html repeats the verification in the browser"
            ),
        ),
    )
}


def folder_name(network: "Network") -> str:
    """Return the name of a network in the characters that any system allows in paths."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", network.name).lstrip(".") or "network"


def target(name: str) -> Target:
    """Return a target by its name.

    Raises
    ------
    TriptychError
        If the name is unknown; the message suggests the closest ones.
    """
    if name not in TARGETS:
        raise TriptychError(f"there is no export target {name!r}; {suggest(name, TARGETS)}")
    return TARGETS[name]
