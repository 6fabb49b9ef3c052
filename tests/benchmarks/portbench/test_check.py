"""The checker runs pairs in both frameworks: it must refuse pairs that are not what they claim."""

import copy
from dataclasses import replace

import pytest

from benchmarks.portbench.check import check
from benchmarks.portbench.draw import draw
from benchmarks.portbench.families import FAMILIES
from benchmarks.portbench.faults.kind import Unsuitable
from benchmarks.portbench.faults.registry import KINDS
from benchmarks.portbench.measures import at_stage
from benchmarks.portbench.workers import JobError, Workers

pytestmark = [pytest.mark.slow, pytest.mark.framework, pytest.mark.process]
FAULTS = [
    ("not-scaled", "conv"),
    ("flatten-order", "conv"),
    ("gru-gates", "tokens"),
    ("bn-eps", "normalised"),
    ("batch-first", "recurrent"),
    ("attention-axis", "attention"),
    ("softmax-twice", "series"),
    ("momentum-rate", "dense"),
    ("schedule-unit", "dense"),
    ("bn-momentum", "residual"),
]


@pytest.fixture(scope="module")
def workers():
    with Workers() as started:
        yield started


def drawn(kinds, family):
    for attempt in range(60):
        try:
            return draw(kinds, family, f"check/{attempt}")
        except Unsuitable:
            continue
    raise AssertionError(family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_correct_pair_of_each_family_trains_equally(family, workers, tmp_path):
    result = check(drawn([], family), workers, tmp_path)
    assert result.problems == []
    assert at_stage(result.effect["correct"]["float64"], "forward") < 1e-7


@pytest.mark.parametrize(("name", "family"), FAULTS)
def test_a_fault_shows_at_its_stage_and_undoing_it_helps(name, family, workers, tmp_path):
    kind = KINDS[name]
    result = check(drawn([kind], family), workers, tmp_path)
    assert result.problems == []
    before = at_stage(result.effect["as written"]["float64"], kind.stage)
    after = at_stage(result.effect["correct"]["float64"], kind.stage)
    assert before > 100 * after


def test_a_fault_without_effect_is_refused(workers, tmp_path):
    pair = drawn([KINDS["bn-eps"]], "normalised")
    programs = {**pair.programs, "as written": pair.programs["correct"]}
    result = check(replace(pair, programs=programs), workers, tmp_path)
    assert any("times rounding at forward" in problem for problem in result.problems)


def test_a_pair_that_is_not_correct_is_refused(workers, tmp_path):
    pair = drawn([KINDS["bn-eps"]], "normalised")
    programs = {**pair.programs, "correct": pair.programs["as written"]}
    result = check(replace(pair, programs=programs), workers, tmp_path)
    assert any("the correct pair differs at forward" in problem for problem in result.problems)


def test_a_fault_at_an_earlier_stage_than_claimed_is_refused(workers, tmp_path):
    pair = drawn([KINDS["bn-eps"]], "normalised")
    pair = replace(pair, kinds=[replace(pair.kinds[0], stage="update", accept=())])
    result = check(pair, workers, tmp_path)
    assert any("differs before, at forward" in problem for problem in result.problems)


def test_a_program_that_raises_is_an_error_and_the_next_one_runs(workers, tmp_path):
    pair = drawn([], "dense")
    broken = copy.deepcopy(pair)
    broken.programs["as written"]["keras"].text += "\nraise RuntimeError('on purpose')\n"
    with pytest.raises(JobError, match="keras: RuntimeError: on purpose"):
        check(broken, workers, tmp_path / "broken")
    assert check(pair, workers, tmp_path / "whole").problems == []


def test_a_fault_is_checked_at_a_stage_that_the_other_fault_leaves_out(workers, tmp_path):
    """Losses with a penalty in one of them are not compared as such."""
    pair = drawn([KINDS["broadcast"], KINDS["penalty-factor"]], "dense")
    assert "loss" in pair.correct.not_compared
    found = check(pair, workers, tmp_path)
    assert {"correct", "as written", "without 1", "without 2"} == found.effect.keys()
    assert at_stage(found.effect["without 2"]["float64"], "loss") > 1e-3
