"""Whole networks with BatchNorm and residuals, step by step from the reference's state: a few steps, the last of one sample."""

import numpy as np
import pytest
from support.engines import rows

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


@pytest.mark.parametrize(("name", "backend"), rows(numpy=False, slow=False))
@pytest.mark.parametrize(("network", "samples"), [("lenet-bn", 41), ("resnet20", 9)])
def test_each_step_is_equal(network: str, samples: int, name: str, backend: str, digits: Dataset):
    few = Split(digits.train.images[:samples], digits.train.labels[:samples])
    described, recipe = zoo.get(network), Recipe(1, 8, optimizer("nesterov"), dtype="float64")
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
