"""The result of a comparison: the figures in results.json. No ratio without parity."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import metrics, registry
from ..core.selection import EngineSpec
from ..data.dataset import Dataset
from ..parity.float32 import largest_weight_difference
from ..process import machine
from ..spec.titles import title
from .contestants import Settings
from .proof import Proved, Standing
from .starting import Started
from .statistics import Interval, fastest, interval, ratio
from .timing import Timed, Trained
from .validity import FEWEST_ROUNDS, Rounds, RowBlocks

SHORTEST_BLOCK_SECONDS = 0.05
LARGEST_CPU_SHARE = 1.1  # for each thread that a row may use

# The entries that are None in a row that failed.
MEASURED = (
    "accuracy",
    "confusion",
    "differing_predictions",
    "weights_apart",
    "loss",
    "training_seconds",
    "step",
    "warm_up",
    "cpu_share",
    "ratio",
)


@dataclass(frozen=True)
class Comparison:
    """One seed's comparison, complete: what was compared, and what each phase returned."""

    dataset: Dataset
    settings: Settings
    started: Started
    proved: Proved
    timed: Timed

    @property
    def live(self) -> list[EngineSpec]:
        """The rows that did not fail, the reference first."""
        return [spec for spec in self.settings.rows if spec.key not in self.timed.failures]

    @property
    def reference(self) -> EngineSpec:
        """The row with which all others are compared."""
        return self.settings.rows[0]

    def standing(self, spec: EngineSpec) -> Standing:
        """Return whether the times of a row may be compared."""
        return Standing(
            spec,
            self.proved.proofs.get(spec.key),
            self.timed.failures.get(spec.key),
            self.timed.same_start.get(spec.key, True),
        )

    def counted_seconds(self, spec: EngineSpec) -> list[float]:
        """Return a row's seconds for one step in the rounds that count."""
        rounds = self.timed.rounds
        return [block.seconds for block in rounds.rows[spec.key].counted(rounds.counted)]


def result(comparison: Comparison) -> dict[str, Any]:
    """Return the result of one seed, an entry of ``runs`` in results.json."""
    settings = comparison.settings
    pace = comparison.started.pace
    rounds = comparison.timed.rounds
    seconds = {spec.key: comparison.counted_seconds(spec) for spec in comparison.live}
    proved = {
        spec.key: seconds[spec.key]
        for spec in comparison.live
        if seconds[spec.key] and not comparison.standing(spec).unproved
    }
    enough = len(rounds.counted) >= FEWEST_ROUNDS and not rounds.busy
    return {
        "seed": settings.recipe.seed,
        "title": title(settings.network, settings.recipe),
        "parameters": settings.network.parameter_count,
        "data": comparison.dataset.describe(),
        "steps": pace.planner.steps,
        "block_steps": pace.block_steps,
        "batch": pace.planner.batch,
        "drawing_seconds": float(np.median(comparison.timed.drawing_seconds)),
        "rounds": {
            "timed": len(rounds.rows[comparison.reference.key].blocks),
            "valid": len(rounds.counted),
            "calm": len(rounds.calm),
        },
        "busy": rounds.busy,
        "fastest": fastest(proved) if enough else None,
        "rows": {spec.key: _row(comparison, spec) for spec in settings.rows},
        "notes": notes(comparison),
    }


def _row(comparison: Comparison, spec: EngineSpec) -> dict[str, Any]:
    """Return everything about one row."""
    entry = registry.entry(spec.engine)
    started = comparison.started
    trained = comparison.timed.trained.get(spec.key)
    running = started.rows.get(spec.key)
    row: dict[str, Any] = {
        "engine": spec.engine,
        "backend": spec.backend,
        "label": spec.label,
        "mode": entry.backends[spec.backend],
        "argued": entry.argued,
        "device": running.engine.device if running else None,
        "seconds": started.seconds[spec.key],
        "peak_bytes": trained.peak_bytes if trained else None,
        "blas": trained.blas if trained else [],
    }
    row |= comparison.standing(spec).to_json() | dict.fromkeys(MEASURED)
    if trained:
        row |= _learned(comparison, spec, trained) | _times(comparison, spec)
    return row


def _learned(comparison: Comparison, spec: EngineSpec, trained: Trained) -> dict[str, Any]:
    """Return what a row learned, and how far that is from what the reference learned."""
    labels = comparison.dataset.test.labels
    reference = comparison.timed.trained[comparison.reference.key]
    classes = len(comparison.dataset.classes)
    return metrics.tested(trained.predictions, labels, classes) | {
        "differing_predictions": int((trained.predictions != reference.predictions).sum()),
        "weights_apart": largest_weight_difference(reference.state, trained.state),
        "loss": comparison.timed.losses[spec.key][-1],
    }


def _times(comparison: Comparison, spec: EngineSpec) -> dict[str, Any]:
    """Return the times of a row; without a block that counts, most are None."""
    rounds = comparison.timed.rounds
    blocks = rounds.rows[spec.key]
    times: dict[str, Any] = {
        "warm_up": [block.seconds for block in blocks.warmups],
        "cpu_share": blocks.cpu_share(rounds.counted),
    }
    seconds = comparison.counted_seconds(spec)
    if not seconds:
        return times
    step = interval(seconds)
    times["step"] = step.to_json() | {"unstable": step.unstable, "rounds": len(seconds)}
    times["training_seconds"] = step.median * comparison.started.pace.planner.steps
    pair = [comparison.standing(spec), comparison.standing(comparison.reference)]
    if not any(standing.unproved for standing in pair):
        times["ratio"] = ratio(seconds, comparison.counted_seconds(comparison.reference)).to_json()
    return times


def spread(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return each row's accuracy and speed over seeds.

    Parameters
    ----------
    results : list of dict
        What `result` returned for each seed.

    Returns
    -------
    dict of str to dict
        By row, of those that failed with no seed: accuracies with their sample standard deviation,
        and the median over seeds of the median step and ratio.
    """
    rows: dict[str, dict[str, Any]] = {}
    for key in results[0]["rows"]:
        of_seeds = [result["rows"][key] for result in results]
        if any(row["failed"] for row in of_seeds):
            continue
        accuracies = [row["accuracy"]["value"] for row in of_seeds]
        ratios = [row["ratio"]["median"] for row in of_seeds if row["ratio"]]
        rows[key] = {
            "label": of_seeds[0]["label"],
            "accuracies": accuracies,
            "mean": float(np.mean(accuracies)),
            "deviation": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0,
            "lowest": min(accuracies),
            "highest": max(accuracies),
            "step": float(np.median([row["step"]["median"] for row in of_seeds if row["step"]])),
            "ratio": float(np.median(ratios)) if len(ratios) == len(of_seeds) else None,
        }
    return rows


def notes(comparison: Comparison) -> list[str]:
    """Return what a reader must know before believing the times."""
    sentences = [
        f"{name}={value} is set: it decides which kernels are used"
        for name, value in machine.kernel_settings().items()
    ]
    sentences += notes_on_rounds(comparison.timed.rounds)
    if comparison.settings.recipe.random == "free":
        sentences.append(
            "each engine drew its own dropout masks, and that is in its times; "
            "the proof was made with masks that were fed"
        )
    losses = comparison.timed.losses[comparison.reference.key]
    if losses:
        classes = comparison.settings.network.classes
        loss = comparison.settings.recipe.loss
        failure = metrics.unlearned(losses[0], losses[-1], len(losses), loss, classes)
        if failure:
            sentences.append(failure)
    return sentences + _notes_on_rows(comparison)


def notes_on_rounds(rounds: Rounds) -> list[str]:
    """Return how many rounds do not count, and why."""
    valid = len(rounds.valid)
    counted = len(rounds.counted)
    sentences: list[str] = []
    if valid < rounds.timed:
        sentences.append(
            f"{rounds.timed - valid} of {rounds.timed} rounds were left out: "
            "another worker used over 5 % of a processor meanwhile"
        )
    if counted < valid:
        sentences.append(
            f"{valid - counted} of {rounds.timed} rounds were left out: "
            "other programs used the machine meanwhile"
        )
    if rounds.busy:
        consequence = "the times are not reliable"
        if len(rounds.rows) > 1:
            consequence += " and no row is named the fastest"
        sentences.append(f"the machine was busy, so {consequence}: {rounds.busy}")
    if counted < FEWEST_ROUNDS:
        sentences.append(
            f"only {counted} rounds are left; with fewer than {FEWEST_ROUNDS} no winner is named"
        )
    return sentences


def _notes_on_rows(comparison: Comparison) -> list[str]:
    """Return which rows had blocks too short, too many processors, or unstable times."""
    rounds = comparison.timed.rounds
    timed = [row for row in rounds.rows.values() if row.counted(rounds.counted)]
    sentences: list[str] = []
    for row in timed:
        block_seconds = comparison.started.pace.block_steps * _step(row, rounds.counted).median
        if block_seconds < SHORTEST_BLOCK_SECONDS:
            sentences.append(
                f"{row.label}: its blocks took only {block_seconds * 1e3:.0f} ms; "
                "at least 50 ms are wanted"
            )
        threads = comparison.settings.threads
        share = row.cpu_share(rounds.counted) or 0.0
        if share > LARGEST_CPU_SHARE * threads:
            allowed = "1 was allowed" if threads == 1 else f"{threads} were allowed"
            sentences.append(f"{row.label}: used {share:.1f} processors where {allowed}")
    unstable = [row.label for row in timed if _step(row, rounds.counted).unstable]
    if unstable:
        sentences.append(
            "unstable, the interval of the step time is wider than 10 % of the median: "
            f"{', '.join(unstable)}"
        )
    return sentences


def _step(row: RowBlocks, rounds: Collection[int]) -> Interval:
    return interval([block.seconds for block in row.counted(rounds)])
