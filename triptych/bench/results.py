"""From rows to figures: what stands in results.json for one seed. No ratio without parity."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import metrics
from ..parity.float32 import largest_weight_difference
from ..process import machine
from ..spec.titles import title
from . import load
from .contestants import Row, valid_rounds
from .statistics import fastest, interval, ratio

if TYPE_CHECKING:
    from .comparison import Comparison

SHORTEST_BLOCK = 0.05
FEWEST = 6  # valid rounds: with five, the interval of a median is as wide as the range
MEASURED = (
    *("accuracy", "confusion", "differing_predictions", "weights_apart", "loss"),
    *("training_seconds", "step", "warm_up", "cpu_share", "ratio"),
)  # None in a row that failed


def result(comparison: "Comparison") -> dict[str, Any]:
    """Return the result of one seed, as JSON."""
    rows, labels, classes = (
        comparison.rows,
        comparison.dataset.test.labels,
        len(comparison.dataset.classes),
    )
    valid, busy = counted_rounds(comparison)
    times = {
        row.spec.key: [b.seconds for b in row.blocks if b.round in valid] for row in comparison.live
    }
    reference = comparison.reference
    said: dict[str, Any] = {}
    for row in rows:
        key = row.spec.key
        said[key] = row.to_json() | dict.fromkeys(MEASURED)
        if row.failed or row.predictions is None or reference.predictions is None:
            continue
        right = int((row.predictions == labels).sum())
        low, high = metrics.wilson(right, len(labels))
        step = interval(times[key]) if times[key] else None
        said[key] |= {
            "accuracy": {
                "value": right / len(labels),
                "right": right,
                "of": len(labels),
                "low": low,
                "high": high,
            },
            "confusion": metrics.confusion(row.predictions, labels, classes).tolist(),
            "differing_predictions": int((row.predictions != reference.predictions).sum()),
            "weights_apart": largest_weight_difference(
                comparison.states[reference.spec.key], comparison.states[key]
            ),
            "loss": row.losses[-1],
            "training_seconds": step.median * comparison.schedule.steps if step else None,
            "step": step.to_json() | {"unstable": step.unstable, "rounds": len(times[key])}
            if step
            else None,
            "warm_up": [block.seconds for block in row.warmups],
            "cpu_share": _cpu_share(row, valid),
            "ratio": ratio(times[key], times[reference.spec.key]).to_json()
            if times[key] and not row.unproved and not reference.unproved
            else None,
        }
    proved = {
        row.spec.key: times[row.spec.key]
        for row in comparison.live
        if not row.unproved and times[row.spec.key]
    }
    schedule = comparison.schedule
    return {
        "seed": comparison.settings.recipe.seed,
        "title": title(comparison.settings.network, comparison.settings.recipe),
        "parameters": comparison.settings.network.parameter_count,
        "data": comparison.dataset.describe(),
        "steps": schedule.steps,
        "block_steps": comparison.block_steps,
        "batch": schedule.batch,
        "drawing_seconds": float(np.median(comparison.drawing)),
        "rounds": {
            "timed": len(reference.blocks),
            "valid": len(valid),
            "calm": len(comparison.calm_rounds),
        },
        "busy": busy,
        "fastest": fastest(proved) if len(valid) >= FEWEST and not busy else None,
        "rows": said,
        "notes": notes(comparison, valid, busy),
    }


def counted_rounds(comparison: "Comparison") -> tuple[set[int], str | None]:
    """Return the rounds whose times count, and why the machine was too busy to name a winner.

    Returns
    -------
    rounds : set of int
        The calm ones, or all valid ones if the machine was busy.
    busy : str or None
        The reason, or None if enough rounds were calm.
    """
    valid = valid_rounds(comparison.live)
    calm = comparison.calm_rounds
    if len(calm) >= min(FEWEST, len(valid)):
        return calm, None
    return valid, load.reason(comparison.live, valid, comparison.others)


def _cpu_share(row: Row, rounds: set[int]) -> float | None:
    shares = [block.cpu_share for block in row.blocks if block.round in rounds]
    return float(np.median(shares)) if shares else None


def spread(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return each row's accuracy and speed over seeds: sample standard deviation, medians of medians."""
    found: dict[str, dict[str, Any]] = {}
    for key in results[0]["rows"]:
        rows = [result["rows"][key] for result in results]
        if any(row["failed"] for row in rows):
            continue
        accuracies = [row["accuracy"]["value"] for row in rows]
        ratios = [row["ratio"]["median"] for row in rows if row["ratio"]]
        found[key] = {
            "label": rows[0]["label"],
            "accuracies": accuracies,
            "mean": float(np.mean(accuracies)),
            "deviation": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0,
            "lowest": min(accuracies),
            "highest": max(accuracies),
            "step": float(np.median([row["step"]["median"] for row in rows if row["step"]])),
            "ratio": float(np.median(ratios)) if len(ratios) == len(rows) else None,
        }
    return found


def notes(comparison: "Comparison", valid: set[int], busy: str | None) -> list[str]:
    """Return what a reader must know before believing the times.

    Parameters
    ----------
    comparison : Comparison
    valid : set of int
        The rounds whose times count.
    busy : str or None
        Why the machine was too busy.
    """
    threads = comparison.settings.threads
    found = [
        f"{name}={value} is set: it decides which kernels are used"
        for name, value in machine.kernel_settings().items()
    ]
    timed = max((len(row.blocks) for row in comparison.live), default=0)
    undisturbed = len(valid_rounds(comparison.live))
    if undisturbed < timed:
        found.append(
            f"{timed - undisturbed} of {timed} rounds were left out: another worker used over 5 % of a processor meanwhile"
        )
    if len(valid) < undisturbed:
        found.append(
            f"{undisturbed - len(valid)} of {timed} rounds were left out: other programs used the machine meanwhile"
        )
    if busy:
        consequence = " and no row is named the fastest" if len(comparison.live) > 1 else ""
        found.append(f"the machine was busy, so the times are not reliable{consequence}: {busy}")
    if len(valid) < FEWEST:
        found.append(
            f"only {len(valid)} rounds are left; with fewer than {FEWEST} no winner is named"
        )
    if comparison.settings.recipe.random == "free":
        found.append(
            "each engine drew its own dropout masks, and that is in its times; the proof was made with masks that were fed"
        )
    losses = comparison.reference.losses
    if losses and (
        said := metrics.unlearned(
            losses[0], losses[-1], len(losses), comparison.settings.network.classes
        )
    ):
        found.append(said)
    unstable: list[str] = []
    for row in comparison.live:
        kept = [block for block in row.blocks if block.round in valid]
        if not kept:
            continue
        step = interval([block.seconds for block in kept])
        block = comparison.block_steps * step.median
        share = _cpu_share(row, valid) or 0.0
        if step.unstable:
            unstable.append(row.spec.label)
        if block < SHORTEST_BLOCK:
            found.append(
                f"{row.spec.label}: its blocks took only {block * 1e3:.0f} ms; at least 50 ms are wanted"
            )
        if share > 1.1 * threads:
            found.append(
                f"{row.spec.label}: used {share:.1f} processors where {threads} {'was' if threads == 1 else 'were'} allowed"
            )
    if unstable:
        found.append(
            f"unstable, the interval of the step time is wider than 10 % of the median: {', '.join(unstable)}"
        )
    return found
