"""Whole networks with BatchNorm and residuals, step by step from the reference's state: a few
steps, the last of one sample.
"""

import numpy as np
import pytest
from support.engines import rows, slow_if
from support.splits import first_digits

from triptych.core import registry, state
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.data.dataset import Dataset
from triptych.parity import lockstep
from triptych.parity.divergence import BOUND
from triptych.spec import zoo
from triptych.spec.optimizers import optimizer
from triptych.spec.recipe import Recipe

pytestmark = pytest.mark.usefixtures("optimised")


def coloured(split: Split) -> Split:
    """The digits on 32×32, in three colours that lie apart."""
    wide = np.pad(split.images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return Split(
        np.concatenate(
            [np.roll(wide, shift, axis) for shift, axis in ((0, 1), (2, 1), (-2, 2))], axis=-1
        ),
        split.labels,
    )


def cases() -> list:
    """Return both networks in every engine; JAX compiles them for ten and thirty seconds.

    Of the larger one, each sample of a step takes 40 MB in float64.
    """
    found = []
    for network, samples, batch in (("lenet-bn", 41, 8), ("resnet20", 5, 4)):
        for row in rows(numpy=False, others=False):
            fast = ("torch",) if network == "resnet20" else ("torch", "tensorflow")
            slow = slow_if(row.values[0] not in fast)
            name = f"{network}-{samples}-{row.id}"
            marks = [*row.marks, *slow]
            found.append(pytest.param(network, samples, batch, *row.values, id=name, marks=marks))
    return found


@pytest.mark.parametrize(("network", "samples", "batch", "name", "backend"), cases())
def test_each_step_is_equal(
    network: str, samples: int, batch: int, name: str, backend: str, digits: Dataset
):
    few = first_digits(samples)
    described, recipe = zoo.get(network), Recipe(1, batch, optimizer("nesterov"), dtype="float64")
    few = few if described.input_shape == zoo.GREY else coloured(few)
    rule = lockstep.Tolerances.of(described, recipe)
    assert rule.amplifies_rounding
    reference, candidate = (
        registry.create("numpy", described, recipe),
        registry.create(name, described, recipe, backend=backend),
    )
    schedule, start = BatchPlanner(described, recipe, samples), state.initial(described, recipe)
    *_, outcome = lockstep.walk(reference, candidate, few, schedule.singles(), start, rule)
    assert outcome.divergence is None, str(outcome.divergence)
    assert outcome.steps == schedule.steps
    assert outcome.largest <= BOUND
