"""A walk in which both engines compute at the same time: errors, and Ctrl-C."""

import threading
from itertools import islice

import numpy as np
import pytest

from triptych.core import registry, state
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.errors import EngineError
from triptych.parity import lockstep
from triptych.spec import zoo
from triptych.spec.recipe import Recipe

SECONDS = 10.0  # after which a test counts as blocked
NETWORK = zoo.dense("narrow", [4], shape=(2, 2, 1), classes=3)
RECIPE = Recipe(1, 4, dtype="float64")
SPLIT = Split(np.full((12, 2, 2, 1), 7, np.uint8), np.arange(12, dtype=np.int32) % 3)


class Engine:
    """NumPy's engine, whose trace calls a function first."""

    def __init__(self, before_trace=lambda: None) -> None:
        self.engine = registry.create("numpy", NETWORK, RECIPE)
        self.before_trace = before_trace

    def __getattr__(self, name: str):
        return getattr(self.engine, name)

    def trace(self, data, plan, *, outputs=True):
        self.before_trace()
        return self.engine.trace(data, plan, outputs=outputs)


def walk(reference, candidate, *, concurrently: bool):
    plans = islice(BatchPlanner(NETWORK, RECIPE, len(SPLIT)).singles(), 3)
    start = state.initial(NETWORK, RECIPE)
    *_, outcome = lockstep.walk(
        reference, candidate, SPLIT, plans, start, concurrently=concurrently
    )
    return outcome


def failing(error: BaseException):
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize("concurrently", [False, True])
def test_the_outcome_is_the_same_whether_both_compute_at_the_same_time(concurrently: bool):
    outcome = walk(Engine(), Engine(), concurrently=concurrently)
    assert (outcome.equal, outcome.steps, outcome.largest) == (True, 3, 0.0)


def test_an_error_of_the_reference_is_raised():
    with pytest.raises(EngineError, match="the reference fails"):
        walk(Engine(failing(EngineError("the reference fails"))), Engine(), concurrently=True)


def test_an_error_of_the_candidate_is_raised_when_the_reference_has_replied():
    """Its reply would be taken for that to the next request, which another row may make."""
    began = threading.Event()
    replied = threading.Event()

    def reply_late() -> None:
        began.set()
        threading.Event().wait(0.2)
        replied.set()

    def fail() -> None:
        assert began.wait(SECONDS)
        raise EngineError("the candidate fails")

    with pytest.raises(EngineError, match="the candidate fails"):
        walk(Engine(reply_late), Engine(fail), concurrently=True)
    assert replied.is_set()


def test_ctrl_c_does_not_wait_for_a_step_of_the_reference():
    began = threading.Event()
    free = threading.Event()
    returned = threading.Event()

    def block() -> None:
        began.set()
        free.wait(SECONDS)
        returned.set()

    def stop() -> None:
        assert began.wait(SECONDS)
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            walk(Engine(block), Engine(stop), concurrently=True)
        assert not returned.is_set()
    finally:
        free.set()
