"""The updates as pure functions; `triptych.spec.optimizers` has the formulas.

A builder of an optimizer is a function ``builder(optimizer)`` that returns a function
``change(gradient, slots, rate, step) -> (change, slots)`` of one parameter: what is subtracted
from its weight, and its slots after the step. `slots` has the specification's names. `step`
counts from 1; it is None if the optimizer does not count.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ...core.builders import BuilderTable
from ...spec import optimizers as spec
from ...spec.losses import Clip

Arrays = dict[str, Array]
ChangeFunction = Callable[[Array, Arrays, Array, Array | None], tuple[Array, Arrays]]
OptimizerBuilder = Callable[[Any], ChangeFunction]

OPTIMIZERS: BuilderTable[OptimizerBuilder] = BuilderTable("JAX", "optimizer")


class Update(NamedTuple):
    """What an update depends on, besides arrays."""

    optimizer: spec.Optimizer
    clip: Clip
    l2: float


def register_optimizer(spec_class: type[spec.Optimizer], builder: OptimizerBuilder) -> None:
    """Use `builder` for optimizers of `spec_class`; see the top of this file."""
    OPTIMIZERS.register(spec_class, builder)


def build_optimizer(optimizer: spec.Optimizer) -> ChangeFunction:
    """Return the function that an optimizer applies to each parameter."""
    builder = OPTIMIZERS.find(optimizer)
    return builder(optimizer)


def apply_update(update: Update, arrays: Arrays, gradients: Arrays, rate: Array) -> Arrays:
    """Return all arrays of the state after one update.

    Parameters
    ----------
    update : Update
    arrays : dict of str to Array
        Weights, buffers, slots and step.
    gradients : dict of str to Array
        By the names of the weights.
    rate : Array, shape ()
        The learning rate of this step.
    """
    o = update.optimizer
    change_parameter = build_optimizer(o)
    arrays = dict(arrays)
    if o.counts_steps:
        arrays["step"] += 1
    gradients = add_penalty(update.l2, arrays, gradients)
    gradients = clip_gradients(gradients, update.clip)
    for name, gradient in gradients.items():
        weight = arrays[name]
        if o.weight_decay and o.decoupled:
            weight = weight * (1 - rate * o.weight_decay)
        elif o.weight_decay:
            gradient = gradient + o.weight_decay * weight
        slots = {slot: arrays[f"{name}/{slot}"] for slot in o.slots}
        change, slots = change_parameter(gradient, slots, rate, arrays.get("step"))
        arrays[name] = weight - change
        arrays |= {f"{name}/{slot}": array for slot, array in slots.items()}
    return arrays


def add_penalty(l2: float, arrays: Arrays, gradients: Arrays) -> Arrays:
    """Add the gradient of the L2 penalty to those of the kernels."""
    if not l2:
        return gradients
    penalized: Arrays = {}
    for name, gradient in gradients.items():
        is_kernel = name.endswith("/kernel")
        penalized[name] = gradient + l2 * arrays[name] if is_kernel else gradient
    return penalized


def clip_gradients(gradients: Arrays, clip: Clip) -> Arrays:
    """Return the gradients clipped by value, or by their global norm."""
    if clip.limit is None:
        return gradients
    limit = clip.limit
    if clip.by == "value":
        return jax.tree.map(lambda gradient: gradient.clip(-limit, limit), gradients)
    squares = sum(jnp.vdot(gradient, gradient) for gradient in gradients.values())
    norm = jnp.sqrt(squares) + clip.epsilon
    factor = jnp.minimum(limit / norm, 1)
    return jax.tree.map(lambda gradient: gradient * factor, gradients)


def build_sgd(o: spec.SGD) -> ChangeFunction:
    """Return the change of SGD."""

    def change(gradient: Array, slots: Arrays, rate: Array, step: Array | None):
        return follow_velocity(o, gradient, slots, rate, nesterov=o.nesterov)

    return change


def build_adam(o: spec.Adam) -> ChangeFunction:
    """Return the change of Adam."""

    def change(gradient: Array, slots: Arrays, rate: Array, step: Array):
        m, v = advance_moments(o, gradient, slots)
        correction_m = bias_correction(o.beta1, step, gradient.dtype)
        correction_v = bias_correction(o.beta2, step, gradient.dtype)
        if o.epsilon_first:  # Keras's convention (D47)
            corrected_rate = rate * jnp.sqrt(correction_v) / correction_m
            change = corrected_rate * m / (jnp.sqrt(v) + o.epsilon)
        else:
            change = rate / correction_m * m / (jnp.sqrt(v / correction_v) + o.epsilon)
        return change, {"m": m, "v": v}

    return change


def build_nadam(o: spec.Nadam) -> ChangeFunction:
    """Return the change of Nadam."""

    def change(gradient: Array, slots: Arrays, rate: Array, step: Array):
        m, v = advance_moments(o, gradient, slots)
        correction_v = bias_correction(o.beta2, step, gradient.dtype)
        products = jnp.array(o.products)
        last = len(o.products) - 1
        product = products[jnp.minimum(step, last)]
        next_product = products[jnp.minimum(step + 1, last)]
        share_of_gradient = ((1 - o.mu(step)) / (1 - product)).astype(gradient.dtype)
        share_of_m = (o.mu(step + 1) / (1 - next_product)).astype(gradient.dtype)
        direction = share_of_m * m + share_of_gradient * gradient
        change = rate * direction / (jnp.sqrt(v / correction_v) + o.epsilon)
        return change, {"m": m, "v": v}

    return change


def build_rmsprop(o: spec.RMSprop) -> ChangeFunction:
    """Return the change of RMSprop."""

    def change(gradient: Array, slots: Arrays, rate: Array, step: Array | None):
        v = o.rho * slots["v"] + (1 - o.rho) * gradient**2
        change, velocity = follow_velocity(o, gradient / root(v, o), slots, rate)
        return change, velocity | {"v": v}

    return change


def build_adagrad(o: spec.Adagrad) -> ChangeFunction:
    """Return the change of Adagrad."""

    def change(gradient: Array, slots: Arrays, rate: Array, step: Array | None):
        v = slots["v"] + gradient**2
        return rate * gradient / root(v, o), {"v": v}

    return change


def build_adadelta(o: spec.Adadelta) -> ChangeFunction:
    """Return the change of Adadelta."""

    def change(gradient: Array, slots: Arrays, rate: Array, step: Array | None):
        v = o.rho * slots["v"] + (1 - o.rho) * gradient**2
        delta = jnp.sqrt(slots["u"] + o.epsilon) / jnp.sqrt(v + o.epsilon) * gradient
        u = o.rho * slots["u"] + (1 - o.rho) * delta**2
        return rate * delta, {"v": v, "u": u}

    return change


def follow_velocity(
    o: spec.Momentum, direction: Array, slots: Arrays, rate: Array, nesterov: bool = False
) -> tuple[Array, Arrays]:
    """Return the change of a weight and its velocity, if the optimizer has a momentum."""
    if not o.momentum:
        return rate * direction, {}
    holds_steps = o.velocity == "steps"  # Keras's convention (D54)
    if holds_steps:
        direction = rate * direction
    velocity = o.momentum * slots["velocity"] + direction
    change = velocity
    if nesterov:
        change = direction + o.momentum * velocity
    if not holds_steps:
        change = rate * change
    return change, {"velocity": velocity}


def advance_moments(o: spec.Moments, gradient: Array, slots: Arrays) -> tuple[Array, Array]:
    """Return the first and second moment after the step."""
    m = o.beta1 * slots["m"] + (1 - o.beta1) * gradient
    v = o.beta2 * slots["v"] + (1 - o.beta2) * gradient**2
    return m, v


def bias_correction(beta: float, step: Array, dtype: Any) -> Array:
    """Return what a moment is divided by, computed in float64: float32 would lose four digits."""
    return (1 - beta ** step.astype(jnp.float64)).astype(dtype)


def root(squares: Array, o: spec.RMSprop | spec.Adagrad) -> Array:
    """Return the root of an average or sum of squares, with epsilon inside or outside."""
    if o.epsilon_inside:
        return jnp.sqrt(squares + o.epsilon)
    return jnp.sqrt(squares) + o.epsilon


register_optimizer(spec.SGD, build_sgd)
register_optimizer(spec.Adam, build_adam)
register_optimizer(spec.AdamW, build_adam)
register_optimizer(spec.Nadam, build_nadam)
register_optimizer(spec.RMSprop, build_rmsprop)
register_optimizer(spec.Adagrad, build_adagrad)
register_optimizer(spec.Adadelta, build_adadelta)
