"""The layers of the Numba engine: objects that call compiled functions.

A builder of a layer is a function ``builder(place)`` that takes a `PlacedLayer` and returns a
`Layer`. The engine sets its ``parameters``, ``buffers`` and ``gradients``, which are dictionaries
of arrays by leaf (``kernel``, ``running_mean``). A layer reads the first and writes into the
others, in place.

Images are (batch, rows, columns, channels), vectors are (batch, features), both C-contiguous.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.builders import BuilderTable
from ...spec import layers as spec
from ...spec.placement import Layer as Description
from ...spec.placement import PlacedLayer
from .kernels import activations
from .kernels.activations import activate_parts, multiply_parts
from .kernels.dense import dense_forward, dense_gradients, dense_input_gradient
from .threads import share_count

Array = NDArray[Any]

# Multiplications of a dense layer that a thread makes at least: for fewer, waking it takes longer.
LEAST_PRODUCTS = 2**20


@dataclass
class Training:
    """What belongs to a forward pass in training; in evaluation there is none.

    Attributes
    ----------
    masks : dict of str to ndarray of bool
        What each dropout layer keeps, by its name.
    outputs : dict of str to ndarray or None
        Where the output of every layer is recorded, by its name; None if it is not.
    """

    masks: dict[str, Array] = field(default_factory=dict[str, Array])
    outputs: dict[str, Array] | None = None


class Layer:
    """Base of all layers: without parameters and buffers.

    Parameters
    ----------
    name : str
        Of the layer in its network.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}
        self._memory: dict[str, Array] = {}

    def forward(self, x: Array, training: Training | None) -> Array:
        """Return the output for a batch, and keep what the backward pass needs.

        Parameters
        ----------
        x : ndarray, shape (batch, …)
            The input, which must not change until the backward pass.
        training : Training or None
            None in evaluation.
        """
        raise NotImplementedError

    def parameter_gradients(self, dy: Array) -> None:
        """Write the gradients of the parameters, from that of the output, shape (batch, …)."""

    def input_gradient(self, dy: Array) -> Array:
        """Return the gradient of the input, from that of the output, shape (batch, …)."""
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        """Write the gradients of the parameters and return that of the input."""
        self.parameter_gradients(dy)
        return self.input_gradient(dy)

    def advance(self) -> None:
        """Let the running statistics take over those of the batch; called once in a step."""

    @property
    def learns(self) -> bool:
        """Whether it has parameters."""
        return bool(self.parameters)

    def every(self) -> list["Layer"]:
        """Return the layers inside this one, in order of computation, then this one."""
        return [self]

    def reuse(self, use: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of undefined content, that of the last call if it is large enough.

        New memory costs a page fault for each 4 kB.

        Parameters
        ----------
        use : str
            A name, unique in the layer.
        shape : tuple of int
            Its first axis may differ from call to call.
        dtype : dtype
        """
        kept = self._memory.get(use)
        if (
            kept is None
            or len(kept) < shape[0]
            or kept.shape[1:] != shape[1:]
            or kept.dtype != dtype
        ):
            kept = np.empty(shape, dtype)
            self._memory[use] = kept
        return kept[: shape[0]]


class Chain(Layer):
    """Layers, one after the other.

    Parameters
    ----------
    layers : sequence of Layer
        In order of computation.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__("")
        self.layers = list(layers)

    def forward(self, x: Array, training: Training | None) -> Array:
        """Return the output of the last layer."""
        for layer in self.layers:
            x = layer.forward(x, training)
            if training is not None and training.outputs is not None:
                training.outputs[layer.name] = x.copy()
        return x

    def backward(self, dy: Array) -> Array:
        """Write all gradients and return that of the input."""
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def parameter_gradients(self, dy: Array) -> None:
        """Write all gradients; nothing is computed for layers before the first that learns."""
        if not self.learns:
            return
        first = next(i for i, layer in enumerate(self.layers) if layer.learns)
        for layer in reversed(self.layers[first + 1 :]):
            dy = layer.backward(dy)
        self.layers[first].parameter_gradients(dy)

    @property
    def learns(self) -> bool:
        """Whether one of its layers has parameters."""
        return any(layer.learns for layer in self.layers)

    def every(self) -> list[Layer]:
        """Return all layers, those inside others too, in order of computation."""
        return [inner for layer in self.layers for inner in layer.every()]


class Residual(Layer):
    """The sum of two chains with the same input; an empty chain is the identity."""

    def __init__(self, name: str, branch: Chain, projection: Chain) -> None:
        super().__init__(name)
        self.branch = branch
        self.projection = projection

    def forward(self, x: Array, training: Training | None) -> Array:
        """Return branch(x) + projection(x)."""
        return self.branch.forward(x, training) + self.projection.forward(x, training)

    def parameter_gradients(self, dy: Array) -> None:
        """Write the gradients of both chains."""
        self.branch.parameter_gradients(dy)
        self.projection.parameter_gradients(dy)

    def backward(self, dy: Array) -> Array:
        """Write the gradients of both chains; the input's gradient is the sum of theirs."""
        return self.branch.backward(dy) + self.projection.backward(dy)

    @property
    def learns(self) -> bool:
        """Whether one of its chains has parameters."""
        return self.branch.learns or self.projection.learns

    def every(self) -> list[Layer]:
        """Return the layers of both chains, then this one."""
        return [*self.branch.every(), *self.projection.every(), self]


class Flatten(Layer):
    """An image as a vector."""

    def forward(self, x: Array, training: Training | None) -> Array:
        """Return x in the shape (batch, features)."""
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def input_gradient(self, dy: Array) -> Array:
        """Return dy in the shape of the input."""
        return dy.reshape(self.shape)


class Dense(Layer):
    """y = x·W + b; ∂W = xᵀ·dy, ∂b = Σ dy, ∂x = dy·Wᵀ."""

    def forward(self, x: Array, training: Training | None) -> Array:
        """Return x·W + b, shape (batch, outputs)."""
        kernel = self.parameters["kernel"]
        self.x = x
        self.shares = share_count(len(x) * kernel.size, LEAST_PRODUCTS)
        y = self.reuse("y", (len(x), kernel.shape[1]), x.dtype)
        dense_forward(x, kernel, self._bias(self.parameters), y, self.shares)
        return y

    def parameter_gradients(self, dy: Array) -> None:
        """Write xᵀ·dy and Σ dy."""
        kernel = self.gradients["kernel"]
        bias = self._bias(self.gradients)
        if self.shares == 1:
            kernels = kernel[None]
            biases = bias[None]
        else:
            kernels = self.reuse("kernels", (self.shares, *kernel.shape), dy.dtype)
            biases = self.reuse("biases", (self.shares, *bias.shape), dy.dtype)
        dense_gradients(self.x, dy, kernels, biases, self.shares)
        if self.shares > 1:
            kernel[...] = kernels[0]
            bias[...] = biases[0]

    def input_gradient(self, dy: Array) -> Array:
        """Return dy·Wᵀ, shape (batch, inputs)."""
        dx = self.reuse("dx", self.x.shape, dy.dtype)
        dense_input_gradient(dy, self.parameters["kernel"], dx, self.shares)
        return dx

    def _bias(self, arrays: dict[str, Array]) -> Array:
        """Return the bias, or its gradient; an empty array for a layer without bias."""
        return arrays.get("bias", np.zeros(0, arrays["kernel"].dtype))


class Elementwise(Layer):
    """A function of each number, or a dropout; `kernels.activations` has the formulas.

    Parameters
    ----------
    name : str
        Of the layer in its network.
    code : int
        Which function.
    slope : float
        Of a leaky ReLU.
    rate : float
        The share of numbers that a dropout sets to 0.
    """

    def __init__(self, name: str, code: int, slope: float = 0.0, rate: float = 0.0) -> None:
        super().__init__(name)
        self.code = code
        self.slope = slope
        self.scale = 1 / (1 - rate)

    def forward(self, x: Array, training: Training | None) -> Array:
        """Return the function of x, in the shape of x."""
        mask = np.zeros(0, np.bool_)
        if training is not None and self.name in training.masks:
            mask = training.masks[self.name].reshape(-1)
        y = self.reuse("y", x.shape, x.dtype)
        self.factor = self.reuse("factor", x.shape, x.dtype)
        activate_parts(
            self.code,
            x.dtype.type(self.slope),
            x.reshape(-1),
            mask,
            x.dtype.type(self.scale),
            y.reshape(-1),
            self.factor.reshape(-1),
            share_count(x.size),
        )
        return y

    def input_gradient(self, dy: Array) -> Array:
        """Return dy times the derivative, in the shape of dy."""
        dx = self.reuse("dx", dy.shape, dy.dtype)
        shares = share_count(dy.size)
        multiply_parts(dy.reshape(-1), self.factor.reshape(-1), dx.reshape(-1), shares)
        return dx


LayerBuilder = Callable[[Any], Layer]

LAYERS: BuilderTable[LayerBuilder] = BuilderTable("Numba", "layer")


def register_layer(spec_class: type[Description], builder: LayerBuilder) -> None:
    """Use `builder` for layers of `spec_class`; its signature is at the top of this file."""
    LAYERS.register(spec_class, builder)


def build_layer(place: PlacedLayer) -> Layer:
    """Return the layer of a placed description."""
    return LAYERS.find(place.layer)(place)


def build_chain(places: Sequence[PlacedLayer]) -> Chain:
    """Return the layers of a network, or of a part of it, as one layer."""
    return Chain([build_layer(place) for place in places])


def build_residual(place: PlacedLayer) -> Layer:
    """Return the sum of two chains."""
    return Residual(place.layer.name, build_chain(place.branch), build_chain(place.projection))


def activation(code: int) -> LayerBuilder:
    """Return the builder of an activation without settings."""
    return lambda place: Elementwise(place.layer.name, code)


def build_leaky_relu(place: PlacedLayer) -> Layer:
    """Return a leaky ReLU."""
    layer: Any = place.layer
    return Elementwise(layer.name, activations.LEAKY_RELU, slope=layer.slope)


def build_gelu(place: PlacedLayer) -> Layer:
    """Return a GELU, exact or by tanh."""
    layer: Any = place.layer
    code = activations.GELU if layer.form == "erf" else activations.GELU_TANH
    return Elementwise(layer.name, code)


def build_dropout(place: PlacedLayer) -> Layer:
    """Return a dropout."""
    layer: Any = place.layer
    return Elementwise(layer.name, activations.IDENTITY, rate=layer.rate)


register_layer(spec.Flatten, lambda place: Flatten(place.layer.name))
register_layer(spec.Dense, lambda place: Dense(place.layer.name))
register_layer(spec.Residual, build_residual)
register_layer(spec.Dropout, build_dropout)
register_layer(spec.ReLU, activation(activations.RELU))
register_layer(spec.LeakyReLU, build_leaky_relu)
register_layer(spec.GELU, build_gelu)
register_layer(spec.SiLU, activation(activations.SILU))
register_layer(spec.Tanh, activation(activations.TANH))
register_layer(spec.Sigmoid, activation(activations.SIGMOID))
