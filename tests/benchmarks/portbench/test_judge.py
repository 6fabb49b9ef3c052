"""Answers written by hand, and what they are worth."""

import copy

import pytest

from benchmarks.portbench.judge import judge
from benchmarks.portbench.summary import summary, text, wrong

ONE = {
    "stage": "forward",
    "cause": "D18",
    "accept": {"stages": ["forward", "mode"], "causes": ["D18"]},
    "also": ["D01", "D20"],
    "two_faults": False,
}
TWO = {
    **ONE,
    "two_faults": True,
    "second": {
        "stage": "update",
        "cause": "D59",
        "accept": {"stages": ["update"], "causes": ["D59"]},
    },
}
CORRECT = {
    "stage": "none",
    "cause": "none",
    "accept": {"stages": ["none"], "causes": ["none"]},
    "also": ["D01", "D20"],
    "two_faults": False,
}
OUTSIDE = {
    "stage": "loss",
    "cause": "outside",
    "accept": {"stages": ["loss"], "causes": []},
    "also": [],
    "two_faults": False,
}


def answer(verdict, *findings):
    rows = [{"stage": stage, "cause": cause} for stage, cause in findings]
    return {
        "answer": {"schema": 1, "verdict": verdict, "findings": rows},
        "problem": "",
        "seconds": 2.0,
        "processor_seconds": 3.0,
        "peak": 100.0,
    }


def no_answer(problem):
    return {
        "answer": None,
        "problem": problem,
        "seconds": 300.0,
        "processor_seconds": 9.0,
        "peak": 50.0,
    }


def marks(truth, result):
    outcome = judge("a", truth, result)
    return outcome.right_cause, outcome.right_stage, outcome.false_alarm


@pytest.mark.parametrize(
    ("result", "cause", "stage"),
    [
        (answer("differ", ("forward", "D18")), True, True),
        (answer("differ", ("mode", "D18")), True, True),
        (answer("differ", ("forward", "D23")), False, True),  # a wrong cause
        (answer("differ", ("update", "D18")), True, False),  # a wrong stage
        (answer("differ", ("loss", "D37"), ("forward", "D18")), False, False),  # ranked second
        (answer("differ", ("weights", "D01"), ("forward", "D18")), True, True),  # harmless first
        (answer("undecided", ("forward", None)), False, True),
        (answer("equal"), False, False),
        (answer("rounding", ("forward", "D18")), False, False),  # found, but acquitted
        (no_answer("stopped after 300 seconds"), False, False),
    ],
)
def test_one_fault(result, cause, stage):
    assert marks(ONE, result) == (cause, stage, False)


@pytest.mark.parametrize(
    ("result", "right", "alarm"),
    [
        (answer("equal"), True, False),
        (answer("rounding"), True, False),
        (answer("differ", ("buffers", "D20")), True, False),  # true, and harmless
        (answer("differ", ("buffers", "D20"), ("loss", "D38")), False, True),
        (answer("differ"), False, True),
        (answer("undecided"), False, True),
        (no_answer("no JSON was written (exit status 1)"), False, False),
    ],
)
def test_a_correct_pair(result, right, alarm):
    assert marks(CORRECT, result) == (right, right, alarm)


@pytest.mark.parametrize(
    ("result", "cause", "stage"),
    [
        (answer("undecided", ("loss", None)), True, True),
        (answer("differ", ("loss", "undecided")), True, True),
        (answer("differ", ("loss", "D104")), True, True),  # an id that the catalogue had not
        (answer("differ", ("loss", "D38")), False, True),  # a cause that it is not
        (answer("undecided", ("forward", None)), False, False),
        (answer("undecided"), False, False),
    ],
)
def test_a_fault_outside_of_the_catalogue(result, cause, stage):
    assert marks(OUTSIDE, result) == (cause, stage, False)


@pytest.mark.parametrize(
    ("result", "both"),
    [
        (answer("differ", ("forward", "D18"), ("update", "D59")), True),
        (answer("differ", ("update", "D59"), ("forward", "D18")), True),
        (answer("differ", ("forward", "D18")), False),
        (
            answer("differ", *[("loss", f"D{n}") for n in (34, 37, 38, 39)], ("update", "D59")),
            False,
        ),
        (answer("equal"), False),
        (no_answer("crashed"), False),
    ],
)
def test_two_faults(result, both):
    assert judge("a", TWO, result).both is both


def test_a_list_of_every_cause_does_not_find_both_faults():
    everything = [("loss", f"D{n}") for n in range(30, 104)] + [("forward", "D18")]
    assert judge("a", TWO, answer("differ", *everything)).both is False


def test_the_ids_of_the_specimens_are_those_of_the_catalogue():
    truth = {**copy.deepcopy(ONE), "cause": "N02"}
    truth["accept"]["causes"] = ["N02"]
    outcome = judge("a", truth, answer("differ", ("forward", "D99")))
    assert outcome.right_cause
    assert outcome.true_cause == "D99"


def test_the_figures():
    outcomes = [
        judge("1", ONE, answer("differ", ("forward", "D18"))),
        judge("2", ONE, answer("differ", ("forward", "D23"))),
        judge("3", OUTSIDE, answer("undecided", ("loss", None))),
        judge("4", TWO, answer("differ", ("forward", "D18"), ("update", "D59"))),
        judge("5", CORRECT, answer("equal")),
        judge("6", CORRECT, answer("differ", ("loss", "D38"))),
        judge("7", ONE, no_answer("stopped after 300 seconds")),
    ]
    figures = summary(outcomes)
    assert figures["one_fault"] == {"cause": [2, 4], "stage": [3, 4]}
    assert figures["outside"] == {"cause": [1, 1], "stage": [1, 1]}
    assert figures["two_faults"] == {"both": [1, 1], "first": [1, 1]}
    assert figures["correct"] == {"false_alarms": [1, 2], "acquitted": [1, 2]}
    assert figures["stages"]["forward"] == {"forward": 2, "no answer": 1}
    assert figures["stages"]["none"] == {"none": 1, "loss": 1}
    assert figures["causes"]["D18"] == {"D18": 1, "D23": 1, "no answer": 1}
    assert figures["no_answer"] == {"7": "stopped after 300 seconds"}
    assert figures["seconds"] == {"median": 2.0, "largest": 300.0}
    assert figures["processor_seconds"] == {"median": 3.0, "largest": 9.0}
    assert figures["memory"] == 100.0
    lines = "\n".join(text(figures))
    assert "right cause first" in lines
    assert "50.0%" in lines
    assert "D18: right 1; D23 1, no answer 1" in lines
    assert lines.endswith("\n".join(["pairs that were not right", *wrong(figures)]))


def test_the_pairs_that_were_not_right_are_listed():
    outcomes = [
        judge("1", ONE, answer("differ", ("forward", "D18"))),
        judge("2", ONE, answer("differ", ("forward", "D23"))),
        judge("3", ONE, answer("differ", ("update", "D18"))),
        judge("4", OUTSIDE, answer("undecided", ("loss", None))),
        judge("5", TWO, answer("differ", ("forward", "D18"), ("update", "D59"))),
        judge("6", TWO, answer("differ", ("forward", "D18"))),
        judge("7", CORRECT, answer("equal")),
        judge("8", CORRECT, answer("undecided")),
        judge("9", CORRECT, no_answer("no JSON was written")),
    ]
    assert wrong(summary(outcomes)) == [
        "  2: forward D18; answer: forward D23",
        "  3: forward D18; answer: update D18",
        "  6: forward D18 and another; answer: forward D18",
        "  8: none none; answer: none none",
        "  9: none none; answer: no JSON was written",
    ]
