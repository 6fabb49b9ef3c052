"""The updates as one Keras optimizer."""

from typing import Any

import keras
import tensorflow as tf

from ... import recipe as how


class Optimizer(keras.optimizers.Optimizer):
    """The specification's updates as a Keras optimizer, because Keras's own formulas differ.

    The rate is a variable of the recipe's dtype: Keras keeps its learning rate in floatx, and 0.1 read from float32
    is 0.1000000015 (D62).
    """

    def __init__(self, o: how.Optimizer, dtype: str, variables: list[keras.Variable]) -> None:
        super().__init__(learning_rate=o.rate)
        self.spec = o
        self.build(variables)
        self.rate = tf.Variable(o.rate, dtype=dtype, trainable=False)
        self.slots: dict[str, list[Any]] = {slot: self.add_optimizer_variables(variables, slot) for slot in o.slots}

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: Any) -> None:
        i = self._get_variable_index(variable)
        slots = {name: kept[i] for name, kept in self.slots.items()}
        self.assign_sub(variable, self._change(self.spec, gradient, slots))

    def _change(self, o: how.Optimizer, g: tf.Tensor, slots: dict[str, Any]) -> tf.Tensor:
        """Advance the slots and return what is to be taken off the weights."""
        match o:
            case how.SGD(momentum=0):
                return self.rate * g
            case how.SGD():  # Keras stores rate·gradient in its velocity; ours stores the gradient (D54)
                velocity = self._keep(slots["velocity"], o.momentum * slots["velocity"] + g)
                return self.rate * (g + o.momentum * velocity if o.nesterov else velocity)
            case how.Adam():  # Keras adds epsilon before the bias correction; ours after it (D47)
                m = self._keep(slots["m"], o.beta1 * slots["m"] + (1 - o.beta1) * g)
                v = self._keep(slots["v"], o.beta2 * slots["v"] + (1 - o.beta2) * g**2)
                # In float64, and by tf.constant: a cast of a Python float goes through float32 (D63).
                t = tf.cast(self.iterations + 1, tf.float64)
                of_m = tf.cast(1 - tf.constant(o.beta1, tf.float64) ** t, g.dtype)
                of_v = tf.cast(1 - tf.constant(o.beta2, tf.float64) ** t, g.dtype)
                return self.rate / of_m * m / (tf.sqrt(v / of_v) + o.epsilon)
            case how.RMSprop():  # Keras adds epsilon inside the root; ours outside (D48)
                v = self._keep(slots["v"], o.decay * slots["v"] + (1 - o.decay) * g**2)
                return self.rate * g / (tf.sqrt(v) + o.epsilon)
            case other:
                raise NotImplementedError(f"TensorFlow: no optimizer for {other}")

    def _keep(self, slot: Any, value: tf.Tensor) -> tf.Tensor:
        self.assign(slot, value)
        return value
