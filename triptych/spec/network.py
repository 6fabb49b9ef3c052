"""What is trained: a network as plain data, its shapes computed once. No framework, no arithmetic."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from math import prod
from typing import Any

from ..errors import SpecError, counted, suggest
from .layers import (
    LAYERS,
    LIKE,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    MaxPool2D,
    Residual,
)
from .placement import Layer, Parameter, PlacedLayer, Shape, chain, flat, is_int
from .validation import check_keys

DEEPEST = 20  # residuals inside one another, in a file


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
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable():
            raise SpecError(f"network: its name must be a few letters, not {self.name!r}")
        names = [layer.name for layer in flat(self.layers)]
        counts = Counter(map(str, names))  # counted once: a file may name a hundred thousand layers
        for name in names:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(name)) or str(name) != name:
                raise SpecError(
                    f"layer name {name!r}: use letters, digits and _ only, a letter first"
                )
            if counts[name] > 1:
                raise SpecError(f"two layers are called {name!r}; give each its own name")
        if not self.input_shape or not all(is_int(n) and n > 0 for n in self.input_shape):
            raise SpecError(
                f"network {self.name!r}: input shape must be positive whole numbers, not {self.input_shape}"
            )
        if not self.layers or not isinstance(self.layers[-1], Dense):
            raise SpecError(
                f"network {self.name!r}: the last layer must be a Dense that gives the logits"
            )
        self.chain  # noqa: B018 - shapes that do not fit are refused here, not in the middle of a run

    @cached_property
    def chain(self) -> tuple[PlacedLayer, ...]:
        """The layers in their places, a residual as one: the one place that infers shapes."""
        return chain(self.layers, self.input_shape)

    @cached_property
    def places(self) -> tuple[PlacedLayer, ...]:
        """Every layer in its place, in order of computation; what a residual contains stands before it."""
        return tuple(inner for place in self.chain for inner in place.flat)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Every trained array, in order of computation."""
        return tuple(p for place in self.places for p in place.parameters)

    @cached_property
    def buffers(self) -> tuple[Parameter, ...]:
        """Every array that is kept with the weights but not trained: running statistics."""
        return tuple(p for place in self.places for p in place.buffers)

    @property
    def backward(self) -> tuple[str, ...]:
        """The names of the parameters, in the order in which gradients come to be."""
        return tuple(p.name for place in reversed(self.places) for p in place.parameters)

    @property
    def parameter_count(self) -> int:
        return sum(prod(p.shape) for p in self.parameters)

    @property
    def multiplications(self) -> int:
        """How many multiplications the kernels need for one sample, forward: the measure of its work."""
        kernels = [
            (place, p) for place in self.places for p in place.parameters if p.leaf == "kernel"
        ]
        return sum(prod(p.shape) * prod(place.output_shape[:-1]) for place, p in kernels)

    @property
    def classes(self) -> int:
        return self.chain[-1].output_shape[0]

    @property
    def dropouts(self) -> tuple[tuple[Dropout, Shape], ...]:
        """The layers that need a mask in training, each with the shape of one sample's mask."""
        return tuple(
            (p.layer, p.output_shape)
            for p in self.places
            if isinstance(p.layer, Dropout) and p.layer.rate > 0
        )

    @property
    def amplifies_rounding(self) -> bool:
        """Whether it is proved step by step from shared states, because training it amplifies rounding itself.

        With BatchNorm or Residual; and with LayerNorm of images, where NumPy parts from its own one-ulp twin, too.
        """
        return any(
            isinstance(p.layer, BatchNorm | Residual)
            or (isinstance(p.layer, LayerNorm) and p.role != "vector")
            for p in self.places
        )

    @cached_property
    def zero_gradient_parameters(self) -> frozenset[str]:
        """What only shifts the channels that a BatchNorm sees: its true gradient is zero, so what is computed of it is pure rounding."""
        return frozenset(name for _, names in self._before_norms() for name in names)

    @cached_property
    def shifted_means(self) -> frozenset[str]:
        """The running means that contain a parameter of `zero_gradient_parameters`, and with it its rounding."""
        return frozenset(
            f"{norm.name}/running_mean" for norm, names in self._before_norms() if names
        )

    def _before_norms(self) -> Iterator[tuple[BatchNorm, list[str]]]:
        """Yield each BatchNorm with the parameters that only shift what it sees."""
        residuals = [layer for layer in flat(self.layers) if isinstance(layer, Residual)]
        parts = [part for residual in residuals for part in (residual.branch, residual.projection)]
        for layers in (self.layers, *parts):
            for at, layer in enumerate(layers):
                if isinstance(layer, BatchNorm):
                    yield layer, _shifts(layers[:at])

    @property
    def architecture(self) -> str:
        """The widths, as people write them: ``784-128-64-10``; of convolutions and residuals the count."""
        every = flat(self.layers)
        widths = [prod(self.input_shape)] + [
            layer.units for layer in every if isinstance(layer, Dense)
        ]
        if not (convolutions := sum(isinstance(layer, Conv2D) for layer in every)):
            return "-".join(map(str, widths))
        return f"{counted(convolutions, 'convolution')}, dense {'-'.join(map(str, widths[1:]))}"

    def like(self, framework: str) -> "Network":
        """Return the network with a framework's own default initializers, epsilons, momenta, slopes and forms.

        Raises
        ------
        SpecError
            Where the framework is not ``torch`` or ``keras``.
        """
        numbers = _like(framework)

        def changed(layer: Layer) -> Layer:
            values: dict[str, Any] = dict(numbers.get(type(layer), {}))
            if isinstance(layer, Residual):
                values = {
                    "branch": tuple(map(changed, layer.branch)),
                    "projection": tuple(map(changed, layer.projection)),
                }
            return replace(layer, **values)

        return replace(self, layers=tuple(map(changed, self.layers)))

    def check_fits(self, image: Shape, classes: int = 10) -> None:
        """Raise `SpecError` unless the network takes such images and gives that many logits."""
        if self.input_shape != tuple(image):
            raise SpecError(
                f"network {self.name!r} takes inputs of shape {self.input_shape}, the images are {tuple(image)}"
            )
        if self.classes != classes:
            raise SpecError(
                f"network {self.name!r} ends in {self.classes} logits, the data has {classes} classes"
            )

    def rows(self) -> list[tuple[str, str, str, int]]:
        """Return (name, layer, output shape, parameter count) of each layer, for a summary table."""
        return [
            (
                p.layer.name,
                _title(p.layer),
                " × ".join(map(str, p.output_shape)),
                sum(prod(q.shape) for q in p.parameters),
            )
            for p in self.places
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "layers": [_layer_to_json(layer) for layer in self.layers],
        }

    @classmethod
    def from_json(cls, data: Any) -> "Network":
        """Read what `to_json` wrote; with a key ``like`` what a layer leaves out is that framework's own.

        Raises
        ------
        SpecError
            Naming the unknown or missing key and its nearest valid one.
        """
        data = check_keys(data, {"name", "input_shape", "layers", "like"}, "network", {"like"})
        numbers = _like(data["like"]) if "like" in data else {}
        if not isinstance(data["layers"], list) or not isinstance(data["input_shape"], list):
            raise SpecError("network: 'layers' and 'input_shape' must be lists")
        return cls(
            data["name"],
            tuple(data["input_shape"]),
            tuple(_layer_from_json(layer, numbers) for layer in data["layers"]),
        )


def _shifts(chain: tuple[Layer, ...]) -> list[str]:
    """Return the parameters that add a constant to each channel of a chain's output, and do nothing else."""
    for layer in reversed(chain):
        match layer:
            case Dense(bias=True) | Conv2D(bias=True):
                return [f"{layer.name}/bias"]
            case BatchNorm() | LayerNorm():
                return [f"{layer.name}/beta"]
            case Residual():
                return _shifts(layer.branch) + _shifts(layer.projection)
            case MaxPool2D() | AvgPool2D(padding=0) | GlobalAvgPool() | Flatten():
                continue  # a shift goes through
            case _:
                return []
    return []


def _like(framework: Any) -> dict[type[Layer], dict[str, Any]]:
    if not isinstance(framework, str) or framework not in LIKE:
        raise SpecError(f"like {framework!r} is unknown; {suggest(str(framework), LIKE)}")
    return LIKE[framework]


def _layer_to_json(layer: Layer) -> dict[str, Any]:
    values = {f.name: getattr(layer, f.name) for f in fields(layer)}
    inner = {
        key: [_layer_to_json(part) for part in value]
        for key, value in values.items()
        if isinstance(value, tuple)
    }
    return {"type": type(layer).__name__} | values | inner


def _layer_from_json(
    data: Any, numbers: dict[type[Layer], dict[str, Any]], depth: int = 0
) -> Layer:
    if depth > DEEPEST:
        raise SpecError(f"network: layers lie inside more than {DEEPEST} others; nest fewer")
    kind = data.get("type") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in LAYERS:
        raise SpecError(f"layer type {kind!r} is unknown; {suggest(str(kind), LAYERS)}")
    own = fields(LAYERS[kind])
    optional = {f.name for f in own if f.default is not MISSING}
    values = check_keys(data, {"type"} | {f.name for f in own}, f"layer {kind}", optional)
    for key in [key for key in ("branch", "projection") if key in values]:
        if not isinstance(values[key], list):
            raise SpecError(f"layer {kind}: {key} must be a list of layers, not {values[key]!r}")
        values[key] = tuple(_layer_from_json(layer, numbers, depth + 1) for layer in values[key])
    del values["type"]
    return LAYERS[kind](**numbers.get(LAYERS[kind], {}) | values)


def _title(layer: Layer) -> str:
    """``Conv2D(32, size=5)``: the numbers without a default, and those that differ from it."""
    said = [
        f"{f.name}={getattr(layer, f.name)}"
        if f.default is not MISSING
        else f"{getattr(layer, f.name)}"
        for f in fields(layer)[1:]
        if not isinstance(f.default, tuple) and getattr(layer, f.name) != f.default
    ]
    return f"{type(layer).__name__}({', '.join(said)})"
