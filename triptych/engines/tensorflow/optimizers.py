"""The updates as one Keras optimizer."""

from typing import Any

import keras
import tensorflow as tf

from ...spec import optimizers as spec
from ...spec.losses import Clip
from ...spec.recipe import Recipe


class Optimizer(keras.optimizers.Optimizer):
    """The specification's updates as a Keras optimizer, because Keras has one convention of each formula, and not the other.

    The rate is a variable of the recipe's dtype: Keras keeps its learning rate in floatx, and 0.1 read from float32
    is 0.1000000015 (D62).
    """

    def __init__(
        self, recipe: Recipe, variables: list[keras.Variable], kernels: list[bool]
    ) -> None:
        o = recipe.optimizer
        super().__init__(learning_rate=o.rate)
        self.spec, self.l2, self.clip, self.kernels = o, recipe.loss.l2, recipe.clip, kernels
        self.build(variables)
        self.rate = tf.Variable(o.rate, dtype=recipe.dtype, trainable=False)
        self.slots: dict[str, list[Any]] = {
            slot: self.add_optimizer_variables(variables, slot) for slot in o.slots
        }

    def apply(self, grads: list[tf.Tensor], trainable_variables: Any = None) -> None:
        if self.l2:
            grads = [
                g + self.l2 * w.value if kernel else g
                for g, w, kernel in zip(grads, self._trainable_variables, self.kernels, strict=True)
            ]
        if isinstance(self.spec, spec.Moments):
            self.of_m, self.of_v = self._corrections(self.spec)  # once a step, not once a variable
        super().apply(clipped(grads, self.clip), trainable_variables)

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: Any) -> None:
        i, decay = self._get_variable_index(variable), self.spec.weight_decay
        slots = {name: kept[i] for name, kept in self.slots.items()}
        if decay and self.spec.decoupled:
            self.assign(variable, variable * (1 - self.rate * decay))
        elif decay:
            gradient = gradient + decay * variable
        if isinstance(self.spec, spec.Adam):
            self._adam(self.spec, variable, gradient, slots)
        else:
            self.assign_sub(variable, self._change(self.spec, gradient, slots))

    def _adam(self, o: spec.Adam, w: Any, g: tf.Tensor, slots: dict[str, Any]) -> None:
        """Advance slots and weights by one kernel, where some twenty small ones take longer to start than to run.

        Its formula is Keras's (D47). PyTorch's is the same with another epsilon: m / (√(v/c) + ε) = √c·m / (√v + √c·ε), where c
        corrects the bias of v. Both corrections are made in float64, outside; powers of 0 turn off the kernel's own.
        """
        epsilon = tf.constant(o.epsilon, tf.float64) * (
            1.0 if o.epsilon_first else tf.sqrt(self.of_v)
        )
        tf.raw_ops.ResourceApplyAdam(
            var=w.handle,
            m=slots["m"].value.handle,
            v=slots["v"].value.handle,
            beta1_power=tf.constant(0, g.dtype),
            beta2_power=tf.constant(0, g.dtype),
            lr=self.rate * tf.cast(tf.sqrt(self.of_v) / self.of_m, g.dtype),
            beta1=tf.constant(o.beta1, g.dtype),
            beta2=tf.constant(o.beta2, g.dtype),
            epsilon=tf.cast(epsilon, g.dtype),
            grad=g,
        )

    def _change(self, o: spec.Optimizer, g: tf.Tensor, slots: dict[str, Any]) -> tf.Tensor:
        """Advance the slots and return what is to be taken off the weights."""
        match o:
            case spec.SGD():
                return self._through_velocity(o, g, slots, o.nesterov)
            case spec.Nadam():
                m = self._keep(slots["m"], o.beta1 * slots["m"] + (1 - o.beta1) * g)
                v = self._keep(slots["v"], o.beta2 * slots["v"] + (1 - o.beta2) * g**2)
                now, ahead = self._schedule(o, 1, g.dtype), self._schedule(o, 2, g.dtype)
                direction = ahead[0] / (1 - ahead[1]) * m + (1 - now[0]) / (1 - now[1]) * g
                return (
                    self.rate * direction / (tf.sqrt(v / tf.cast(self.of_v, g.dtype)) + o.epsilon)
                )
            case spec.RMSprop():
                v = self._keep(slots["v"], o.rho * slots["v"] + (1 - o.rho) * g**2)
                return self._through_velocity(o, g / root(v, o), slots)
            case spec.Adagrad():
                return self.rate * g / root(self._keep(slots["v"], slots["v"] + g**2), o)
            case spec.Adadelta():
                v = self._keep(slots["v"], o.rho * slots["v"] + (1 - o.rho) * g**2)
                delta = tf.sqrt(slots["u"] + o.epsilon) / tf.sqrt(v + o.epsilon) * g
                self._keep(slots["u"], o.rho * slots["u"] + (1 - o.rho) * delta**2)
                return self.rate * delta
            case other:
                raise TypeError(f"TensorFlow: no update for {other}")

    def _through_velocity(
        self, o: spec.Momentum, g: tf.Tensor, slots: dict[str, Any], nesterov: bool = False
    ) -> tf.Tensor:
        if not o.momentum:
            return self.rate * g
        steps = o.velocity == "steps"  # as Keras has it, with the other sign (D54)
        g = self.rate * g if steps else g
        velocity = self._keep(slots["velocity"], o.momentum * slots["velocity"] + g)
        ahead = g + o.momentum * velocity if nesterov else velocity
        return ahead if steps else self.rate * ahead

    def _corrections(self, o: spec.Moments) -> tuple[tf.Tensor, tf.Tensor]:
        """Return what corrects the bias of both moments, in float64."""
        t = tf.cast(self.iterations + 1, tf.float64)
        of_m, of_v = (
            1 - tf.constant(beta, tf.float64) ** t for beta in (o.beta1, o.beta2)
        )  # tf.cast goes through float32 (D63)
        return of_m, of_v

    def _schedule(self, o: spec.Nadam, ahead: int, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """Return µ and Π of the step that lies `ahead` of those made."""
        step = self.iterations + ahead
        power = tf.constant(0.96, tf.float64) ** (
            tf.constant(o.psi, tf.float64) * tf.cast(step, tf.float64)
        )
        product = tf.gather(
            tf.constant(o.products, tf.float64),
            tf.minimum(tf.cast(step, tf.int32), len(o.products) - 1),
        )
        return tf.cast(o.beta1 * (1 - 0.5 * power), dtype), tf.cast(product, dtype)

    def _keep(self, slot: Any, value: tf.Tensor) -> tf.Tensor:
        self.assign(slot, value)
        return value


def root(v: tf.Tensor, o: spec.RMSprop | spec.Adagrad) -> tf.Tensor:
    return tf.sqrt(v + o.epsilon) if o.epsilon_inside else tf.sqrt(v) + o.epsilon


def clipped(gradients: list[tf.Tensor], how: Clip) -> list[tf.Tensor]:
    """As Keras's clipvalue and global_clipnorm, the latter with PyTorch's epsilon where that is asked for (D60)."""
    if how.limit is None:
        return gradients
    if how.by == "value":
        return [tf.clip_by_value(g, -how.limit, how.limit) for g in gradients]
    factor = tf.minimum(how.limit / (tf.linalg.global_norm(gradients) + how.epsilon), 1.0)
    return [g * factor for g in gradients]
