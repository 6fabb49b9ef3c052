"""What every layer has in common: its place in a network, the arrays it owns, and how its numbers are checked."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import SpecError, suggest
from .validation import is_number

Shape = tuple[int, ...]
Sizes = tuple[tuple[str, int], ...]  # axis lengths that a layout pattern cannot infer

MOST = 10**12  # of any whole number: beyond it NumPy no longer speaks of memory


@dataclass(frozen=True)
class Parameter:
    """One array that a layer owns.

    Attributes
    ----------
    name : str
        ``"layer/leaf"``, for example ``"hidden/kernel"``.
    shape : tuple of int
        In the canonical layout.
    role : str
        The row of the layout table it belongs to.
    initializer : str
        How it begins.
    fan_in, fan_out : int
        Of its layer.
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
    def layer(self) -> str:
        return self.name.partition("/")[0]

    @property
    def leaf(self) -> str:
        return self.name.partition("/")[2]


@dataclass(frozen=True)
class PlacedLayer:
    """A layer in its place: what goes in, what comes out, what it owns, and for a residual what it contains."""

    layer: "Layer"
    input_shape: Shape
    output_shape: Shape
    parameters: tuple[Parameter, ...] = ()
    buffers: tuple[Parameter, ...] = ()  # kept with the weights, but not trained
    fold: Sizes = ()  # (h, w) of the image that a flat output still stands for
    branch: tuple["PlacedLayer", ...] = ()
    projection: tuple["PlacedLayer", ...] = ()

    @property
    def role(self) -> str:
        """The row of the layout table that the output belongs to."""
        return "image" if len(self.output_shape) == 3 else "flat" if self.fold else "vector"

    @property
    def flat(self) -> tuple["PlacedLayer", ...]:
        """What it contains, and then itself: the order of computation."""
        return tuple(
            inner for place in (*self.branch, *self.projection) for inner in place.flat
        ) + (self,)


@dataclass(frozen=True)
class Layer:
    """Base of every layer. ``place`` is its shape rule; the default keeps the shape."""

    name: str
    least: ClassVar[dict[str, int]] = {}  # of each whole number

    def __post_init__(self) -> None:
        for field, least in self.least.items():
            value: Any = getattr(self, field)
            if not is_int(value) or value < least:
                self.refuse(f"{field} must be a whole number of at least {least}, not {value!r}")
            if value > MOST:
                self.refuse(f"{field} must be at most {MOST:,}")

    @property
    def inner(self) -> tuple["Layer", ...]:
        """The layers inside it."""
        return ()

    def place(self, shape: Shape, fold: Sizes) -> PlacedLayer:
        return PlacedLayer(self, shape, shape, fold=fold)

    def refuse(self, why: str) -> None:
        raise SpecError(f"layer {self.name!r}: {why}")

    def number(
        self, field: str, low: float = 0, high: float = float("inf"), *, closed: bool = False
    ) -> None:
        """Refuse a field that is not a finite number in (low, high), or in [low, high) where `closed`."""
        value: Any = getattr(self, field)
        if (
            not is_number(value)
            or not (low <= value if closed else low < value)
            or not value < high
        ):
            bounds = f"{'[' if closed else '('}{low:g}, {high:g})"
            self.refuse(f"{field} must be in {bounds}, not {value!r}")

    def choice(self, field: str, known: Iterable[str]) -> None:
        value: Any = getattr(self, field)
        if value not in (known := list(known)):
            self.refuse(f"{field} {value!r} is unknown; {suggest(str(value), known)}")

    def image(self, shape: Shape) -> tuple[int, int, int]:
        if len(shape) != 3:
            self.refuse(f"{type(self).__name__} needs an image (h, w, c), not {shape}")
        return shape  # pyright: ignore[reportReturnType]

    def window(self, shape: Shape, size: int, stride: int, padding: int) -> tuple[int, int]:
        """Return the rows and columns that a window of `size` gives: ⌊(n + 2·padding - size)/stride⌋ + 1."""
        h, w, _ = self.image(shape)
        if min(h, w) + 2 * padding < size:
            self.refuse(
                f"its window of {size}×{size} does not fit into {h}×{w} with a padding of {padding} (input shape {shape})"
            )
        return (h + 2 * padding - size) // stride + 1, (w + 2 * padding - size) // stride + 1


def chain(layers: Iterable[Layer], shape: Shape, fold: Sizes = ()) -> tuple[PlacedLayer, ...]:
    """Place layers one after the other."""
    places: list[PlacedLayer] = []
    for layer in layers:
        places.append(layer.place(shape, fold))
        shape, fold = places[-1].output_shape, places[-1].fold
    return tuple(places)


def flat(layers: Iterable[Layer]) -> list[Layer]:
    """Return every layer, those inside another before it."""
    found: list[Layer] = []
    for layer in layers:
        found += flat(layer.inner)
        found.append(layer)
    return found


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
