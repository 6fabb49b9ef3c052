"""Differences of recorded numbers, and how much of them rounding explains.

What rounding explains is measured: the script is also run with its first weights moved by some
units in the last place. See `triptych.doctor.bounds`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from ..bounds import FEWEST_UNITS, MARGIN
from ..observation import Array, Arrays, largest
from .records import RankStep
from .sketch import positions

# By more than this, relative to the largest number, what models are given differs for another
# reason than rounding.
LARGEST_OF_GIVEN = 1e-4


@dataclass(frozen=True)
class Difference:
    """Where two sets of arrays are farthest apart.

    Attributes
    ----------
    figure : float
        The largest difference over the largest value of the reference.
    name : str
        Of the array.
    position : int or None
        In its sketch; None if one of both lacks the array, or has it in another shape.
    values : tuple of float
        Of the reference and of the other.
    """

    figure: float
    name: str = ""
    position: int | None = None
    values: tuple[float, float] = (0.0, 0.0)


def farthest(reference: Arrays, other: Arrays) -> Difference:
    """Return where two sets of arrays with the same names are farthest apart."""
    lacking = sorted(reference.keys() ^ other.keys())
    lacking += [each for each in reference if each in other and not _fit(reference, other, each)]
    if lacking:
        return Difference(inf, lacking[0])
    top = max((largest(array) for array in reference.values() if array.size), default=0.0)
    worst = Difference(0.0)
    for name, array in reference.items():
        if not array.size:
            continue
        apart = np.abs(array - other[name])
        apart[(array == other[name]) | (np.isnan(array) & np.isnan(other[name]))] = 0.0
        position = int(np.argmax(np.where(np.isnan(apart), inf, apart)))
        figure = _over(float(apart.flat[position]), top)
        if figure > worst.figure:
            values = float(array.flat[position]), float(other[name].flat[position])
            worst = Difference(figure, name, position, values)
    return worst


def _fit(reference: Arrays, other: Arrays, name: str) -> bool:
    return reference[name].shape == other[name].shape


def _over(difference: float, top: float) -> float:
    if difference == 0:
        return 0.0
    return difference / top if top and np.isfinite(difference) else inf


def place(name: str, position: int | None, shape: list[int], entries: int) -> str:
    """Return an entry of a sketch as a user would write it, such as ``0.weight[3, 7]``.

    Parameters
    ----------
    name : str
        Of the array.
    position : int or None
        In the sketch.
    shape : list of int
        Of the array.
    entries : int
        Of each sketch.
    """
    size = int(np.prod(shape))
    chosen = positions(size, entries)
    if position is None or not shape or position >= len(chosen):
        return name
    index = np.unravel_index(int(chosen[position]), shape)
    return f"{name}[{', '.join(str(each) for each in index)}]"


def floating(arrays: Arrays, counters: Iterable[str]) -> Arrays:
    """Return arrays without counters, whose values are whole numbers."""
    left_out = set(counters)
    return {name: array for name, array in arrays.items() if name not in left_out}


def outputs_by_sample(steps: list[RankStep]) -> dict[str, tuple[str, dict[str, Array]]]:
    """Return what each layer has returned, by the digests of the samples.

    Parameters
    ----------
    steps : list of RankStep
        One step of all workers.

    Returns
    -------
    dict
        By the name of each call, in order: the type of the layer, and a sketch for each sample.
    """
    found: dict[str, tuple[str, dict[str, Array]]] = {}
    for step in steps:
        samples = step.values.samples
        for call, kind in step.values.layers:
            rows = step.arrays[f"layer/{call}"]
            if len(rows) == len(samples):
                _, known = found.setdefault(call, (kind, {}))
                for sample, row in zip(samples, rows, strict=True):
                    known.setdefault(sample, row)
    return found


def rows_apart(reference: dict[str, Array], other: dict[str, Array]) -> float:
    """Return how far apart two layers are on the samples that both have, as a figure."""
    common = [sample for sample in reference if sample in other]
    if not common:
        return 0.0
    ours = np.stack([reference[sample] for sample in common])
    theirs = np.stack([other[sample] for sample in common])
    if np.array_equal(ours, theirs, equal_nan=True):
        return 0.0
    top = float(np.max(np.abs(ours[:, -1])))
    # The last column has largest values, which move more than sums do only where one is wrong.
    return _over(float(np.max(np.abs(ours - theirs))), top)


def with_samples_of(reference: RankStep, step: RankStep, bound: float) -> RankStep:
    """Return a step whose samples have the names that they have in another step, but for rounding.

    What one model has made of its samples is given to another one, as in adversarial training, and
    differs in its last bits.

    Parameters
    ----------
    reference : RankStep
        The other step.
    step : RankStep
        The step.
    bound : float
        What rounding explains, as a figure of sketches of what models were given.
    """
    unknown = [row for row, each in enumerate(step.values.samples) if each not in reference.counted]
    ours, theirs = (each.arrays.get("given/rows") for each in (reference, step))
    if not unknown or ours is None or theirs is None:
        return step
    if len(ours) != len(reference.values.samples) or len(theirs) != len(step.values.samples):
        return step
    limit = bound * largest(ours)
    samples = list(step.values.samples)
    for row in unknown:
        apart = np.max(np.abs(ours - theirs[row]), axis=1)
        nearest = int(np.argmin(apart))
        if apart[nearest] <= limit:
            samples[row] = reference.values.samples[nearest]
    return RankStep(replace(step.values, samples=samples), step.arrays)


@dataclass
class Rounding:
    """What rounding explains until now, by the kind of numbers.

    Attributes
    ----------
    unit : float
        The unit roundoff of the weights.
    floors : dict of str to float
        How far the moved run has been from the unmoved one, at most.
    """

    unit: float = 0.0
    floors: dict[str, float] = field(default_factory=dict[str, float])

    def bound(self, kind: str) -> float:
        """Return the largest figure that counts as equal."""
        return max(FEWEST_UNITS * self.unit, MARGIN * self.floors.get(kind, 0.0))

    def note(self, kind: str, figure: float) -> None:
        """Note how far the moved run is from the unmoved one."""
        self.floors[kind] = max(figure, self.floors.get(kind, 0.0))

    def note_step(self, ours: RankStep, moved: RankStep) -> None:
        """Note a step of both runs."""
        self.unit = ours.values.unit
        given = [step.of("given").get("rows", np.zeros(0)) for step in (ours, moved)]
        if given[0].shape == given[1].shape and given[0].size:
            apart = float(np.max(np.abs(given[0] - given[1])))
            figure = _over(apart, largest(given[0]))
            # Other samples are no rounding.
            self.note("given", figure if figure <= LARGEST_OF_GIVEN else 0.0)
        counters = counters_of(ours)
        for kind in ("gradient", "unclipped", "weights", "buffers"):
            pair = [floating(step.of(kind), counters) for step in (ours, moved)]
            self.note(kind, farthest(*pair).figure)
        self.note("loss", _over(abs(loss_of(ours) - loss_of(moved)), abs(loss_of(ours))))
        theirs = outputs_by_sample([moved])
        for call, (_, rows) in outputs_by_sample([ours]).items():
            if call in theirs:
                self.note(f"layer/{call}", rows_apart(rows, theirs[call][1]))


def counters_of(step: RankStep) -> list[str]:
    """Return the names of buffers that hold no floating numbers."""
    return [name for name in step.of("buffers") if name.endswith("num_batches_tracked")]


def loss_of(step: RankStep) -> float:
    """Return the loss of a worker, the sum over its backward passes."""
    return sum(value for value, _ in step.values.losses)
