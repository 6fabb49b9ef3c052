"""The running statistics of BatchNorm after one training step, from equal values.

Both layers get the same batch. What each has done is fitted: the weight of the new value, and
whether the variance of the batch is that of the sample or that of the population.
"""

from dataclasses import dataclass

import numpy as np

from .. import catalogue
from ..bounds import FEWEST_UNITS, PRECISION, UNIT_ROUNDOFF
from ..code_lines import layer_line, value_text
from ..examination import Examination, Pair, Result
from ..findings import Acquittal, Finding
from ..observation import Array, Arrays, Layer, array_names, largest

# With fewer values of a channel in a batch, the factor n/(n - 1) changes predictions visibly.
FEW_VALUES = 16


@dataclass(frozen=True)
class Fitted:
    """How a layer updates its running statistics.

    Attributes
    ----------
    momentum : float
        The weight of the new value.
    unbiased : bool
        Whether the variance of the batch is multiplied by n/(n - 1).
    error : float
        How far the result is from these, relative to the change.
    """

    momentum: float
    unbiased: bool
    error: float


def examine(examination: Examination) -> Result:
    """Compare how the running statistics are updated."""
    bound = max(PRECISION, FEWEST_UNITS * UNIT_ROUNDOFF[examination.dtype])
    findings: dict[tuple[str | None, str], Finding] = {}
    acquitted: dict[str, Acquittal] = {}
    undecided = ""
    largest_difference = 0.0
    for pair in examination.alignment.pairs:
        compared = _compared(examination, pair)
        if compared is None:
            continue
        a, b, count = compared
        if max(a.error, b.error) > 1e-2:
            undecided = f"{pair.a.path}: the running statistics are updated in an unknown way"
        elif abs(a.momentum - b.momentum) > 1e-5:
            _add(findings, _of_momentum(examination, pair, a, b))
        if a.unbiased != b.unbiased:
            found = _of_variance(pair, a, b, count)
            if isinstance(found, Finding):
                _add(findings, found)
            else:
                acquitted.setdefault("D20", found)
        largest_difference = max(largest_difference, abs(a.momentum - b.momentum))
    return Result(
        tuple(findings.values()),
        tuple(acquitted.values()),
        0.0 if findings else largest_difference,
        bound,
        undecided,
    )


def _add(findings: dict[tuple[str | None, str], Finding], found: Finding) -> None:
    """Add a finding, or note that a former one is true of another layer, too."""
    key = (found.cause, str(found.values))
    if key not in findings:
        findings[key] = found
        return
    findings[key] = findings[key].also_in(found.layer)


def _compared(examination: Examination, pair: Pair) -> tuple[Fitted, Fitted, int] | None:
    """Return what both layers have done, and how many values a channel has in the batch."""
    if pair.a.kind != "batch_norm" or pair.b.kind != "batch_norm" or not pair.carried:
        return None
    numbers = examination.a_training.numbers.get(pair.a.path, [-1])
    values = examination.a_training.arrays.get(f"{numbers[0]}/input")
    before = _statistics(examination.a_weights, pair.a.path, "")
    a_after = _statistics(examination.a_training.arrays, pair.a.path, "buffer/")
    b_after = _statistics(examination.b_training.arrays, pair.b.path, "buffer/")
    if values is None or before is None or a_after is None or b_after is None:
        return None
    if pair.output_order is not None:
        inverse = np.argsort(pair.output_order)
        b_after = (b_after[0][inverse], b_after[1][inverse])
    table = np.asarray(values, np.float64).reshape(-1, values.shape[-1])
    if table.shape[1] != len(before[0]):
        return None
    batch = (table.mean(0), table.var(0))
    return (
        _fit(before, batch, a_after, len(table)),
        _fit(before, batch, b_after, len(table)),
        len(table),
    )


Statistics = tuple[Array, Array]


def _statistics(arrays: Arrays, path: str, prefix: str) -> Statistics | None:
    names = [f"{prefix}{path}/{role}" for role in ("mean", "variance")]
    if any(name not in arrays for name in names):
        return None
    mean, variance = (np.asarray(arrays[name], np.float64) for name in names)
    return mean, variance


def _fit(before: Statistics, batch: Statistics, after: Statistics, count: int) -> Fitted:
    """Return the momentum and the variance that explain what happened."""
    fits: list[Fitted] = []
    for unbiased in (False, True):
        factor = count / (count - 1) if unbiased and count > 1 else 1.0
        wanted = np.concatenate([batch[0] - before[0], factor * batch[1] - before[1]])
        done = np.concatenate([after[0] - before[0], after[1] - before[1]])
        square = float(wanted @ wanted)
        momentum = float(done @ wanted) / square if square else 0.0
        rest = largest(done - momentum * wanted)
        error = rest / largest(done) if largest(done) else 0.0
        fits.append(Fitted(momentum, unbiased, error))
    return min(fits, key=_error)


def _error(fit: Fitted) -> float:
    return fit.error


def _of_momentum(examination: Examination, pair: Pair, a: Fitted, b: Fitted) -> Finding:
    frameworks = [each.framework for each in examination.descriptions]
    top = max(a.momentum, b.momentum)
    effect = abs(a.momentum - b.momentum) / top
    opposite = abs(a.momentum + b.momentum - 1) < 1e-3
    after = "; one is 1 minus the other" if opposite else ""
    frozen = min(a.momentum, b.momentum) == 0 and (pair.a.frozen or pair.b.frozen)
    cause = "D22" if frozen else "D19"
    return Finding(
        "buffers",
        cause,
        catalogue.get(cause).title,
        layer=pair.paths,
        values={
            name: _written(framework, fitted.momentum)
            for name, framework, fitted in zip("ab", frameworks, (a, b), strict=True)
        },
        effect={"statistics": effect, "bound": PRECISION},
        fix={
            "a": _fix(frameworks[0], pair.a, examination.a_weights, b.momentum),
            "b": _fix(frameworks[1], pair.b, _b_weights(examination), a.momentum),
        },
        proved=max(a.error, b.error) < 1e-4,
        evidence=(
            f"the weight of the new value, fitted to one step from equal statistics: "
            f"{value_text(a.momentum)} against {value_text(b.momentum)}{after}"
        ),
    )


def _b_weights(examination: Examination) -> Arrays:
    return examination.alignment.weights_to_b(examination.a_weights)


def _written(framework: str, momentum: float) -> str:
    """Return a momentum as it is written in a framework."""
    short = float(f"{momentum:.5g}")
    if framework == "keras":
        return f"momentum={value_text(round(1 - short, 6))}, the weight of the old value"
    return f"momentum={value_text(short)}, the weight of the new value"


def _fix(framework: str, layer: Layer, weights: Arrays, momentum: float) -> str | None:
    of_layer = array_names(weights, layer.path)
    return layer_line(framework, layer, of_layer, {"momentum": float(f"{momentum:.5g}")})


def _of_variance(pair: Pair, a: Fitted, b: Fitted, count: int) -> Finding | Acquittal:
    title = catalogue.get("D20").title
    factor = count / (count - 1) if count > 1 else 1.0
    values = {
        name: "n/(n - 1) times the variance of the batch" if each.unbiased else "as it is"
        for name, each in (("a", a), ("b", b))
    }
    if count >= FEW_VALUES:
        return Acquittal(
            "buffers",
            "D20",
            title,
            f"explains the rest exactly; the factor is {factor:.6g} with {count} values of a "
            "channel, and training does not use it",
        )
    return Finding(
        "buffers",
        "D20",
        title,
        layer=pair.paths,
        values=values,
        effect={"variance": factor - 1, "bound": PRECISION},
        proved=True,
        evidence=f"{count} values of a channel: a factor of {factor:.6g}, which reproduces both",
    )
