"""The layers as plain data, each with its shape rule and its numbers. No framework, no arithmetic.

A new layer is one frozen dataclass here and a few lines in each engine. Ties and kinks have one rule everywhere:
ReLU′(0) = 0 and LeakyReLU′(0) is the slope; of equal values in a window the first in row-major order is the maximum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, ClassVar

from .initializers import BIASES, KERNELS
from .placement import Layer, Parameter, PlacedLayer, Shape, Sizes, chain


@dataclass(frozen=True)
class Weighted(Layer):
    """Base of the layers with a kernel and a bias."""

    def check_weights(self) -> None:
        self.choice("initializer", KERNELS)
        self.choice("bias_initializer", BIASES)
        if not isinstance(self.bias, bool):  # pyright: ignore[reportAttributeAccessIssue]
            self.refuse("bias must be true or false")

    def weights(
        self, shape: Shape, role: str, fan_in: int, fan_out: int, fold: Sizes = ()
    ) -> tuple[Parameter, ...]:
        own: Any = self
        kernel = Parameter(
            f"{self.name}/kernel", shape, role, own.initializer, fan_in, fan_out, fold
        )
        bias = Parameter(
            f"{self.name}/bias", shape[-1:], "vector", own.bias_initializer, fan_in, fan_out
        )
        return (kernel, bias) if own.bias else (kernel,)


@dataclass(frozen=True)
class Flatten(Layer):
    """(h, w, c) becomes (h·w·c,), channels last: row by row, pixel by pixel."""

    def place(self, shape: Shape, fold: Sizes) -> PlacedLayer:
        h, w, _ = self.image(shape)
        return PlacedLayer(self, shape, (prod(shape),), fold=(("h", h), ("w", w)))


@dataclass(frozen=True)
class Dense(Weighted):
    """y = x·kernel + bias, kernel (in, units)."""

    units: int
    bias: bool = True
    initializer: str = "he_uniform"
    bias_initializer: str = "zeros"
    least: ClassVar = {"units": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_weights()

    def place(self, shape: Shape, fold: Sizes) -> PlacedLayer:
        if len(shape) != 1:
            self.refuse(
                f"Dense needs a vector, not {shape}; put a Flatten or GlobalAvgPool before it"
            )
        own = self.weights(
            (shape[0], self.units), "folded" if fold else "dense", shape[0], self.units, fold
        )
        return PlacedLayer(self, shape, (self.units,), own)


@dataclass(frozen=True)
class Conv2D(Weighted):
    """Cross-correlation of an image with a kernel (size, size, in/groups, filters); zeros around it, the same on all sides."""

    filters: int
    size: int = 3
    stride: int = 1
    padding: int = 0
    groups: int = 1
    bias: bool = True
    initializer: str = "he_uniform"
    bias_initializer: str = "zeros"
    least: ClassVar = {"filters": 1, "size": 1, "stride": 1, "padding": 0, "groups": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_weights()
        if self.filters % self.groups:
            self.refuse(f"{self.filters} filters do not divide into {self.groups} groups")

    def place(self, shape: Shape, fold: Sizes) -> PlacedLayer:
        rows, columns = self.window(shape, self.size, self.stride, self.padding)
        if shape[2] % self.groups:
            self.refuse(
                f"{shape[2]} channels of its input {shape} do not divide into {self.groups} groups"
            )
        inputs, area = shape[2] // self.groups, self.size**2
        kernel = (self.size, self.size, inputs, self.filters)
        return PlacedLayer(
            self,
            shape,
            (rows, columns, self.filters),
            self.weights(kernel, "conv", area * inputs, area * self.filters),
        )


@dataclass(frozen=True)
class Pool(Layer):
    """Base of the layers that slide a window over each channel."""

    size: int = 2
    stride: int = 2
    padding: int = 0
    least: ClassVar = {"size": 1, "stride": 1, "padding": 0}

    def place(self, shape: Shape, fold: Sizes) -> PlacedLayer:
        if self.padding > self.size // 2:
            self.refuse(
                f"a padding of {self.padding} is more than half of its window of {self.size}"
            )
        return PlacedLayer(
            self, shape, (*self.window(shape, self.size, self.stride, self.padding), shape[2])
        )


@dataclass(frozen=True)
class MaxPool2D(Pool):
    """The largest value of each window; padding never wins. Of equals the first in row-major order has the gradient."""


@dataclass(frozen=True)
class AvgPool2D(Pool):
    """The sum of each window over size², padded zeros included."""


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """The mean of each channel: (h, w, c) becomes (c,)."""

    def place(self, shape: Shape, fold: Sizes) -> PlacedLayer:
        return PlacedLayer(self, shape, self.image(shape)[2:])


@dataclass(frozen=True)
class BatchNorm(Layer):
    """gamma·(x - mean)/√(variance + epsilon) + beta, by channel or feature (Ioffe & Szegedy 2015, algorithm 1).

    Mean and (biased) variance are the batch's in training, the running ones in evaluation. After a step
    running = (1 - momentum)·running + momentum·batch, where the batch's variance is taken unbiased, N/(N - 1), if so told.
    With one value to a channel the variance is 0, biased or not.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    unbiased: bool = True

    def __post_init__(self) -> None:
        self.number("momentum", 0, 1)
        self.number("epsilon")
        if not isinstance(self.unbiased, bool):
            self.refuse("unbiased must be true or false")

    def place(self, shape: Shape, fold: Sizes) -> PlacedLayer:
        names = {
            "gamma": "ones",
            "beta": "zeros",
            "running_mean": "zeros",
            "running_variance": "ones",
        }
        gamma, beta, *running = _per_channel(self, shape, fold, names)
        return PlacedLayer(self, shape, shape, (gamma, beta), tuple(running), fold=fold)


@dataclass(frozen=True)
class LayerNorm(Layer):
    """gamma·(x - mean)/√(variance + epsilon) + beta over the last axis of each sample (Ba et al. 2016, eq. 4)."""

    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        self.number("epsilon")

    def place(self, shape: Shape, fold: Sizes) -> PlacedLayer:
        return PlacedLayer(
            self,
            shape,
            shape,
            _per_channel(self, shape, fold, {"gamma": "ones", "beta": "zeros"}),
            fold=fold,
        )


@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0), with derivative 0 at the kink."""


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """x where it is positive, slope·x elsewhere; the derivative at the kink is the slope."""

    slope: float = 0.01

    def __post_init__(self) -> None:
        self.number("slope", 0, 1, closed=True)


@dataclass(frozen=True)
class GELU(Layer):
    """x·Φ(x): ``erf`` exactly, ``tanh`` by the approximation (Hendrycks & Gimpel 2016, section 2)."""

    form: str = "erf"

    def __post_init__(self) -> None:
        self.choice("form", ("erf", "tanh"))


@dataclass(frozen=True)
class SiLU(Layer):
    """x·sigmoid(x)."""


@dataclass(frozen=True)
class Tanh(Layer):
    """The hyperbolic tangent."""


@dataclass(frozen=True)
class Sigmoid(Layer):
    """1/(1 + exp(-x))."""


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, zero each value with probability ``rate`` and scale the rest by 1/(1-rate)."""

    rate: float = 0.5

    def __post_init__(self) -> None:
        self.number("rate", 0, 1, closed=True)


@dataclass(frozen=True)
class Residual(Layer):
    """branch(x) + projection(x); without a projection branch(x) + x (He et al. 2016, eq. 1 and 2)."""

    branch: tuple[Layer, ...] = ()
    projection: tuple[Layer, ...] = ()

    def __post_init__(self) -> None:
        if not self.branch:
            self.refuse("its branch is empty")

    @property
    def inner(self) -> tuple[Layer, ...]:
        return (*self.branch, *self.projection)

    def place(self, shape: Shape, fold: Sizes) -> PlacedLayer:
        branch, projection = chain(self.branch, shape, fold), chain(self.projection, shape, fold)
        ends = [
            (part[-1].output_shape, part[-1].fold) if part else (shape, fold)
            for part in (branch, projection)
        ]
        if ends[0] != ends[1]:
            what = "its projection" if projection else "its input (give it a projection)"
            self.refuse(f"the branch ends in shape {ends[0][0]}, {what} in {ends[1][0]}")
        return PlacedLayer(
            self, shape, ends[0][0], fold=ends[0][1], branch=branch, projection=projection
        )


LAYERS: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        *(
            Flatten,
            Dense,
            Conv2D,
            MaxPool2D,
            AvgPool2D,
            GlobalAvgPool,
            BatchNorm,
            LayerNorm,
            Residual,
            Dropout,
        ),
        *(ReLU, LeakyReLU, GELU, SiLU, Tanh, Sigmoid),
    )
}

# What each framework's layers begin with and compute by default (D01–D03, D18–D20, D23, D26, D28).
_TORCH = {"initializer": "torch_uniform", "bias_initializer": "torch_uniform"}
_KERAS = {"initializer": "glorot_uniform", "bias_initializer": "zeros"}
LIKE: dict[str, dict[type[Layer], dict[str, Any]]] = {
    "torch": {
        Dense: _TORCH,
        Conv2D: _TORCH,
        BatchNorm: {"momentum": 0.1, "epsilon": 1e-5, "unbiased": True},
        LayerNorm: {"epsilon": 1e-5},
        LeakyReLU: {"slope": 0.01},
        GELU: {"form": "erf"},
    },
    "keras": {
        Dense: _KERAS,
        Conv2D: _KERAS,
        BatchNorm: {"momentum": 0.01, "epsilon": 1e-3, "unbiased": False},
        LayerNorm: {"epsilon": 1e-3},
        LeakyReLU: {"slope": 0.3},
        GELU: {"form": "erf"},
    },
}


def _per_channel(
    layer: Layer, shape: Shape, fold: Sizes, names: dict[str, str]
) -> tuple[Parameter, ...]:
    role = "folded_vector" if fold else "vector"
    return tuple(
        Parameter(f"{layer.name}/{leaf}", shape[-1:], role, start, sizes=fold)
        for leaf, start in names.items()
    )


def quick(layers: Sequence[Layer]) -> list[int]:
    """Return the order in which layers cost least: each maximum before the ReLU that it follows, which then has less to do.

    The maximum of rectified values is the rectified maximum. Its gradient arrives at the same value: the first of the largest
    can be another only where none is positive, and there the gradient is zero.
    """
    order = list(range(len(layers)))
    for i, (one, other) in enumerate(pairwise(layers)):
        if isinstance(one, ReLU) and isinstance(other, MaxPool2D):
            order[i : i + 2] = i + 1, i
    return order
