"""Compiled code: what it computes against what the layers of the same model compute one by one.

Both are run as the user wrote them: in double precision other code would be compiled. The other
stages compare the layers, so that what differs only here is the compiler's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..bounds import Bounds, measured, moved, relative_difference
from ..code_lines import value_text
from ..examination import Examination, Result
from ..findings import Acquittal, Finding
from ..forcing import targets_of
from ..observation import COMPILED, Array, Arrays, Observation, array_names, outputs_of
from ..wording import fix_lines

CAUSE = "D123"

GRADIENT = "gradient"

# What compiled code computes at each stage, in words.
WHAT = {
    "forward": "another output in evaluation mode",
    "mode": "another output in training mode",
    "loss": "another loss",
    GRADIENT: "other gradients",
}


@dataclass(frozen=True)
class _Fault:
    """Where the compiled code of a side first differs from its layers.

    Attributes
    ----------
    stage : str
        One of `WHAT`.
    paths : tuple of str
        Of the gradients that differ, the layers in the order of the model; otherwise empty.
    by_layers, by_code : float
        The root of the mean square of the array that differs most.
    difference, bound : float
        Of that array, its relative difference and what rounding explains.
    """

    stage: str
    paths: tuple[str, ...]
    by_layers: float
    by_code: float
    difference: float
    bound: float


def is_needed(examination: Examination) -> bool:
    """Return whether a side runs compiled code."""
    return any(each.compiled for each in examination.descriptions)


def examine(examination: Examination) -> Result:
    """Compare compiled code with layers, on each side that is compiled.

    Parameters
    ----------
    examination : Examination
        The comparison; B has A's weights.
    """
    sides = [
        name for name, each in zip("ab", examination.descriptions, strict=True) if each.compiled
    ]
    compared = {name: _Compiled(examination, name) for name in sides}
    faults = {name: fault for name, each in compared.items() if (fault := each.fault())}
    largest = max((each.largest for each in compared.values()), default=0.0)
    bound = max((each.bound for each in compared.values()), default=0.0)
    if len(faults) == 2 and _same(examination, faults["a"], faults["b"]):
        title = f"compiled code computes {WHAT[faults['a'].stage]}, the same on both sides"
        evidence = f"the layers of both sides differ from it by {faults['a'].difference:.1e}"
        acquittal = Acquittal(faults["a"].stage, CAUSE, title, evidence)
        return Result((), (acquittal,), largest, bound)
    findings = tuple(_finding(examination, name, fault) for name, fault in faults.items())
    return Result(findings, (), largest, bound)


class _Compiled:
    """Compares the compiled code of one side with its layers.

    Parameters
    ----------
    examination : Examination
        The comparison.
    name : str
        ``a`` or ``b``.

    Attributes
    ----------
    largest, bound : float
        The largest difference that rounding explains, and its bound.
    """

    def __init__(self, examination: Examination, name: str) -> None:
        self.examination = examination
        self.is_a = name == "a"
        self.side = examination.a if self.is_a else examination.b
        self.inputs = self._form(examination.a.inputs(examination.batch))
        self.largest = 0.0
        self.bound = 0.0

    def _form(self, a_inputs: Arrays) -> Arrays:
        return a_inputs if self.is_a else self.examination.alignment.inputs_to_b(a_inputs)

    def fault(self) -> _Fault | None:
        """Return where the code first differs, or None."""
        for training in (False, True):
            native = self._observed(self.inputs, "native", training=training).arrays
            compiled = _with_missing(array_names(native, COMPILED), native)
            bounds = self._bounds(native, training=training)
            for stage, names in _stages(compiled, training=training):
                fault = self._compared(stage, native, compiled, bounds, names)
                if fault is not None:
                    return fault
        return None

    def _observed(self, inputs: Arrays, dtype: str, *, training: bool) -> Observation:
        targets = targets_of(self.examination) if training else None
        return self.side.observe(inputs, training=training, targets=targets, dtype=dtype)

    def _bounds(self, native: Arrays, *, training: bool) -> Bounds:
        """Return how far the layers are from their run in double precision.

        If the model cannot be built in it: from a run whose inputs are moved.
        """
        examination = self.examination
        dtype = examination.dtype
        if dtype == "native":
            inputs = moved(self.inputs, dtype, whole=False)
            other = self._observed(inputs, dtype, training=training)
        else:
            exact = self._form(examination.a_inputs)
            other = self._observed(exact, dtype, training=training)
        return measured("native", native, [other.arrays])

    def _compared(
        self, stage: str, native: Arrays, compiled: Arrays, bounds: Bounds, names: list[str]
    ) -> _Fault | None:
        differences = {name: relative_difference(native[name], compiled[name]) for name in names}
        wrong = [name for name in names if differences[name] > bounds.rounding(name)]
        for name in names:
            if name not in wrong and differences[name] >= self.largest:
                self.largest, self.bound = differences[name], bounds.rounding(name)
        if not wrong:
            return None
        worst = max(wrong, key=lambda name: differences[name])
        paths = [_path_of(name) for name in wrong if stage == GRADIENT]
        return _Fault(
            stage,
            tuple(dict.fromkeys(paths)),
            _size(native[worst]),
            _size(compiled[worst]),
            differences[worst],
            bounds.rounding(worst),
        )


def _with_missing(compiled: Arrays, native: Arrays) -> Arrays:
    """Return what compiled code computes, with zeros for the gradients that it does not make."""
    missing = {
        name: np.zeros_like(array)
        for name, array in native.items()
        if name.startswith(f"{GRADIENT}/") and name not in compiled
    }
    return missing | compiled


def _stages(compiled: Arrays, *, training: bool) -> Iterator[tuple[str, list[str]]]:
    """Yield the stages in the order of computation, with the names of their arrays."""
    yield ("mode" if training else "forward"), list(outputs_of(compiled))
    if training:
        yield "loss", [name for name in compiled if name == "loss"]
        yield GRADIENT, [name for name in compiled if name.startswith(f"{GRADIENT}/")]


def _path_of(name: str) -> str:
    return name.removeprefix(f"{GRADIENT}/").rpartition("/")[0]


def _size(array: Array) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def _layers(examination: Examination, name: str, fault: _Fault) -> list[dict[str, str | None]]:
    """Return the layers whose gradients differ, with their counterparts."""
    partners = {pair.paths[name]: pair.paths for pair in examination.alignment.pairs}
    alone: dict[str, str | None] = {"a": None, "b": None}
    return [partners.get(path, alone | {name: path}) for path in fault.paths] or [alone]


def _same(examination: Examination, a: _Fault, b: _Fault) -> bool:
    """Return whether both compilers make the same mistake."""
    return a.stage == b.stage and _layers(examination, "a", a) == _layers(examination, "b", b)


def _finding(examination: Examination, name: str, fault: _Fault) -> Finding:
    first, *others = _layers(examination, name, fault)
    other = "b" if name == "a" else "a"
    values = {
        name: f"{value_text(fault.by_code)}, by compiled code",
        other: f"{value_text(fault.by_layers)}, layer by layer",
    }
    lines = fix_lines(CAUSE, examination.descriptions)
    what = "output" if fault.stage in ("forward", "mode") else fault.stage
    finding = Finding(
        fault.stage,
        CAUSE,
        f"torch.compile: the compiled code of {examination.names[name]} computes "
        f"{WHAT[fault.stage]} than the layers of the same model",
        first,
        {side: values[side] for side in "ab"},
        {what: fault.difference, "bound": fault.bound},
        {name: lines[name], other: None},
        proved=True,
        evidence="the same model with the same numbers as the user wrote it, with and without "
        f"compilation: without it, it is within rounding ({fault.bound:.1e}) of double precision",
    )
    for layer in others:
        finding = finding.also_in(layer)
    return finding
