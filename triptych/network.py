"""What is trained: a network as plain data, its shapes computed once. No framework, no arithmetic.

A new layer is one frozen dataclass here (its shape rule beside it) and a few lines in each engine.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from math import prod
from typing import Any

from .errors import SpecError, suggest

Shape = tuple[int, ...]
Sizes = tuple[tuple[str, int], ...]  # axis lengths that a layout pattern cannot infer


@dataclass(frozen=True)
class Parameter:
    """One trained array.

    Attributes
    ----------
    name : str
        ``"layer/leaf"``, for example ``"hidden/kernel"``.
    shape : tuple of int
        In the canonical layout.
    role : str
        The row of the layout table it belongs to.
    fan_in : int
        How many inputs feed one unit; 0 for a bias, which starts at zero.
    sizes : tuple of (str, int)
        Axis lengths that the layout pattern cannot infer.
    """

    name: str
    shape: Shape
    role: str
    fan_in: int = 0
    sizes: Sizes = ()

    @property
    def layer(self) -> str:
        return self.name.partition("/")[0]

    @property
    def leaf(self) -> str:
        return self.name.partition("/")[2]


@dataclass(frozen=True)
class Placed:
    """A layer in its place: what goes in, what comes out, what it owns."""

    layer: "Layer"
    input_shape: Shape
    output_shape: Shape
    parameters: tuple[Parameter, ...] = ()
    fold: Sizes = ()  # (h, w) of the image that a flat output still stands for

    @property
    def role(self) -> str:
        """The row of the layout table that the output belongs to."""
        return "image" if len(self.output_shape) == 3 else "flat" if self.fold else "vector"


@dataclass(frozen=True)
class Layer:
    """Base of every layer. ``place`` is its shape rule; the default keeps the shape."""

    name: str

    def place(self, shape: Shape, fold: Sizes) -> Placed:
        return Placed(self, shape, shape, fold=fold)


@dataclass(frozen=True)
class Flatten(Layer):
    """(h, w, c) becomes (h·w·c,), channels last: row by row, pixel by pixel."""

    def place(self, shape: Shape, fold: Sizes) -> Placed:
        if len(shape) != 3:
            raise SpecError(f"layer {self.name!r}: Flatten needs an image (h, w, c), not {shape}")
        return Placed(self, shape, (prod(shape),), fold=(("h", shape[0]), ("w", shape[1])))


@dataclass(frozen=True)
class Dense(Layer):
    """y = x·kernel + bias, kernel (in, units)."""

    units: int

    def __post_init__(self) -> None:
        if not _is_int(self.units) or self.units < 1:
            raise SpecError(f"layer {self.name!r}: units must be a whole number of at least 1, not {self.units!r}")

    def place(self, shape: Shape, fold: Sizes) -> Placed:
        if len(shape) != 1:
            raise SpecError(f"layer {self.name!r}: Dense needs a vector, not {shape}; put a Flatten before it")
        kernel = Parameter(f"{self.name}/kernel", (shape[0], self.units), "folded" if fold else "dense", shape[0], fold)
        bias = Parameter(f"{self.name}/bias", (self.units,), "vector")
        return Placed(self, shape, (self.units,), (kernel, bias))


@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0), with derivative 0 at the kink."""


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, zero each value with probability ``rate`` and scale the rest by 1/(1-rate)."""

    rate: float

    def __post_init__(self) -> None:
        if isinstance(self.rate, bool) or not isinstance(self.rate, (int, float)) or not 0 <= self.rate < 1:
            raise SpecError(f"layer {self.name!r}: dropout rate must be in [0, 1), not {self.rate!r}")


LAYERS: dict[str, type[Layer]] = {cls.__name__: cls for cls in (Flatten, Dense, ReLU, Dropout)}


@dataclass(frozen=True)
class Network:
    """A chain of layers that ends in logits.

    Attributes
    ----------
    name : str
    input_shape : tuple of int
        One sample, channels last: (28, 28, 1) for MNIST.
    layers : tuple of Layer

    Raises
    ------
    SpecError
        Where a name is repeated or malformed, shapes do not fit, or the last layer has no vector output.
    """

    name: str
    input_shape: Shape
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        for name in names:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(name)) or str(name) != name:
                raise SpecError(f"layer name {name!r}: use letters, digits and _ only, a letter first")
            if names.count(name) > 1:
                raise SpecError(f"two layers are called {name!r}; give each its own name")
        if not self.input_shape or not all(_is_int(n) and n > 0 for n in self.input_shape):
            raise SpecError(f"network {self.name!r}: input shape must be positive whole numbers, not {self.input_shape}")
        if not self.layers or not isinstance(self.layers[-1], Dense):
            raise SpecError(f"network {self.name!r}: the last layer must be a Dense that gives the logits")
        self.places  # noqa: B018 - shapes that do not fit are refused here, not in the middle of a run

    @cached_property
    def places(self) -> tuple[Placed, ...]:
        """Every layer in its place, in order of computation: the one place that infers shapes."""
        shape, fold, places = self.input_shape, (), list[Placed]()
        for layer in self.layers:
            places.append(layer.place(shape, fold))
            shape, fold = places[-1].output_shape, places[-1].fold
        return tuple(places)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Every trained array, in order of computation."""
        return tuple(p for place in self.places for p in place.parameters)

    @property
    def parameter_count(self) -> int:
        return sum(prod(p.shape) for p in self.parameters)

    @property
    def classes(self) -> int:
        return self.places[-1].output_shape[0]

    @property
    def dropouts(self) -> tuple[tuple[Dropout, Shape], ...]:
        """The layers that need a mask in training, each with the shape of one sample's mask."""
        return tuple((p.layer, p.output_shape) for p in self.places if isinstance(p.layer, Dropout) and p.layer.rate > 0)

    @property
    def architecture(self) -> str:
        """The widths, as people write them: ``784-128-64-10``."""
        widths = [prod(self.input_shape)] + [layer.units for layer in self.layers if isinstance(layer, Dense)]
        return "-".join(map(str, widths))

    def check_fits(self, image: Shape, classes: int = 10) -> None:
        """Raise `SpecError` unless the network takes such images and gives that many logits."""
        if self.input_shape != tuple(image):
            raise SpecError(f"network {self.name!r} takes inputs of shape {self.input_shape}, the images are {tuple(image)}")
        if self.classes != classes:
            raise SpecError(f"network {self.name!r} ends in {self.classes} logits, the data has {classes} classes")

    def rows(self) -> list[tuple[str, str, str, int]]:
        """Return (name, layer, output shape, parameter count) of each layer, for a summary table."""
        return [
            (p.layer.name, _title(p.layer), " × ".join(map(str, p.output_shape)), sum(prod(q.shape) for q in p.parameters))
            for p in self.places
        ]

    def to_json(self) -> dict[str, Any]:
        layers = [{"type": type(layer).__name__} | asdict(layer) for layer in self.layers]
        return {"name": self.name, "input_shape": list(self.input_shape), "layers": layers}

    @classmethod
    def from_json(cls, data: Any) -> "Network":
        """Read what `to_json` wrote.

        Raises
        ------
        SpecError
            Naming the unknown or missing key and its nearest valid one.
        """
        data = check_keys(data, {"name", "input_shape", "layers"}, "network")
        if not isinstance(data["layers"], list) or not isinstance(data["input_shape"], list):
            raise SpecError("network: 'layers' and 'input_shape' must be lists")
        return cls(str(data["name"]), tuple(data["input_shape"]), tuple(map(_layer_from_json, data["layers"])))


def check_keys(data: Any, known: set[str], what: str) -> dict[str, Any]:
    """Return `data` if it is a mapping with exactly the `known` keys, else raise `SpecError`."""
    if not isinstance(data, Mapping):
        raise SpecError(f"{what}: expected an object with the keys {', '.join(sorted(known))}")
    keys: dict[str, Any] = {str(k): v for k, v in data.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    for key in keys:
        if key not in known:
            raise SpecError(f"{what}: unknown key {key!r}; {suggest(key, sorted(known))}")
    if missing := known - set(keys):
        raise SpecError(f"{what}: missing key {min(missing)!r}")
    return keys


def _layer_from_json(data: Any) -> Layer:
    kind = data.get("type") if isinstance(data, Mapping) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(kind, str) or kind not in LAYERS:
        raise SpecError(f"layer type {kind!r} is unknown; {suggest(str(kind), LAYERS)}")
    values = check_keys(data, {"type"} | {f.name for f in fields(LAYERS[kind])}, f"layer {kind}")
    return LAYERS[kind](**{k: v for k, v in values.items() if k != "type"})


def _title(layer: Layer) -> str:
    values = [f"{value}" for key, value in asdict(layer).items() if key != "name"]
    return f"{type(layer).__name__}({', '.join(values)})"


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
