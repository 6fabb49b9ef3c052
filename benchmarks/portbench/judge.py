"""Compares a tool's answer with the truth about a pair."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

NO_ANSWER = "no answer"
SAME_ID = {"N01": "D98", "N02": "D99"}  # ids of the harvested specimens, in the catalogue
LARGEST_ID = 103  # ids of the catalogue go from D01 to D103; a tool may have more
FINDINGS_THAT_COUNT = 4  # both of two faults must be among so many first findings
EQUAL_VERDICTS = ("equal", "rounding")


@dataclass(frozen=True)
class Outcome:
    """How good an answer is.

    Attributes
    ----------
    pair : str
        The pair's name.
    faults : int
        How many faults the pair has.
    outside : bool
        Whether the fault is outside of the catalogue.
    true_stage, true_cause : str
        What is right; ``none`` for a correct pair.
    stage, cause : str
        What the tool's first finding names; ``none`` if it has no finding, ``no answer`` if there
        is no answer.
    right_cause, right_stage : bool
        Whether the first finding is right. A correct pair is right if nothing is reported.
    both : bool or None
        Whether both faults are reported; None if the pair has not two.
    false_alarm : bool
        Whether a correct pair is reported to differ.
    problem : str
        Why there is no answer; empty if there is one.
    seconds : float or None
        Wall time; None if it was not measured.
    processor_seconds : float or None
        Processor time of all its processes, likewise.
    peak : float or None
        Peak memory, MiB; None if it was not measured.
    """

    pair: str
    faults: int
    outside: bool
    true_stage: str
    true_cause: str
    stage: str
    cause: str
    right_cause: bool
    right_stage: bool
    both: bool | None
    false_alarm: bool
    problem: str
    seconds: float | None
    processor_seconds: float | None
    peak: float | None


def judge(pair: str, truth: dict[str, Any], result: dict[str, Any]) -> Outcome:
    """Return how good a tool's answer to a pair is.

    Parameters
    ----------
    pair : str
        The pair's name.
    truth : dict
        The content of its ``truth.json``.
    result : dict
        ``answer``, the tool's JSON or None; ``problem``, ``seconds``, ``processor_seconds`` and
        ``peak``.
    """
    accept = truth["accept"]
    correct = accept["stages"] == ["none"]
    two = bool(truth.get("two_faults"))
    answer = result["answer"]
    findings = relevant(answer, truth) if answer is not None else []
    first = findings[0] if findings else {}
    empty = "none" if answer is not None else NO_ANSWER
    return Outcome(
        pair=pair,
        faults=0 if correct else 1 + two,
        outside=truth["cause"] == "outside",
        true_stage=truth["stage"],
        true_cause=_id(truth["cause"]),
        stage=str(first.get("stage") or empty),
        cause=_id(first.get("cause")) if first else empty,
        right_cause=_right(answer, findings, truth, cause=True),
        right_stage=_right(answer, findings, truth, cause=False),
        both=_both(findings, truth) if two else None,
        false_alarm=correct and answer is not None and not _acquits(answer, findings),
        problem=result["problem"],
        seconds=result["seconds"],
        processor_seconds=result.get("processor_seconds"),
        peak=result["peak"],
    )


def relevant(answer: dict[str, Any], truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the findings without those that are true and harmless (``also``)."""
    wanted = {cause for fault in faults(truth) for cause in _causes(fault)}
    harmless = {_id(cause) for cause in truth.get("also", ())} - wanted
    return [finding for finding in answer["findings"] if _id(finding.get("cause")) not in harmless]


def faults(truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is to be found: one entry, or two, with ``stage``, ``cause`` and ``accept``."""
    second = truth.get("second")
    return [truth, second] if second else [truth]


def _causes(fault: dict[str, Any]) -> set[str]:
    accept = fault.get("accept") or {"causes": [fault["cause"]]}
    return {_id(cause) for cause in accept["causes"]} - {"none"}


def _stages(fault: dict[str, Any]) -> set[str]:
    accept = fault.get("accept") or {"stages": [fault["stage"]]}
    return set(accept["stages"])


def _id(cause: Any) -> str:
    """Return a cause's id as text; a cause that the tool cannot name is ``unknown``."""
    if cause in (None, "", "undecided", "unknown", "outside"):
        return "unknown" if cause != "outside" else "outside"
    return SAME_ID.get(str(cause), str(cause))


def _right(
    answer: dict[str, Any] | None,
    findings: list[dict[str, Any]],
    truth: dict[str, Any],
    cause: bool,
) -> bool:
    if answer is None:
        return False
    if truth["accept"]["stages"] == ["none"]:
        return _acquits(answer, findings)
    if not findings or answer["verdict"] in EQUAL_VERDICTS:
        return False
    matches = _cause_matches if cause else _stage_matches
    return any(matches(findings[0], fault) for fault in faults(truth))


def _stage_matches(finding: dict[str, Any], fault: dict[str, Any]) -> bool:
    return finding.get("stage") in _stages(fault)


def _cause_matches(finding: dict[str, Any], fault: dict[str, Any]) -> bool:
    """Return whether a finding names a fault.

    A fault outside of the catalogue is named by its stage, with no cause or with one that the
    catalogue did not have.
    """
    cause = _id(finding.get("cause"))
    if cause in _causes(fault):
        return True
    if fault["cause"] != "outside" or not _stage_matches(finding, fault):
        return False
    number = re.fullmatch(r"D(\d+)", cause)
    return number is None or int(number[1]) > LARGEST_ID


def _both(findings: list[dict[str, Any]], truth: dict[str, Any]) -> bool:
    counted = findings[:FINDINGS_THAT_COUNT]
    return all(
        any(_cause_matches(finding, fault) for finding in counted) for fault in faults(truth)
    )


def _acquits(answer: dict[str, Any], findings: list[dict[str, Any]]) -> bool:
    """Return whether an answer says that nothing is wrong, except harmless differences."""
    if findings:
        return False
    return answer["verdict"] in EQUAL_VERDICTS or bool(answer["findings"])
