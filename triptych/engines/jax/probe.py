"""One layer, the loss or the update of the JAX engine at a time."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ...core.engine import LayerPullback
from ...core.state import State
from ...spec.placement import PlacedLayer
from .layers import Arrays, ForwardPass, run_layers
from .loss import LossFunction


@dataclass(frozen=True)
class Probe:
    """The parts of an engine; `triptych.core.engine.LayerProbe` describes the methods.

    Attributes
    ----------
    places : dict of str to PlacedLayer
        The layers by their names.
    arrays : dict of str to Array
        The state of the engine, which a layer in training mode and an update change.
    loss_function : callable
        The loss of logits and labels.
    apply : callable
        Takes gradients and the learning rate, and returns the state after the update.
    settings : callable
        Returns the context in which the engine computes.
    """

    places: dict[str, PlacedLayer]
    arrays: Arrays
    loss_function: LossFunction
    apply: Callable[[Arrays, float], Arrays]
    settings: Callable[[], AbstractContextManager[None]]

    def layer(
        self, name: str, x: np.ndarray, *, training: bool, mask: np.ndarray | None = None
    ) -> tuple[np.ndarray, LayerPullback]:
        """Return what a layer makes of an input, and how gradients pass it."""
        place = self.places[name]
        with self.settings():
            masks = {} if mask is None else {name: jnp.asarray(mask)}

            def compute(fed: Array, weights: Arrays) -> tuple[Array, Arrays]:
                forward = ForwardPass(self.arrays | weights, training, masks)
                return run_layers([place], fed, forward), forward.buffers

            weights = {each.name: self.arrays[each.name] for each in place.parameters}
            y, back, buffers = jax.vjp(compute, jnp.asarray(x), weights, has_aux=True)
        self.arrays.update(buffers)

        def pullback(dy: np.ndarray) -> tuple[np.ndarray, State]:
            with self.settings():
                dx, gradients = back(jnp.asarray(dy))
            return np.array(dx), {each: np.array(array) for each, array in gradients.items()}

        return np.array(y), pullback

    def loss(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean data loss of a batch, and its gradient at the logits."""
        with self.settings():
            differentiate = jax.value_and_grad(self.loss_function)
            value, gradient = differentiate(jnp.asarray(logits), jnp.asarray(labels))
        return float(value), np.array(gradient)

    def update(self, gradients: State, rate: float) -> None:
        """Apply gradients as in a step."""
        with self.settings():
            named = {name: jnp.asarray(gradient) for name, gradient in gradients.items()}
            self.arrays.update(self.apply(named, rate))
