"""The updates: each function returns a weight and its slots after a step, from their values before.

`update_range` applies one of them to a part of the flat arrays of all parameters, in one sweep: a
weight, its gradient and its slots are read once and written once.

`c` are the numbers of a step, computed in float64 and rounded once (`engines.numba.optimizers`).
"""

from collections.abc import Callable
from math import sqrt
from typing import Any

from numba import prange

from ..compilation import inlined, kernel, parallel_kernel
from .constants import constant

# What the integer `code` of the kernels means.
SGD, MOMENTUM, NESTEROV, RMSPROP, RMSPROP_MOMENTUM, ADAGRAD, ADADELTA, ADAM, NADAM = range(9)

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


# Each sweep cuts its part out of the arrays first: an index that begins at 0 is never negative, and
# only then the compiler uses vector instructions (Adam: 32 µs instead of 480 for 110,000 weights).


def sweep_without_slots(rule: Callable[..., Any]) -> Any:
    """Return a compiled loop that applies an update to the weights from `start` to `stop`."""

    @inlined
    def sweep(weights, gradients, slots, c, start, stop):
        w = weights[start:stop]
        g = gradients[start:stop]
        for i in range(w.size):
            w[i] = rule(c[KEEP] * w[i], decayed(w[i], g[i], c), c)

    return sweep


def sweep_with_one_slot(rule: Callable[..., Any]) -> Any:
    """Return such a loop for an update with one slot."""

    @inlined
    def sweep(weights, gradients, slots, c, start, stop):
        w = weights[start:stop]
        g = gradients[start:stop]
        slot = slots[0, start:stop]
        for i in range(w.size):
            gradient = decayed(w[i], g[i], c)
            w[i], slot[i] = rule(c[KEEP] * w[i], gradient, slot[i], c)

    return sweep


def sweep_with_two_slots(rule: Callable[..., Any]) -> Any:
    """Return such a loop for an update with two slots."""

    @inlined
    def sweep(weights, gradients, slots, c, start, stop):
        w = weights[start:stop]
        g = gradients[start:stop]
        first = slots[0, start:stop]
        second = slots[1, start:stop]
        for i in range(w.size):
            gradient = decayed(w[i], g[i], c)
            w[i], first[i], second[i] = rule(c[KEEP] * w[i], gradient, first[i], second[i], c)

    return sweep


sgd_sweep = sweep_without_slots(sgd)
momentum_sweep = sweep_with_one_slot(momentum)
nesterov_sweep = sweep_with_one_slot(nesterov)
rmsprop_sweep = sweep_with_one_slot(rmsprop)
rmsprop_momentum_sweep = sweep_with_two_slots(rmsprop_momentum)
adagrad_sweep = sweep_with_one_slot(adagrad)
adadelta_sweep = sweep_with_two_slots(adadelta)
adam_sweep = sweep_with_two_slots(adam)
nadam_sweep = sweep_with_two_slots(nadam)


@inlined
def update_range(code, w, g, slots, c, start, stop):
    """Update the weights from `start` to `stop`, and their slots.

    Parameters
    ----------
    code : int
        Which update: one of the codes above.
    w, g : ndarray, shape (parameters,)
        Weights and gradients.
    slots : ndarray, shape (slots, parameters)
    c : ndarray, shape (numbers,)
    start, stop : int
    """
    if code == SGD:
        sgd_sweep(w, g, slots, c, start, stop)
    elif code == MOMENTUM:
        momentum_sweep(w, g, slots, c, start, stop)
    elif code == NESTEROV:
        nesterov_sweep(w, g, slots, c, start, stop)
    elif code == RMSPROP:
        rmsprop_sweep(w, g, slots, c, start, stop)
    elif code == RMSPROP_MOMENTUM:
        rmsprop_momentum_sweep(w, g, slots, c, start, stop)
    elif code == ADAGRAD:
        adagrad_sweep(w, g, slots, c, start, stop)
    elif code == ADADELTA:
        adadelta_sweep(w, g, slots, c, start, stop)
    elif code == ADAM:
        adam_sweep(w, g, slots, c, start, stop)
    else:
        nadam_sweep(w, g, slots, c, start, stop)


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
    return max(x, -bound)


@parallel_kernel
def update_parts(code, w, g, slots, c, shares):
    """Update all weights; the parameters are those of `update_range`.

    `shares` is the number of parts that are updated at the same time.
    """
    for share in prange(shares):
        update_range(code, w, g, slots, c, share * w.size // shares, (share + 1) * w.size // shares)


@kernel
def prepare_gradients(l2, kernels, by_value, limit, epsilon, w, g):
    """Add the penalty and clip, in place; see `add_penalty` and `clip_gradients`."""
    add_penalty(l2, kernels, w, g)
    clip_gradients(by_value, limit, epsilon, g)
