"""The networks that a calibration times: points of a grid, in a quasi-random order.

Any beginning of the sequence covers the whole grid.
"""

from collections.abc import Iterator, Sequence
from itertools import count, cycle
from typing import TypeVar

import numpy as np

from ..spec import zoo
from .workload import Case

V = TypeVar("V")

SHAPES = ((8, 8, 1), (19, 19, 1), (28, 28, 1), (32, 32, 3))
OPTIMIZERS = ("sgd", "adam", "momentum", "rmsprop")
# Some are no round numbers, because kernels are slower if a width does not fill a register.
WIDTHS = (10, 16, 27, 50, 64, 100, 128, 230, 256, 390, 512, 750, 1024)
DEPTHS = (1, 1, 2, 3)
BATCHES = (1, 2, 5, 16, 50, 128, 400, 1024, 3000, 10_000)
FILTERS = (3, 4, 6, 8, 13, 16, 25, 32, 50, 64)
CONVOLUTIONS = (1, 2, 3)
KERNEL_SIZES = (3, 3, 3, 5, 5, 1)
CONVOLUTION_BATCHES = (1, 3, 10, 32, 64, 130, 256, 500)
LARGEST = 2 * 10**10  # operations of a step: half a second
AXES = 9  # of the grid
PHI = 1.0757660660868371  # PHI ** (AXES + 1) is PHI + 1


def cases() -> Iterator[Case]:
    """Yield cases without end: of five, three are dense and two have convolutions."""
    dense = filter(_fits, map(_dense, count(1)))
    convolutions = filter(_fits, map(_convolutional, count(1)))
    for kind in cycle((dense, convolutions, dense, convolutions, dense)):
        yield next(kind)


def _fits(case: Case) -> bool:
    return case.operations <= LARGEST


def _dense(number: int) -> Case:
    shape, first, last, depth, batch, name, full, dropout, _ = _coordinates(number)
    widths = _between(_pick(WIDTHS, first), _pick(WIDTHS, last), _pick(DEPTHS, depth))
    rate = 0.2 if dropout > 0.7 else 0.0
    network = zoo.dense("dense", widths, rate, shape=_pick(SHAPES, shape))
    return Case.of(network, _pick(BATCHES, batch), _pick(OPTIMIZERS, name), full=full > 0.75)


def _convolutional(number: int) -> Case:
    shape, first, depth, batch, name, size, norm, hidden, growth = _coordinates(number)
    start = int(first * len(FILTERS))
    step = int(growth * 3)
    indices = [start + i * step for i in range(_pick(CONVOLUTIONS, depth))]
    filters = [FILTERS[min(index, len(FILTERS) - 1)] for index in indices]
    network = zoo.convolutional(
        filters,
        _pick(KERNEL_SIZES, size),
        norm=norm > 0.6,
        hidden=[64] if hidden > 0.5 else [],
        shape=_pick(SHAPES, shape),
    )
    return Case.of(network, _pick(CONVOLUTION_BATCHES, batch), _pick(OPTIMIZERS, name))


def _pick(values: Sequence[V], coordinate: float) -> V:
    """Return the value at a coordinate in [0, 1)."""
    return values[int(coordinate * len(values))]


def _between(first: int, last: int, number: int) -> list[int]:
    """Return a number of widths from the first to the last, in equal ratios."""
    return [round(width) for width in np.geomspace(first, last, number)]


def _coordinates(number: int) -> list[float]:
    """Return a point of Roberts's sequence (2018) in the unit cube, by its number."""
    return [(0.5 + number / PHI**axis) % 1 for axis in range(1, AXES + 1)]
