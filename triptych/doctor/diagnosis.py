"""Compare two sides, stage by stage, in the order of computation."""

import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import EngineError, TriptychError, debugging, one_line, unforeseen
from . import whole
from .bounds import relative_difference
from .examination import ChangeableSide, Examination, Recording, Result, Side, is_double
from .findings import STAGES, Acquittal, Diagnosis, Finding, LayerRow, StageRow, Verdict
from .forcing import observed, run, targets_of
from .frameworks.adapter import ModelError
from .observation import Arrays, Layer, Observation, array_names, one_segment, targets_in
from .places import order_of_outputs
from .repeats import check_numbers
from .separation import separate_attention
from .settling import aligned
from .side import both
from .stages import compilation
from .suspects import SAME

OnStage = Callable[[str], None]

PREFIX = "triptych.doctor.stages."

ROUNDING = "D90"  # in the catalogue

# The modules of the stages, in the order in which they are examined. ``compilation`` is left out
# unless a side is compiled; its findings are of the stages before it. The stage ``training`` makes
# whole training steps: it finds what the stages before it missed.
AFTER_WEIGHTS = (
    "forward",
    "mode",
    "loss",
    "gradient",
    "compilation",
    "update",
    "schedule",
    "buffers",
    "callback",
    "metric",
    "training",
)


# These run the models in training mode.
IN_TRAINING = ("mode", "loss", "gradient", "update", "buffers", "training")

# These need what is inside of a model, or its training mode.
INSIDE = ("mode", "compilation", "buffers")

# These need what changes the weights.
WITH_OPTIMIZER = ("update", "schedule", "callback", "training")
NO_OPTIMIZER = "the optimizer of a function with parameters is not compared"

OTHER_IN_TRAINING = "a trace holds the loss of its training mode, which BatchNorm changes"

UNMATCHED = "not all parameters have a counterpart"

# These compare what the layers have made of the same numbers.
OF_RUNS = ("mode", "loss", "gradient", "buffers", "training")

# Their bounds are of arrays of a pass.
BOUNDED = ("forward", *OF_RUNS)

# What both sides must have given, one of these, so that a stage compares something.
NEEDED = {
    "loss": ("loss",),
    "gradient": ("loss",),
    "update": ("optimizer",),
    "schedule": ("optimizer", "schedule"),
    "callback": ("callbacks", "schedule"),
    "metric": ("metric",),
    "training": ("optimizer",),
}


def ignore_stage(stage: str) -> None:
    """Do nothing."""


def diagnose(
    a: Side,
    b: ChangeableSide,
    batch: Arrays,
    *,
    mapping: dict[str, str] | None = None,
    on_stage: OnStage = ignore_stage,
) -> Diagnosis:
    """Compare two sides that were started.

    Parameters
    ----------
    a : Side
        The reference.
    b : ChangeableSide
        The other one.
    batch : dict of str to ndarray
        ``x``, ``x2``, …; ``y`` if there is a loss; ``val_loss`` for plateau rules and callbacks.
    mapping : dict of str to str, optional
        Which layer of B belongs to a layer of A, by their paths, where this cannot be found out.
    on_stage : callable, optional
        Called with the name of each stage before it is examined.

    Raises
    ------
    ModelError
        If a side cannot be used: it raises an error, or takes other inputs.
    """
    begun = time.monotonic()
    with _in_one_line(a, b), _quiet(a, b):
        on_stage("data")
        examination = _prepare(a, b, batch)
        results = examination.results
        _align(examination, mapping)
        results["data"] = _examine("data", examination)
        on_stage("weights")
        results["weights"] = _examine("weights", examination)
        _transplant(examination)
        on_stage("forward")
        _observe(examination)
        for stage in AFTER_WEIGHTS:
            if stage == "compilation" and not compilation.is_needed(examination):
                continue
            on_stage(stage)
            missing = _missing(examination, stage)
            if missing:
                results[stage] = Result(missing=missing)
            else:
                results[stage] = _examine(stage, examination)
        recording = b.recording()
        if recording is not None:
            _limit(results, recording, examination.dtype)
        return conclude(examination, time.monotonic() - begun)


def _recorded(*sides: Side) -> list[str]:
    """Return the traces among some sides."""
    return [side.name for side in sides if side.is_recorded]


def _quiet(*sides: Side) -> AbstractContextManager[Any]:
    """Let NumPy not warn where the numbers of a trace, which may be any, are too large."""
    return np.errstate(all="ignore") if _recorded(*sides) else nullcontext()


def _unforeseen(error: Exception, *sides: Side) -> str:
    """Return one line about an error that nothing foresees.

    A damaged or forged trace can raise any, so that it is named.
    """
    if debugging():
        traceback.print_exc()
    traces = " and ".join(dict.fromkeys(_recorded(*sides)))
    return f"{traces}: damaged, or {unforeseen(error)}" if traces else unforeseen(error)


def _missing(examination: Examination, stage: str) -> str:
    """Return why a stage cannot be compared; otherwise empty."""
    if stage in IN_TRAINING and examination.evaluation_only:
        return examination.evaluation_only
    if not examination.whole:
        return ""
    if not examination.alignment.complete and stage not in ("data", "metric"):
        return UNMATCHED
    if stage in INSIDE:
        return examination.whole
    if stage in WITH_OPTIMIZER and any("optimizer" in e.given for e in examination.descriptions):
        return NO_OPTIMIZER
    if stage in ("loss", "gradient") and _other_in_training(examination.a):
        return OTHER_IN_TRAINING
    return examination.without_gradients if stage == "gradient" else ""


def _other_in_training(side: Side) -> bool:
    """Return whether what a trace holds of the training mode is not that of a function."""
    layers = side.description().layers if side.is_recorded else ()
    return any(layer.kind == "batch_norm" for layer in layers)


@contextmanager
def _in_one_line(a: Side, b: Side) -> Generator[None]:
    """Make a `ModelError` of an error that nothing foresees."""
    try:
        yield
    except TriptychError:
        raise
    except Exception as error:
        what = "" if _recorded(a, b) else "the two sides cannot be compared: "
        raise ModelError(f"{what}{_unforeseen(error, a, b)}") from error


def _prepare(a: Side, b: ChangeableSide, batch: Arrays) -> Examination:
    """Build both sides, and choose the dtype in which they are compared."""
    both(lambda: a.inputs(batch), lambda: b.inputs(batch))
    a_description, b_description = both(a.description, b.description)
    doubles = both(lambda: is_double(a, batch), lambda: is_double(b, batch))
    dtype = "float64" if all(doubles) else "native"
    examination = Examination(a, b, batch, dtype, a_description, b_description)
    examination.a_inputs, examination.b_inputs = both(
        lambda: a.inputs(batch, dtype), lambda: b.inputs(batch, dtype)
    )
    examination.targets = targets_in(batch)
    examination.a_weights, examination.b_weights = both(a.weights, b.weights)
    if dtype != "native":
        a.load(examination.a_weights, dtype)
    return examination


def _align(examination: Examination, mapping: dict[str, str] | None) -> None:
    """Run each side on its inputs, and find out which layers belong together."""
    dtype = examination.dtype
    separate_attention(examination)

    def observe(side: Side, inputs: Arrays) -> Observation:
        return side.observe(inputs, training=False, dtype=dtype)

    a_built, b_built = both(
        lambda: observe(examination.a, examination.a_inputs),
        lambda: observe(examination.b, examination.b_inputs),
    )
    check_numbers(a_built, examination.a.name)
    examination.a_evaluation, examination.b_built = a_built, b_built
    if examination.whole:
        examination.alignment = whole.aligned(examination, (a_built, b_built), mapping)
        examination.a_evaluation, examination.b_built = map(one_segment, (a_built, b_built))
    else:
        examination.alignment = aligned(examination, mapping)


def _transplant(examination: Examination) -> None:
    """Copy A's weights into B, in both dtypes."""
    weights = examination.alignment.weights_to_b(examination.a_weights)
    for dtype in {"native", examination.dtype}:
        examination.b.load(weights, dtype)
    recording = examination.b.recording()
    if recording is not None:
        recording.measure({each: _lost_by_a(examination, training=each) for each in (False, True)})


def _lost_by_a(examination: Examination, *, training: bool) -> dict[str, float]:
    """Return what A loses in its own precision, with B's names of the layers' arrays."""
    lost = examination.a.lost(training=training)
    numbers = {
        str(number): str(b_number)
        for pair in examination.alignment.pairs
        for number, b_number in zip(pair.a_calls, pair.b_calls, strict=False)
    }
    found: dict[str, float] = {}
    for name, each in lost.items():
        number, _, part = name.partition("/")
        if number in numbers:
            found[f"{numbers[number]}/{part}"] = each
        elif not part:
            found[name] = each  # an output of the model, or the loss
    return found


def _observe(examination: Examination) -> None:
    """Observe A, and B with its anchors forced to what A has."""
    examination.b_evaluation = run(examination)
    outputs = order_of_outputs(
        examination.a_evaluation, examination.b_evaluation, SAME[examination.dtype]
    )
    examination.alignment = replace(examination.alignment, outputs=outputs)
    if examination.evaluation_only:
        examination.a_training = examination.b_training = Observation((), {})
        return
    examination.a_training = observed(
        examination,
        examination.a,
        examination.a_inputs,
        training=True,
        targets=targets_of(examination),
    )
    examination.b_training = run(examination, training=True)


def _limit(results: dict[str, Result], b: Recording, dtype: str) -> None:
    """Say what two traces do not tell; causes are suspected, because nothing was tried."""
    for stage, result in results.items():
        remark = "both sides are recorded"
        if stage in BOUNDED and not b.is_measured(dtype):
            remark += ", and the bound is not measured: neither of them holds double precision"
        findings = tuple(
            replace(finding, proved=False, evidence=f"{finding.evidence}; {remark}")
            for finding in result.findings
        )
        # B was not given A's weights.
        acquitted = () if stage == "weights" and b.other_weights else result.acquitted
        result = replace(result, findings=findings, acquitted=acquitted)
        if stage == "forward" and b.not_told:
            result = replace(result, undecided=f"forward: {b.not_told}")
        elif stage in OF_RUNS and not findings:
            result = replace(result, missing=b.not_told)
        results[stage] = result


def _examine(stage: str, examination: Examination) -> Result:
    """Examine one stage; what a side cannot do is no difference.

    An error that nothing foresees ends the stage alone, so that the others are still compared.
    """
    try:
        return import_module(PREFIX + stage).examine(examination)
    except ModelError as error:
        return Result(undecided=f"{stage}: {error}")
    except EngineError:
        raise  # a process has ended, so that nothing can be compared any more
    except Exception as error:
        text = _unforeseen(error, examination.a, examination.b)
        return Result(undecided=one_line(f"{stage}: {text}"))


def conclude(examination: Examination, seconds: float) -> Diagnosis:
    """Return the diagnosis of an examination whose stages are done."""
    results = examination.results
    findings: list[Finding] = list(examination.alignment.findings)
    acquitted: list[Acquittal] = []
    for result in results.values():
        findings += result.findings
        acquitted += result.acquitted
    findings.sort(key=lambda finding: STAGES.index(finding.stage))
    return Diagnosis(
        a=examination.a_description,
        b=examination.b_description,
        dtype=examination.dtype,
        verdict=_verdict(findings, list(results.values())),
        findings=tuple(findings),
        acquitted=tuple(acquitted),
        layers=tuple(_rows(examination)),
        stages=tuple(_stage(examination, name, result) for name, result in results.items()),
        seconds=round(seconds, 2),
        uncarried=tuple(_uncarried(examination)),
    )


def _uncarried(examination: Examination) -> Iterator[str]:
    """Yield the layers of B that have kept weights of their own."""
    carried = examination.alignment.weights_to_b(examination.a_weights)
    for layer in examination.b_description.layers:
        names = [f"{layer.path}/{role}" for role in layer.roles]
        if any(name not in carried for name in names):
            yield layer.path


def _stage(examination: Examination, name: str, result: Result) -> StageRow:
    count = len(result.findings)
    needed = NEEDED.get(name, ())
    compared = count > 0 or not needed or any(examination.has(key) for key in needed)
    compared = compared and not result.missing
    note = result.undecided or _why_missing(examination, name)
    return StageRow(name, result.largest, result.bound, count, note, compared)


def _why_missing(examination: Examination, name: str) -> str:
    """Return why a stage and others after it were not compared, at the first of them."""
    reason = examination.results[name].missing
    same = [each for each, result in examination.results.items() if result.missing == reason]
    return f"{', '.join(same)}: {reason}" if reason and same[0] == name else ""


def _rows(examination: Examination) -> Iterator[LayerRow]:
    """Yield the figures of each pair of layers, from their first call in evaluation mode."""
    expected = examination.alignment.forced(examination.a_evaluation)
    actual = examination.b_evaluation.arrays
    gradients = examination.alignment.weights_to_b(
        array_names(examination.a_training.arrays, "gradient")
    )
    for pair in examination.alignment.called:
        number = pair.b_calls[0]
        yield LayerRow(
            pair.a.path,
            pair.b.path,
            pair.a.type,
            pair.b.type,
            _difference(expected, actual, f"{number}/input"),
            _difference(expected, actual, f"{number}/output"),
            _gradient_difference(pair.b, gradients, examination.b_training.arrays),
        )


def _gradient_difference(layer: Layer, expected: Arrays, actual: Arrays) -> float | None:
    """Return the relative difference of the gradients of all weights of a layer."""
    names = [f"{layer.path}/{role}" for role in layer.roles]
    shared = [name for name in names if name in expected and f"gradient/{name}" in actual]
    if not shared:
        return None
    # Some true gradients are zero, such as that of the bias of attention's keys: so the largest
    # gradient of the whole layer is the scale.
    return relative_difference(
        np.concatenate([expected[name].ravel() for name in shared]),
        np.concatenate([actual[f"gradient/{name}"].ravel() for name in shared]),
    )


def _difference(expected: Arrays, actual: Arrays, name: str) -> float:
    """Return the relative difference of an array; 0 if a side lacks it."""
    if name not in expected or name not in actual:
        return 0.0
    return relative_difference(expected[name], actual[name])


def _verdict(findings: list[Finding], results: list[Result]) -> Verdict:
    if any(finding.cause or finding.proved for finding in findings):
        return "differ"
    if findings or any(result.undecided for result in results):
        return "undecided"
    magnified = any(each.cause == ROUNDING for result in results for each in result.acquitted)
    if magnified or any(result.largest > result.bound for result in results):
        return "rounding"
    return "equal"
