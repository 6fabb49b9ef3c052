"""What a score must reach."""

import pytest

from benchmarks.portbench.requirement import Requirement
from triptych.errors import TriptychError

FIGURES = {
    "one_fault": {"cause": [19, 20], "stage": [20, 20]},
    "two_faults": {"both": [0, 0]},
    "correct": {"false_alarms": [2, 200]},
}


@pytest.mark.parametrize("text", ["cause=0.95", "stage=1", "false-alarms=0.01"])
def test_figures_that_hold(text):
    assert Requirement.parse(text).problem(FIGURES) == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cause=0.96", "right cause first: at least 96.0% required, but it is 95.0% (19 of 20)"),
        ("both=0.85", "both of two faults: at least 85.0% required, but no pair tells it"),
        (
            "false-alarms=0.009",
            "false alarms on correct pairs: at most 0.9% required, but it is 1.0% (2 of 200)",
        ),
    ],
)
def test_figures_that_do_not_hold(text, problem):
    assert Requirement.parse(text).problem(FIGURES) == problem


@pytest.mark.parametrize("text", ["cause", "cause=", "cause=95", "cause=-0.1", "speed=0.5", "=1"])
def test_texts_that_are_no_requirement(text):
    with pytest.raises(TriptychError, match="is not NAME=SHARE"):
        Requirement.parse(text)
