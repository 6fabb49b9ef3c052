"""The updates of the Numba engine; `triptych.spec.optimizers` has the formulas.

A builder of an optimizer is a function ``builder(optimizer)``. It returns a function
``update(weights, gradients, slots, rate, step)`` that changes weights and slots in place: flat
arrays of shape (parameters,), and slots of shape (slots, parameters) in the specification's order.
`rate` is the learning rate of the step, and `step` is its number, from 1. Weight decay is the
function's; penalty and clipping are applied before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.builders import BuilderTable
from ...spec import optimizers as spec
from .kernels import updates
from .threads import share_count

Array = NDArray[Any]
UpdateFunction = Callable[[Array, Array, Array, float, int], None]
OptimizerBuilder = Callable[[Any], UpdateFunction]
Numbers = Callable[[float, int], tuple[float, ...]]

OPTIMIZERS: BuilderTable[OptimizerBuilder] = BuilderTable("Numba", "optimizer")


def register_optimizer(spec_class: type[spec.Optimizer], builder: OptimizerBuilder) -> None:
    """Use `builder` for optimizers of `spec_class`; see the top of this file."""
    OPTIMIZERS.register(spec_class, builder)


def build_optimizer(optimizer: spec.Optimizer) -> UpdateFunction:
    """Return the function that updates all parameters."""
    return OPTIMIZERS.find(optimizer)(optimizer)


@dataclass(frozen=True)
class CompiledUpdate:
    """An update of `kernels.updates`.

    Attributes
    ----------
    optimizer : Optimizer
        Its settings.
    code : int
        Which update.
    numbers : callable
        Takes the rate and the number of the step, and returns the numbers that the update's
        docstring names, from c[2] on.
    """

    optimizer: spec.Optimizer
    code: int
    numbers: Numbers

    def coefficients(self, rate: float, step: int) -> tuple[float, ...]:
        """Return all numbers of a step: those of the weight decay come first."""
        o = self.optimizer
        keep = 1 - rate * o.weight_decay if o.decoupled else 1.0
        decay = 0.0 if o.decoupled else o.weight_decay
        numbers = (keep, decay, *self.numbers(rate, step))
        return (*numbers, *(0.0,) * (updates.NUMBERS - len(numbers)))

    def address(self, dtype: str) -> int:
        """Return the address of the compiled update."""
        return updates.update_address(self.code, dtype)

    def __call__(
        self, weights: Array, gradients: Array, slots: Array, rate: float, step: int
    ) -> None:
        """Update all parameters, as the top of this file tells."""
        c = np.array(self.coefficients(rate, step), weights.dtype)
        update = self.address(weights.dtype.name)
        updates.update_parts(update, weights, gradients, slots, c, share_count(weights.size))


def build_sgd(o: spec.SGD) -> CompiledUpdate:
    """Return the update of SGD, with or without momentum."""
    if not o.momentum:
        return CompiledUpdate(o, updates.SGD, lambda rate, step: (rate,))
    code = updates.NESTEROV if o.nesterov else updates.MOMENTUM
    return CompiledUpdate(o, code, lambda rate, step: velocity_numbers(o, rate))


def velocity_numbers(o: spec.Momentum, rate: float) -> tuple[float, float, float]:
    """Return µ, what the gradient is multiplied by, and what the velocity is multiplied by."""
    if o.velocity == "steps":  # Keras's convention (D54)
        return o.momentum, rate, 1.0
    return o.momentum, 1.0, rate


def root_numbers(o: spec.RMSprop | spec.Adagrad) -> tuple[float, float]:
    """Return the epsilon inside the root and the one outside, of which one is 0."""
    return (o.epsilon, 0.0) if o.epsilon_inside else (0.0, o.epsilon)


def build_rmsprop(o: spec.RMSprop) -> CompiledUpdate:
    """Return the update of RMSprop, with or without momentum."""
    mean = (o.rho, 1 - o.rho, *root_numbers(o))
    if not o.momentum:
        return CompiledUpdate(o, updates.RMSPROP, lambda rate, step: (*mean, rate))
    return CompiledUpdate(
        o, updates.RMSPROP_MOMENTUM, lambda rate, step: (*mean, *velocity_numbers(o, rate))
    )


def build_adagrad(o: spec.Adagrad) -> CompiledUpdate:
    """Return the update of Adagrad."""
    return CompiledUpdate(o, updates.ADAGRAD, lambda rate, step: (rate, 0.0, *root_numbers(o)))


def build_adadelta(o: spec.Adadelta) -> CompiledUpdate:
    """Return the update of Adadelta."""
    return CompiledUpdate(
        o, updates.ADADELTA, lambda rate, step: (o.rho, 1 - o.rho, o.epsilon, rate)
    )


def build_adam(o: spec.Adam) -> CompiledUpdate:
    """Return the update of Adam."""

    def numbers(rate: float, step: int) -> tuple[float, ...]:
        root = sqrt(1 - o.beta2**step)
        epsilon = o.epsilon if o.epsilon_first else o.epsilon * root  # Keras's convention (D47)
        return (*moment_numbers(o), epsilon, rate * root / (1 - o.beta1**step))

    return CompiledUpdate(o, updates.ADAM, numbers)


def build_nadam(o: spec.Nadam) -> CompiledUpdate:
    """Return the update of Nadam."""

    def numbers(rate: float, step: int) -> tuple[float, ...]:
        share_of_m = o.mu(step + 1) / (1 - o.product(step + 1))
        share_of_gradient = (1 - o.mu(step)) / (1 - o.product(step))
        correction = 1 / (1 - o.beta2**step)
        return (
            *moment_numbers(o),
            o.epsilon,
            rate * share_of_m,
            rate * share_of_gradient,
            correction,
        )

    return CompiledUpdate(o, updates.NADAM, numbers)


def moment_numbers(o: spec.Moments) -> tuple[float, float, float, float]:
    """Return what the moments and the gradient are multiplied by."""
    return o.beta1, 1 - o.beta1, o.beta2, 1 - o.beta2


register_optimizer(spec.SGD, build_sgd)
register_optimizer(spec.Adam, build_adam)
register_optimizer(spec.AdamW, build_adam)
register_optimizer(spec.Nadam, build_nadam)
register_optimizer(spec.RMSprop, build_rmsprop)
register_optimizer(spec.Adagrad, build_adagrad)
register_optimizer(spec.Adadelta, build_adadelta)
