"""One layer, the loss or the update of the NumPy engine at a time."""

from collections.abc import Callable, Sequence

import numpy as np

from ...core.engine import LayerPullback
from ...core.state import State
from .layer import Layer
from .loss import LossFunction


class Probe:
    """The parts of an engine; `triptych.core.engine.LayerProbe` describes the methods.

    Parameters
    ----------
    layers : sequence of Layer
        All layers.
    loss : callable
        The loss; see `triptych.engines.numpy.loss`.
    update : callable
        Takes gradients and the learning rate, and updates the weights and slots.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        loss: LossFunction,
        update: Callable[[State, float], None],
    ) -> None:
        self._layers = {layer.name: layer for layer in layers}
        self._loss = loss
        self.update = update

    def layer(
        self, name: str, x: np.ndarray, *, training: bool, mask: np.ndarray | None = None
    ) -> tuple[np.ndarray, LayerPullback]:
        """Return what a layer makes of an input, and how gradients pass it."""
        layer = self._layers[name]
        layer.training = training
        layer.mask = mask if training else None
        with computing():
            y = layer.forward(x)
            if training:
                layer.update_buffers()

        def pullback(dy: np.ndarray) -> tuple[np.ndarray, State]:
            with computing():
                dx = layer.backward(dy)
            gradients = {f"{name}/{leaf}": g.copy() for leaf, g in layer.gradients.items()}
            return dx.copy(), gradients

        return y.copy(), pullback

    def loss(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean data loss of a batch, and its gradient at the logits."""
        with computing():
            value, gradient = self._loss(logits, labels)
        return float(value), gradient


def computing() -> np.errstate:
    """Return a context without NumPy's warnings: if a training diverges, its losses show it."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")
