"""What is said of predictions and losses."""

from math import log

import pytest

from triptych.core.metrics import unlearned


@pytest.mark.parametrize(
    ("first", "last", "steps", "said"),
    [
        (2.5, 0.3, 500, False),
        (2.5, log(10) * 0.999, 500, False),  # hardly better than guessing, and better it is
        (2.5, log(10) * 1.001, 500, True),
        (2.5, 2.4, 5, False),  # on its way
        (2.5, 1e5, 5, True),
    ],
)
def test_a_training_that_is_worse_than_guessing_is_named(
    first: float, last: float, steps: int, said: bool
):
    found = unlearned(first, last, steps, 10)
    assert (found is not None) == said
    if found:
        assert f"{last:.4g}, is above 2.303, that of guessing among 10 classes" in found
