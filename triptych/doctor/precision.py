"""Precision as a finding: one side computes in another precision than the other.

In double precision autocast, TF32 and mixed policies have no effect, and weights have no other
dtype. So each side is compared with its own run in double precision: that is the same model with
the policy switched off.
"""

import numpy as np

from . import catalogue
from .bounds import FEWEST_UNITS, UNIT_ROUNDOFF, relative_difference
from .examination import Examination
from .findings import Acquittal, Finding
from .observation import Arrays, Description, outputs_of

STAGE = "forward"
MIXED = "D124"
TENSOR_FLOAT = "D88"
PRODUCTS = "float32 matmul precision"  # with which such a setting of PyTorch begins

# By how much the more precise side's own rounding may be exceeded.
MARGIN = 8.0


def precision_of(description: Description) -> str:
    """Return in which precision a side computes, for example ``float32``, ``mixed_bfloat16``."""
    return description.precision or description.dtype


def examine_precision(examination: Examination) -> Finding | Acquittal | None:
    """Compare the precision of both sides, as they are written.

    Parameters
    ----------
    examination : Examination
        The comparison; both sides have A's weights.

    Returns
    -------
    Finding, Acquittal or None
        A finding if rounding of the more precise side does not explain what the other one loses; an
        acquittal if it does; None if both compute in the same precision.
    """
    a, b = (precision_of(each) for each in examination.descriptions)
    if a == b:
        return None
    if examination.dtype == "native":
        return _finding(examination, {}, "double precision is not possible on both sides", False)
    losses = _losses(examination)
    unit = min(_unit(each) for each in examination.descriptions)
    bound = max(FEWEST_UNITS * unit, MARGIN * min(losses.values()))
    words = ", ".join(f"{side.upper()} by {loss:.1e}" for side, loss in losses.items())
    evidence = (
        "each side was run as written and in double precision, where such settings have no effect; "
        f"its outputs change by that, {words}"
    )
    if max(losses.values()) <= bound:
        title = f"precision: {a} in A, {b} in B, without effect on this machine"
        return Acquittal(STAGE, _cause(examination), title, evidence)
    return _finding(examination, losses | {"bound": bound}, evidence, True)


def _unit(description: Description) -> float:
    return UNIT_ROUNDOFF["float64" if description.dtype == "float64" else "native"]


def _losses(examination: Examination) -> dict[str, float]:
    """Return how far each side, as written, is from its own run in double precision."""
    inputs = examination.a.inputs(examination.batch)
    carried = examination.alignment.inputs_to_b
    a = examination.a.observe(inputs, training=False).arrays
    b = examination.b.observe(carried(inputs), training=False).arrays
    exact_b = examination.b.observe(
        carried(examination.a_inputs), training=False, dtype=examination.dtype
    ).arrays
    return {
        "a": _loss(a, examination.a_evaluation.arrays),
        "b": _loss(b, exact_b),
    }


def _loss(written: Arrays, exact: Arrays) -> float:
    """Return the largest relative difference of the model's outputs."""
    differences = [
        relative_difference(np.asarray(array, np.float64), exact[name])
        for name, array in outputs_of(written).items()
    ]
    return max(differences, default=0.0)


def _cause(examination: Examination) -> str:
    """Return the id in the catalogue."""
    settings = [each.precision for each in examination.descriptions if each.precision]
    if settings and all(each.startswith(PRODUCTS) for each in settings):
        return TENSOR_FLOAT
    return MIXED


def _finding(
    examination: Examination, effect: dict[str, float], evidence: str, proved: bool
) -> Finding:
    a, b = examination.descriptions
    cause = _cause(examination)
    return Finding(
        STAGE,
        cause,
        catalogue.get(cause).title,
        values={"a": precision_of(a), "b": precision_of(b)},
        effect=effect,
        fix={"a": fix_of(a, b), "b": fix_of(b, a)},
        proved=proved,
        evidence=evidence,
    )


def fix_of(description: Description, other: Description) -> str | None:
    """Return the line that gives a side the precision of the other one.

    Parameters
    ----------
    description, other : Description
        The side that is changed, and the other one. A side is not given another one's policy, which
        rounds elsewhere in another framework: only the policy is taken away.
    """
    lines = FIXES.get(description.framework, {})
    if description.precision:
        return next((line for kind, line in lines.items() if kind in description.precision), None)
    return None if other.precision else lines.get(other.dtype)


# By the framework, what takes away a policy, or makes weights of a dtype.
FIXES = {
    "torch": {
        "autocast": "with torch.autocast(x.device.type, enabled=False): y = model(x)",
        "weights in": "model.float()",
        PRODUCTS: 'torch.set_float32_matmul_precision("highest")',
        "float32": "model.float()",
        "float64": "model.double()",
    },
    "keras": {
        "mixed": 'keras.config.set_dtype_policy("float32")',
        "float16": 'keras.config.set_dtype_policy("float32")',
        "bfloat16": 'keras.config.set_dtype_policy("float32")',
        "float32": 'keras.config.set_floatx("float32")',
        "float64": 'keras.config.set_floatx("float64")',
    },
}
