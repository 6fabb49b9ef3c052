"""The updates: each function returns a weight and its slots after a step, from their values before.

`update_range` applies one of them to a part of the flat arrays of all parameters, in one sweep: a
weight, its gradient and its slots are read once and written once.

`c` are the numbers of a step, computed in float64 and rounded once (`engines.numba.optimizers`).
"""

from collections.abc import Callable
from functools import cache
from math import sqrt
from typing import Any

import numpy as np
from numba import carray, from_dtype, prange, types

from ..compilation import address, inlined, kernel, parallel_kernel
from .calls import call, pointer
from .constants import constant
from .shares import share_bounds

# The updates by their codes.
SGD, MOMENTUM, NESTEROV, RMSPROP, RMSPROP_MOMENTUM, ADAGRAD, ADADELTA, ADAM, NADAM = range(9)

NUMBERS = 10  # the length of c

# c[0] and c[1] are the same in all updates.
KEEP, DECAY = range(2)  # what a weight is multiplied by; what of it is added to its gradient


@inlined
def sgd(w, g, c):
    """Return w - η·g; c[2] = η."""
    return w - c[2] * g


@inlined
def momentum(w, g, velocity, c):
    """Return w - b·v with v = µ·v + a·g; c[2:5] = µ, a, b."""
    velocity = c[2] * velocity + c[3] * g
    return w - c[4] * velocity, velocity


@inlined
def nesterov(w, g, velocity, c):
    """Return w - b·(a·g + µ·v) with v = µ·v + a·g; c[2:5] = µ, a, b."""
    direction = c[3] * g
    velocity = c[2] * velocity + direction
    return w - c[4] * (direction + c[2] * velocity), velocity


@inlined
def rmsprop(w, g, v, c):
    """Return w - η·g/root with v = ρ·v + (1 - ρ)·g²; c[2:4] = ρ, 1 - ρ; c[6] = η."""
    v = c[2] * v + c[3] * g * g
    return w - c[6] * (g / root(v, c)), v


@inlined
def root(v, c):
    """Return √(v + c[4]) + c[5]: an epsilon inside or outside of the root, the other one is 0."""
    return sqrt(v + c[4]) + c[5]


@inlined
def rmsprop_momentum(w, g, v, velocity, c):
    """Return the update of `momentum`, with g/root for g; c[6:9] = µ, a, b."""
    v = c[2] * v + c[3] * g * g
    velocity = c[6] * velocity + c[7] * (g / root(v, c))
    return w - c[8] * velocity, v, velocity


@inlined
def adagrad(w, g, v, c):
    """Return w - η·g/root with v = v + g²; c[2] = η."""
    v = v + g * g
    return w - c[2] * g / root(v, c), v


@inlined
def adadelta(w, g, v, u, c):
    """Return w - η·δ, δ = √(u + ε)/√(v + ε)·g; c[2:6] = ρ, 1 - ρ, ε, η."""
    v = c[2] * v + c[3] * g * g
    delta = sqrt(u + c[4]) / sqrt(v + c[4]) * g
    u = c[2] * u + c[3] * delta * delta
    return w - c[5] * delta, v, u


@inlined
def adam(w, g, m, v, c):
    """Return w - a·m/(√v + ε); c[2:8] = β₁, 1 - β₁, β₂, 1 - β₂, ε, a.

    m̂/(√v̂ + ε) is √(1-β₂ᵗ)/(1-β₁ᵗ)·m/(√v + √(1-β₂ᵗ)·ε), so that c holds all that depends on t.
    """
    m = c[2] * m + c[3] * g
    v = c[4] * v + c[5] * g * g
    return w - c[7] * m / (sqrt(v) + c[6]), m, v


@inlined
def nadam(w, g, m, v, c):
    """Return w - (a·m + b·g)/(√(v·d) + ε); c[2:8] as in `adam`, c[7:10] = a, b, d."""
    m = c[2] * m + c[3] * g
    v = c[4] * v + c[5] * g * g
    return w - (c[7] * m + c[8] * g) / (sqrt(v * c[9]) + c[6]), m, v


@inlined
def decayed(w, g, c):
    """Return a gradient with coupled weight decay."""
    return g if c[DECAY] == 0 else g + c[DECAY] * w


# Each update, and how many slots it has.
RULES = {
    SGD: (sgd, 0),
    MOMENTUM: (momentum, 1),
    NESTEROV: (nesterov, 1),
    RMSPROP: (rmsprop, 1),
    RMSPROP_MOMENTUM: (rmsprop_momentum, 2),
    ADAGRAD: (adagrad, 1),
    ADADELTA: (adadelta, 2),
    ADAM: (adam, 2),
    NADAM: (nadam, 2),
}


def sweep_without_slots(rule: Callable[..., Any]) -> Callable[..., None]:
    """Return a loop that applies an update to `count` weights."""

    def sweep(count, c_at, w_at, g_at, first_at, second_at):
        c = carray(c_at, NUMBERS)
        w = carray(w_at, count)
        g = carray(g_at, count)
        for i in range(count):
            w[i] = rule(c[KEEP] * w[i], decayed(w[i], g[i], c), c)

    return sweep


def sweep_with_one_slot(rule: Callable[..., Any]) -> Callable[..., None]:
    """Return such a loop for an update with one slot."""

    def sweep(count, c_at, w_at, g_at, first_at, second_at):
        c = carray(c_at, NUMBERS)
        w = carray(w_at, count)
        g = carray(g_at, count)
        slot = carray(first_at, count)
        for i in range(count):
            gradient = decayed(w[i], g[i], c)
            w[i], slot[i] = rule(c[KEEP] * w[i], gradient, slot[i], c)

    return sweep


def sweep_with_two_slots(rule: Callable[..., Any]) -> Callable[..., None]:
    """Return such a loop for an update with two slots."""

    def sweep(count, c_at, w_at, g_at, first_at, second_at):
        c = carray(c_at, NUMBERS)
        w = carray(w_at, count)
        g = carray(g_at, count)
        first = carray(first_at, count)
        second = carray(second_at, count)
        for i in range(count):
            gradient = decayed(w[i], g[i], c)
            w[i], first[i], second[i] = rule(c[KEEP] * w[i], gradient, first[i], second[i], c)

    return sweep


SWEEPS = (sweep_without_slots, sweep_with_one_slot, sweep_with_two_slots)


@cache
def update_address(code: int, dtype: str) -> int:
    """Compile the sweep of an update over the weights; return its address.

    Parameters
    ----------
    code : int
        Which update.
    dtype : str
        ``float32`` or ``float64``.
    """
    rule, slots = RULES[code]
    numbers = types.CPointer(from_dtype(np.dtype(dtype)))
    signature = types.void(types.intp, numbers, numbers, numbers, numbers, numbers)
    return address(SWEEPS[slots](rule), f"sweep_{rule.__name__}", signature)


@inlined
def update_range(update, weights, gradients, slots, c, start, stop):
    """Update the weights from `start` to `stop`, and their slots.

    Parameters
    ----------
    update : int
        The address of the sweep of the update.
    weights, gradients : ndarray, shape (parameters,)
    slots : ndarray, shape (slots, parameters)
    c : ndarray, shape (NUMBERS,)
    start, stop : int
    """
    w = weights[start:stop]
    g = gradients[start:stop]
    # A sweep does not use the pointers of slots that its update has not.
    first = slots[0, start:stop] if len(slots) > 0 else w
    second = slots[1, start:stop] if len(slots) > 1 else w
    pointers = (pointer(c), pointer(w), pointer(g), pointer(first), pointer(second))
    call(update, (w.size, *pointers))


@inlined
def add_penalty(l2, kernels, w, g):
    """Add the gradient of the L2 penalty to those of the kernels.

    Parameters
    ----------
    l2 : float
        λ, in the dtype of the arrays; 0 for none.
    kernels : ndarray of int, shape (kernels, 2)
        Where each kernel begins and ends in the flat arrays.
    w, g : ndarray, shape (parameters,)
    """
    if l2 == 0:
        return
    for k in range(len(kernels)):
        weights = w[kernels[k, 0] : kernels[k, 1]]
        gradients = g[kernels[k, 0] : kernels[k, 1]]
        for i in range(weights.size):
            gradients[i] += l2 * weights[i]


@inlined
def clip_gradients(by_value, limit, epsilon, g):
    """Bound the gradients, shape (parameters,), by value or by their norm; limit 0 is none."""
    if limit == 0:
        return
    bound = constant(limit, g[0])
    if by_value:
        for i in range(g.size):
            g[i] = min_max(g[i], bound)
        return
    squares = 0.0
    for i in range(g.size):
        squares += g[i] * g[i]
    norm = sqrt(squares) + epsilon
    if norm > limit:
        factor = constant(limit / norm, g[0])
        for i in range(g.size):
            g[i] *= factor


@inlined
def min_max(x, bound):
    """Return x, or the bound that it exceeds; NaN for NaN."""
    if x > bound:
        return bound
    if x < -bound:  # not max(), which would return the bound for NaN
        return -bound
    return x


@parallel_kernel
def update_parts(update, w, g, slots, c, shares):
    """Update all weights; the parameters are those of `update_range`.

    `shares` is the number of parts that are updated at the same time.
    """
    for share in prange(shares):
        start, stop = share_bounds(share, shares, w.size)
        update_range(update, w, g, slots, c, start, stop)


@kernel
def prepare_gradients(l2, kernels, by_value, limit, epsilon, w, g):
    """Add the penalty and clip, in place; see `add_penalty` and `clip_gradients`."""
    add_penalty(l2, kernels, w, g)
    clip_gradients(by_value, limit, epsilon, g)
