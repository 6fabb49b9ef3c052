"""The layers: each forward beside its backward.

``forward(x, training)`` remembers what its own backward needs. ``backward(dy)`` takes the gradient of the loss with respect
to the output, writes the gradient of each parameter to where `bind` said, and returns the gradient with respect to the input,
unless nobody needs it (``into=False``). Parameters are the engine's arrays, updated in place; no layer copies them or
changes their dtype.

Images are (batch, h, w, c) and lie in memory so. Vectors are (batch, features), but lie in memory feature by feature: a batch
is long and a row of ten logits short, and the processor works along memory (`Layer.room`).
"""

import threading
from copy import copy
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import numpy as np

from .products import Array, across, cross_product, product

CACHED = 2**19  # numbers that are worked on at once: 2 MB of float32; second-level caches hold 1 or 2


def parts(count: int, numbers: int) -> list[slice]:
    """Return slices of `count` images or rows, of as many as stay in the cache when one of them takes so many numbers."""
    step = max(1, CACHED // numbers)
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


@dataclass
class Training:
    """What goes with a forward in training; in evaluation there is none.

    Attributes
    ----------
    labels : ndarray of int, shape (batch,)
    masks : dict of str to ndarray of bool
        Dropout masks by layer name.
    outputs : dict of str to ndarray, optional
        Where every layer's output is written down, for a trace.
    """

    labels: Array = field(default_factory=lambda: np.zeros(0, np.int32))
    masks: dict[str, Array] = field(default_factory=dict[str, Array])
    outputs: dict[str, Array] | None = None

    def __getitem__(self, rows: slice) -> "Training":
        """Return what goes with a part of the batch."""
        masks = {name: mask[rows] for name, mask in self.masks.items()}
        return Training(self.labels[rows], masks, None if self.outputs is None else {})

    def join(self, parts: list["Training"]) -> None:
        """Take over the outputs of all parts of the batch, where they are wanted."""
        if self.outputs is not None:
            seen = [part.outputs or {} for part in parts]
            self.outputs |= {name: np.concatenate([outputs[name] for outputs in seen]) for name in seen[0]}


Order = Literal["C", "F"]


def order(x: Array) -> Order:
    """Return how an array lies in memory: the batch inmost, which is "F", or outmost."""
    return "F" if x.ndim == 2 and across(x) else "C"


class Rooms(dict[str, Array]):
    """Arrays to write into, kept from one step to the next: fresh memory costs a page fault every 4 kB."""

    def get_room(self, use: str, shape: tuple[int, ...], dtype: Any, lies: Order | None = None, new: float = 0.0) -> Array:
        """Return the array of the last step where it is large enough, or a new one, full of `new`."""
        found = self.get(use)
        if found is None or found.shape[1:] != shape[1:] or len(found) < shape[0] or found.dtype != dtype:
            found = self[use] = np.full(shape, new, dtype, lies or ("F" if len(shape) == 2 else "C"))
        return found[: shape[0]]


class Passing(threading.local):
    """Rooms of each thread, for what is used up before the next part of the batch comes."""

    def __init__(self) -> None:
        self.rooms = Rooms()


class Layer:
    """Base of all: no parameters, no buffers."""

    learns = False
    mixes = False  # whether the output of one sample depends on the others of its batch
    remembers = True  # whether the backward needs the input, or the output may be the input
    lasting = True  # whether somebody needs the output after the next layer's forward

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}
        self.rooms, self.passing = Rooms(), Passing()

    def forward(self, x: Array, training: Training | None = None) -> Array:
        return x

    def backward(self, dy: Array, into: bool = True) -> Array:
        return dy

    def room(self, use: str, like: Array, shape: tuple[int, ...] | None = None) -> Array:
        """Return an array of this layer's own, as large as `like` or as said: for what the backward needs."""
        return self.rooms.get_room(use, shape or like.shape, like.dtype, None if shape else order(like))

    def output(self, like: Array, shape: tuple[int, ...] | None = None) -> Array:
        """Return where to write the output."""
        return (self.room if self.lasting else self.passing_room)("y", like, shape)

    def passing_room(self, use: str, like: Array, shape: tuple[int, ...] | None = None, lies: Order | None = None) -> Array:
        """Return an array that its twins in this thread write into, too: it stays in the cache."""
        return self.passing.rooms.get_room(use, shape or like.shape, like.dtype, lies or (None if shape else order(like)))

    def gradient(self, leaf: str) -> Array:
        """Return where the gradient of a parameter is written: what the engine gave, or an array of our own."""
        if leaf not in self.gradients:
            self.gradients[leaf] = np.empty_like(self.parameters[leaf])
        return self.gradients[leaf]

    def advance(self) -> None:
        """Take over what the last training forward says about the buffers; called once a step."""

    def every(self) -> list["Layer"]:
        """Return the layers inside it, and itself."""
        return [self]

    def bind(self, gradient: Array) -> None:
        """Write gradients into a flat array from now on."""
        self.gradients = views(gradient, {leaf: parameter.shape for leaf, parameter in self.parameters.items()})

    def twin(self) -> "Layer":
        """Return a layer with the same parameters that remembers a forward of its own."""
        twin = copy(self)
        twin.rooms, twin.gradients = Rooms(), {}
        return twin


def views(flat: Array, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """View a flat array as arrays by name. Matrices lie transposed, as (out, in): so the rows of their gradients are long."""
    pieces = np.split(flat, np.cumsum([prod(shape) for shape in shapes.values()]))
    found: dict[str, Array] = {}
    for (name, shape), piece in zip(shapes.items(), pieces, strict=False):  # behind the last lies an empty piece
        found[name] = piece.reshape(shape[::-1]).T if len(shape) == 2 else piece.reshape(shape)
    return found


class Flatten(Layer):
    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Array, into: bool = True) -> Array:
        return dy.reshape(self.shape)


class Dense(Layer):
    """y = x·W + b. With x (batch, in) and dy (batch, out): ∂W = xᵀ·dy, ∂b = Σ dy, ∂x = dy·Wᵀ.

    x may lack the last inputs, if they are zero in every sample (`Engine.upload`): so are their part of x·W and of ∂W.
    """

    learns = True

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.x, kernel = x, self.parameters["kernel"]
        y = self.output(x, (len(x), kernel.shape[1]))
        product(x, kernel[: x.shape[1]], y)
        if "bias" in self.parameters:
            y += self.parameters["bias"]
        return y

    def backward(self, dy: Array, into: bool = True) -> Array:
        kernel, gradient, there = self.parameters["kernel"], self.gradient("kernel"), self.x.shape[1]
        cross_product(self.x, dy, gradient[:there])
        gradient[there:] = 0
        if "bias" in self.parameters:
            dy.sum(axis=0, out=self.gradient("bias"))
        # What a Flatten made of images lies sample by sample, and so does its gradient.
        return np.matmul(dy, kernel.T, out=self.passing_room("dx", dy, self.x.shape, order(self.x))) if into else dy


class Dropout(Layer):
    """x·keep/(1-rate) in training, the identity in evaluation: the expected value stays the same."""

    def __init__(self, name: str, rate: float) -> None:
        super().__init__(name)
        self.rate = rate

    def forward(self, x: Array, training: Training | None = None) -> Array:
        keep = training.masks.get(self.name) if training else None
        self.scaled = None
        if keep is None:
            return x
        # The scale is rounded to x's dtype first, so that float32 stays float32.
        self.scaled = np.multiply(keep, x.dtype.type(1 / (1 - self.rate)), out=self.room("scaled", x))
        return np.multiply(x, self.scaled, out=self.output(x))

    def backward(self, dy: Array, into: bool = True) -> Array:
        return dy if self.scaled is None else np.multiply(dy, self.scaled, out=self.passing_room("dx", dy))
