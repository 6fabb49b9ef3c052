"""What a script evaluates between its updates: which samples, and how it averages over workers."""

from collections import Counter

import numpy as np

from ...errors import counted
from ...scale import causes
from .hypotheses import Explanation
from .records import Evaluation, Run

SAME_FIGURE = 1e-6  # of an average over the workers, relative; it is computed in single precision

Found = tuple[int, str, Explanation]


def compare_evaluations(single: Run, other: Run, equal_steps: int) -> Found | None:
    """Compare what was evaluated after each update.

    Parameters
    ----------
    single, other : Run
        One process, and several workers.
    equal_steps : int
        Up to this step the weights are equal, so that averages can be compared, too.

    Returns
    -------
    tuple or None
        The step, what differs, and why; None if nothing differs.
    """
    for step in range(min(single.steps, other.steps) + 1):
        ours = _evaluation(single, step, 0)
        theirs = [_evaluation(other, step, rank) for rank in range(other.workers)]
        if ours is None or any(each is None for each in theirs):
            continue
        parts = [each for each in theirs if each is not None]
        found = _compare_samples(ours, parts)
        if found is None and step <= equal_steps:
            found = compare_sums(ours, parts)
        if found:
            return step, *found
    return None


def _evaluation(run: Run, step: int, rank: int) -> Evaluation | None:
    """Return what was evaluated just before a step, or at the end."""
    evaluations: list[Evaluation]
    if step < run.steps:
        evaluations = run.evaluations(step, rank)
    elif step == run.counts[rank]:
        evaluations = run.evaluations_at_end()[rank]
    else:
        evaluations = []
    return evaluations[0] if evaluations else None


def _compare_samples(ours: Evaluation, theirs: list[Evaluation]) -> tuple[str, Explanation] | None:
    single = Counter(ours.samples)
    parts = [Counter(each.samples) for each in theirs]
    if all(not part or part == single for part in parts):
        return None  # by one worker, or by all of them in whole
    together = sum(parts, Counter[str]())
    if together == single:
        return None
    extra, missing = together - single, single - together
    counts = " + ".join(str(sum(part.values())) for part in parts)
    what = (
        f"one process evaluates {counted(sum(single.values()), 'sample')}, the workers {counts} = "
        f"{sum(together.values())}"
    )
    if extra and not missing and all(each in single for each in extra):
        evidence = f"{counted(sum(extra.values()), 'sample')} more, which count twice"
        return what, Explanation(causes.PADDED_BY_SAMPLER, evidence)
    if missing and not extra:
        evidence = f"{counted(sum(missing.values()), 'sample')} are missing"
        return what, Explanation(causes.DROPPED, evidence)
    return what, Explanation()


def compare_sums(ours: Evaluation, theirs: list[Evaluation]) -> tuple[str, Explanation] | None:
    """Compare numbers that were added over the workers, if these had unequal shares.

    Parameters
    ----------
    ours : Evaluation
        Of one process.
    theirs : list of Evaluation
        Of the workers.

    Returns
    -------
    tuple or None
        What differs, and why.
    """
    workers = len(theirs)
    sums = [each.sums for each in theirs]
    if workers < 2 or any(len(each) != len(ours.sums) for each in sums):
        return None
    for number, single in enumerate(ours.sums):
        added = [each[number] for each in sums]
        samples = np.array([each["samples"] for each in added], np.float64)
        before = np.array([each["before"] for each in added], np.float64)
        right = np.array(single["after"], np.float64)
        if before.shape != (workers, len(right)) or len(set(samples)) == 1 or not samples.all():
            continue
        weighted = samples @ before / samples.sum()
        for entry in range(len(right)):
            plain = before[:, entry].mean()
            if _same(weighted[entry], right[entry]) and not _same(plain, right[entry]):
                shares = " and ".join(str(int(each)) for each in samples)
                what = (
                    f"an average is {right[entry]:.7g} with one process and {plain:.7g} as the "
                    "mean of the workers'"
                )
                evidence = (
                    f"the workers have evaluated {shares} samples; weighted by these, their "
                    "averages are what one process has"
                )
                return what, Explanation(causes.MEAN_OF_MEANS, evidence)
    return None


def _same(one: float, other: float) -> bool:
    return bool(abs(one - other) <= SAME_FIGURE * max(abs(one), abs(other)))
