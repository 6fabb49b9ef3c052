"""What is trained: a network as plain data, with the shapes of all layers and parameters."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from math import prod
from typing import Any

from ..errors import SpecError, counted
from . import conventions
from .layers import BatchNorm, Conv2D, Dense, Dropout, LayerNorm, Residual
from .placement import (
    Layer,
    Parameter,
    PlacedLayer,
    Shape,
    place_layers,
    shift_parameters,
    with_inner,
)
from .serialization import layer_from_json, layer_to_json
from .validation import check_keys, is_whole


@dataclass(frozen=True)
class Network:
    """A chain of layers that ends in logits.

    Attributes
    ----------
    name : str
        Any printable text.
    input_shape : tuple of int
        The shape of one sample, channels last, for example (28, 28, 1) for MNIST.
    layers : tuple of Layer
        The layers in order of computation; the last one must be a `Dense`.

    Raises
    ------
    SpecError
        If a name is repeated or malformed, shapes do not fit, or the last layer is no `Dense`.
    """

    name: str
    input_shape: Shape
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable():
            raise SpecError(f"network: its name must be a few letters, not {self.name!r}")
        _check_layer_names(self.layers)
        if not self.input_shape or not all(is_whole(n) and n > 0 for n in self.input_shape):
            raise SpecError(
                f"network {self.name!r}: input shape must be positive whole numbers, "
                f"not {self.input_shape}"
            )
        if not self.layers or not isinstance(self.layers[-1], Dense):
            raise SpecError(
                f"network {self.name!r}: the last layer must be a Dense that gives the logits"
            )
        # Shapes that do not fit are refused now, not in the middle of a run.
        _ = self.chain

    @cached_property
    def chain(self) -> tuple[PlacedLayer, ...]:
        """The layers with their shapes, a residual as one."""
        return place_layers(self.layers, self.input_shape)

    @cached_property
    def places(self) -> tuple[PlacedLayer, ...]:
        """Every layer with its shapes, in order of computation: those in a residual before it."""
        return tuple(inner for place in self.chain for inner in place.flat)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Every trained array, in order of computation."""
        return tuple(p for place in self.places for p in place.parameters)

    @cached_property
    def buffers(self) -> tuple[Parameter, ...]:
        """Every array that is stored with the weights but not trained: running statistics."""
        return tuple(p for place in self.places for p in place.buffers)

    @property
    def gradient_order(self) -> tuple[str, ...]:
        """The names of the parameters, in the order in which their gradients are computed."""
        return tuple(p.name for place in reversed(self.places) for p in place.parameters)

    @property
    def parameter_count(self) -> int:
        """How many numbers are trained."""
        return sum(prod(p.shape) for p in self.parameters)

    @property
    def multiplications(self) -> int:
        """How many multiplications the kernels need for one sample, forward."""
        total = 0
        for place in self.places:
            positions = prod(place.output_shape[:-1])
            kernels = [p for p in place.parameters if p.leaf == "kernel"]
            total += sum(prod(kernel.shape) * positions for kernel in kernels)
        return total

    @property
    def classes(self) -> int:
        """How many logits the network ends in."""
        return self.chain[-1].output_shape[0]

    @cached_property
    def dropouts(self) -> tuple[tuple[Dropout, Shape], ...]:
        """The layers that need a mask in training, each with the shape of one sample's mask."""
        return tuple(
            (p.layer, p.output_shape)
            for p in self.places
            if isinstance(p.layer, Dropout) and p.layer.rate > 0
        )

    @property
    def couples_batch(self) -> bool:
        """Whether the output of a sample in training depends on the others of its batch."""
        return any(place.layer.couples_batch for place in self.places)

    @property
    def has_windows(self) -> bool:
        """Whether a layer looks at neighbouring pixels, so that rows of a table do not fit."""
        return any(place.layer.has_windows for place in self.places)

    @property
    def amplifies_rounding(self) -> bool:
        """Whether training amplifies rounding errors, so that each step must be proved by itself.

        Networks with BatchNorm, Residual or LayerNorm of images do: two NumPy runs depart from each
        other even if only one value of the first kernel differs, by one unit in the last place.
        """
        for place in self.places:
            if isinstance(place.layer, BatchNorm | Residual):
                return True
            if isinstance(place.layer, LayerNorm) and place.role != "vector":
                return True
        return False

    @cached_property
    def zero_gradient_parameters(self) -> frozenset[str]:
        """The parameters that only shift the channels that a BatchNorm normalizes.

        Their true gradient is zero, so a computed gradient is pure rounding.
        """
        return frozenset(name for _, names in self._shifts_before_norms() for name in names)

    @cached_property
    def shifted_means(self) -> frozenset[str]:
        """The running means that contain a parameter of `zero_gradient_parameters`."""
        return frozenset(
            f"{norm.name}/running_mean" for norm, names in self._shifts_before_norms() if names
        )

    def _shifts_before_norms(self) -> Iterator[tuple[BatchNorm, tuple[str, ...]]]:
        """Yield each BatchNorm with the parameters that only shift what it normalizes."""
        chains = [self.layers]
        for layer in with_inner(self.layers):
            if isinstance(layer, Residual):
                chains += [layer.branch, layer.projection]
        for layers in chains:
            for position, layer in enumerate(layers):
                if isinstance(layer, BatchNorm):
                    yield layer, shift_parameters(layers[:position])

    @property
    def architecture(self) -> str:
        """The widths, ``784-128-64-10``; of convolutions the count."""
        every = with_inner(self.layers)
        dense = [str(layer.units) for layer in every if isinstance(layer, Dense)]
        convolutions = sum(isinstance(layer, Conv2D) for layer in every)
        if convolutions:
            return f"{counted(convolutions, 'convolution')}, dense {'-'.join(dense)}"
        return "-".join([str(prod(self.input_shape)), *dense])

    def like(self, framework: str) -> "Network":
        """Return the network with the initializers and other defaults of a framework's layers.

        Raises
        ------
        SpecError
            If the framework is not ``torch`` or ``keras``.
        """
        conventions.check_framework(framework)
        return replace(self, layers=tuple(_layer_like(layer, framework) for layer in self.layers))

    def check_fits(self, image: Shape, classes: int = 10) -> None:
        """Raise `SpecError` unless the network takes such images and gives that many logits."""
        if self.input_shape != tuple(image):
            raise SpecError(
                f"network {self.name!r} takes inputs of shape {self.input_shape}, "
                f"the images are {tuple(image)}"
            )
        if self.classes != classes:
            raise SpecError(
                f"network {self.name!r} ends in {self.classes} logits, "
                f"the data has {classes} classes"
            )

    def rows(self) -> list[tuple[str, str, str, int]]:
        """Return (name, layer, output shape, parameter count) of each layer, for a table."""
        return [
            (
                place.layer.name,
                _layer_title(place.layer),
                " × ".join(map(str, place.output_shape)),
                sum(prod(p.shape) for p in place.parameters),
            )
            for place in self.places
        ]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "layers": [layer_to_json(layer) for layer in self.layers],
        }

    @classmethod
    def from_json(cls, data: Any) -> "Network":
        """Read what `to_json` returned.

        With a key ``like``, "torch" or "keras", missing settings have the defaults of that
        framework.

        Raises
        ------
        SpecError
            If a key is unknown (the message suggests the closest one) or missing.
        """
        data = check_keys(data, {"name", "input_shape", "layers", "like"}, "network", {"like"})
        like = None
        if "like" in data:
            like = data["like"]
            conventions.check_framework(like)
        if not isinstance(data["layers"], list) or not isinstance(data["input_shape"], list):
            raise SpecError("network: 'layers' and 'input_shape' must be lists")
        layers = tuple(layer_from_json(layer, like) for layer in data["layers"])
        return cls(data["name"], tuple(data["input_shape"]), layers)


def _check_layer_names(layers: tuple[Layer, ...]) -> None:
    names = [layer.name for layer in with_inner(layers)]
    counts = Counter(map(str, names))  # counted once: a file may have a hundred thousand layers
    for name in names:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(name)) or str(name) != name:
            raise SpecError(f"layer name {name!r}: use letters, digits and _ only, a letter first")
        if counts[name] > 1:
            raise SpecError(f"two layers are called {name!r}; give each its own name")


def _layer_like(layer: Layer, framework: str) -> Layer:
    if isinstance(layer, Residual):
        return replace(
            layer,
            branch=tuple(_layer_like(inner, framework) for inner in layer.branch),
            projection=tuple(_layer_like(inner, framework) for inner in layer.projection),
        )
    values = conventions.defaults(conventions.LAYERS, framework, type(layer).__name__)
    return replace(layer, **values)


def _layer_title(layer: Layer) -> str:
    """Return for example ``Conv2D(32, size=5)``, without the settings at their defaults."""
    parts: list[str] = []
    for f in sorted(fields(layer)[1:], key=lambda f: f.kw_only is True):
        value = getattr(layer, f.name)
        if isinstance(f.default, tuple) or value == f.default:
            continue
        parts.append(f"{value}" if f.default is MISSING else f"{f.name}={value}")
    return f"{type(layer).__name__}({', '.join(parts)})"
