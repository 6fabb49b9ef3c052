"""The figures of a score, for people and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from statistics import median
from typing import Any

from .faults.kind import STAGES
from .judge import NO_ANSWER, Outcome


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the figures of a score.

    Returns
    -------
    dict
        ``one_fault``, ``two_faults``, ``correct`` and ``outside`` with counts, each as
        ``[right, of]``; the confusion matrices ``stages`` and ``causes`` as
        ``{truth: {answer: count}}``; ``seconds``, ``processor_seconds`` and ``memory``, None where
        they were not measured; and every ``outcome``.
    """
    one = [outcome for outcome in outcomes if outcome.faults == 1]
    two = [outcome for outcome in outcomes if outcome.faults == 2]
    correct = [outcome for outcome in outcomes if outcome.faults == 0]
    strange = [outcome for outcome in one if outcome.outside]
    return {
        "schema": 1,
        "pairs": len(outcomes),
        "one_fault": {
            "cause": _share(outcome.right_cause for outcome in one),
            "stage": _share(outcome.right_stage for outcome in one),
        },
        "outside": {
            "cause": _share(outcome.right_cause for outcome in strange),
            "stage": _share(outcome.right_stage for outcome in strange),
        },
        "two_faults": {
            "both": _share(bool(outcome.both) for outcome in two),
            "first": _share(outcome.right_cause for outcome in two),
        },
        "correct": {
            "false_alarms": _share(outcome.false_alarm for outcome in correct),
            "acquitted": _share(outcome.right_cause for outcome in correct),
        },
        "no_answer": {outcome.pair: outcome.problem for outcome in outcomes if outcome.problem},
        "stages": _confusion((o.true_stage, o.stage) for o in outcomes if o.faults < 2),
        "causes": _confusion((o.true_cause, o.cause) for o in outcomes if o.faults < 2),
        "seconds": _spread([o.seconds for o in outcomes if o.seconds is not None]),
        "processor_seconds": _spread(
            [o.processor_seconds for o in outcomes if o.processor_seconds is not None]
        ),
        "memory": max((o.peak for o in outcomes if o.peak is not None), default=None),
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def _share(right: Any) -> list[int]:
    values = list(right)
    return [sum(values), len(values)]


def _confusion(pairs: Any) -> dict[str, dict[str, int]]:
    matrix: dict[str, dict[str, int]] = {}
    for (true, answered), count in sorted(Counter(pairs).items()):
        matrix.setdefault(true, {})[answered] = count
    return matrix


def _spread(seconds: list[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    return {"median": median(seconds), "largest": max(seconds)}


def text(figures: dict[str, Any]) -> list[str]:
    """Return the figures as lines."""
    lines = [f"{figures['pairs']} pairs"]
    rows = (
        ("right cause first", figures["one_fault"]["cause"]),
        ("right stage", figures["one_fault"]["stage"]),
        ("outside of the catalogue: right", figures["outside"]["cause"]),
        ("both of two faults", figures["two_faults"]["both"]),
        ("false alarms on correct pairs", figures["correct"]["false_alarms"]),
        ("correct pairs acquitted", figures["correct"]["acquitted"]),
    )
    for title, (right, of) in rows:
        if of:
            lines.append(f"  {title:34}{right:4} of {of:4}  {right / of:7.1%}")
    for key, title in (("seconds", "seconds"), ("processor_seconds", "processor seconds")):
        spread = figures[key]
        if spread:
            values = f"median {spread['median']:.1f}, largest {spread['largest']:.1f}"
            lines.append(f"  {title}: {values}")
    if figures["memory"]:
        lines.append(f"  memory: peak {figures['memory']:.0f} MiB")
    lines += ["", "stages: truth (rows) and first finding (columns)"]
    lines += _table(figures["stages"], ("none", *STAGES))
    lines += ["", "causes that were not named first (truth: answers)"]
    lines += _mistakes(figures["causes"])
    lines += ["", "pairs that were not right", *(wrong(figures) or ["  none"])]
    return lines


def wrong(figures: dict[str, Any]) -> list[str]:
    """Return a line for each pair that is not right: the truth, and the tool's first finding."""
    lines: list[str] = []
    for outcome in figures["outcomes"]:
        if _is_right(outcome):
            continue
        true = f"{outcome['true_stage']} {outcome['true_cause']}"
        if outcome["faults"] == 2:
            true += " and another"
        first = outcome["problem"] or f"{outcome['stage']} {outcome['cause']}"
        lines.append(f"  {outcome['pair']}: {true}; answer: {first}")
    return lines


def _is_right(outcome: dict[str, Any]) -> bool:
    if outcome["faults"] == 2:
        return outcome["both"]
    return outcome["right_cause"] and outcome["right_stage"]


def _table(matrix: dict[str, dict[str, int]], order: tuple[str, ...]) -> list[str]:
    answered = {name for row in matrix.values() for name in row}
    known = [name for name in order if name in answered]
    columns = known + sorted(answered - set(order) - {NO_ANSWER})
    if NO_ANSWER in answered:
        columns.append(NO_ANSWER)
    lines = [" " * 10 + "".join(f"{name:>11}" for name in columns)]
    for name in sorted(matrix, key=lambda stage: order.index(stage) if stage in order else 99):
        cells = "".join(f"{matrix[name].get(column, '') or '.':>11}" for column in columns)
        lines.append(f"{name:10}{cells}")
    return lines


def _mistakes(matrix: dict[str, dict[str, int]]) -> list[str]:
    lines: list[str] = []
    for true, row in matrix.items():
        wrong = [f"{name} {count}" for name, count in row.items() if name != true]
        if wrong:
            lines.append(f"  {true}: right {row.get(true, 0)}; {', '.join(wrong)}")
    return lines or ["  none"]
