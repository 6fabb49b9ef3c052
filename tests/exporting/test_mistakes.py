"""Exporters with a mistake: the verification finds each of them, and names the layer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import exporting

from triptych.core.split import Split
from triptych.core.state import State
from triptych.exporting.model import TrainedModel
from triptych.exporting.targets import target
from triptych.exporting.verification import Reference, Verification, verify_export
from triptych.exporting.web import complete
from triptych.exporting.web_runtime import WebRuntime
from triptych.spec import layers as spec
from triptych.spec.network import Network

SHAPE = (12, 12, 2)
# Square kernels, so that transposed ones fit; more than one channel, so that an order matters.
NETWORK = Network(
    "small",
    SHAPE,
    (
        spec.Conv2D("conv1", 4, 3),
        spec.BatchNorm("norm"),
        spec.ReLU("relu1"),
        spec.Conv2D("conv2", 4, 3),
        spec.ReLU("relu2"),
        spec.MaxPool2D("pool"),
        spec.Flatten("flatten"),
        spec.Dense("hidden", 64),
        spec.ReLU("relu3"),
        spec.Dense("hidden2", 64),
        spec.ReLU("relu4"),
        spec.Dense("output", 10),
    ),
)

Builder = Callable[..., Any]
Mistake = Callable[[Builder], Builder]

pytestmark = pytest.mark.usefixtures("in_this_process")


# --- The mistakes: each makes the builder of a layer into one that is wrong ----------------------


def changed_layer(**numbers: Any) -> Mistake:
    """The layer has other numbers than the network says."""

    def mistake(right: Builder) -> Builder:
        def wrong(*arguments: Any) -> Any:
            place = next(a for a in arguments if hasattr(a, "layer"))
            other = replace(place, layer=replace(place.layer, **numbers))
            return right(*(other if a is place else a for a in arguments))

        return wrong

    return mistake


def onnx_transposed_dense(right: Builder) -> Builder:
    def wrong(graph: Any, place: Any, x: str) -> str:
        name = f"{place.layer.name}/kernel"
        if place.layer.name == "hidden2":
            graph.state = graph.state | {name: graph.state[name].T}
        return right(graph, place, x)

    return wrong


def onnx_transposed_convolution(right: Builder) -> Builder:
    def wrong(graph: Any, place: Any, x: str) -> str:
        name = f"{place.layer.name}/kernel"
        graph.state = graph.state | {name: graph.state[name].transpose(1, 0, 2, 3)}
        return right(graph, place, x)

    return wrong


def onnx_channels_first(right: Builder) -> Builder:
    return lambda graph, place, x: graph.node("Flatten", [x], axis=1)


def onnx_nothing(right: Builder) -> Builder:
    return lambda graph, place, x: graph.node("Identity", [x])


def torch_transposed(right: Builder) -> Builder:
    """The weights are read the other way round each time that the module is called."""
    import torch

    class Wrong(torch.nn.Module):
        def __init__(self, place: Any) -> None:
            super().__init__()
            built = right(place)
            self.weight = built.weight
            self.bias = built.bias
            self.is_dense = isinstance(built, torch.nn.Linear)

        def forward(self, x: Any) -> Any:
            turned = self.weight.transpose(-2, -1)
            if self.is_dense:
                return torch.nn.functional.linear(x, turned, self.bias)
            return torch.nn.functional.conv2d(x, turned, self.bias)

    def wrong(place: Any) -> Any:
        is_square = isinstance(place.layer, spec.Conv2D) or place.layer.name == "hidden2"
        return Wrong(place) if is_square else right(place)

    return wrong


def torch_channels_last(right: Builder) -> Builder:
    """The dense layer behind expects the channels first."""
    import torch

    class Wrong(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1).flatten(1)

    return lambda place: Wrong()


def torch_nothing(right: Builder) -> Builder:
    import torch

    class Wrong(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x + 0  # an operation, as a layer has one

    return lambda place: Wrong()


def tensorflow_transposed(right: Builder) -> Builder:
    import keras
    import tensorflow as tf

    layers = import_module("triptych.engines.tensorflow.layers")

    class WrongDense(keras.layers.Dense):
        def call(self, x: Any) -> Any:
            return tf.nn.bias_add(tf.matmul(x, self.kernel.value, transpose_b=True), self.bias)

    class WrongConvolution(layers.Conv2D):
        def call(self, x: Any) -> Any:
            turned = tf.transpose(self.kernel.value, (1, 0, 2, 3))
            return tf.nn.bias_add(tf.nn.conv2d(x, turned, 1, "VALID"), self.bias.value)

    def wrong(place: Any, dtype: str) -> Any:
        layer = place.layer
        if isinstance(layer, spec.Conv2D):
            return WrongConvolution(layer, name=layer.name, dtype=dtype)
        if layer.name == "hidden2":
            return WrongDense(layer.units, name=layer.name, dtype=dtype)
        return right(place, dtype)

    return wrong


def tensorflow_channels_first(right: Builder) -> Builder:
    import keras
    import tensorflow as tf

    class Wrong(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            size = int(np.prod(x.shape[1:]))
            return tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, size))

    return lambda place, dtype: Wrong(name=place.layer.name, dtype=dtype)


def tensorflow_nothing(right: Builder) -> Builder:
    import keras

    class Wrong(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x + 0.0

    return lambda place, dtype: Wrong(name=place.layer.name, dtype=dtype)


# --- Where they are planted ----------------------------------------------------------------------

EPSILON = changed_layer(epsilon=1e-3)
MISTAKES: dict[str, tuple[type[spec.Layer], str, dict[str, Mistake]]] = {
    "dense kernel transposed": (
        spec.Dense,
        "hidden2",
        {
            "onnx": onnx_transposed_dense,
            "torch": torch_transposed,
            "tensorflow": tensorflow_transposed,
        },
    ),
    "convolution kernel transposed": (
        spec.Conv2D,
        "conv1",
        {
            "onnx": onnx_transposed_convolution,
            "torch": torch_transposed,
            "tensorflow": tensorflow_transposed,
        },
    ),
    "epsilon of BatchNorm": (
        spec.BatchNorm,
        "norm",
        dict.fromkeys(("onnx", "torch", "tensorflow"), EPSILON),
    ),
    "order of flatten": (
        spec.Flatten,
        "flatten",
        {
            "onnx": onnx_channels_first,
            "torch": torch_channels_last,
            "tensorflow": tensorflow_channels_first,
        },
    ),
    "no ReLU": (
        spec.ReLU,
        "relu1",
        {"onnx": onnx_nothing, "torch": torch_nothing, "tensorflow": tensorflow_nothing},
    ),
}
TABLES = {
    "onnx": "triptych.exporting.onnx_graph",
    "torch": "triptych.engines.torch.layers",
    "tensorflow": "triptych.engines.tensorflow.layers",
}


@contextmanager
def planted(engine: str, kind: type[spec.Layer], mistake: Mistake) -> Iterator[None]:
    """Register a wrong builder through the table's public function; register the right one after.

    Parameters
    ----------
    engine : str
        A key of `TABLES`.
    kind : type
        The class of the layers.
    mistake : callable
        Makes the right builder into the wrong one.
    """
    table = import_module(TABLES[engine])
    right = table.LAYERS.builders[kind]
    table.register_layer(kind, mistake(right))
    try:
        yield
    finally:
        table.register_layer(kind, right)


def with_small_variances(state: State) -> State:
    """Return weights for which epsilon counts: variances as small as those of dark pixels."""
    name = "norm/running_variance"
    return state | {name: np.full_like(state[name], 2e-3)}


STATE = with_small_variances(exporting.random_state(NETWORK))
MODEL = exporting.model_of(NETWORK, STATE)
TEST = exporting.samples_of(NETWORK, 300)


def separable(model: TrainedModel) -> Split:
    """Return samples whose labels are what the network predicts: its accuracy is 100 %."""
    logits = Reference.of(model, TEST).logits
    return Split(TEST.images, logits.argmax(axis=1).astype(np.int32))


def verified(
    name: str, folder: Path, test: Split, web_runtime: WebRuntime | None = None
) -> Verification:
    chosen = target(name)
    reference = Reference.of(MODEL, test)
    chosen.make_exporter().write(MODEL, folder)
    if web_runtime is not None:
        complete(folder, MODEL, reference, test, web_runtime)
    return verify_export(chosen, folder, MODEL, reference, test)


def cases(targets: dict[str, str]) -> list[Any]:
    """Return every target, with the engine that builds it, and every mistake."""
    return [
        pytest.param(
            name,
            engine,
            mistake,
            marks=[] if engine == "onnx" else [pytest.mark.framework, pytest.mark.slow],
        )
        for name, engine in targets.items()
        for mistake in MISTAKES
    ]


IN_LOGITS = {
    "onnx": "onnx",
    "triton": "onnx",
    "torch-export": "torch",
    "torchscript": "torch",
    "saved-model": "tensorflow",
    "litert": "tensorflow",
}


@pytest.fixture(autouse=True)
def installed(request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params.get("name", "web")
    if target(name).missing:
        pytest.skip(f"needs {', '.join(target(name).missing)}")


@pytest.mark.parametrize(("name", "engine", "mistake"), cases(IN_LOGITS))
def test_a_mistake_is_found_and_its_layer_is_named(
    name: str, engine: str, mistake: str, tmp_path: Path
):
    kind, layer, builders = MISTAKES[mistake]
    with planted(engine, kind, builders[engine]):
        result = verified(name, tmp_path, TEST)
    assert result.verdict == "formula", result
    assert not result.passed
    if target(name).shows_layers:
        # LiteRT computes some layers as one, and then names them all.
        assert result.first_layer
        assert layer in result.first_layer.split("+"), result.first_layer
    else:
        assert result.first_layer is None


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_page(mistake: str, tmp_path: Path, web_runtime: WebRuntime):
    kind, _, builders = MISTAKES[mistake]
    with planted("onnx", kind, builders["onnx"]):
        result = verified("web", tmp_path, TEST, web_runtime)
    assert result.verdict == "formula", result
    assert "WebAssembly in Node.js" in result.runtime


@pytest.mark.parametrize(
    "name",
    [
        name if engine == "onnx" else pytest.param(name, marks=[pytest.mark.framework])
        for name, engine in IN_LOGITS.items()
    ],
)
def test_without_a_mistake_nothing_is_found(name: str, tmp_path: Path):
    result = verified(name, tmp_path, TEST)
    assert result.verdict == "rounding", result


@pytest.mark.parametrize(("name", "engine", "mistake"), cases({"litert-int8": "tensorflow"}))
def test_int8_is_judged_by_its_accuracy(name: str, engine: str, mistake: str, tmp_path: Path):
    kind, _, builders = MISTAKES[mistake]
    test = separable(MODEL)
    with planted(engine, kind, builders[engine]):
        result = verified(name, tmp_path, test)
    assert result.reference_accuracy == 1
    assert result.verdict == "formula", result


@pytest.mark.slow
@pytest.mark.framework
@pytest.mark.parametrize("name", ["litert-int8"])
def test_int8_without_a_mistake_is_precise_enough(name: str, tmp_path: Path):
    result = verified(name, tmp_path, exporting.samples_of(NETWORK, 300))
    assert result.verdict == "precision", result
