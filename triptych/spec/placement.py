"""The base class of all layers, and what a layer has in a network: shapes and parameters.

A `Layer` describes what is computed. `Layer.place` returns a `PlacedLayer`, which also has the
shapes; they depend on the layers before it. Networks and engines use placed layers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, NoReturn

from ..errors import SpecError
from .validation import check_whole

Shape = tuple[int, ...]
Sizes = tuple[tuple[str, int], ...]  # (axis, length): lengths that a layout pattern cannot infer

LARGEST_WHOLE_NUMBER = 10**12  # far beyond every memory; NumPy's own messages end before 2⁶³


@dataclass(frozen=True)
class Parameter:
    """One array of a layer.

    Attributes
    ----------
    name : str
        ``"layer/leaf"``, for example ``"hidden/kernel"``.
    shape : tuple of int
        In the canonical layout.
    role : str
        The row of the layout table that it belongs to; see `triptych.core.layout`.
    initializer : str
        How its first values are drawn; see `triptych.spec.initializers`.
    fan_in, fan_out : int
        The number of inputs of a unit of the layer, and of units that use one input.
    sizes : tuple of (str, int)
        Axis lengths that the layout pattern cannot infer.
    """

    name: str
    shape: Shape
    role: str
    initializer: str = "zeros"
    fan_in: int = 0
    fan_out: int = 0
    sizes: Sizes = ()

    @property
    def leaf(self) -> str:
        """Its name inside the layer, for example ``"kernel"``."""
        return self.name.partition("/")[2]


@dataclass(frozen=True)
class MatrixProduct:
    """The matrix products of a layer's forward pass for one sample.

    Attributes
    ----------
    rows, inner, columns : int
        Each is a product of shapes (rows, inner) and (inner, columns).
    count : int
        The number of products.
    """

    rows: int
    inner: int
    columns: int
    count: int = 1


@dataclass(frozen=True)
class PlacedLayer:
    """A layer with the shapes that it has in a network.

    Attributes
    ----------
    layer : Layer
        The layer's description.
    input_shape, output_shape : tuple of int
        Shapes of one sample, channels last.
    parameters : tuple of Parameter
        Trained arrays.
    buffers : tuple of Parameter
        Arrays that are stored with the weights but not trained: running statistics.
    image_shape : tuple of (str, int)
        (("h", rows), ("w", columns)) if the output is a flattened image of that size, else empty.
    branch, projection : tuple of PlacedLayer
        The layers inside a residual.
    """

    layer: "Layer"
    input_shape: Shape
    output_shape: Shape
    parameters: tuple[Parameter, ...] = ()
    buffers: tuple[Parameter, ...] = ()
    image_shape: Sizes = ()
    branch: tuple["PlacedLayer", ...] = ()
    projection: tuple["PlacedLayer", ...] = ()

    @property
    def role(self) -> str:
        """The row of the layout table that the output belongs to."""
        if len(self.output_shape) == 3:
            return "image"
        return "flat" if self.image_shape else "vector"

    @property
    def flat(self) -> tuple["PlacedLayer", ...]:
        """The layers inside it, then itself: the order of computation."""
        inside = (*self.branch, *self.projection)
        return (*(inner for place in inside for inner in place.flat), self)


@dataclass(frozen=True)
class Layer:
    """Base of every layer.

    A subclass is a frozen dataclass whose fields are the layer's settings. It overrides what
    differs from this class: `least`, `cost_kind`, `couples_batch`, a ``__post_init__`` that checks
    the fields, and the methods and properties below.

    Attributes
    ----------
    name : str
        Unique in its network.
    least : dict of str to int
        The lower bound of each integer field.
    cost_kind : str
        The group of layers that `triptych advise` counts it to: ``dense``, ``convolution``,
        ``normalisation``, ``pooling``, ``dropout`` or ``elementwise``.
    has_windows : bool
        Whether it looks at neighbouring pixels, which the row of a table does not have.
    couples_batch : bool
        Whether the output of a sample in training depends on the others of its batch.
    """

    name: str
    least: ClassVar[dict[str, int]] = {}
    cost_kind: ClassVar[str] = "elementwise"
    has_windows: ClassVar[bool] = False
    couples_batch: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field, least in self.least.items():
            value: Any = getattr(self, field)
            check_whole(self.where, field, value, least, most=LARGEST_WHOLE_NUMBER)

    @classmethod
    def examples(cls) -> "tuple[Layer, ...]":
        """Return small instances with the name ``layer``, for tests.

        Each option should occur in one of them. The gradient checks and `triptych.parity.specimens`
        build small networks of them.
        """
        return (cls("layer"),)

    @property
    def where(self) -> str:
        """The beginning of messages about the layer."""
        return f"layer {self.name!r}"

    @property
    def inner(self) -> tuple["Layer", ...]:
        """The layers inside this one, in order of computation."""
        return ()

    @property
    def passes_shift(self) -> bool:
        """Whether adding a constant to each channel of the input adds it to the output too."""
        return False

    @property
    def shift_parameters(self) -> tuple[str, ...]:
        """The names of the parameters whose only effect is a constant in each output channel."""
        return ()

    def place(self, shape: Shape, image_shape: Sizes) -> PlacedLayer:
        """Return the layer with its shapes; by default the output has the input's shape.

        Parameters
        ----------
        shape : tuple of int
            The shape of one sample of the input.
        image_shape : tuple of (str, int)
            The image that a flat input was made from, as in `PlacedLayer`.

        Raises
        ------
        SpecError
            If the layer cannot take such an input.
        """
        return PlacedLayer(self, shape, shape, image_shape=image_shape)

    def refuse(self, why: str) -> NoReturn:
        """Raise `SpecError` with a message that begins with the layer's name."""
        raise SpecError(f"{self.where}: {why}")

    def check_image(self, shape: Shape) -> tuple[int, int, int]:
        """Return `shape` if it is that of an image, (h, w, c); otherwise raise `SpecError`."""
        if len(shape) != 3:
            self.refuse(f"{type(self).__name__} needs an image (h, w, c), not {shape}")
        return shape[0], shape[1], shape[2]

    def window_counts(self, shape: Shape, size: int, stride: int, padding: int) -> tuple[int, int]:
        """Return the numbers of windows, vertically and horizontally.

        Each is ⌊(n + 2·padding - size)/stride⌋ + 1 for n rows or columns.
        """
        h, w, _ = self.check_image(shape)
        if min(h, w) + 2 * padding < size:
            self.refuse(
                f"its window of {size}×{size} does not fit into {h}×{w} "
                f"with a padding of {padding} (input shape {shape})"
            )
        return (h + 2 * padding - size) // stride + 1, (w + 2 * padding - size) // stride + 1

    def matrix_product(self, place: PlacedLayer) -> MatrixProduct | None:
        """Return the matrix products of the forward pass, or None; for `triptych advise`."""
        del place
        return None

    def traffic(self, place: PlacedLayer) -> tuple[int, int]:
        """Return how many numbers the layer reads and writes for one sample; for `triptych advise`.

        The default is right for an activation.

        Returns
        -------
        tuple of (int, int)
            Of the forward and of the backward pass, without those of matrix products.
        """
        outputs = prod(place.output_shape)
        return 2 * outputs, 3 * outputs


def place_layers(
    layers: Iterable[Layer], shape: Shape, image_shape: Sizes = ()
) -> tuple[PlacedLayer, ...]:
    """Place layers one after the other.

    Parameters
    ----------
    layers : iterable of Layer
        A chain of layers.
    shape : tuple of int
        The shape of one sample of the first layer's input.
    image_shape : tuple of (str, int)
        The image that a flat input was made from, as in `PlacedLayer`.

    Raises
    ------
    SpecError
        If a layer cannot take the output of the one before.
    """
    places: list[PlacedLayer] = []
    for layer in layers:
        place = layer.place(shape, image_shape)
        places.append(place)
        shape = place.output_shape
        image_shape = place.image_shape
    return tuple(places)


def with_inner(layers: Iterable[Layer]) -> list[Layer]:
    """Return every layer; layers inside another one come before it."""
    every: list[Layer] = []
    for layer in layers:
        every += with_inner(layer.inner)
        every.append(layer)
    return every


def shift_parameters(layers: Iterable[Layer]) -> tuple[str, ...]:
    """Return the names of the parameters whose only effect is a constant in each output channel.

    Parameters
    ----------
    layers : iterable of Layer
        A chain of layers; its output is meant.
    """
    for layer in reversed(tuple(layers)):
        if not layer.passes_shift:
            return layer.shift_parameters
    return ()
