"""The updates of the NumPy engine.

A builder of an optimizer is a function ``update(optimizer, weights, gradients, slots, rate, step)``
that changes weights and slots in place. `optimizer` is the description. All arrays have shape
(count,) and the same dtype; `slots` is a dictionary of arrays by name. `rate` is the learning rate
of the step, and `step` is its number, from 1. The engine applies weight decay, penalty and clipping
before it calls the function.
"""

from ...spec.optimizers import Optimizer
from .scratch.optimizers import UPDATES, Update


def register_optimizer(spec_class: type[Optimizer], update: Update) -> None:
    """Use `update` for optimizers of `spec_class`; its signature is at the top of this file."""
    UPDATES.register(spec_class, update)
