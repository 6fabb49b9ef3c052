"""The base class of all layers.

Every layer has a forward pass and a backward pass. With x the input, y the output, L the loss of
the batch and dy = ∂L/∂y, the backward pass computes ∂L/∂p for every parameter p, and dx = ∂L/∂x
for the layer before. Images have shape (batch, h, w, c), vectors (batch, features).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...spec.placement import Layer as Description

Array = NDArray[Any]
Arrays = dict[str, Array]


class Layer:
    """Base of all layers: no parameters, no buffers.

    Parameters
    ----------
    spec : triptych.spec.placement.Layer
        The description of the layer; its fields are the settings.

    Attributes
    ----------
    training : bool
        Whether the forward pass is that of a training step, not of an evaluation.
    mask : ndarray of bool, shape (batch, …), optional
        In the training of a dropout layer, True where a value is kept.
    outputs : dict of str to ndarray, optional
        Where its output is recorded, by its name.
    parameters, buffers, gradients : dict of str to ndarray
        By leaf. Parameters and buffers are the engine's arrays, which are changed in place;
        `parameter_gradients` puts new arrays into `gradients`.
    """

    def __init__(self, spec: Description) -> None:
        self.spec: Any = spec
        self.name = spec.name
        self.training = False
        self.mask: Array | None = None
        self.outputs: Arrays | None = None
        self.parameters: Arrays = {}
        self.buffers: Arrays = {}
        self.gradients: Arrays = {}

    def forward(self, x: Array) -> Array:
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

    @property
    def learns(self) -> bool:
        """Whether it has parameters, or a layer inside it has."""
        return any(layer.parameters for layer in self.with_inner())

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
