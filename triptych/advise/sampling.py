"""The networks that a calibration times: points of a grid, in an order in which any beginning covers the whole."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from ..spec import zoo
from ..spec.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, ReLU
from ..spec.network import Network
from ..spec.placement import Layer, Shape
from .timer import Case
from .workload import arithmetic

# Beside the round numbers that people use there are others: kernels are slower where a width does not fill a register.
SHAPES: tuple[Shape, ...] = ((8, 8, 1), (19, 19, 1), (28, 28, 1), (32, 32, 3))
OPTIMIZERS = ("sgd", "adam", "momentum", "rmsprop")
WIDTHS = (10, 16, 27, 50, 64, 100, 128, 230, 256, 390, 512, 750, 1024)
DEPTHS = (1, 1, 2, 3)
BATCHES = (1, 2, 5, 16, 50, 128, 400, 1024, 3000, 10_000)
FILTERS = (3, 4, 6, 8, 13, 16, 25, 32, 50, 64)
CONVOLUTIONS = (1, 2, 3)
SIZES = (3, 3, 3, 5, 5, 1)
FEW = (1, 3, 10, 32, 64, 130, 256, 500)  # images at a time, where there are convolutions
LARGEST = 2 * 10**10  # operations of a step: half a second
AXES = 9


def cases() -> Iterator[Case]:
    """Yield cases without end: of five, three are dense and two have convolutions."""
    dense, convolutions = (
        filter(_fits, map(_dense, count(1))),
        filter(_fits, map(_convolutional, count(1))),
    )
    while True:
        for kind in (dense, convolutions, dense, convolutions, dense):
            yield next(kind)


def convolutional(
    filters: Sequence[int],
    size: int,
    *,
    norm: bool = False,
    hidden: Sequence[int] = (),
    shape: Shape = zoo.GREY,
    classes: int = 10,
) -> Network:
    """Build (Conv2D, [BatchNorm,] ReLU) for each number of filters, a MaxPool2D after every one that leaves room, and dense layers."""
    layers: list[Layer] = []
    side = shape[0]
    for i, number in enumerate(filters, 1):
        layers.append(Conv2D(f"conv{i}", number, size, padding=size // 2, bias=not norm))
        layers += [BatchNorm(f"norm{i}")] if norm else []
        layers.append(ReLU(f"relu{i}"))
        if side >= 8:
            layers.append(MaxPool2D(f"pool{i}"))
            side //= 2
    layers.append(Flatten("flatten"))
    for i, units in enumerate(hidden, 1):
        layers += [Dense(f"hidden{i}", units), ReLU(f"after{i}")]
    return Network("convolutional", shape, (*layers, Dense("output", classes)))


def _dense(n: int) -> Case:
    shape, first, last, depth, batch, name, full, dropout = _coordinates(n)[:8]
    widths = _between(_of(WIDTHS, first), _of(WIDTHS, last), _of(DEPTHS, depth))
    network = zoo.dense("dense", widths, 0.2 if dropout > 0.7 else 0.0, shape=_of(SHAPES, shape))
    return Case.of(network, _of(BATCHES, batch), _of(OPTIMIZERS, name), full=full > 0.75)


def _convolutional(n: int) -> Case:
    shape, first, number, batch, name, size, norm, hidden, growth = _coordinates(n)
    at = int(first * len(FILTERS))
    filters = [
        FILTERS[min(at + i * int(growth * 3), len(FILTERS) - 1)]
        for i in range(_of(CONVOLUTIONS, number))
    ]
    widths = [64] if hidden > 0.5 else []
    network = convolutional(
        filters, _of(SIZES, size), norm=norm > 0.6, hidden=widths, shape=_of(SHAPES, shape)
    )
    return Case.of(network, _of(FEW, batch), _of(OPTIMIZERS, name))


def _fits(case: Case) -> bool:
    return arithmetic(case.network, case.recipe, case.batch).operations <= LARGEST


def _of(values: Sequence[Any], part: float) -> Any:
    return values[int(part * len(values))]


def _between(first: int, last: int, number: int) -> list[int]:
    """Return so many widths from the first to the last, in equal ratios."""
    return [round(first * (last / first) ** (i / max(1, number - 1))) for i in range(number)]


def _coordinates(n: int) -> list[float]:
    """Return the nth point of Roberts's sequence (2018) in the unit cube: the fractions of n/φ, n/φ² … with φ^(axes + 1) = φ + 1."""
    phi = 2.0
    for _ in range(40):
        phi = (1 + phi) ** (1 / (AXES + 1))
    return [(0.5 + n / phi**axis) % 1 for axis in range(1, AXES + 1)]
