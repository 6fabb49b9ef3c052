"""Which mistake makes several workers differ from one process, tested by the recorded numbers.

A mistake is named only if the numbers of the workers' own parts, combined with the mistake in them,
are what the workers have, and combined rightly are what the one process has.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isclose

import numpy as np

from ...errors import counted
from ...scale import causes
from ...scale.causes import Cause
from ..observation import Arrays
from .differences import farthest, loss_of
from .records import RankStep

SAME_RATE = 1e-9  # relative; rates are numbers of Python, which some schedules compute anew
SHARE_OF_SAME = 0.1  # of the samples, which more than one worker has, if none divides them
NORM_EPSILON = 1e-6  # which PyTorch adds to a norm before it divides by it
NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")


@dataclass(frozen=True)
class Explanation:
    """Why something differs.

    Attributes
    ----------
    cause : Cause or None
        The mistake, if one reproduces the numbers.
    evidence : str
        What shows it, in a sentence.
    """

    cause: Cause | None = None
    evidence: str = ""


# ---- Samples ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SampleNames:
    """The numbers of samples in the data set, for messages.

    Attributes
    ----------
    known : dict of str to int
        By their digests.
    """

    known: dict[str, int]

    def note(self, step: RankStep) -> None:
        """Learn the numbers of the samples of a step."""
        if step.values.indices is not None:
            self.known.update(zip(step.values.samples, step.values.indices, strict=True))

    def of(self, samples: Sequence[str], most: int = 4) -> str:
        """Return samples in words, such as ``samples 3, 17 and 2 more``."""
        numbers = [self.known.get(each) for each in samples]
        if None in numbers:
            return counted(len(samples), "sample")
        shown = ", ".join(str(each) for each in numbers[:most])
        more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
        return f"{'sample' if len(numbers) == 1 else 'samples'} {shown}{more}"


def explain_samples(
    ours: RankStep, theirs: list[RankStep], seen: "Counter[str]", names: SampleNames
) -> Explanation:
    """Return why the workers together have other samples in a step than the one process.

    Parameters
    ----------
    ours : RankStep
        Of the one process.
    theirs : list of RankStep
        Of the workers.
    seen : Counter
        What the one process has had until now.
    names : SampleNames
        For the evidence.
    """
    single = ours.counted
    together = total(theirs)
    extra, missing = together - single, single - together
    if all(each.counted == theirs[0].counted for each in theirs) and len(theirs) > 1:
        count = counted(len(theirs[0].values.samples), "sample")
        return Explanation(
            causes.SAME_SAMPLES, f"all {len(theirs)} workers have the same {count} in this step"
        )
    if _same_indices(ours, theirs):
        return Explanation(
            causes.RANDOM_CONTENT, "the DataLoader has fetched the same samples, by their numbers"
        )
    if extra and not missing and all(each in seen or each in single for each in extra):
        twice = names.of(sorted(extra, key=lambda each: names.known.get(each, 0)))
        return Explanation(
            causes.PADDED_BY_SAMPLER,
            f"the workers have {total_of(together)} samples where one process has "
            f"{total_of(single)}; {twice} had been taken before",
        )
    if missing and not extra:
        return Explanation(causes.DROPPED, f"{names.of(sorted(missing))} are missing")
    return Explanation()


def _same_indices(ours: RankStep, theirs: list[RankStep]) -> bool:
    single = ours.values.indices
    parts = [step.values.indices for step in theirs]
    if not single or None in parts:
        return False
    return Counter(single) == Counter(index for part in parts for index in part or ())


def total(steps: list[RankStep]) -> "Counter[str]":
    """Return how often all workers together have each sample."""
    return sum((step.counted for step in steps), Counter[str]())


def total_of(samples: "Counter[str]") -> int:
    """Return how many samples there are, repeated ones included."""
    return sum(samples.values())


class Overlap:
    """Finds out whether workers take samples that others have, before they repeat their own."""

    def __init__(self) -> None:
        self._seen: list[set[str]] = []
        self._ended = False

    def note(self, steps: list[RankStep]) -> None:
        """Note the samples of a step."""
        self._seen = self._seen or [set() for _ in steps]
        for known, step in zip(self._seen, steps, strict=True):
            self._ended = self._ended or bool(known & step.counted.keys())
        if not self._ended:
            for known, step in zip(self._seen, steps, strict=True):
                known.update(step.counted)

    def explain(self) -> Explanation:
        """Return that the data is not divided, if so."""
        everything = Counter(sample for known in self._seen for sample in known)
        shared = sum(count > 1 for count in everything.values())
        if len(self._seen) < 2 or shared <= SHARE_OF_SAME * len(everything):
            return Explanation()
        return Explanation(
            causes.SAME_SAMPLES,
            f"of {counted(len(everything), 'sample')} of the first steps, {shared} were taken by "
            "more than one worker, before any worker had one twice",
        )


# ---- Forward pass -------------------------------------------------------------------------------


def explain_layer(
    call: str, kind: str, ours: RankStep, theirs: list[RankStep], bound: float
) -> Explanation:
    """Return why a layer is the first that returns something else.

    Parameters
    ----------
    call, kind : str
        The call of the layer, and its type.
    ours : RankStep
        Of the one process.
    theirs : list of RankStep
        Of the workers.
    bound : float
        What rounding explains.
    """
    layer = call.partition(", call ")[0]
    if kind not in NORMS or f"norm/{layer}/mean" not in ours.arrays:
        return Explanation()
    counts = np.array([len(step.values.samples) for step in theirs], np.float64)
    means = np.stack([step.arrays[f"norm/{layer}/mean"] for step in theirs])
    variances = np.stack([step.arrays[f"norm/{layer}/variance"] for step in theirs])
    shares = (counts / counts.sum())[:, None]
    mean = (shares * means).sum(axis=0)
    variance = (shares * (variances + (means - mean) ** 2)).sum(axis=0)
    pooled = {"mean": mean, "variance": variance}
    single = {key: ours.arrays[f"norm/{layer}/{key}"] for key in pooled}
    apart = farthest(single, pooled).figure
    own = farthest(single, {"mean": means[0], "variance": variances[0]}).figure
    if apart > bound or own <= bound:
        return Explanation()
    return Explanation(
        causes.NORM_PER_SHARD,
        f"mean and variance of what {layer} is given are, over all workers, those of one process "
        f"(up to {apart:.1e}); those of worker 1 alone differ by {own:.1e}",
    )


# ---- Gradients ----------------------------------------------------------------------------------


def explain_gradients(ours: RankStep, theirs: list[RankStep], bound: float) -> Explanation:
    """Return why the workers make the update with other gradients.

    Parameters
    ----------
    ours : RankStep
        Of the one process.
    theirs : list of RankStep
        Of the workers.
    bound : float
        What rounding explains.
    """
    locals_ = [step.of("local") for step in theirs]
    if not locals_[0] or any(each.keys() != locals_[0].keys() for each in locals_):
        return Explanation()

    def same(one: Arrays, other: Arrays) -> bool:
        return farthest(one, other).figure <= bound

    losses = [loss_of(step) for step in theirs]
    parts = _Parts(locals_, [step.weight for step in theirs], losses, loss_of(ours))
    clipped_first = _clipped_first(ours, theirs, parts, same)
    if clipped_first.cause:
        return clipped_first
    # What was given to a clipping is linear in the parts, and what it returns is not.
    kind = "unclipped" if ours.of("unclipped") and theirs[0].of("unclipped") else "gradient"
    single = ours.of(kind)
    found = [step.of(kind) for step in theirs]
    if len({step.values.gradients for step in theirs}) > 1:
        if all(same(part, has) for part, has in zip(locals_, found, strict=True)):
            return Explanation(
                causes.NOT_AVERAGED, "each worker has the gradients of its own samples"
            )
        return Explanation(None, "the workers have different gradients")
    return _linear(parts, single, found[0], same, bound)


@dataclass(frozen=True)
class _Parts:
    """The gradients of each worker's own loss, how many samples they belong to, and the losses.

    `loss` is that of the one process.
    """

    gradients: list[Arrays]
    samples: list[int]
    losses: list[float]
    loss: float

    def combined(self, factors: Sequence[float]) -> Arrays:
        """Return their sum, each with a factor."""
        first = self.gradients[0]
        return {
            name: sum(
                (factor * each[name] for factor, each in zip(factors, self.gradients, strict=True)),
                np.zeros_like(first[name]),
            )
            for name in first
        }

    @property
    def mean(self) -> Arrays:
        return self.combined([1 / len(self.samples)] * len(self.samples))

    @property
    def sum(self) -> Arrays:
        return self.combined([1.0] * len(self.samples))

    @property
    def weighted(self) -> Arrays:
        total = sum(self.samples)
        if not total:
            return self.mean
        return self.combined([each / total for each in self.samples])

    @property
    def mean_losses(self) -> tuple[float, float]:
        """The plain mean of the losses, and the one weighted by the samples."""
        total = sum(self.samples)
        products = [loss * count for loss, count in zip(self.losses, self.samples, strict=True)]
        return sum(self.losses) / len(self.losses), sum(products) / total

    def is_loss_weighted(self, bound: float) -> bool:
        """Return whether the loss of the one process is the weighted mean, and not the plain one.

        It tells the same as the gradients, and does so also where layers couple the workers.
        """
        if not sum(self.samples) or len(set(self.samples)) == 1:
            return False
        mean, weighted = self.mean_losses
        limit = bound * abs(self.loss)
        return abs(weighted - self.loss) <= limit < abs(mean - self.loss)


Same = Callable[[Arrays, Arrays], bool]


def _linear(parts: _Parts, single: Arrays, found: Arrays, same: Same, bound: float) -> Explanation:
    """Explain gradients that are linear in those of the workers."""
    workers = len(parts.samples)
    has_mean = same(parts.mean, found)
    if has_mean and same(parts.weighted, single):
        shares = " and ".join(str(each) for each in parts.samples)
        return Explanation(
            causes.MEAN_OF_MEANS,
            f"the workers have {shares} samples; the plain mean of their gradients is what they "
            "have, and the mean weighted by the samples is what one process has",
        )
    if has_mean and parts.is_loss_weighted(bound):
        mean, weighted = parts.mean_losses
        return Explanation(
            causes.MEAN_OF_MEANS,
            f"the workers have the gradients of the plain mean of their losses, {mean:.7g}; "
            f"weighted by their samples the mean is {weighted:.7g}, which is the loss of one "
            "process",
        )
    if has_mean and same(parts.sum, single):
        return Explanation(
            causes.DIVIDED_TWICE,
            f"the sum of the workers' gradients is what one process has, and they have 1/{workers} "
            "of it",
        )
    if same(parts.sum, found) and (same(parts.mean, single) or same(parts.weighted, single)):
        return Explanation(
            causes.SUMMED_TWICE,
            f"the workers have the sum of their gradients, {workers} times what one process has",
        )
    one = np.concatenate([single[name].ravel() for name in single if name in found])
    other = np.concatenate([found[name].ravel() for name in single if name in found])
    factor = float(one @ other / (one @ one)) if one.any() else 0.0
    if factor and same({name: factor * array for name, array in single.items()}, found):
        return Explanation(None, f"they are {factor:.6g} times as large as with one process")
    return Explanation()


def _clipped_first(
    ours: RankStep, theirs: list[RankStep], parts: _Parts, same: Same
) -> Explanation:
    """Explain gradients that each worker has clipped before they were averaged."""
    clips = [step.values.clip for step in theirs]
    found = theirs[0].of("gradient")
    if len(theirs) < 2 or ours.values.clip is None or ours.values.clip["kind"] != "norm":
        return Explanation()
    factors: list[float] = []
    for clip, step, own in zip(clips, theirs, parts.gradients, strict=True):
        if clip is None or clip["norm"] is None or not same(own, step.of("unclipped")):
            return Explanation()
        factors.append(min(1.0, clip["limit"] / (clip["norm"] + NORM_EPSILON)))
    predicted = parts.combined([factor / len(theirs) for factor in factors])
    right = ours.of("unclipped")
    averaged = same(parts.mean, right) or same(parts.weighted, right)
    if not (same(predicted, found) and averaged):
        return Explanation()
    norms = " and ".join(f"{clip['norm']:.3g}" for clip in clips if clip)
    return Explanation(
        causes.CLIPPED_FIRST,
        f"the workers' own gradients have norms of {norms}; clipped one by one and averaged, they "
        "are what the workers have",
    )


# ---- Rates --------------------------------------------------------------------------------------


def same_rate(one: float, other: float) -> bool:
    """Return whether two rates are equal."""
    return isclose(one, other, rel_tol=SAME_RATE, abs_tol=0.0)


def explain_rates(single: list[float], workers: list[float], count: int) -> Explanation:
    """Return why the rates of the workers are others, if a known mistake gives exactly these.

    Parameters
    ----------
    single, workers : list of float
        The rate of each step, of one process and of the first worker.
    count : int
        How many workers there are.
    """
    steps = range(min(len(workers), len(single)))
    for offset in (0, count - 1):
        pairs = [
            (single[step * count + offset], workers[step])
            for step in steps
            if step * count + offset < len(single)
        ]
        if len(pairs) > 1 and all(same_rate(*pair) for pair in pairs):
            return Explanation(
                causes.STEPPED_PER_PROCESS,
                f"the rate of step k is that of step {count}·k of one process, in "
                f"{counted(len(pairs), 'step')}",
            )
    for factor, words in ((count, f"{count}"), (count**0.5, f"the root of {count}")):
        if all(same_rate(factor * single[step], workers[step]) for step in steps):
            return Explanation(
                causes.RATE_SCALED, f"every rate is {words} times that of one process"
            )
    return Explanation()
