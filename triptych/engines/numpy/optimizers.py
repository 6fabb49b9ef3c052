"""The updates: from gradients to new weights. `triptych.spec.optimizers` has the formulas.

A builder of an optimizer is a function ``update(optimizer, w, g, slots, rate, step)`` that changes
one parameter and its slots in place. `optimizer` is the description, w the weights, g their
gradient and `slots` a dictionary of arrays by name, all of one shape and dtype. `rate` is the
learning rate of the step, and `step` is its number, from 1.

Python floats do not promote float32 arrays (NEP 50), so float32 stays float32.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from ...core.builders import BuilderTable
from ...spec import optimizers as spec
from ...spec.losses import Clip
from ...spec.recipe import Recipe
from .layer import Array, Arrays

Update = Callable[[Any, Array, Array, Arrays, float, int], None]

OPTIMIZERS: BuilderTable[Update] = BuilderTable("NumPy", "optimizer")


def register_optimizer(spec_class: type[spec.Optimizer], update: Update) -> None:
    """Use `update` for optimizers of `spec_class`; its signature is at the top of this file."""
    OPTIMIZERS.register(spec_class, update)


def apply_update(recipe: Recipe, arrays: Arrays, gradients: Arrays, rate: float) -> None:
    """Make the update of a step: penalty, clipping, weight decay and the optimizer.

    Parameters
    ----------
    recipe : Recipe
        Its loss has the penalty, its optimizer the decay.
    arrays : dict of str to ndarray
        Weights, slots and ``step`` by the names of a state; changed in place.
    gradients : dict of str to ndarray
        By the names of the weights.
    rate : float
        The learning rate of the step.
    """
    optimizer = recipe.optimizer
    update = OPTIMIZERS.find(optimizer)
    step = 0
    if optimizer.counts_steps:
        arrays["step"] += 1
        step = int(arrays["step"])
    gradients = add_penalty(recipe.loss.l2, arrays, gradients)
    gradients = clip_gradients(gradients, recipe.clip)
    for name, g in gradients.items():
        w = arrays[name]
        if optimizer.weight_decay and optimizer.decoupled:
            w *= 1 - rate * optimizer.weight_decay
        elif optimizer.weight_decay:
            g = g + optimizer.weight_decay * w
        slots = {slot: arrays[f"{name}/{slot}"] for slot in optimizer.slots}
        update(optimizer, w, g, slots, rate, step)


def add_penalty(l2: float, arrays: Arrays, gradients: Arrays) -> Arrays:
    """Return the gradients with l2·kernel added to those of the kernels."""
    if not l2:
        return gradients
    penalized: Arrays = {}
    for name, g in gradients.items():
        is_kernel = name.endswith("/kernel")
        penalized[name] = g + l2 * arrays[name] if is_kernel else g
    return penalized


def clip_gradients(gradients: Arrays, clip: Clip) -> Arrays:
    """Return the gradients clipped by value, or by their global norm over all parameters."""
    if clip.limit is None:
        return gradients
    limit = clip.limit
    if clip.by == "value":
        return {name: g.clip(-limit, limit) for name, g in gradients.items()}
    squares = sum(float(np.vdot(g, g)) for g in gradients.values())
    norm = sqrt(squares) + clip.epsilon
    if norm <= limit:
        return gradients
    factor = limit / norm
    return {name: g * factor for name, g in gradients.items()}


def sgd(o: spec.SGD, w: Array, g: Array, slots: Arrays, rate: float, step: int) -> None:
    """W ← w - η·g, with or without momentum."""
    follow(o, w, g, slots, rate, nesterov=o.nesterov)


def follow(
    o: spec.Momentum, w: Array, g: Array, slots: Arrays, rate: float, nesterov: bool = False
) -> None:
    """Move the weights against `g`, or by the velocity if the optimizer has a momentum."""
    if not o.momentum:
        w -= rate * g
        return
    if o.velocity == "steps":  # Keras's convention (D54)
        g = rate * g
        rate = 1.0
    velocity = slots["velocity"]
    velocity *= o.momentum
    velocity += g
    if nesterov:
        w -= rate * (g + o.momentum * velocity)
    else:
        w -= rate * velocity


def adam(o: spec.Adam, w: Array, g: Array, slots: Arrays, rate: float, step: int) -> None:
    """W ← w - η·m̂/(√v̂ + ε), with bias-corrected moments."""
    m, v = update_moments(o, g, slots)
    # 1 - βᵗ in double precision: in float32 it would lose four digits.
    correction_m = 1 - o.beta1**step
    correction_v = 1 - o.beta2**step
    rate = rate / correction_m
    if o.epsilon_first:  # Keras's convention (D47)
        rate = rate * sqrt(correction_v)
    else:
        v = v / correction_v
    w -= rate * m / (np.sqrt(v) + o.epsilon)


def nadam(o: spec.Nadam, w: Array, g: Array, slots: Arrays, rate: float, step: int) -> None:
    """Adam with the momentum of the next step."""
    m, v = update_moments(o, g, slots)
    share_of_m = o.mu(step + 1) / (1 - o.product(step + 1))
    share_of_g = (1 - o.mu(step)) / (1 - o.product(step))
    correction_v = 1 - o.beta2**step
    direction = share_of_m * m + share_of_g * g
    size = np.sqrt(v / correction_v)
    w -= rate * direction / (size + o.epsilon)


def rmsprop(o: spec.RMSprop, w: Array, g: Array, slots: Arrays, rate: float, step: int) -> None:
    """Divide the gradient by the root of a running mean of its square."""
    v = slots["v"]
    update_mean(v, o.rho, g**2)
    follow(o, w, g / root(v, o), slots, rate)


def adagrad(o: spec.Adagrad, w: Array, g: Array, slots: Arrays, rate: float, step: int) -> None:
    """Divide the gradient by the root of the sum of its squares."""
    v = slots["v"]
    v += g**2
    w -= rate * g / root(v, o)


def adadelta(o: spec.Adadelta, w: Array, g: Array, slots: Arrays, rate: float, step: int) -> None:
    """Divide the gradient by its size, and multiply it by the size of past steps."""
    v = slots["v"]
    u = slots["u"]
    update_mean(v, o.rho, g**2)
    size_of_steps = np.sqrt(u + o.epsilon)
    size_of_gradients = np.sqrt(v + o.epsilon)
    delta = size_of_steps / size_of_gradients * g
    update_mean(u, o.rho, delta**2)
    w -= rate * delta


def update_moments(o: spec.Moments, g: Array, slots: Arrays) -> tuple[Array, Array]:
    """Return the first and the second moment after the step."""
    m = slots["m"]
    v = slots["v"]
    update_mean(m, o.beta1, g)
    update_mean(v, o.beta2, g**2)
    return m, v


def update_mean(mean: Array, decay: float, value: Array) -> None:
    """Mean ← decay·mean + (1 - decay)·value, in place."""
    mean *= decay
    mean += (1 - decay) * value


def root(squares: Array, o: spec.RMSprop | spec.Adagrad) -> Array:
    """Return the root of a mean or a sum of squares, with epsilon inside or outside."""
    if o.epsilon_inside:
        return np.sqrt(squares + o.epsilon)
    return np.sqrt(squares) + o.epsilon


register_optimizer(spec.SGD, sgd)
register_optimizer(spec.Adam, adam)
register_optimizer(spec.AdamW, adam)
register_optimizer(spec.Nadam, nadam)
register_optimizer(spec.RMSprop, rmsprop)
register_optimizer(spec.Adagrad, adagrad)
register_optimizer(spec.Adadelta, adadelta)
