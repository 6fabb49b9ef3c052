"""One layer, the loss or the update of the Numba engine at a time."""

from collections.abc import Callable, Sequence

import numpy as np

from ...core.engine import LayerPullback
from ...core.state import State
from .layer import Layer, Training
from .threads import computing


class Probe:
    """The parts of an engine; `triptych.core.engine.LayerProbe` describes the methods.

    Parameters
    ----------
    layers : sequence of Layer
        All layers.
    compute_loss : callable
        Takes logits and labels, and returns the loss of a batch and its gradient.
    gradients : dict of str to ndarray
        Where `apply_update` reads the gradient of each parameter.
    apply_update : callable
        Takes the learning rate and updates the weights and slots.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        compute_loss: Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]],
        gradients: State,
        apply_update: Callable[[float], None],
    ) -> None:
        self._layers = {layer.name: layer for layer in layers}
        self._compute_loss = compute_loss
        self._gradients = gradients
        self._apply_update = apply_update

    def layer(
        self, name: str, x: np.ndarray, *, training: bool, mask: np.ndarray | None = None
    ) -> tuple[np.ndarray, LayerPullback]:
        """Return what a layer makes of an input, and how gradients pass it."""
        layer = self._layers[name]
        masks = {} if mask is None else {name: np.ascontiguousarray(mask)}
        x = np.ascontiguousarray(x)
        with computing():
            y = layer.forward(x, Training(masks) if training else None).copy()
            if training:
                layer.update_buffers()

        def pullback(dy: np.ndarray) -> tuple[np.ndarray, State]:
            with computing():
                dx = layer.backward(np.ascontiguousarray(dy)).copy()
            named = {f"{name}/{leaf}": array.copy() for leaf, array in layer.gradients.items()}
            return dx, named

        return y, pullback

    def loss(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean data loss of a batch, and its gradient at the logits."""
        with computing():
            return self._compute_loss(np.ascontiguousarray(logits), labels)

    def update(self, gradients: State, rate: float) -> None:
        """Apply gradients as in a step."""
        for name, gradient in gradients.items():
            self._gradients[name][...] = gradient
        with computing():
            self._apply_update(rate)
