"""The layers as plain data: each with its settings, its shape rule and its parameters.

This module computes nothing; the engines do. CONTRIBUTING.md lists what a new layer needs.

Every engine follows one rule where a derivative is not unique: ReLU′(0) = 0 and LeakyReLU′(0) is
the slope; of equal values in a window the first one in row-major order is the maximum.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import ClassVar, TypeVar

from .initializers import BIASES, KERNELS
from .placement import (
    Layer,
    MatrixProduct,
    Parameter,
    PlacedLayer,
    Shape,
    Sizes,
    place_layers,
    shift_parameters,
)
from .registry import Registry
from .validation import check_choice, check_flag, check_number

L = TypeVar("L", bound=Layer)

LAYERS: Registry[type[Layer]] = Registry()


def register_layer(cls: type[L]) -> type[L]:
    """Make a layer known by its class name in network files; usable as a decorator."""
    LAYERS[cls.__name__] = cls
    return cls


@dataclass(frozen=True)
class Weighted(Layer):
    """Base of the layers with a kernel and a bias.

    Attributes
    ----------
    bias : bool
        Whether the layer has a bias.
    initializer, bias_initializer : str
        How kernel and bias are initialized; the names are in `triptych.spec.initializers`.
    """

    bias: bool = field(default=True, kw_only=True)
    initializer: str = field(default="he_uniform", kw_only=True)
    bias_initializer: str = field(default="zeros", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.where, "initializer", self.initializer, KERNELS)
        check_choice(self.where, "bias_initializer", self.bias_initializer, BIASES)
        check_flag(self.where, "bias", self.bias)

    @property
    def shift_parameters(self) -> tuple[str, ...]:
        """The bias, which adds a constant to each output channel."""
        return (f"{self.name}/bias",) if self.bias else ()

    def place_weights(
        self, shape: Shape, role: str, fan_in: int, fan_out: int, image_shape: Sizes = ()
    ) -> tuple[Parameter, ...]:
        """Return the kernel of this shape, and the bias if the layer has one.

        Parameters
        ----------
        shape : tuple of int
            Of the kernel; its last axis are the outputs.
        role : str
            The kernel's role in a layout; see `triptych.core.layout`.
        fan_in, fan_out : int
            Inputs and outputs of one unit, for the initializers.
        image_shape : tuple of (str, int)
            The image that a flat input was made from, as in `PlacedLayer`.
        """
        kernel = Parameter(
            f"{self.name}/kernel", shape, role, self.initializer, fan_in, fan_out, image_shape
        )
        if not self.bias:
            return (kernel,)
        bias = Parameter(
            f"{self.name}/bias", shape[-1:], "vector", self.bias_initializer, fan_in, fan_out
        )
        return kernel, bias

    def matrix_product(self, place: PlacedLayer) -> MatrixProduct | None:
        """Return the product of the input, or of its windows, with the kernel of each group."""
        kernel = place.parameters[0].shape
        groups = place.input_shape[-1] // kernel[-2]
        rows = prod(place.output_shape[:-1])
        return MatrixProduct(rows, prod(kernel[:-1]), kernel[-1] // groups, groups)

    def traffic(self, place: PlacedLayer) -> tuple[int, int]:
        """Return what adding the bias and computing its gradient read and write, for one sample."""
        outputs = prod(place.output_shape)
        return (2 * outputs, outputs) if self.bias else (0, 0)


@register_layer
@dataclass(frozen=True)
class Flatten(Layer):
    """(h, w, c) becomes (h·w·c,), channels last: row by row, pixel by pixel."""

    @property
    def passes_shift(self) -> bool:
        """True: every value of a channel stays as it is."""
        return True

    def place(self, shape: Shape, image_shape: Sizes) -> PlacedLayer:
        """Return the layer with output (h·w·c,) and with (h, w), which the next kernel needs."""
        h, w, _ = self.check_image(shape)
        return PlacedLayer(self, shape, (prod(shape),), image_shape=(("h", h), ("w", w)))

    def traffic(self, place: PlacedLayer) -> tuple[int, int]:
        """Return zeros: only the shape changes."""
        return 0, 0


@register_layer
@dataclass(frozen=True)
class Dense(Weighted):
    """y = x·kernel + bias, kernel (in, units).

    Attributes
    ----------
    units : int
        Number of outputs, at least 1.
    """

    units: int
    least: ClassVar = {"units": 1}
    cost_kind: ClassVar[str] = "dense"

    @classmethod
    def examples(cls) -> tuple[Layer, ...]:
        """Return a layer with and one without a bias."""
        return cls("layer", 3), cls("layer", 2, bias=False)

    def place(self, shape: Shape, image_shape: Sizes) -> PlacedLayer:
        """Return the layer with output (units,); the input must be a vector."""
        if len(shape) != 1:
            self.refuse(
                f"Dense needs a vector, not {shape}; put a Flatten or GlobalAvgPool before it"
            )
        role = "folded" if image_shape else "dense"
        kernel = (shape[0], self.units)
        weights = self.place_weights(kernel, role, shape[0], self.units, image_shape)
        return PlacedLayer(self, shape, (self.units,), weights)


@register_layer
@dataclass(frozen=True)
class Conv2D(Weighted):
    """Cross-correlation of an image with a kernel (size, size, in/groups, filters).

    Attributes
    ----------
    filters : int
        Output channels.
    size, stride : int
        Side of the square window and distance between windows, in pixels.
    padding : int
        Rows and columns of zeros on each side.
    groups : int
        Into how many groups the channels are divided; each group of output channels reads one group
        of input channels.
    """

    filters: int
    size: int = 3
    stride: int = 1
    padding: int = 0
    groups: int = 1
    least: ClassVar = {"filters": 1, "size": 1, "stride": 1, "padding": 0, "groups": 1}
    cost_kind: ClassVar[str] = "convolution"
    has_windows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.filters % self.groups:
            self.refuse(f"{self.filters} filters do not divide into {self.groups} groups")

    @classmethod
    def examples(cls) -> tuple[Layer, ...]:
        """Return a layer with padding and groups, and one with a stride and without a bias."""
        return cls("layer", 4, 3, 1, 1, 2), cls("layer", 3, 2, 2, bias=False)

    def place(self, shape: Shape, image_shape: Sizes) -> PlacedLayer:
        """Return the layer with output (rows, columns, filters); the input must be an image."""
        rows, columns = self.window_counts(shape, self.size, self.stride, self.padding)
        if shape[2] % self.groups:
            self.refuse(
                f"{shape[2]} channels of its input {shape} do not divide into {self.groups} groups"
            )
        inputs = shape[2] // self.groups
        kernel = (self.size, self.size, inputs, self.filters)
        area = self.size**2
        weights = self.place_weights(kernel, "conv", area * inputs, area * self.filters)
        return PlacedLayer(self, shape, (rows, columns, self.filters), weights)


@dataclass(frozen=True)
class Pool(Layer):
    """Base of the layers that slide a window over each channel.

    Attributes
    ----------
    size, stride : int
        Side of the square window and distance between windows, in pixels.
    padding : int
        Rows and columns on each side, at most half of the size.
    """

    size: int = 2
    stride: int = 2
    padding: int = 0
    least: ClassVar = {"size": 1, "stride": 1, "padding": 0}
    cost_kind: ClassVar[str] = "pooling"
    has_windows: ClassVar[bool] = True

    @classmethod
    def examples(cls) -> tuple[Layer, ...]:
        """Return a layer whose windows overlap and are padded, and one with the defaults."""
        return cls("layer", 3, 2, 1), cls("layer")

    def place(self, shape: Shape, image_shape: Sizes) -> PlacedLayer:
        """Return the layer with output (rows, columns, c); the input must be an image."""
        if self.padding > self.size // 2:
            self.refuse(
                f"a padding of {self.padding} is more than half of its window of {self.size}"
            )
        rows, columns = self.window_counts(shape, self.size, self.stride, self.padding)
        return PlacedLayer(self, shape, (rows, columns, shape[2]))

    def traffic(self, place: PlacedLayer) -> tuple[int, int]:
        """Return how many numbers the inputs and the outputs are, in either direction."""
        numbers = prod(place.input_shape) + prod(place.output_shape)
        return numbers, numbers


@register_layer
@dataclass(frozen=True)
class MaxPool2D(Pool):
    """The largest value of each window; padding never wins.

    Of equal values the first in row-major order receives the gradient.
    """

    @property
    def passes_shift(self) -> bool:
        """True: adding a constant to all values adds it to the largest one."""
        return True


@register_layer
@dataclass(frozen=True)
class AvgPool2D(Pool):
    """The sum of each window over size², padded zeros included."""

    @property
    def passes_shift(self) -> bool:
        """Whether no padding is averaged: padded zeros do not move with the input."""
        return self.padding == 0


@register_layer
@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """The mean of each channel: (h, w, c) becomes (c,)."""

    cost_kind: ClassVar[str] = "pooling"

    @property
    def passes_shift(self) -> bool:
        """True: adding a constant to all values adds it to their mean."""
        return True

    def place(self, shape: Shape, image_shape: Sizes) -> PlacedLayer:
        """Return the layer with output (c,); the input must be an image."""
        return PlacedLayer(self, shape, self.check_image(shape)[2:])

    def traffic(self, place: PlacedLayer) -> tuple[int, int]:
        """Return how many numbers the inputs and the outputs are, in either direction."""
        numbers = prod(place.input_shape) + prod(place.output_shape)
        return numbers, numbers


@dataclass(frozen=True)
class Normalization(Layer):
    """Base of the layers that normalize, then scale by gamma and shift by beta."""

    cost_kind: ClassVar[str] = "normalisation"

    @property
    def shift_parameters(self) -> tuple[str, ...]:
        """The shift beta, which adds a constant to each output channel."""
        return (f"{self.name}/beta",)

    def per_channel(
        self, shape: Shape, image_shape: Sizes, initial: dict[str, str]
    ) -> tuple[Parameter, ...]:
        """Return parameters with one value for each channel.

        Parameters
        ----------
        shape : tuple of int
            Of one sample; its last axis are the channels.
        image_shape : tuple of (str, int)
            The image that a flat input was made from, as in `PlacedLayer`.
        initial : dict of str to str
            The initializer of each parameter, by its leaf, for example ``gamma``.
        """
        role = "folded_vector" if image_shape else "vector"
        return tuple(
            Parameter(f"{self.name}/{leaf}", shape[-1:], role, start, sizes=image_shape)
            for leaf, start in initial.items()
        )

    def traffic(self, place: PlacedLayer) -> tuple[int, int]:
        """Return what statistics, scaling and their gradients read and write, for one sample."""
        outputs = prod(place.output_shape)
        return 3 * outputs, 5 * outputs


@register_layer
@dataclass(frozen=True)
class BatchNorm(Normalization):
    """gamma·(x - mean)/√(variance + epsilon) + beta, by channel or feature.

    Ioffe & Szegedy 2015, algorithm 1. In training, mean and (biased) variance are those of the
    batch, in evaluation the running ones. After a step running = (1 - momentum)·running +
    momentum·batch. If a channel has only one value, its variance is 0, biased or not.

    Attributes
    ----------
    momentum : float
        The weight of the batch in the running statistics, in (0, 1).
    epsilon : float
        Added to the variance, above 0.
    unbiased : bool
        Whether the batch's variance is multiplied by N/(N - 1) for the running variance.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    unbiased: bool = True
    couples_batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.where, "momentum", self.momentum, 0, 1, above=True, below=True)
        check_number(self.where, "epsilon", self.epsilon, 0, above=True)
        check_flag(self.where, "unbiased", self.unbiased)

    @classmethod
    def examples(cls) -> tuple[Layer, ...]:
        """Return a layer with the unbiased and one with the biased running variance."""
        # Differences of a smaller variance than such an epsilon cannot be computed accurately.
        return cls("layer", 0.1, 1e-2), cls("layer", 0.2, 1e-2, unbiased=False)

    def place(self, shape: Shape, image_shape: Sizes) -> PlacedLayer:
        """Return the layer with gamma and beta as parameters, running statistics as buffers."""
        trained = self.per_channel(shape, image_shape, {"gamma": "ones", "beta": "zeros"})
        initial = {"running_mean": "zeros", "running_variance": "ones"}
        running = self.per_channel(shape, image_shape, initial)
        return PlacedLayer(self, shape, shape, trained, running, image_shape)


@register_layer
@dataclass(frozen=True)
class LayerNorm(Normalization):
    """gamma·(x - mean)/√(variance + epsilon) + beta over the last axis of each sample.

    Ba et al. 2016, eq. 4.

    Attributes
    ----------
    epsilon : float
        Above 0.
    """

    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.where, "epsilon", self.epsilon, 0, above=True)

    @classmethod
    def examples(cls) -> tuple[Layer, ...]:
        """Return layers with a small and with a large epsilon."""
        return cls("layer", 1e-2), cls("layer", 0.1)

    def place(self, shape: Shape, image_shape: Sizes) -> PlacedLayer:
        """Return the layer with gamma and beta as parameters; the shape does not change."""
        trained = self.per_channel(shape, image_shape, {"gamma": "ones", "beta": "zeros"})
        return PlacedLayer(self, shape, shape, trained, image_shape=image_shape)


@register_layer
@dataclass(frozen=True)
class Residual(Layer):
    """branch(x) + projection(x); without a projection branch(x) + x.

    He et al. 2016, eq. 1 and 2.

    Attributes
    ----------
    branch, projection : tuple of Layer
        Chains of layers whose outputs have the same shape.
    """

    branch: tuple[Layer, ...] = ()
    projection: tuple[Layer, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.branch:
            self.refuse("its branch is empty")

    @classmethod
    def examples(cls) -> tuple[Layer, ...]:
        """Return a block without and one with a projection."""
        plain = cls("layer", (Tanh("inner"),))
        projected = cls(
            "layer",
            (Conv2D("inner", 3, 3, 2, 1), Tanh("tanh")),
            (Conv2D("short", 3, 1, 2, bias=False),),
        )
        return plain, projected

    @property
    def inner(self) -> tuple[Layer, ...]:
        """The layers of the branch, then those of the projection."""
        return (*self.branch, *self.projection)

    @property
    def shift_parameters(self) -> tuple[str, ...]:
        """The parameters that shift the output of the branch or of the projection."""
        return shift_parameters(self.branch) + shift_parameters(self.projection)

    def place(self, shape: Shape, image_shape: Sizes) -> PlacedLayer:
        """Return the layer with its branch and projection placed; their outputs must agree."""
        branch = place_layers(self.branch, shape, image_shape)
        projection = place_layers(self.projection, shape, image_shape)
        output = branch[-1].output_shape
        end = (output, branch[-1].image_shape)
        other = (shape, image_shape)
        what = "its input (give it a projection)"
        if projection:
            other = (projection[-1].output_shape, projection[-1].image_shape)
            what = "its projection"
        if end != other:
            self.refuse(f"the branch ends in shape {output}, {what} in {other[0]}")
        return PlacedLayer(
            self, shape, output, image_shape=end[1], branch=branch, projection=projection
        )

    def traffic(self, place: PlacedLayer) -> tuple[int, int]:
        """Return what the addition reads and writes, for one sample."""
        outputs = prod(place.output_shape)
        return 3 * outputs, 3 * outputs


@register_layer
@dataclass(frozen=True)
class Dropout(Layer):
    """In training, zero each value with probability ``rate`` and scale the rest by 1/(1 - rate).

    Attributes
    ----------
    rate : float
        In [0, 1).
    """

    rate: float = 0.5
    cost_kind: ClassVar[str] = "dropout"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.where, "rate", self.rate, 0, 1, below=True)

    def traffic(self, place: PlacedLayer) -> tuple[int, int]:
        """Return what masking reads and writes, for one sample."""
        outputs = prod(place.output_shape)
        return 3 * outputs, 3 * outputs


@register_layer
@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0), with derivative 0 at the kink."""


@register_layer
@dataclass(frozen=True)
class LeakyReLU(Layer):
    """x where it is positive, slope·x elsewhere; the derivative at the kink is the slope.

    Attributes
    ----------
    slope : float
        In [0, 1).
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.where, "slope", self.slope, 0, 1, below=True)

    @classmethod
    def examples(cls) -> tuple[Layer, ...]:
        """Return a layer with a larger slope than the default."""
        return (cls("layer", 0.2),)


@register_layer
@dataclass(frozen=True)
class GELU(Layer):
    """x·Φ(x), with Φ the normal distribution function (Hendrycks & Gimpel 2016, section 2).

    Attributes
    ----------
    form : "erf" or "tanh"
        Exactly, or by the approximation with the hyperbolic tangent.
    """

    form: str = "erf"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.where, "form", self.form, ("erf", "tanh"))

    @classmethod
    def examples(cls) -> tuple[Layer, ...]:
        """Return a layer of each form."""
        return cls("layer"), cls("layer", "tanh")


@register_layer
@dataclass(frozen=True)
class SiLU(Layer):
    """x·sigmoid(x)."""


@register_layer
@dataclass(frozen=True)
class Tanh(Layer):
    """The hyperbolic tangent."""


@register_layer
@dataclass(frozen=True)
class Sigmoid(Layer):
    """1/(1 + exp(-x))."""


def relu_after_pool_order(layers: Sequence[Layer]) -> list[int]:
    """Return the cheapest order of layers: a MaxPool2D is computed before the ReLU in front of it.

    The two commute, and after the pooling the ReLU has fewer values. The gradient is the same too:
    the first largest value of a window can only change if no value is positive, and then the
    gradient is zero.

    Returns
    -------
    list of int
        The indices of `layers`, in the order of their computation.
    """
    order = list(range(len(layers)))
    for i, (first, second) in enumerate(pairwise(layers)):
        if isinstance(first, ReLU) and isinstance(second, MaxPool2D):
            order[i] = i + 1
            order[i + 1] = i
    return order
