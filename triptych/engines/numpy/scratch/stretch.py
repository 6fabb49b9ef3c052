"""Layers one after the other, a part of the batch at a time.

What a step makes of a whole batch does not fit into the processor's cache, and fetching it back from memory takes as long as
computing with it. So layers that look at each sample alone, which are all but BatchNorm, work in a `Stretch`: one part of the
batch goes through all of them before the next, and threads share the parts.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any, Protocol

import numpy as np

from ....spec.layers import Dense, Flatten, relu_after_pool_order
from ....spec.placement import PlacedLayer
from .crew import Crew
from .layers import Layer, Rooms, Training, order
from .products import Array

PART = 5 * 2**18  # numbers that a part of the batch may come to: 5 MB of float32
SHARE = 2**16  # numbers below which a thread is not worth waking

Loss = Callable[[Array, Array], tuple[Array, Array]]  # of logits and labels: the loss, and its gradient with respect to the logits


class Owner(Protocol):
    """A layer, or several."""

    def every(self) -> list[Layer]:
        """Return them all, in order."""
        ...


def divided(flat: Array, owners: Sequence[Owner]) -> list[Array]:
    """Cut a flat array of all parameters of some layers into what belongs to each of them."""
    sizes = [sum(parameter.size for layer in owner.every() for parameter in layer.parameters.values()) for owner in owners]
    return np.split(flat, np.cumsum(sizes))[:-1]


def first_to_learn(owners: Sequence[Owner]) -> int:
    """Return the place of the first that has something to learn: no gradient is needed before it."""
    return next((i for i, owner in enumerate(owners) if any(layer.learns for layer in owner.every())), len(owners))


def numbers(places: Sequence[PlacedLayer]) -> int:
    """Return how many numbers one sample comes to: what goes in, and what each layer makes of it, there and back."""
    made = sum(prod(inner.output_shape) for place in places for inner in place.flat if not isinstance(inner.layer, Flatten))
    return prod(places[0].input_shape) + 2 * made


def fitting(places: Sequence[PlacedLayer]) -> int:
    """Return how many samples stay in the cache."""
    return PART // numbers(places)


def least(place: PlacedLayer) -> int:
    """Return the fewest samples to take at a time: with fewer, reading a kernel costs more than reading samples."""
    inside = max(map(least, (*place.branch, *place.projection)), default=1)
    if not isinstance(place.layer, Dense):
        return inside
    inputs, outputs = place.input_shape[0], place.output_shape[0]
    return -(-inputs * outputs // (inputs + outputs))


class Line:
    """Layers one after the other, and nothing more."""

    def __init__(self, layers: Sequence[Layer], places: Sequence[PlacedLayer]) -> None:
        self.layers, self.places = list(layers), places
        self.quick = [layers[i] for i in relu_after_pool_order([place.layer for place in places])]
        self.went = self.quick  # the order of the last forward
        self.first = first_to_learn(layers)
        for layer in self.layers[:-1]:
            layer.lasting = any(after.remembers for way in (self.layers, self.quick) for one, after in pairwise(way) if one is layer)

    def forward(self, x: Array, training: Training | None = None) -> Array:
        seen = training.outputs if training else None
        self.went = self.quick if seen is None else self.layers
        for layer in self.went:
            x = layer.forward(x, training)
            if seen is not None:
                seen[f"output/{layer.name}"] = x.copy()
        return x

    def backward(self, dy: Array, into: bool = True) -> Array:
        for i in range(len(self.went) - 1, -1 if into else self.first - 1, -1):
            dy = self.went[i].backward(dy, into or i > self.first)
        return dy

    def every(self) -> list[Layer]:
        return [part for layer in self.layers for part in layer.every()]

    def twin(self) -> "Line":
        return Line([layer.twin() for layer in self.layers], self.places)

    def bind(self, gradient: Array) -> None:
        """Let every layer write its gradients into a flat array, where they lie in order."""
        for layer, own in zip(self.layers, divided(gradient, self.layers), strict=True):
            layer.bind(own)


class Stretch:
    """Layers none of which mixes samples.

    Each part of the batch has layers of its own (`Layer.twin`), which remember its forward until its backward. The first part
    of each lane writes its gradients to where they are summed, the others write theirs beside it, to be added.
    """

    def __init__(self, line: Line, crew: Crew) -> None:
        places = line.places
        self.lines, self.crew = [line], crew
        self.numbers, self.least = numbers(places), max(map(least, places))
        self.output = places[-1]
        self.long = len(places) > 2
        self.cuts: dict[int, list[slice]] = {}
        self.rooms = Rooms()

    def every(self) -> list[Layer]:
        return self.lines[0].every()

    def bind(self, gradient: Array) -> None:
        """Take the flat array of the gradients of these layers."""
        lanes = range(self.crew.lanes)
        zeros = partial(np.zeros, gradient.shape, gradient.dtype)  # which, unlike zeros_like, takes no memory before it is written
        self.sums, self.beside = [gradient, *(zeros() for _ in lanes[1:])], [zeros() for _ in lanes]
        del self.lines[1:]
        self.lines[0].bind(gradient)

    def forward(self, x: Array, training: Training | None = None) -> Array:
        cuts = self._cuts(len(x))
        if len(cuts) == 1:
            return self.lines[0].forward(x, training)
        # In evaluation nothing is remembered: one line for each lane is enough.
        lines = self._lines(len(cuts) if training else self.crew.lanes)
        pieces = [training and training[rows] for rows in cuts]
        self.x, y = x, self._room_forward(x)

        def work(k: int) -> None:
            y[cuts[k]] = lines[k % len(lines)].forward(x[cuts[k]], pieces[k])

        self.crew.each(len(cuts), work)
        if training:
            training.join([piece for piece in pieces if piece])
        return y

    def backward(self, dy: Array, into: bool = True) -> Array:
        cuts = self._cuts(len(dy))
        if len(cuts) == 1:
            return self.lines[0].backward(dy, into)
        dx = self._room_back(self.x) if into else dy

        def work(k: int) -> None:
            self._back(k, self.lines[k], dy[cuts[k]], dx[cuts[k]] if into else None)

        self.crew.each(len(cuts), work)
        self._sum(len(cuts))
        return dx

    def around(self, x: Array, training: Training, loss: Loss, into: bool) -> tuple[Array, Array]:
        """Go forward, through the loss, and back, one part after the other: return the loss and the gradient with respect to x."""
        cuts, lanes = self._cuts(len(x)), self.crew.lanes
        lines = self._lines(min(len(cuts), 2 * lanes))  # a part is through when the next one comes
        pieces = [training[rows] for rows in cuts]
        values: list[Any] = [None] * len(cuts)
        dx = self._room_back(x) if into else x

        def work(k: int) -> None:
            line = lines[k if k < lanes else lanes + k % lanes]
            values[k], dy = loss(line.forward(x[cuts[k]], pieces[k]), pieces[k].labels)
            self._back(k, line, dy, dx[cuts[k]] if into else None)

        self.crew.each(len(cuts), work)
        self._sum(len(cuts))
        training.join(pieces)
        return np.asarray(sum(values)), dx

    def _back(self, k: int, line: Line, dy: Array, dx: Array | None) -> None:
        """Go back with part k, and add its gradients to those of its lane."""
        found, lanes = line.backward(dy, dx is not None), self.crew.lanes
        if dx is not None:
            dx[...] = found
        if k >= lanes:
            self.sums[k % lanes] += self.beside[k % lanes]

    def _room_forward(self, x: Array) -> Array:
        lies = "C" if self.output.role == "flat" else None
        return self.rooms.get_room("y", (len(x), *self.output.output_shape), x.dtype, lies)

    def _room_back(self, x: Array) -> Array:
        return self.rooms.get_room("dx", x.shape, x.dtype, order(x))

    def _cuts(self, count: int) -> list[slice]:
        """Return the parts of a batch, equally large: as many samples as stay in the cache, and a share for every thread."""
        if count not in self.cuts:
            # One or two layers have little to hand on in the cache, and putting the parts together costs a copy.
            many = -(-count // max(fitting(self.lines[0].places), self.least)) if self.long else 1
            shares = max(1, min(self.crew.lanes, count // self.least, count * self.numbers // SHARE))
            many = min(count, -(-many // shares) * shares)  # as many for each, and none empty
            self.cuts[count] = [slice(count * k // many, count * (k + 1) // many) for k in range(many)]
        return self.cuts[count]

    def _lines(self, count: int) -> list[Line]:
        """Return so many lines, each with gradients of its own."""
        lanes = self.crew.lanes
        while len(self.lines) < count:
            k, line = len(self.lines), self.lines[0].twin()
            line.bind(self.sums[k] if k < lanes else self.beside[k % lanes])
            self.lines.append(line)
        return self.lines[:count]

    def _sum(self, parts: int) -> None:
        for others in self.sums[1:parts]:
            self.sums[0] += others
