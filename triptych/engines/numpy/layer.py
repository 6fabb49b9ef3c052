"""The base class of all layers.

Every layer has a forward pass and a backward pass. With x the input, y the output, L the loss of
the batch and dy = ∂L/∂y, the backward pass computes ∂L/∂p for every parameter p, and dx = ∂L/∂x
for the layer before. Images have shape (batch, h, w, c), vectors (batch, features).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = dict[str, Array]


@dataclass
class Training:
    """What a forward pass in training has in addition to its input; in evaluation there is none.

    Attributes
    ----------
    masks : dict of str to ndarray of bool
        Dropout masks by layer name, True where a value is kept.
    outputs : dict of str to ndarray, optional
        Where the output of every layer is recorded, as ``output/LAYER``.
    """

    masks: Arrays = field(default_factory=dict[str, Array])
    outputs: Arrays | None = None


class Layer:
    """Base of all layers: no parameters, no buffers.

    Attributes
    ----------
    parameters, buffers, gradients : dict of str to ndarray
        By leaf. Parameters and buffers are the engine's arrays, which are changed in place;
        `parameter_gradients` puts new arrays into `gradients`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters: Arrays = {}
        self.buffers: Arrays = {}
        self.gradients: Arrays = {}

    def forward(self, x: Array, training: Training | None = None) -> Array:
        """Return y, and keep what the backward pass needs."""
        raise NotImplementedError

    def parameter_gradients(self, dy: Array) -> None:
        """Set `gradients`: ∂L/∂p of every parameter p."""

    def input_gradient(self, dy: Array) -> Array:
        """Return dx."""
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        """Set the gradients of the parameters, and return dx."""
        self.parameter_gradients(dy)
        return self.input_gradient(dy)

    def update_buffers(self) -> None:
        """Change the buffers by what the last training pass computed; called once in a step."""

    def with_inner(self) -> list["Layer"]:
        """Return the layers inside this one, then itself: the order of computation."""
        return [self]


def sum_over_batch(x: Array) -> Array:
    """Return the sum over all axes but the last, shape (c,).

    It is the product of a row of ones and x as a matrix. BLAS adds blocks of rows separately, so
    float32 keeps more digits than with ``sum(axis=0)``, which adds row after row.
    """
    rows = x.reshape(-1, x.shape[-1])
    return np.ones(len(rows), x.dtype) @ rows
