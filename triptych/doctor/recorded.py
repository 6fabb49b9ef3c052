"""Two traces against each other: neither side can be run again.

Where the other side would be fed with what the reference has, its record tells what it computed of
its own numbers. Up to the first difference these are the same. What the record does not tell is
taken as equal, and named as not compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from .bounds import MARGIN, PRECISION, Bounds, relative_difference
from .frameworks.adapter import Unsupported
from .observation import Array, Arrays, Call, Change, Observation, Updates, outputs_of
from .trace import RecordedSide, numbered
from .trace_values import PASSES

# What counts as rounding where no trace tells what its side loses in its own precision: it cannot
# be measured by moving the numbers of a recorded side.
ROUNDING = {"native": 1e-5, "float64": PRECISION}

OUTPUTS = "the model's outputs"


class RecordedOther(RecordedSide):
    """Side B of two traces; see `triptych.doctor.examination.ChangeableSide`.

    Parameters
    ----------
    side : RecordedSide
        The trace.

    Attributes
    ----------
    untold : dict of str to list of str
        By ``evaluation`` and ``training``, the layers whose numbers the record does not tell.
    other_weights : bool
        Whether it was recorded with other weights than the reference.
    """

    def __init__(self, side: RecordedSide) -> None:
        super().__init__(Path(side.name), side.recordings, side.batch)
        self.untold: dict[str, list[str]] = {}
        self.other_weights = False
        # By whether it is in training mode, what a pass loses in its own precision.
        self._lost = {training: side.lost(training=training) for training in PASSES}

    def recording(self) -> "RecordedOther":
        """Return this side, which cannot be run again."""
        return self

    def measure(self, reference: Mapping[bool, Mapping[str, float]]) -> None:
        """Take account of what the reference loses in its own precision.

        Parameters
        ----------
        reference : mapping of bool to mapping of str to float
            By whether it is in training mode, `RecordedSide.lost` with the names of this side.
        """
        for training, lost in reference.items():
            mine = self._lost[training]
            mine.update({name: max(each, mine.get(name, 0.0)) for name, each in lost.items()})

    def is_measured(self, dtype: str) -> bool:
        """Return whether a trace tells what its side loses in this precision."""
        return dtype != "native" or any(self._lost.values())

    def bounds(self, arrays: Iterable[str], dtype: str, *, training: bool) -> Bounds:
        """Return what counts as rounding: what the traces tell, else the same for all arrays."""
        lost = self._lost[training] if dtype == "native" else {}
        fixed = ROUNDING[dtype] / MARGIN
        return Bounds(dtype, {name: lost.get(name, fixed) for name in arrays})

    @property
    def not_told(self) -> str:
        """Why the runs of both sides are not compared to their end; empty if they are."""
        if self.other_weights:
            return (
                "the traces were recorded with other weights; record one side after it was given "
                "those of the other"
            )
        names = self.untold.get(PASSES[False]) or self.untold.get(PASSES[True])
        if not names:
            return ""
        return (
            f"not {', '.join(names)}: after the first difference the traces hold what the sides "
            "made of other numbers"
        )

    def load(self, weights: Arrays, dtype: str = "native") -> None:
        """Compare weights with the recorded ones."""
        own = self.weights(dtype)
        self.other_weights = not all(
            _same(array, own.get(name), ROUNDING[dtype]) for name, array in weights.items()
        )

    def observe(
        self,
        inputs: Arrays,
        *,
        training: bool,
        targets: Arrays | None = None,
        forced: Arrays | None = None,
        dropout: bool = False,
        dtype: str = "native",
    ) -> Observation:
        """Return the recorded pass, as far as it tells what forced layers would compute."""
        own = self.inputs({}, dtype)
        observation = super().observe(
            own, training=training, targets=targets, dropout=dropout, dtype=dtype
        )
        if forced is None:
            return observation
        same = all(_same(array, own.get(name), ROUNDING[dtype]) for name, array in inputs.items())
        answer = _Answer(observation, forced, self.bounds(forced, dtype, training=training))
        answer.forward(intact=same, same_weights=not self.other_weights)
        answer.backward()
        self.untold["training" if training else "evaluation"] = answer.untold
        return Observation(observation.calls, answer.arrays)

    def own_updates(self, dtype: str) -> tuple[list[Arrays], Updates]:
        """Return the recorded gradients, and what the optimizer has made of them."""
        rates = self._value("update_rates", dtype)
        arrays = self._recording(dtype).arrays
        updates = self.recorded_updates(len(rates), dtype)
        return numbered(arrays, "gradients", len(rates)), updates

    def metric(self, outputs: Arrays, targets: Arrays, dtype: str = "native") -> float:
        """Return the recorded metric, if the outputs are those of the reference."""
        if not outputs:
            raise Unsupported(f"{self.name} was recorded with other outputs")
        return super().metric(outputs, targets, dtype)

    def framework_weights(self, dtype: str = "native") -> Arrays:
        """Refuse: a trace has no names of a framework."""
        raise Unsupported(f"{self.name} is recorded and has no weights by a framework's names")

    def change(self, changes: Sequence[Change], dtype: str = "native") -> NoReturn:
        """Refuse."""
        raise Unsupported(f"{self.name} is recorded and cannot be changed")

    def restore(self, dtype: str = "native") -> None:
        """Do nothing: nothing was changed."""


class _Answer:
    """What a recorded pass tells of a pass whose anchors are forced.

    Parameters
    ----------
    observation : Observation
        The recorded pass.
    forced : dict of str to ndarray
        What the anchors are forced to.
    bounds : Bounds
        What counts as rounding.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The recorded arrays; of anchors, what is not told is what is forced.
    untold : list of str
        The layers of which something is not told, in the order of execution.
    """

    def __init__(self, observation: Observation, forced: Arrays, bounds: Bounds) -> None:
        self._observation = observation
        self._forced = forced
        self._bounds = bounds
        self._intact = True
        self.arrays = dict(observation.arrays)
        self.untold: list[str] = []

    def forward(self, *, intact: bool, same_weights: bool) -> None:
        """Go through the calls in order.

        Parameters
        ----------
        intact : bool
            Whether the model got what the reference got.
        same_weights : bool
            Whether it has the weights of the reference.
        """
        for call in self._observation.calls:
            if not call.anchor:
                continue
            fed = self._agrees(call, "input")  # before it is replaced
            handed_on = self._agrees(call, "output")
            if not intact:
                self._take_as_equal(call, "input")
            if not (fed and same_weights):
                self._take_as_equal(call, "output")
            intact = intact and handed_on
        self._intact = intact
        if not intact:
            self._take_outputs_as_equal()

    def backward(self) -> None:
        """Go through the gradients, from the last call to the first."""
        intact = self._intact
        for call in reversed(self._observation.anchors):
            arrived = self._agrees(call, "output", "_gradient")
            handed_back = self._agrees(call, "input", "_gradient")
            if not intact:
                self._take_as_equal(call, "output", "_gradient")
            if not (arrived and self._agrees(call, "input")):
                self._take_as_equal(call, "input", "_gradient")
                self._drop_gradients(call)
            intact = intact and handed_back

    def _names(self, call: Call, part: str, suffix: str) -> list[str]:
        """Return the names of what a call takes or returns that is forced."""
        start = f"{call.number}/{part}"
        return [
            name
            for name in self._forced
            if name.startswith(start)
            and name.endswith(suffix)
            and (suffix or not name.endswith("_gradient"))
        ]

    def _agrees(self, call: Call, part: str, suffix: str = "") -> bool:
        """Return whether the record has what is forced."""
        recorded = self._observation.arrays
        return all(
            _same(self._forced[name], recorded.get(name), self._bounds.rounding(name))
            for name in self._names(call, part, suffix)
        )

    def _take_as_equal(self, call: Call, part: str, suffix: str = "") -> None:
        for name in self._names(call, part, suffix):
            self.arrays[name] = self._forced[name]
            if call.layer not in self.untold:
                self.untold.append(call.layer)

    def _take_outputs_as_equal(self) -> None:
        """Leave out the outputs and their loss."""
        outputs = outputs_of(self.arrays)
        gradients = [f"{name}_gradient" for name in outputs]
        for name in ("loss", "penalty", *outputs, *gradients):
            self.arrays.pop(name, None)
        self.untold.append(OUTPUTS)

    def _drop_gradients(self, call: Call) -> None:
        start = f"gradient/{call.layer}/"
        for name in [name for name in self.arrays if name.startswith(start)]:
            del self.arrays[name]


def _same(one: Array, other: Array | None, bound: float) -> bool:
    """Return whether an array was recorded with these numbers, up to a bound."""
    if other is None or one.shape != other.shape:
        return False
    if not np.issubdtype(one.dtype, np.floating):
        return np.array_equal(one, other)
    return relative_difference(one, other) <= bound
