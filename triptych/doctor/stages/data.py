"""What the models get: inputs after preprocessing, and the order of the batches."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..bounds import relative_difference
from ..code_lines import value_text
from ..examination import Examination, Result
from ..findings import Acquittal, Finding
from ..forcing import run
from ..frameworks.adapter import Unsupported
from ..observation import Array, Arrays, Call, Observation
from ..places import as_output
from ..preprocessing import SAME, Explanation, Raw, explain

STAGE = "data"

# Up to this rank correlation with the original order, samples count as shuffled.
SHUFFLED = 0.5

# How both sides get one order.
SHARED_ORDER = "order = np.random.default_rng(0).permutation(len(x))"

# How many samples of an order are shown.
SHOWN_SAMPLES = 5


def examine(examination: Examination) -> Result:
    """Compare the inputs of both models, and the batches where both sides make them.

    Parameters
    ----------
    examination : Examination
        The comparison; it has the alignment, and B has A's weights.
    """
    findings, acquitted, largest = _Inputs(examination).compared()
    findings = [*findings, *_batches(examination)]
    return Result(tuple(findings), tuple(acquitted), largest, SAME)


@dataclass(frozen=True)
class _Arrival:
    """What reaches a layer that takes model inputs; of models without layers, what they return.

    Attributes
    ----------
    a, b : ndarray
        What arrives on both sides, in B's form: each from its preprocessing.
    b_fed : ndarray
        What arrives in B if it gets A's inputs.
    """

    a: Array
    b: Array
    b_fed: Array

    @property
    def differs_inside(self) -> bool:
        """Whether the models make something else of the same inputs."""
        return relative_difference(self.a, self.b_fed) > SAME


class _Inputs:
    """Compares the inputs.

    Parameters
    ----------
    examination : Examination
        The comparison.
    """

    def __init__(self, examination: Examination) -> None:
        self.examination = examination
        self.names = examination.names
        self.a = examination.alignment.inputs_to_b(examination.a_inputs)
        self.b = examination.b_inputs
        self.raw = _raw(examination.batch)

    def compared(self) -> tuple[list[Finding], list[Acquittal], float]:
        """Return what differs, what does not matter, and the largest difference that is equal."""
        differences = {
            name: relative_difference(array, self.b[name])
            for name, array in self.a.items()
            if name in self.b
        }
        if len(self.a) != len(self.b):
            title = f"{self.names['a']} has {len(self.a)} inputs, {self.names['b']} {len(self.b)}"
            values = {"a": len(self.a), "b": len(self.b)}
            return [Finding(STAGE, None, title, values=values, proved=True)], [], 0.0
        arrivals = list(self._arrivals())
        other = [each for each in arrivals if relative_difference(each.a, each.b) > SAME]
        differing = [name for name, difference in differences.items() if difference > SAME]
        equal = [each for each in differences.values() if each <= SAME]
        largest = max(equal, default=0.0)
        if arrivals and not other and not self._turned():
            self._keep_own(differing)
            return [], [self._made_up(differences, name) for name in differing], largest
        inside = self._inside([each for each in other if each.differs_inside])
        if inside is not None:
            return [inside], [], largest
        findings = [self._explained(name, differences[name]) for name in differing]
        findings += self._turned()
        return findings, [], largest

    def _arrivals(self) -> Iterator[_Arrival]:
        """Yield what reaches the layers that take model inputs."""
        examination = self.examination
        if any(array.shape != self.b[name].shape for name, array in self.a.items()):
            return
        if examination.b.recording() is not None:
            return  # it cannot be fed with other samples
        expected = examination.alignment.forced(examination.a_evaluation)
        b = run(examination, inputs=self.b).arrays
        fed = run(examination).arrays
        # Where other samples arrive if the inputs are in another order, the inputs arrive.
        if examination.whole:
            output = as_output(examination.a_evaluation.arrays["output"], b["output"].shape)
            yield _Arrival(output, b["output"], fed["output"])
        turned = run(examination, inputs={name: x[::-1].copy() for name, x in self.a.items()})
        for pair in examination.alignment.called:
            name = f"{pair.b_calls[0]}/input"
            if name in expected and not np.array_equal(turned.arrays[name], fed[name]):
                yield _Arrival(expected[name], b[name], fed[name])

    def _turned(self) -> list[Finding]:
        """Return findings for inputs whose shapes show that height and width are exchanged."""
        findings: list[Finding] = []
        for form in self.examination.alignment.inputs.values():
            if form.exchanged:
                title = f"height and width of the inputs are exchanged in {self.names['b']}"
                values = {"axes": list(form.axes)}
                findings.append(Finding(STAGE, None, title, values=values, proved=True))
        return findings

    def _keep_own(self, names: list[str]) -> None:
        """Let B have its inputs in all that follows."""
        alignment = self.examination.alignment
        forms = dict(alignment.inputs)
        for name in names:
            forms[name] = replace(forms[name], given=self.b[name])
        self.examination.alignment = replace(alignment, inputs=forms)

    def _made_up(self, differences: dict[str, float], name: str) -> Acquittal:
        layer = _rescaling(self.examination.b_built) or _rescaling(self.examination.a_evaluation)
        where = f" (by {layer.layer or layer.name})" if layer else ""
        return Acquittal(
            STAGE,
            "D77",
            "the models get different inputs and compensate for it themselves",
            f"the inputs differ by {differences[name]:.1e} of the largest value; what reaches the "
            f"first layers with weights is equal{where}",
        )

    def _inside(self, arrivals: Iterable[_Arrival]) -> Finding | None:
        """Return the finding if a scale inside a model is not made up for by the other side."""
        a_layer = _rescaling(self.examination.a_evaluation)
        b_layer = _rescaling(self.examination.b_built)
        if a_layer is None and b_layer is None:
            return None
        for arrival in arrivals:
            explanation = explain(arrival.a, arrival.b, self.raw, self.names)
            if explanation is not None and explanation.cause:
                paths = {
                    "a": a_layer.layer or a_layer.name if a_layer else None,
                    "b": b_layer.layer or b_layer.name if b_layer else None,
                }
                return self._finding(explanation, paths, relative_difference(arrival.a, arrival.b))
        return None

    def _explained(self, name: str, difference: float) -> Finding:
        explanation = explain(self.a[name], self.b[name], self.raw, self.names)
        if explanation is not None:
            return self._finding(explanation, {"a": None, "b": None}, difference)
        shapes = [list(self.a[name].shape), list(self.b[name].shape)]
        title = f"the models get different {name}s, and no known preprocessing explains it"
        values = {"a": _summary(self.a[name]), "b": _summary(self.b[name])}
        if shapes[0] != shapes[1]:
            title = f"the model inputs have other shapes: {shapes[0]} and {shapes[1]}"
            values = {"a": shapes[0], "b": shapes[1]}
        return Finding(STAGE, None, title, values=values, effect={"input": difference})

    def _finding(
        self, explanation: Explanation, layer: dict[str, str | None], difference: float
    ) -> Finding:
        return Finding(
            STAGE,
            explanation.cause,
            explanation.title,
            layer,
            dict(explanation.values),
            {"input": difference, "bound": SAME},
            dict(explanation.fix),
            proved=True,
            evidence="A's inputs, changed so, are B's up to "
            f"{value_text(explanation.residual)} of the largest value",
        )


def _summary(array: Array) -> str:
    if not array.size:
        return "empty"
    return f"from {value_text(float(array.min()))} to {value_text(float(array.max()))}"


def _rescaling(observation: Observation) -> Call | None:
    """Return the call that rescales what the model gets, before its first layer with weights."""
    for call in observation.calls:
        if call.anchor:
            return None
        if call.kind in ("rescaling", "merge", "function") or "ormaliz" in call.name:
            return call
    return None


def _raw(batch: Arrays) -> Raw:
    x = batch.get("x")
    if x is None:
        return Raw()
    images = None
    if x.ndim == 3 and min(x.shape[1:]) > 3:
        images = x[..., None]
    elif x.ndim == 4:
        images = x if x.shape[-1] <= 4 else np.moveaxis(x, 1, -1)
    counts = (len(x), x.size, x.size // max(1, x.shape[-1]))
    return Raw(images, counts)


def _batches(examination: Examination) -> Iterator[Finding]:
    """Yield how the batches of an epoch differ."""
    if not examination.has("batches"):
        if examination.has("batch_size"):
            a = examination.a_description.batch_size
            b = examination.b_description.batch_size
            if a != b:
                yield _batch_finding("D80", "the batch size", a, b)
        return
    try:
        yield from _Batches(examination).compared()
    except Unsupported:
        return


def _batch_finding(
    cause: str | None, what: str, a: object, b: object, fix: str | None = None
) -> Finding:
    title = f"{what}: {a} against {b}"
    return Finding(
        STAGE,
        cause,
        title,
        values={"a": a, "b": b},
        fix={"a": fix, "b": fix},
        proved=True,
        evidence="one epoch of both sides was compared with the batch as given",
    )


class _Batches:
    """Compares the batches of one epoch.

    Parameters
    ----------
    examination : Examination
        The comparison.

    Raises
    ------
    Unsupported
        If a side has no batches.
    """

    def __init__(self, examination: Examination) -> None:
        self.sides = (examination.a, examination.b)
        self.dtype = examination.dtype
        self.batch = examination.batch
        self.a, self.b = (side.batches(self.batch) for side in self.sides)

    def compared(self) -> Iterator[Finding]:
        """Yield the differences."""
        a_sizes, b_sizes = _sizes(self.a), _sizes(self.b)
        if a_sizes[:1] != b_sizes[:1]:
            yield _batch_finding("D80", "the size of a batch", a_sizes[0], b_sizes[0])
        elif a_sizes != b_sizes:
            a_last, b_last = f"{len(a_sizes)} batches", f"{len(b_sizes)} batches"
            a_last += f", the last of {a_sizes[-1]}"
            b_last += f", the last of {b_sizes[-1]}"
            yield _batch_finding("D80", "the last batch of an epoch", a_last, b_last)
        a_order, b_order = self._order(self.a), self._order(self.b)
        if a_order is None or b_order is None:
            return
        words = {"a": _order_word(a_order), "b": _order_word(b_order)}
        if words["a"] != words["b"]:
            cause = "D81" if "partly" in (words["a"] + words["b"]) else "D80"
            yield _batch_finding(cause, "the order of the samples", words["a"], words["b"])
        elif not _same_order(a_order, b_order) and self._is_chosen(a_order, b_order):
            yield _batch_finding(
                None,
                "the order of the samples, which each side draws with a seed",
                _first_samples(a_order),
                _first_samples(b_order),
                SHARED_ORDER,
            )

    def _is_chosen(self, *orders: Array) -> bool:
        """Return whether both sides draw these orders again: they have seeds, not chance.

        Only in double precision this can be told: each side is built a second time then, so that a
        generator which goes on from epoch to epoch begins anew, and chance draws other numbers.
        """
        if self.dtype == "native":
            return False
        for side, order in zip(self.sides, orders, strict=True):
            if side.is_recorded:
                return False  # only one epoch is known
            again = self._order(side.batches(self.batch, self.dtype))
            if again is None or not np.array_equal(order, again):
                return False
        return True

    def _order(self, batches: list[Arrays]) -> Array | None:
        """Return which sample of the batch each sample is; None if they are not the same."""
        rows = np.concatenate([_rows(batch) for batch in batches]) if batches else np.empty((0, 1))
        every = _rows(self.batch)
        if rows.shape[1:] != every.shape[1:] or not len(rows):
            return None
        weights = np.random.default_rng(0).normal(size=rows.shape[1])
        known = every @ weights
        order = np.argsort(known)
        positions = np.searchsorted(known[order], rows @ weights)
        nearest = order[np.clip(positions, 0, len(known) - 1)]
        before = order[np.clip(positions - 1, 0, len(known) - 1)]
        closer = np.abs(known[before] - rows @ weights) < np.abs(known[nearest] - rows @ weights)
        found = np.where(closer, before, nearest)
        scale = np.abs(known).max()
        if np.abs(known[found] - rows @ weights).max() > SAME * max(scale, 1e-30):
            return None
        return found


def _sizes(batches: list[Arrays]) -> list[int]:
    return [len(batch["x"]) for batch in batches] or [0]


def _rows(batch: Arrays) -> Array:
    x = np.asarray(batch["x"], np.float64)
    return x.reshape(len(x), -1)


def _order_word(order: Array) -> str:
    """Return how an order of samples is called."""
    if np.array_equal(order, np.sort(order)):
        return "as given"
    if np.array_equal(order, np.sort(order)[::-1]):
        return "reversed"
    ranks = np.corrcoef(np.arange(len(order)), order)[0, 1]
    return "shuffled" if ranks <= SHUFFLED else "partly shuffled"


def _same_order(a: Array, b: Array) -> bool:
    """Return whether two orders agree as far as both go: a last batch may be left out."""
    shared = min(len(a), len(b))
    return np.array_equal(a[:shared], b[:shared])


def _first_samples(order: Array) -> str:
    return ", ".join([*(str(number) for number in order[:SHOWN_SAMPLES]), "…"])
