"""The learning rates of both sides, update by update."""

import numpy as np

from .examination import Examination
from .frameworks.adapter import ModelError
from .observation import Array
from .probes import schedule_updates

# So many updates before and after a change of the rate show what it does.
AROUND = 12
# Rates that differ less are equal: Keras keeps them in float32, and computes them of the first.
EQUAL = 1e-6
EQUAL_OF_LARGEST = 2e-7


def rates_of(examination: Examination) -> tuple[Array, Array]:
    """Return the rates of A and of B, of as many updates; they are asked for once.

    Raises
    ------
    ModelError
        If a side has neither a schedule nor an optimizer.
    """
    if not len(examination.a_rates):
        a_updates = schedule_updates(examination.a_description)
        b_updates = schedule_updates(examination.b_description)
        updates = max(a_updates, b_updates)
        dtype = examination.dtype
        try:
            a_rates = examination.a.rates(updates, dtype)
        except ModelError:
            # A recording has the rates of as many updates as its own schedule needs.
            a_rates = examination.a.rates(a_updates, dtype)
        examination.a_rates = list(a_rates)
        examination.b_rates = list(examination.b.rates(updates, dtype))
    count = min(len(examination.a_rates), len(examination.b_rates))
    return np.array(examination.a_rates[:count]), np.array(examination.b_rates[:count])


def differ(one: Array, other: Array) -> Array:
    """Return where rates differ, beyond what a conversion to float32 does."""
    sizes = np.maximum(np.abs(one), np.abs(other))
    return np.abs(one - other) > EQUAL * sizes + EQUAL_OF_LARGEST * sizes.max(initial=0.0)


def around_a_change(examination: Examination) -> Array | None:
    """Return A's rates around the first update at which they change; None if they never do."""
    if not any(each.schedule for each in examination.descriptions):
        return None
    try:
        rates, _ = rates_of(examination)
    except ModelError:
        return None
    changed = np.flatnonzero(differ(rates, np.full_like(rates, rates[0])))
    if not len(changed):
        return None
    first = max(0, int(changed[0]) - AROUND)
    return rates[first : int(changed[0]) + AROUND]
