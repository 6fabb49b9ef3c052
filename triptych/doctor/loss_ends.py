"""Both sides at the ends of their networks: what the losses take and return, and findings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bounds import relative_difference
from .code_lines import value_text
from .examination import Examination
from .findings import Acquittal, Finding
from .frameworks.adapter import ModelError
from .loss_differences import TOLERANCE, WITHOUT_LOGARITHM, Named, relative, text_of
from .loss_lines import binary_line, counting_line, ignoring_line, logarithm_line
from .losses import Explained, explain, tail_between
from .observation import Array, Arrays, Component, Description, numbers_of
from .wording import fix_lines

NO_NUMBERS = "B's outputs are not numbers where A's are"

# Tails that turn logits into what another loss expects.
HEADS = frozenset({"identity", "softmax", "log_softmax", "sigmoid"})
# What the frameworks call Huber's loss.
HUBERS = frozenset({"HuberLoss", "SmoothL1Loss", "huber_loss", "smooth_l1_loss", "Huber", "huber"})
# What the width of Huber's loss is called.
WIDTHS = ("delta", "beta")


@dataclass(frozen=True)
class Head:
    """One side at the end of its network.

    Attributes
    ----------
    value : float
        The loss without penalties.
    penalty : float
        The penalties.
    last, gradient : ndarray or None
        What the last layer with weights returns, and the gradient there.
    output, output_gradient : ndarray or None
        The model's output, and the gradient there.
    """

    value: float
    penalty: float
    last: Array | None
    gradient: Array | None
    output: Array
    output_gradient: Array | None


def are_numbers(a: Head, b: Head) -> bool:
    """Return whether B's outputs are numbers if A's are.

    Raises
    ------
    ModelError
        If A's are not.
    """
    if np.isnan(a.output).any():
        raise ModelError("A's outputs are not numbers")
    return bool(np.isfinite(b.output).all()) or not np.isfinite(a.output).all()


def gradients_of(a: Head, b: Head) -> tuple[Array, Array] | None:
    """Return the gradients of both losses at the last layer, or else at the outputs.

    They have A's shape if they have as many values.
    """
    for first, second in ((a.gradient, b.gradient), (a.output_gradient, b.output_gradient)):
        if first is not None and second is not None:
            fits = first.size == second.size
            return first, second.reshape(first.shape) if fits else second
    return None


def gradient_difference(a: Head, b: Head) -> float:
    """Return how far the gradients differ; 0 if a side has none."""
    both = gradients_of(a, b)
    return 0.0 if both is None else relative_difference(*both)


def only_outputs(forced: Arrays) -> Arrays:
    """Return what layers return, of what they are forced to."""
    return {name: array for name, array in forced.items() if name.endswith("/output")}


def explain_end(
    examination: Examination, head: Head, expected: str, target: Array
) -> Explained | None:
    """Return the formula of a loss; None if none is known."""
    settings = [each.loss.settings for each in examination.descriptions if each.loss]
    last = head.output if head.last is None else head.last
    gradient = head.output_gradient if head.last is None else head.gradient
    return explain(
        last,
        head.output,
        gradient,
        head.output_gradient,
        target,
        head.value,
        settings,
        examination.dtype,
        expected,
    )


def expected_families(examination: Examination) -> list[str]:
    """Return the family of formulas that each side's loss is expected to be of, or empty.

    Where all differences are small, Huber's loss is half of the squared error. A loss that has its
    name or a width is Huber's, and so may be the one that the user wrote for the other side.
    """
    losses = [each.loss for each in examination.descriptions]
    are_huber = [bool(each and _is_huber(each)) for each in losses]
    families: list[str] = []
    for each, is_huber, other_is in zip(losses, are_huber, reversed(are_huber), strict=True):
        may_be = other_is and (each is None or bool(each.source))
        families.append("Huber" if is_huber or may_be else "")
    return families


def _is_huber(loss: Component) -> bool:
    """Return whether a loss is Huber's by its name or its settings; Keras does not tell a width."""
    return loss.type in HUBERS or bool(numbers_of([loss.settings], WIDTHS))


def tail_of(head: Head, dtype: str) -> str:
    """Return the function after the last layer with weights, or ``unknown``."""
    tail = None if head.last is None else tail_between(head.last, head.output, dtype)
    return tail.name if tail else "unknown"


def of_penalties(a: Head, b: Head) -> Acquittal:
    """Return that only one side counts its penalty as a part of the loss."""
    return Acquittal(
        "loss",
        "D115",
        "One side counts its penalty as a part of the loss",
        f"loss {a.value:.6g} against {b.value:.6g}; with penalties {a.value + a.penalty:.6g} "
        f"against {b.value + b.penalty:.6g}, and the gradients agree",
    )


def unknown_formula(effect: dict[str, float], explained: list[Explained | None]) -> Finding:
    """Return the finding that the losses differ and at least one formula is not known."""
    values = [text_of(each) if each else "unknown formula" for each in explained]
    return Finding(
        "loss",
        None,
        "The losses differ on the same outputs",
        values={"a": values[0], "b": values[1]},
        effect=effect,
        evidence="no known formula makes both values and gradients",
    )


def evidence_of(
    explained: Sequence[Explained | None], values: tuple[float, float] | None = None
) -> str:
    """Return which formulas explain what; the values of the losses if they are known."""
    texts: list[str] = []
    for place, each in enumerate(explained):
        if each:
            what = "gradient is that"
            if values is not None:
                what = f"loss {values[place]:.6g} and gradient are those"
            texts.append(f"{'AB'[place]}'s {what} of {text_of(each)}")
    return "; ".join(texts)


def finding_of(
    named: Named, effect: dict[str, float], fix: dict[str, str | None], evidence: str
) -> Finding:
    """Return a difference of two losses as a finding."""
    return Finding(
        "loss",
        named.cause,
        named.title,
        values={"a": named.values[0], "b": named.values[1]},
        effect=effect,
        fix={side: line if named.faulty in ("", side) else None for side, line in fix.items()},
        proved=True,
        evidence=evidence,
    )


def clipping_cause(descriptions: tuple[Description, Description]) -> str | None:
    """Return the id in the catalogue of clipped probabilities where both sides are Keras.

    A side clips them if it does not find the logits: that depends on the backend, or on how the
    model computes its softmax.
    """
    if any(each.framework != "keras" for each in descriptions):
        return None
    return "D35" if descriptions[0].version == descriptions[1].version else "D36"


def fix_of(
    examination: Examination, named: Named, a: Head, b: Head, explained: list[Explained | None]
) -> dict[str, str | None]:
    """Return a line for either side, or None."""
    frameworks = [each.framework for each in examination.descriptions]
    families = {each.formula.family if each else "" for each in explained}
    if named.cause in ("D45", None) and families == {"Huber"}:
        wanted = reversed(explained)
        lines = [
            _huber_line(framework, each) if each else None
            for framework, each in zip(frameworks, wanted, strict=True)
        ]
        return dict(zip("ab", lines, strict=True))
    if named.cause == "D45" and families == {"cosine"}:
        form = "1 - cos" if b.value > a.value else "-cos"
        other = "-cos" if form == "1 - cos" else "1 - cos"
        return {
            "a": COSINES.get((frameworks[0], form)),
            "b": COSINES.get((frameworks[1], other)),
        }
    return _lines(named, examination.descriptions)


def _lines(named: Named, descriptions: tuple[Description, Description]) -> dict[str, str | None]:
    """Return a line for either side: the catalogue's, or one that fits this loss."""
    lines = fix_lines(named.cause, descriptions)
    for side, description in zip("ab", descriptions, strict=True):
        framework = description.framework
        if named.title == WITHOUT_LOGARITHM:
            lines[side] = logarithm_line(framework, binary=named.binary)
        if named.binary:
            lines[side] = binary_line(named.cause, framework) or lines[side]
        if named.label is not None:
            line_of = counting_line if side == named.ignoring else ignoring_line
            lines[side] = line_of(framework, named.label)
    return lines


COSINES = {
    ("torch", "-cos"): "-F.cosine_similarity(output, target).mean()",
    ("torch", "1 - cos"): "(1 - F.cosine_similarity(output, target)).mean()",
    ("keras", "-cos"): "losses.CosineSimilarity()",
    ("keras", "1 - cos"): "1 + losses.CosineSimilarity()(y_true, y_pred)",
}


def _huber_line(framework: str, wanted: Explained) -> str | None:
    """Return the line of a Huber loss; None where it has no usual scale."""
    if wanted.scale is None:
        return None
    width = float(wanted.formula.settings["delta"])
    text = value_text(width)
    kept = len(wanted.scales) - int(wanted.ignored.sum())
    scale = wanted.scale * kept * wanted.rows.values.shape[1]
    if relative(scale, 1.0) < TOLERANCE:
        lines = {"torch": f"nn.HuberLoss(delta={text})", "keras": f"losses.Huber(delta={text})"}
    elif relative(scale, 1 / width) < TOLERANCE:
        lines = {
            "torch": f"nn.SmoothL1Loss(beta={text})",
            "keras": f"losses.huber(y_true, y_pred, delta={text}) / {text}",
        }
    else:
        return None
    return lines.get(framework)
