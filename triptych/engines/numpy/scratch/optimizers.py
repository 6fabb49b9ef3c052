"""What happens between a gradient and the new weight. Formulas in `triptych.spec.optimizers` and `triptych.spec.losses`.

Python floats do not promote float32 arrays (NEP 50), so nothing here is ever silently computed in float64.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from ....core.builders import BuilderTable
from ....spec import optimizers as spec
from ....spec.recipe import Recipe
from .crew import Crew
from .products import Array

Slots = dict[str, Array]
Update = Callable[[Any, Array, Array, Slots, float, int], None]

CHUNK = 2**15  # numbers updated at a time, so that they, their slots and all in between stay in the processor's cache
WORTH = 8  # chunks: for fewer, waking a thread takes longer than it saves


def prepare(recipe: Recipe, gradients: dict[str, Array], weights: dict[str, Array], flat: Array) -> None:
    """Add the penalty's part to the gradients and clip them, in place; they are views of a flat array."""
    if recipe.loss.l2:
        for name, g in gradients.items():
            if name.endswith("/kernel"):
                g += recipe.loss.l2 * weights[name]
    clip = recipe.clip
    if clip.limit is None:
        return
    if clip.by == "value":
        np.clip(flat, -clip.limit, clip.limit, out=flat)
        return
    norm = sqrt(float(np.vdot(flat, flat))) + clip.epsilon
    if norm > clip.limit:
        flat *= clip.limit / norm


def update(o: spec.Optimizer, w: Array, g: Array, slots: Slots, rate: float, step: int, crew: Crew) -> None:
    """Change all weights and their slots in place.

    Parameters
    ----------
    o : Optimizer
    w, g : ndarray, shape (parameters,)
        Weights and their gradients, of one dtype.
    slots : dict of str to ndarray, shape (parameters,)
    rate : float
    step : int
        From 1.
    crew : Crew
        The threads that share the work.
    """

    one = UPDATES.find(o)

    def work(k: int) -> None:
        part = slice(k * CHUNK, (k + 1) * CHUNK)
        _decayed(one, o, w[part], g[part], {name: slot[part] for name, slot in slots.items()}, rate, step)

    crew.each(-(-w.size // CHUNK), work, WORTH)


def _decayed(one: Update, o: spec.Optimizer, w: Array, g: Array, slots: Slots, rate: float, step: int) -> None:
    if o.weight_decay and o.decoupled:
        w *= 1 - rate * o.weight_decay
    elif o.weight_decay:
        g = g + o.weight_decay * w
    one(o, w, g, slots, rate, step)


def sgd(o: spec.SGD, w: Array, g: Array, slots: Slots, rate: float, step: int) -> None:
    _move(o, w, g, slots, rate, o.nesterov)


def _move(o: spec.Momentum, w: Array, g: Array, slots: Slots, rate: float, nesterov: bool = False) -> None:
    """Go against `g`, through the velocity where there is one."""
    if o.momentum:
        if o.velocity == "steps":
            g, rate = rate * g, 1.0
        velocity = slots["velocity"]
        velocity *= o.momentum
        velocity += g
        g = g + o.momentum * velocity if nesterov else velocity
    w -= rate * g


def rmsprop(o: spec.RMSprop, w: Array, g: Array, slots: Slots, rate: float, step: int) -> None:
    v = slots["v"]
    v *= o.rho
    v += (1 - o.rho) * g**2
    _move(o, w, g / _root(v, o.epsilon, o.epsilon_inside), slots, rate)


def adagrad(o: spec.Adagrad, w: Array, g: Array, slots: Slots, rate: float, step: int) -> None:
    v = slots["v"]
    v += g**2
    w -= rate * g / _root(v, o.epsilon, o.epsilon_inside)


def adadelta(o: spec.Adadelta, w: Array, g: Array, slots: Slots, rate: float, step: int) -> None:
    v, u = slots["v"], slots["u"]
    v *= o.rho
    v += (1 - o.rho) * g**2
    delta = np.sqrt(u + o.epsilon) / np.sqrt(v + o.epsilon) * g
    u *= o.rho
    u += (1 - o.rho) * delta**2
    w -= rate * delta


def adam(o: spec.Adam, w: Array, g: Array, slots: Slots, rate: float, step: int) -> None:
    m, v = _moments(o, g, slots)
    # 1 - βᵗ in double precision: in float32 it loses four digits.
    of_m, of_v = 1 - o.beta1**step, 1 - o.beta2**step
    # m/(√(v/of_v) + ε) is √of_v·m/(√v + √of_v·ε): one sweep over v less. With ε first it is √of_v·m/(√v + ε).
    change = _root(v, o.epsilon if o.epsilon_first else o.epsilon * sqrt(of_v))
    np.divide(m, change, out=change)
    change *= rate * sqrt(of_v) / of_m
    w -= change


def nadam(o: spec.Nadam, w: Array, g: Array, slots: Slots, rate: float, step: int) -> None:
    m, v = _moments(o, g, slots)
    ahead = o.mu(step + 1) / (1 - o.product(step + 1)) * m
    ahead += (1 - o.mu(step)) / (1 - o.product(step)) * g
    w -= rate * ahead / _root(v / (1 - o.beta2**step), o.epsilon)


def _moments(o: spec.Moments, g: Array, slots: Slots) -> tuple[Array, Array]:
    m, v = slots["m"], slots["v"]
    share = (1 - o.beta1) * g
    m *= o.beta1
    m += share
    np.multiply(g, g, out=share)
    share *= 1 - o.beta2
    v *= o.beta2
    v += share
    return m, v


def _root(v: Array, epsilon: float, inside: bool = False) -> Array:
    if inside:
        return np.sqrt(v + epsilon)
    root = np.sqrt(v)
    root += epsilon
    return root


UPDATES: BuilderTable[Update] = BuilderTable("NumPy", "optimizer")
UPDATES.register(spec.SGD, sgd)
UPDATES.register(spec.Adam, adam)
UPDATES.register(spec.AdamW, adam)
UPDATES.register(spec.Nadam, nadam)
UPDATES.register(spec.RMSprop, rmsprop)
UPDATES.register(spec.Adagrad, adagrad)
UPDATES.register(spec.Adadelta, adadelta)
