"""The layers: each forward beside its backward.

``forward(x, training)`` remembers what its own backward needs. ``backward(dy)`` takes the gradient of the loss with respect
to the output, leaves the gradient of each parameter in ``gradients``, and returns the gradient with respect to the input,
unless nobody needs it (``into=False``). Parameters are the engine's arrays, updated in place; no layer copies them or
changes their dtype. Images are (batch, h, w, c).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CACHED = 2**18  # numbers that are worked on at once: 1 MB of float32, half of a common second-level cache


def parts(count: int, numbers: int) -> list[slice]:
    """Return slices of `count` images or rows, of as many as stay in the cache when one of them takes so many numbers."""
    step = max(1, CACHED // numbers)
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


@dataclass
class Training:
    """What goes with a forward in training; in evaluation there is none.

    Attributes
    ----------
    masks : dict of str to ndarray of bool
        Dropout masks by layer name.
    outputs : dict of str to ndarray, optional
        Where every layer's output is written down, for a trace.
    """

    masks: dict[str, Array] = field(default_factory=dict[str, Array])
    outputs: dict[str, Array] | None = None


class Layer:
    """Base of all: no parameters, no buffers."""

    learns = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}
        self.rooms: dict[str, Array] = {}

    def forward(self, x: Array, training: Training | None = None) -> Array:
        return x

    def backward(self, dy: Array, into: bool = True) -> Array:
        return dy

    def room(self, use: str, shape: tuple[int, ...], like: Array, keep: bool = True) -> Array:
        """Return an array to write into, of the dtype of `like`: the one of the last step where it fits and we `keep` it.

        Fresh memory costs a page fault every 4 kB. What stands in a room is gone with the layer's next step.
        """
        found = self.rooms.get(use)
        if not keep or found is None or found.shape != shape or found.dtype != like.dtype:
            found = np.empty(shape, like.dtype)
        if keep:
            self.rooms[use] = found
        return found

    def advance(self) -> None:
        """Take over what the last training forward says about the buffers; called once a step."""

    def every(self) -> list["Layer"]:
        """Return the layers inside it, and itself."""
        return [self]


class Chain:
    """Layers one after the other."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        learns = [any(part.learns for part in layer.every()) for layer in layers]
        self.first = learns.index(True) if True in learns else len(layers)  # nothing to learn before it

    def forward(self, x: Array, training: Training | None = None) -> Array:
        for layer in self.layers:
            x = layer.forward(x, training)
            if training and training.outputs is not None:
                training.outputs[f"output/{layer.name}"] = x.copy()
        return x

    def backward(self, dy: Array, into: bool = True) -> Array:
        for i, layer in reversed(list(enumerate(self.layers))):
            if into or i >= self.first:
                dy = layer.backward(dy, into or i > self.first)
        return dy


class Residual(Layer):
    """y = branch(x) + projection(x), the projection being the identity where there is none: ∂x is the sum of both."""

    def __init__(self, name: str, branch: list[Layer], projection: list[Layer]) -> None:
        super().__init__(name)
        self.branch, self.projection = Chain(branch), Chain(projection)

    def forward(self, x: Array, training: Training | None = None) -> Array:
        return self.branch.forward(x, training) + self.projection.forward(x, training)

    def backward(self, dy: Array, into: bool = True) -> Array:
        around, through = self.projection.backward(dy, into), self.branch.backward(dy, into)
        return around + through if into else dy

    def every(self) -> list[Layer]:
        return [part for layer in (*self.branch.layers, *self.projection.layers) for part in layer.every()] + [self]


class Flatten(Layer):
    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Array, into: bool = True) -> Array:
        return dy.reshape(self.shape)


class Dense(Layer):
    """y = x·W + b. With x (batch, in) and dy (batch, out): ∂W = xᵀ·dy, ∂b = Σ dy, ∂x = dy·Wᵀ."""

    learns = True

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.x = x
        y = x @ self.parameters["kernel"]
        if "bias" in self.parameters:
            y += self.parameters["bias"]
        return y

    def backward(self, dy: Array, into: bool = True) -> Array:
        self.gradients = {"kernel": self.x.T @ dy}
        if "bias" in self.parameters:
            self.gradients["bias"] = dy.sum(axis=0)
        return dy @ self.parameters["kernel"].T if into else dy


class Dropout(Layer):
    """x·keep/(1-rate) in training, the identity in evaluation: the expected value stays the same."""

    def __init__(self, name: str, rate: float) -> None:
        super().__init__(name)
        self.rate = rate

    def forward(self, x: Array, training: Training | None = None) -> Array:
        keep = training.masks.get(self.name) if training else None
        # The scale is rounded to x's dtype first, so that float32 stays float32.
        self.scaled = None if keep is None else keep * x.dtype.type(1 / (1 - self.rate))
        return x if self.scaled is None else x * self.scaled

    def backward(self, dy: Array, into: bool = True) -> Array:
        return dy if self.scaled is None else dy * self.scaled
