"""One layer, the loss or the update of the TensorFlow engine at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from ...core.engine import LayerPullback
from ...core.state import State
from .layers import Model, run_layers
from .loss import LossFunction


@dataclass(frozen=True)
class Probe:
    """The parts of an engine; `triptych.core.engine.LayerProbe` describes the methods.

    Attributes
    ----------
    model : Model
        The network.
    weights : dict of str to keras.Variable
        The parameters by their names.
    loss_function : callable
        The loss of logits and labels.
    apply : callable
        Takes the gradients of all weights and the learning rate, and updates the weights.
    """

    model: Model
    weights: dict[str, keras.Variable]
    loss_function: LossFunction
    apply: Callable[[list[tf.Tensor], float], None]

    def layer(
        self, name: str, x: np.ndarray, *, training: bool, mask: np.ndarray | None = None
    ) -> tuple[np.ndarray, LayerPullback]:
        """Return what a layer makes of an input, and how gradients pass it."""
        layer = self.model.layers_by_name()[name]
        prefix = f"{name}/"
        parameters = {each: var for each, var in self.weights.items() if each.startswith(prefix)}
        masks = {} if mask is None else {name: tf.constant(mask)}
        fed = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(fed)
            y = run_layers([layer], fed, training, masks, None)

        def pullback(dy: np.ndarray) -> tuple[np.ndarray, State]:
            sources = [fed, *(variable.value for variable in parameters.values())]
            dx, *gradients = tape.gradient(y, sources, tf.constant(dy))
            named = zip(parameters, gradients, strict=True)
            return np.array(dx), {each: np.array(gradient) for each, gradient in named}

        return np.array(y), pullback

    def loss(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean data loss of a batch, and its gradient at the logits."""
        z = tf.constant(logits)
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = self.loss_function(z, tf.constant(labels))
        return float(value), np.array(tape.gradient(value, z))

    def update(self, gradients: State, rate: float) -> None:
        """Apply gradients as in a step."""
        self.apply([tf.constant(gradients[name]) for name in self.weights], rate)
