"""One layer, the loss or the update of the NumPy engine at a time."""

from collections.abc import Callable, Sequence

import numpy as np

from ...core.engine import LayerPullback
from ...core.state import State
from .loss import LossFunction
from .scratch.layers import Layer, Training


class Probe:
    """The parts of an engine; `triptych.core.engine.LayerProbe` describes the methods.

    Parameters
    ----------
    layers : sequence of Layer
        All layers, with kernels in the canonical order.
    loss : callable
        The loss; see `triptych.engines.numpy.loss.register_loss`.
    gradients : dict of str to ndarray
        Where `apply_update` reads the gradient of each parameter.
    apply_update : callable
        Takes the learning rate and updates the weights and slots.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        loss: LossFunction,
        gradients: State,
        apply_update: Callable[[float], None],
    ) -> None:
        self._layers = {layer.name: layer for layer in layers}
        self._loss = loss
        self._gradients = gradients
        self._apply_update = apply_update

    def layer(
        self, name: str, x: np.ndarray, *, training: bool, mask: np.ndarray | None = None
    ) -> tuple[np.ndarray, LayerPullback]:
        """Return what a layer makes of an input, and how gradients pass it."""
        layer = self._layers[name]
        masks = {} if mask is None else {name: mask}
        with computing():
            y = layer.forward(x, Training(masks=masks) if training else None).copy()
            if training:
                layer.advance()

        def pullback(dy: np.ndarray) -> tuple[np.ndarray, State]:
            with computing():
                dx = layer.backward(dy, True).copy()
            gradients = {f"{name}/{leaf}": layer.gradient(leaf) for leaf in layer.parameters}
            return dx, {each: np.array(array, order="C") for each, array in gradients.items()}

        return y, pullback

    def loss(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean data loss of a batch, and its gradient at the logits."""
        with computing():
            value, gradient = self._loss(logits, labels, labels)
        return float(value), np.array(gradient)

    def update(self, gradients: State, rate: float) -> None:
        """Apply gradients as in a step."""
        for name, gradient in gradients.items():
            self._gradients[name][...] = gradient
        with computing():
            self._apply_update(rate)


def computing() -> np.errstate:
    """Return a context without NumPy's warnings: if a training diverges, its losses show it."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")
