"""What happens to a comparison if one of its rows fails."""

from types import SimpleNamespace

import pytest

from triptych.bench.contestants import Failure, attempt, remaining
from triptych.core.events import RowFailed
from triptych.core.selection import EngineSpec
from triptych.errors import EngineError
from triptych.process.client import WorkerDied

ROW = EngineSpec("torch", "eager")


def finish(work) -> tuple[list, object]:
    """Return the events of a generator, and what it returned."""
    events = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            return events, end.value


def raising(error: Exception):
    def action():
        raise error

    return action


def test_what_succeeds_returns_its_value_without_an_event():
    assert finish(attempt(ROW, lambda: 3, required=True)) == ([], 3)


def test_a_failure_is_an_event_and_a_value():
    failing = attempt(ROW, raising(EngineError("no compiler")), required=False)
    assert finish(failing) == ([RowFailed("torch", "no compiler")], Failure("no compiler"))


def test_without_the_reference_there_is_no_comparison():
    failing = attempt(ROW, raising(EngineError("no memory")), required=True)
    assert next(failing) == RowFailed("torch", "no memory")
    with pytest.raises(EngineError, match="the reference cannot run: no memory"):
        next(failing)


def test_the_process_of_a_row_that_died_is_closed_and_that_of_the_proof_ends_everything():
    closed = []
    remote = SimpleNamespace(close=lambda: closed.append(True))
    died = WorkerDied("it ended", remote)
    _, failure = finish(attempt(ROW, raising(died), required=False))
    assert (failure, closed) == (Failure("it ended"), [True])
    with pytest.raises(WorkerDied):
        finish(attempt(ROW, raising(died), required=False, witness=remote))


def test_rows_that_failed_take_no_further_part():
    rows = {"numpy": "a", "torch": "b", "jax": "c"}
    assert remaining(rows, {"torch": "why"}) == ["a", "c"]
