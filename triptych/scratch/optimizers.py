"""The optimizers: each changes one weight array and its slots in place. Formulas in `triptych.recipe`.

Python floats do not promote float32 arrays (NEP 50), so nothing here is ever silently computed in float64.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import recipe

Array = NDArray[Any]
Slots = dict[str, Array]


def sgd(o: recipe.SGD, w: Array, g: Array, slots: Slots, rate: float, step: int) -> None:
    if o.momentum:
        velocity = slots["velocity"]
        velocity *= o.momentum
        velocity += g
        g = g + o.momentum * velocity if o.nesterov else velocity
    w -= rate * g


def adam(o: recipe.Adam, w: Array, g: Array, slots: Slots, rate: float, step: int) -> None:
    m, v = slots["m"], slots["v"]
    m *= o.beta1
    m += (1 - o.beta1) * g
    v *= o.beta2
    v += (1 - o.beta2) * g**2
    # m̂ and v̂ of the paper, its corrections in double precision: 1 - β₂ᵗ loses four digits in float32.
    denominator = np.sqrt(v / (1 - o.beta2**step))
    denominator += o.epsilon
    w -= (rate / (1 - o.beta1**step)) * m / denominator


def rmsprop(o: recipe.RMSprop, w: Array, g: Array, slots: Slots, rate: float, step: int) -> None:
    v = slots["v"]
    v *= o.decay
    v += (1 - o.decay) * g**2
    w -= rate * g / (np.sqrt(v) + o.epsilon)


UPDATES: dict[type[recipe.Optimizer], Callable[[Any, Array, Array, Slots, float, int], None]] = {
    recipe.SGD: sgd,
    recipe.Adam: adam,
    recipe.RMSprop: rmsprop,
}
