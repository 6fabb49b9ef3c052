"""The updates, as one Keras optimizer; `triptych.spec.optimizers` has the formulas.

A builder of an optimizer is a function ``builder(optimizer)`` that returns a function
``update(weights, gradients, slots, rate, step)``, which assigns new values to weights and slots.
Both are `tf.Variable`; ``slots[name]`` is a list with one for each weight. `step` counts from 1.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from ...core.builders import BuilderTable
from ...spec import optimizers as spec
from ...spec.losses import Clip
from ...spec.recipe import Recipe

Slots = dict[str, list[tf.Variable]]
UpdateFunction = Callable[..., None]
OptimizerBuilder = Callable[[Any], UpdateFunction]
# Of one weight: (gradient, its slots, rate) -> what is subtracted from the weight.
ChangeFunction = Callable[[tf.Tensor, dict[str, tf.Variable], tf.Tensor], tf.Tensor]

OPTIMIZERS: BuilderTable[OptimizerBuilder] = BuilderTable("TensorFlow", "optimizer")


def register_optimizer(spec_class: type[spec.Optimizer], builder: OptimizerBuilder) -> None:
    """Use `builder` for optimizers of `spec_class`; see the top of this file."""
    OPTIMIZERS.register(spec_class, builder)


def build_optimizer(optimizer: spec.Optimizer) -> UpdateFunction:
    """Return the update of all weights that an optimizer makes in one step."""
    builder = OPTIMIZERS.find(optimizer)
    return builder(optimizer)


class Optimizer(keras.optimizers.Optimizer):
    """A Keras optimizer with the specification's formulas; Keras has only one convention of each.

    The rate is a variable of the recipe's dtype: Keras keeps its learning rate in floatx, and 0.1
    read from float32 is 0.1000000015 (D62).

    Parameters
    ----------
    recipe : Recipe
    variables : list of keras.Variable
        The weights.
    kernels : list of bool
        Which of them have an L2 penalty.
    """

    def __init__(
        self, recipe: Recipe, variables: list[keras.Variable], kernels: list[bool]
    ) -> None:
        super().__init__(learning_rate=recipe.optimizer.rate)
        self.build(variables)
        self.recipe = recipe
        self.kernels = kernels
        self.update = build_optimizer(recipe.optimizer)
        self.rate = tf.Variable(recipe.optimizer.rate, dtype=recipe.dtype, trainable=False)
        self.slots: dict[str, list[keras.Variable]] = {}
        for slot in recipe.optimizer.slots:
            self.slots[slot] = self.add_optimizer_variables(variables, slot)

    def apply(self, grads: list[tf.Tensor], trainable_variables: Any = None) -> None:
        """Make one step, with the rate that the variable `rate` holds; Keras's `fit` calls this."""
        if trainable_variables is not None:  # `fit` has an order of its own
            gradient_of: dict[int, tf.Tensor] = {}
            for variable, gradient in zip(trainable_variables, grads, strict=True):
                gradient_of[self._get_variable_index(variable)] = gradient
            grads = [gradient_of[i] for i in range(len(gradient_of))]
        weights = [variable.value for variable in self._trainable_variables]
        slots: Slots = {}
        for slot, variables in self.slots.items():
            slots[slot] = [variable.value for variable in variables]
        step = self.iterations.value + 1
        apply_update(
            self.recipe, self.update, weights, grads, self.kernels, slots, self.rate.value(), step
        )
        self.iterations.value.assign(step)


def apply_update(
    recipe: Recipe,
    update: UpdateFunction,
    weights: list[tf.Variable],
    gradients: list[tf.Tensor],
    kernels: list[bool],
    slots: Slots,
    rate: tf.Tensor,
    step: tf.Tensor,
) -> None:
    """Turn the gradients of all weights into new weights.

    Parameters
    ----------
    recipe : Recipe
    update : function
        What `build_optimizer` returned.
    weights : list of tf.Variable
    gradients : list of tf.Tensor
    kernels : list of bool
        Which weights have an L2 penalty.
    slots : dict of str to list of tf.Variable
    rate : tf.Tensor, shape ()
        The learning rate of this step.
    step : tf.Tensor of int, shape ()
        The number of this step, from 1.
    """
    gradients = add_penalty(recipe.loss.l2, weights, gradients, kernels)
    gradients = clip_gradients(gradients, recipe.clip)
    decay = recipe.optimizer.weight_decay
    if decay and recipe.optimizer.decoupled:
        for weight in weights:
            weight.assign(weight * (1 - rate * decay))
    elif decay:
        gradients = [g + decay * weight for g, weight in zip(gradients, weights, strict=True)]
    update(weights, gradients, slots, rate, step)


def add_penalty(
    l2: float, weights: list[tf.Variable], gradients: list[tf.Tensor], kernels: list[bool]
) -> list[tf.Tensor]:
    """Add the gradient of the L2 penalty to those of the kernels."""
    if not l2:
        return gradients
    penalized: list[tf.Tensor] = []
    for weight, gradient, is_kernel in zip(weights, gradients, kernels, strict=True):
        penalized.append(gradient + l2 * weight if is_kernel else gradient)
    return penalized


def clip_gradients(gradients: list[tf.Tensor], clip: Clip) -> list[tf.Tensor]:
    """Clip as Keras's `clipvalue`, or as its `global_clipnorm` with any epsilon (D60)."""
    if clip.limit is None:
        return gradients
    if clip.by == "value":
        return [tf.clip_by_value(g, -clip.limit, clip.limit) for g in gradients]
    norm = tf.linalg.global_norm(gradients) + clip.epsilon
    factor = tf.minimum(clip.limit / norm, 1.0)
    return [g * factor for g in gradients]


def update_each(change: ChangeFunction) -> UpdateFunction:
    """Return the update of all weights that makes one change of each, whatever the step."""

    def update(
        weights: list[tf.Variable],
        gradients: list[tf.Tensor],
        slots: Slots,
        rate: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        for i, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            slots_of_weight = {slot: variables[i] for slot, variables in slots.items()}
            weight.assign_sub(change(gradient, slots_of_weight, rate))

    return update


def assign(variable: tf.Variable, value: tf.Tensor) -> tf.Tensor:
    """Assign a value to a variable and return the value, which need not be read again."""
    variable.assign(value)
    return value


def build_sgd(o: spec.SGD) -> UpdateFunction:
    """Return the update of SGD."""

    def change(gradient: tf.Tensor, slots: dict[str, tf.Variable], rate: tf.Tensor) -> tf.Tensor:
        return follow_velocity(o, gradient, slots, rate, nesterov=o.nesterov)

    return update_each(change)


def build_adam(o: spec.Adam) -> UpdateFunction:
    """Return the update of Adam, one fused kernel for each weight.

    Written out, some twenty small operations take longer to start than to run. The kernel's
    formula is Keras's (D47). PyTorch's is the same with another epsilon: m / (√(v/c) + ε) = √c·m
    / (√v + √c·ε), where c corrects the bias of v. Both corrections are computed here in float64
    and are part of the rate; powers of 0 switch the kernel's own corrections off.
    """

    def update(
        weights: list[tf.Variable],
        gradients: list[tf.Tensor],
        slots: Slots,
        rate: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        dtype = rate.dtype
        correction_m = bias_correction(o.beta1, step)
        root_of_correction_v = tf.sqrt(bias_correction(o.beta2, step))
        epsilon = tf.constant(o.epsilon, tf.float64)
        if not o.epsilon_first:
            epsilon *= root_of_correction_v
        corrected_rate = rate * tf.cast(root_of_correction_v / correction_m, dtype)
        for weight, gradient, m, v in zip(weights, gradients, slots["m"], slots["v"], strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=tf.constant(0, dtype),
                beta2_power=tf.constant(0, dtype),
                lr=corrected_rate,
                beta1=tf.constant(o.beta1, dtype),
                beta2=tf.constant(o.beta2, dtype),
                epsilon=tf.cast(epsilon, dtype),
                grad=gradient,
            )

    return update


def build_nadam(o: spec.Nadam) -> UpdateFunction:
    """Return the update of Nadam."""

    def update(
        weights: list[tf.Variable],
        gradients: list[tf.Tensor],
        slots: Slots,
        rate: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        dtype = rate.dtype
        correction_v = tf.cast(bias_correction(o.beta2, step), dtype)
        mu, product = momentum_schedule(o, step, dtype)
        next_mu, next_product = momentum_schedule(o, step + 1, dtype)
        share_of_m = next_mu / (1 - next_product)
        share_of_gradient = (1 - mu) / (1 - product)
        for weight, g, m, v in zip(weights, gradients, slots["m"], slots["v"], strict=True):
            new_m = assign(m, o.beta1 * m + (1 - o.beta1) * g)
            new_v = assign(v, o.beta2 * v + (1 - o.beta2) * g**2)
            direction = share_of_m * new_m + share_of_gradient * g
            weight.assign_sub(rate * direction / (tf.sqrt(new_v / correction_v) + o.epsilon))

    return update


def build_rmsprop(o: spec.RMSprop) -> UpdateFunction:
    """Return the update of RMSprop."""

    def change(gradient: tf.Tensor, slots: dict[str, tf.Variable], rate: tf.Tensor) -> tf.Tensor:
        v = assign(slots["v"], o.rho * slots["v"] + (1 - o.rho) * gradient**2)
        return follow_velocity(o, gradient / root(v, o), slots, rate)

    return update_each(change)


def build_adagrad(o: spec.Adagrad) -> UpdateFunction:
    """Return the update of Adagrad."""

    def change(gradient: tf.Tensor, slots: dict[str, tf.Variable], rate: tf.Tensor) -> tf.Tensor:
        v = assign(slots["v"], slots["v"] + gradient**2)
        return rate * gradient / root(v, o)

    return update_each(change)


def build_adadelta(o: spec.Adadelta) -> UpdateFunction:
    """Return the update of Adadelta."""

    def change(gradient: tf.Tensor, slots: dict[str, tf.Variable], rate: tf.Tensor) -> tf.Tensor:
        v = assign(slots["v"], o.rho * slots["v"] + (1 - o.rho) * gradient**2)
        delta = tf.sqrt(slots["u"] + o.epsilon) / tf.sqrt(v + o.epsilon) * gradient
        assign(slots["u"], o.rho * slots["u"] + (1 - o.rho) * delta**2)
        return rate * delta

    return update_each(change)


def follow_velocity(
    o: spec.Momentum,
    direction: tf.Tensor,
    slots: dict[str, tf.Variable],
    rate: tf.Tensor,
    nesterov: bool = False,
) -> tf.Tensor:
    """Return the change of a weight, through its velocity if the optimizer has a momentum."""
    if not o.momentum:
        return rate * direction
    holds_steps = o.velocity == "steps"  # Keras's convention, with the opposite sign (D54)
    if holds_steps:
        direction = rate * direction
    velocity = assign(slots["velocity"], o.momentum * slots["velocity"] + direction)
    change = velocity
    if nesterov:
        change = direction + o.momentum * velocity
    if not holds_steps:
        change = rate * change
    return change


def bias_correction(beta: float, step: tf.Tensor) -> tf.Tensor:
    """Return what a moment is divided by, in float64."""
    # tf.cast of a Python float goes through float32 (D63); tf.constant does not.
    return 1 - tf.constant(beta, tf.float64) ** tf.cast(step, tf.float64)


def momentum_schedule(
    o: spec.Nadam, step: tf.Tensor, dtype: tf.DType
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return µ and Π of a step, which `triptych.spec.optimizers` defines."""
    exponent = tf.constant(o.psi, tf.float64) * tf.cast(step, tf.float64)
    mu = o.beta1 * (1 - 0.5 * tf.constant(0.96, tf.float64) ** exponent)
    products = tf.constant(o.products, tf.float64)
    last = len(o.products) - 1
    product = tf.gather(products, tf.minimum(tf.cast(step, tf.int32), last))
    return tf.cast(mu, dtype), tf.cast(product, dtype)


def root(squares: tf.Tensor, o: spec.RMSprop | spec.Adagrad) -> tf.Tensor:
    """Return the root of an average or sum of squares, with epsilon inside or outside."""
    if o.epsilon_inside:
        return tf.sqrt(squares + o.epsilon)
    return tf.sqrt(squares) + o.epsilon


register_optimizer(spec.SGD, build_sgd)
register_optimizer(spec.Adam, build_adam)
register_optimizer(spec.AdamW, build_adam)
register_optimizer(spec.Nadam, build_nadam)
register_optimizer(spec.RMSprop, build_rmsprop)
register_optimizer(spec.Adagrad, build_adagrad)
register_optimizer(spec.Adadelta, build_adadelta)
