"""An ONNX graph of a network: one builder for each layer.

Images are (batch, channels, rows, columns) inside the graph, as ONNX has them; its input has the
channels last. The output of each layer is a tensor with the name ``output/LAYER``.

A builder of a layer is a function ``builder(graph, place, x)``: it adds nodes to a `Graph` and
returns the name of its result.
"""

import json
from collections.abc import Callable, Iterable
from math import pi, sqrt
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .. import plugins
from ..core.builders import BuilderTable
from ..core.state import State
from ..spec import layers as spec
from ..spec.network import Network
from ..spec.placement import Layer, PlacedLayer
from ..version import __version__
from .names import INPUT, OUTPUT

OPSET = 18
IR_VERSION = 8
LAYER_PREFIX = "output/"
FIRST_CHANNELS = (0, 3, 1, 2)  # from (batch, rows, columns, channels)
LAST_CHANNELS = (0, 2, 3, 1)  # back to it

LayerBuilder = Callable[["Graph", PlacedLayer, str], str]

LAYERS: BuilderTable[LayerBuilder] = BuilderTable("ONNX", "layer")


def register_layer(spec_class: type[Layer], builder: LayerBuilder) -> None:
    """Use `builder` for layers of `spec_class`; see the top of this file."""
    LAYERS.register(spec_class, builder)


class Graph:
    """The nodes and constants of a graph, while it is built.

    Parameters
    ----------
    state : dict of str to ndarray
        Weights and buffers, in the canonical layout.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._count = 0

    def add_chain(self, places: Iterable[PlacedLayer], x: str) -> str:
        """Add layers one after the other; return the name of the last one's output."""
        for place in places:
            x = self.add_layer(place, x)
        return x

    def add_layer(self, place: PlacedLayer, x: str) -> str:
        """Add a layer, and return the name of its output."""
        builder = LAYERS.find(place.layer)
        result = builder(self, place, x)
        output = LAYER_PREFIX + place.layer.name
        if self.nodes and result == self.nodes[-1].output[0]:
            self.nodes[-1].output[0] = output
        else:
            self.nodes.append(helper.make_node("Identity", [result], [output]))
        return output

    def node(self, operator: str, inputs: Iterable[str], **attributes: Any) -> str:
        """Add a node with one output, and return the name of that output."""
        self._count += 1
        output = f"{operator}_{self._count}"
        self.nodes.append(
            helper.make_node(operator, list(inputs), [output], name=output, **attributes)
        )
        return output

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        """Add an array, and return its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def scalar(self, value: float) -> str:
        """Add a number in float32, and return its name."""
        self._count += 1
        return self.constant(f"number_{self._count}", np.array(value, np.float32))

    def parameter(self, place: PlacedLayer, leaf: str) -> NDArray[np.generic] | None:
        """Return an array of a layer by its leaf, for example ``kernel``; None if it has none."""
        return self.state.get(f"{place.layer.name}/{leaf}")

    def add_parameters(self, place: PlacedLayer, *leaves: str) -> list[str]:
        """Add the arrays of a layer that it has, and return their names."""
        names: list[str] = []
        for leaf in leaves:
            array = self.parameter(place, leaf)
            if array is not None:
                names.append(self.constant(f"{place.layer.name}/{leaf}", array))
        return names


def build_model(network: Network, state: State, metadata: dict[str, str]) -> onnx.ModelProto:
    """Return a network with its weights as an ONNX model.

    Parameters
    ----------
    network : Network
        What was trained. It is exported as it is evaluated: dropout does nothing, and BatchNorm
        has its running statistics.
    state : dict of str to ndarray
        Its weights and buffers in float32, in the canonical layout.
    metadata : dict of str to str
        Entries of the model's metadata.

    Returns
    -------
    onnx.ModelProto
        Its input ``images`` is float32 of shape (batch, h, w, c), its output ``logits`` float32
        of shape (batch, classes).

    Raises
    ------
    EngineError
        If no builder is registered for a layer.
    """
    plugins.load("onnx")  # builders of their layers
    graph = Graph(state)
    x = INPUT
    if len(network.input_shape) == 3:
        x = graph.node("Transpose", [x], perm=FIRST_CHANNELS)
    last = graph.add_chain(network.chain, x)
    graph.nodes.append(helper.make_node("Identity", [last], [OUTPUT]))
    batch = "batch"
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "network",
            [
                helper.make_tensor_value_info(
                    INPUT, TensorProto.FLOAT, [batch, *network.input_shape]
                )
            ],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [batch, network.classes])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="triptych",
        producer_version=__version__,
    )
    helper.set_model_props(model, {"network": json.dumps(network.to_json())} | metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def build_flatten(graph: Graph, place: PlacedLayer, x: str) -> str:
    """Add a flattening, channels last."""
    del place
    channels_last = graph.node("Transpose", [x], perm=LAST_CHANNELS)
    return graph.node("Flatten", [channels_last], axis=1)


def build_dense(graph: Graph, place: PlacedLayer, x: str) -> str:
    """Add a matrix product, and the bias if there is one."""
    return graph.node("Gemm", [x, *graph.add_parameters(place, "kernel", "bias")])


def build_convolution(graph: Graph, place: PlacedLayer, x: str) -> str:
    """Add a convolution; ONNX's kernels are (out, in, rows, columns)."""
    layer = place.layer
    assert isinstance(layer, spec.Conv2D)
    kernel = graph.state[f"{layer.name}/kernel"].transpose(3, 2, 0, 1)
    inputs = [x, graph.constant(f"{layer.name}/kernel", kernel)]
    inputs += graph.add_parameters(place, "bias")
    return graph.node(
        "Conv",
        inputs,
        kernel_shape=[layer.size] * 2,
        strides=[layer.stride] * 2,
        pads=[layer.padding] * 4,
        group=layer.groups,
    )


def build_max_pool(graph: Graph, place: PlacedLayer, x: str) -> str:
    """Add a maximum over windows."""
    return graph.node("MaxPool", [x], **window(place))


def build_average_pool(graph: Graph, place: PlacedLayer, x: str) -> str:
    """Add a mean over windows, padded zeros included."""
    return graph.node("AveragePool", [x], count_include_pad=1, **window(place))


def window(place: PlacedLayer) -> dict[str, list[int]]:
    """Return the attributes of a pooling window."""
    layer = place.layer
    assert isinstance(layer, spec.Pool)
    return {
        "kernel_shape": [layer.size] * 2,
        "strides": [layer.stride] * 2,
        "pads": [layer.padding] * 4,
    }


def build_global_average_pool(graph: Graph, place: PlacedLayer, x: str) -> str:
    """Add the mean of each channel."""
    del place
    return graph.node("Flatten", [graph.node("GlobalAveragePool", [x])], axis=1)


def build_batch_norm(graph: Graph, place: PlacedLayer, x: str) -> str:
    """Add a normalization with the running statistics."""
    layer = place.layer
    assert isinstance(layer, spec.BatchNorm)
    arrays = graph.add_parameters(place, "gamma", "beta", "running_mean", "running_variance")
    return graph.node("BatchNormalization", [x, *arrays], epsilon=layer.epsilon)


def build_layer_norm(graph: Graph, place: PlacedLayer, x: str) -> str:
    """Add a normalization over the channels, which ONNX wants as the last axis."""
    layer = place.layer
    assert isinstance(layer, spec.LayerNorm)
    is_image = len(place.input_shape) == 3
    if is_image:
        x = graph.node("Transpose", [x], perm=LAST_CHANNELS)
    arrays = graph.add_parameters(place, "gamma", "beta")
    x = graph.node("LayerNormalization", [x, *arrays], axis=-1, epsilon=layer.epsilon)
    if is_image:
        x = graph.node("Transpose", [x], perm=FIRST_CHANNELS)
    return x


def build_residual(graph: Graph, place: PlacedLayer, x: str) -> str:
    """Add the sum of two branches; an empty projection is the input."""
    branch = graph.add_chain(place.branch, x)
    projection = graph.add_chain(place.projection, x)
    return graph.node("Add", [branch, projection])


def build_dropout(graph: Graph, place: PlacedLayer, x: str) -> str:
    """Add what dropout does in evaluation: nothing."""
    del place
    return graph.node("Identity", [x])


def build_leaky_relu(graph: Graph, place: PlacedLayer, x: str) -> str:
    """Add a leaky ReLU."""
    layer = place.layer
    assert isinstance(layer, spec.LeakyReLU)
    return graph.node("LeakyRelu", [x], alpha=layer.slope)


def build_gelu(graph: Graph, place: PlacedLayer, x: str) -> str:
    """Add x·Φ(x), or its approximation by tanh, from smaller operators."""
    layer = place.layer
    assert isinstance(layer, spec.GELU)
    if layer.form == "erf":
        argument = graph.node("Mul", [x, graph.scalar(sqrt(0.5))])
        shape = graph.node("Erf", [argument])
    else:
        cube = graph.node("Mul", [graph.node("Mul", [x, x]), x])
        cubic = graph.node("Add", [x, graph.node("Mul", [cube, graph.scalar(0.044715)])])
        argument = graph.node("Mul", [cubic, graph.scalar(sqrt(2 / pi))])
        shape = graph.node("Tanh", [argument])
    twice = graph.node("Mul", [x, graph.node("Add", [shape, graph.scalar(1.0)])])
    return graph.node("Mul", [twice, graph.scalar(0.5)])


def build_silu(graph: Graph, place: PlacedLayer, x: str) -> str:
    """Add x·sigmoid(x)."""
    del place
    return graph.node("Mul", [x, graph.node("Sigmoid", [x])])


def builder_of_operator(operator: str) -> LayerBuilder:
    """Return the builder of an operator without attributes."""

    def builder(graph: Graph, place: PlacedLayer, x: str) -> str:
        del place
        return graph.node(operator, [x])

    return builder


register_layer(spec.Flatten, build_flatten)
register_layer(spec.Dense, build_dense)
register_layer(spec.Conv2D, build_convolution)
register_layer(spec.MaxPool2D, build_max_pool)
register_layer(spec.AvgPool2D, build_average_pool)
register_layer(spec.GlobalAvgPool, build_global_average_pool)
register_layer(spec.BatchNorm, build_batch_norm)
register_layer(spec.LayerNorm, build_layer_norm)
register_layer(spec.Residual, build_residual)
register_layer(spec.Dropout, build_dropout)
register_layer(spec.ReLU, builder_of_operator("Relu"))
register_layer(spec.LeakyReLU, build_leaky_relu)
register_layer(spec.GELU, build_gelu)
register_layer(spec.SiLU, build_silu)
register_layer(spec.Tanh, builder_of_operator("Tanh"))
register_layer(spec.Sigmoid, builder_of_operator("Sigmoid"))
