"""Which statistics a BatchNorm uses, found out from what it returns."""

from .bounds import relative_difference
from .examination import Examination, Pair
from .formulas import batch_statistics, moving_statistics
from .observation import Array, array_names

REPRODUCED = {"native": 1e-4, "float64": 1e-6}

BATCH = "the statistics of the batch"
RUNNING = "the running statistics"


def statistics_used(
    examination: Examination, pair: Pair, x: Array, outputs: dict[str, Array]
) -> dict[str, str]:
    """Return what both sides use, or nothing if it is the same or cannot be told.

    Parameters
    ----------
    examination : Examination
        The comparison.
    pair : Pair
        The layers.
    x : ndarray
        What both take, in B's form.
    outputs : dict of str to ndarray
        ``a`` and ``b``: what they return, in B's form.
    """
    all_weights = examination.alignment.weights_to_b(examination.a_weights)
    weights = array_names(all_weights, pair.b.path)
    tolerance = REPRODUCED[examination.dtype]
    used: dict[str, str] = {}
    for side, layer in (("a", pair.a), ("b", pair.b)):
        epsilon = layer.settings.get("epsilon", 1e-5)
        batch = batch_statistics(x, weights, epsilon)
        if relative_difference(batch, outputs[side]) <= tolerance:
            used[side] = BATCH
        elif "mean" in weights:
            moving = moving_statistics(x, weights, epsilon)
            if relative_difference(moving, outputs[side]) <= tolerance:
                used[side] = RUNNING
    return used if len(used) == 2 and used["a"] != used["b"] else {}
