"""What two losses differ in, whose formulas are known."""

from dataclasses import dataclass

import numpy as np

from . import catalogue
from .code_lines import value_text
from .losses import CLIP, Explained

FACTOR = "A factor"
DIVISOR = "What the sum of the losses is divided by"
# Ratios that a user's formula may have.
FACTORS = (2.0, 0.5)
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Named:
    """A difference of two losses.

    Attributes
    ----------
    cause : str or None
        The id in the catalogue.
    title : str
        What differs.
    values : tuple of str
        What A and B do.
    faulty : str
        ``a``, ``b``, or empty if either may be meant.
    binary : bool
        Whether a loss of two classes is meant, where the catalogue has several classes.
    label : int or None
        The label that only one side ignores.
    ignoring : str
        ``a`` or ``b``: the side that ignores it.
    """

    cause: str | None
    title: str
    values: tuple[str, str]
    faulty: str = ""
    binary: bool = False
    label: int | None = None
    ignoring: str = ""


def relative(one: float, other: float) -> float:
    """Return how far two numbers differ, as a share of the larger one."""
    size = max(abs(one), abs(other))
    return abs(one - other) / size if size else 0.0


EXACT = "of the logits"
CLIPPED = "of clipped probabilities"
TWICE = "after a second softmax"
MISSING = "of logits that are taken for probabilities"
WITHOUT_LOGARITHM = "The logarithm is missing"
NO_LOGARITHM = "of probabilities that are taken for their logarithms"
MEANINGS = {
    ("identity", "logits"): EXACT,
    ("log_softmax", "logits"): EXACT,
    ("log_softmax", "log-probabilities"): EXACT,
    ("softmax", "probabilities"): EXACT,
    ("sigmoid", "probabilities"): EXACT,
    ("softmax", "logits"): TWICE,
    ("sigmoid", "logits"): TWICE,
    ("identity", "probabilities"): MISSING,
    ("identity", "log-probabilities"): MISSING,
    ("softmax", "log-probabilities"): NO_LOGARITHM,
    ("sigmoid", "log-probabilities"): NO_LOGARITHM,
}


def _meaning(each: Explained) -> str:
    """Return what a cross-entropy is taken of; empty for other losses."""
    if "cross-entropy" not in each.formula.family:
        return ""
    meaning = MEANINGS.get((each.tail, each.formula.reads), EXACT)
    clips = each.formula.settings.get("clip") == CLIP
    return CLIPPED if meaning == EXACT and clips else meaning


def text_of(each: Explained) -> str:
    """Return a loss in words."""
    formula = each.formula
    parts = [f"{formula.family} {_meaning(each)}".strip()]
    if formula.family in ("Poisson", "Kullback-Leibler divergence"):
        parts[0] += f" of {formula.reads}"
    parts += [
        f"{name} {value_text(float(formula.settings[name]))}"
        for name in ("smoothing", "delta", "gamma", "alpha")
        if name in formula.settings
    ]
    if formula.settings.get("broadcast"):
        parts.append("each output against each target")
    return ", ".join([*parts, *_reduction(each)])


def scales_of_reductions(each: Explained) -> tuple[tuple[float, str], ...]:
    """Return by what usual reductions multiply each row, with their names."""
    count, entries = each.rows.values.shape
    kept = count - int(each.ignored.sum())
    return (
        (1.0, "sum"),
        (1 / kept, "mean over the samples"),
        (1 / (kept * entries), "mean over all elements"),
        (1 / each.rows.shape[0], "sum over a sample, mean over the batch"),
    )


def _reduction(each: Explained) -> list[str]:
    """Return in words how the rows are put together."""
    count = len(each.scales)
    texts: list[str] = []
    if each.scale is not None:
        known = scales_of_reductions(each)
        names = [name for value, name in known if abs(each.scale - value) < TOLERANCE * value]
        texts.append(names[0] if names else f"{value_text(each.scale)} times the sum")
    elif each.by_label():
        total = float(np.nansum(each.scales))
        by = "their sum" if abs(total - 1) < TOLERANCE else "the number of samples"
        texts.append(f"weighted by class, divided by {by}")
    if each.ignored.any():
        texts.append(f"{int(each.ignored.sum())} of {count} rows ignored")
    return texts


def differences_of(
    one: Explained | None,
    other: Explained | None,
    losses: tuple[float, float],
    clipping: str | None,
) -> list[Named]:
    """Return the differences of two losses that were explained.

    Parameters
    ----------
    one, other : Explained or None
        The losses of A and of B.
    losses : tuple of float
        Their values.
    clipping : str or None
        The id in the catalogue of clipped probabilities, if it is not that of the formula.
    """
    if one is None or other is None:
        return []
    values = (text_of(one), text_of(other))
    found = [
        *_of_meaning(one, other, values, clipping),
        *_of_family(one, other, values),
        *_of_numbers(one, other, values),
    ]
    same = one.formula.family == other.formula.family
    if same or not found:
        found += _of_scales(one, other, values)
    if not found and relative(*losses) > TOLERANCE:
        cause = "D45" if one.formula.family == "cosine" else None
        found.append(Named(cause, "The losses differ by a constant", constants_of(losses)))
    return found


def constants_of(losses: tuple[float, float]) -> tuple[str, str]:
    """Return the values of both losses as text."""
    return (f"{losses[0]:.6g}", f"{losses[1]:.6g}")


def _of_meaning(
    one: Explained, other: Explained, values: tuple[str, str], clipping: str | None
) -> list[Named]:
    meanings = (_meaning(one), _meaning(other))
    if meanings[0] == meanings[1] or not all(meanings):
        return []
    binary = "binary" in one.formula.family or "binary" in other.formula.family
    for meaning, cause in ((TWICE, "D38"), (MISSING, "D37"), (NO_LOGARITHM, None)):
        if meaning in meanings:
            title = catalogue.get(cause).title if cause else WITHOUT_LOGARITHM
            faulty = "a" if meanings[0] == meaning else "b"
            if binary and meaning == TWICE:
                title = "Sigmoid twice"
            return [Named(cause, title, values, faulty, binary)]
    cause = clipping or ("D39" if binary else "D34")
    return [Named(cause, catalogue.get(cause).title, values)]


def _of_family(one: Explained, other: Explained, values: tuple[str, str]) -> list[Named]:
    families = (one.formula.family, other.formula.family)
    if families[0] == families[1]:
        return []
    if set(families) == {"categorical hinge", "multi-margin"}:
        return [Named("D116", catalogue.get("D116").title, values)]
    return [Named(None, f"Another loss: {families[0]} against {families[1]}", values)]


def same_poisson(one: Explained | None, other: Explained | None) -> bool:
    """Return whether two Poisson losses differ only in where the exponential is."""
    if one is None or other is None:
        return False
    if not one.formula.family == other.formula.family == "Poisson":
        return False
    return one.formula.reads != other.formula.reads and _rate(one) == _rate(other)


def _rate(each: Explained) -> str:
    """Return what a Poisson loss takes for the rate: a function of the last layer's output."""
    if each.formula.reads != "logarithms":
        return each.tail
    return "exp" if each.tail == "identity" else f"exp of {each.tail}"


def _of_numbers(one: Explained, other: Explained, values: tuple[str, str]) -> list[Named]:
    first, second = one.formula.settings, other.formula.settings
    found: list[Named] = []
    if bool(first.get("broadcast")) != bool(second.get("broadcast")):
        faulty = "a" if first.get("broadcast") else "b"
        found.append(Named("D44", catalogue.get("D44").title, values, faulty))
    if first.get("smoothing", 0.0) != second.get("smoothing", 0.0):
        found.append(Named("D41", catalogue.get("D41").title, values))
    if one.formula.family != other.formula.family:
        return found
    reads = (one.formula.reads, other.formula.reads)
    if reads[0] != reads[1] and one.formula.family == "Poisson" and not same_poisson(one, other):
        found.append(Named("D45", catalogue.get("D45").title, values))
    if _are_focal(one, other):
        if first.get("alpha") != second.get("alpha"):
            found.append(Named("D126", catalogue.get("D126").title, values))
        if relative(first["gamma"], second["gamma"]) > TOLERANCE:
            found.append(Named(None, "Another gamma of the focal loss", values))
    if one.formula.family == "Huber" and relative(first["delta"], second["delta"]) > TOLERANCE:
        found.append(Named(None, "Another width of Huber's loss", values))
    return found


def _of_scales(one: Explained, other: Explained, values: tuple[str, str]) -> list[Named]:
    """Return what the reductions differ in."""
    if len(one.scales) != len(other.scales):
        return []
    both = ~np.isnan(one.scales) & ~np.isnan(other.scales)
    ignored = (one.ignored != other.ignored) & both
    found: list[Named] = []
    if ignored.any():
        labels = np.unique(one.rows.labels[ignored])
        if len(labels) == 1:
            title = f"{catalogue.get('D42').title}: {int(labels[0])}"
            side = "a" if one.ignored[ignored].all() else "b"
            found.append(Named("D42", title, values, label=int(labels[0]), ignoring=side))
        else:
            found.append(Named(None, "Rows that are ignored", values))
    counted = both & ~one.ignored & ~other.ignored
    ratios = other.scales[counted] / one.scales[counted]
    if not len(ratios):
        return found
    if ratios.max() - ratios.min() > 1e-3 * np.abs(ratios).max():
        cause = "D126" if _are_focal(one, other) else None
        title = catalogue.get(cause).title if cause else "Class weights"
        return [*found, Named(cause, title, values)]
    ratio = float(np.median(ratios))
    if abs(ratio - 1) <= TOLERANCE:
        return found
    if found and abs(ratio - (~other.ignored).sum() / (~one.ignored).sum()) > 0:
        kept = (float((~one.ignored).sum()), float((~other.ignored).sum()))
        # The mean over fewer rows: that is the same difference.
        if min(abs(ratio - kept[0] / kept[1]), abs(ratio - 1.0)) < 1e-3:
            return found
    return [*found, _of_ratio(one, other, ratio, values)]


def _of_ratio(one: Explained, other: Explained, ratio: float, values: tuple[str, str]) -> Named:
    """Return what a constant ratio of the scales means."""
    if one.scale is None and other.scale is None:
        return Named("D40", catalogue.get("D40").title, values)
    if _are_focal(one, other) and _is_usual(one) != _is_usual(other):
        return Named("D126", catalogue.get("D126").title, values)
    if one.formula.family == "Kullback-Leibler divergence":
        return Named("D43", catalogue.get("D43").title, values)
    if one.formula.family == other.formula.family == "Huber" and _is_width(one, other, ratio):
        return Named("D45", catalogue.get("D45").title, values)
    if any(abs(ratio - factor) < TOLERANCE for factor in FACTORS):
        return Named(None, f"{FACTOR} of {value_text(ratio)} in the loss", values)
    return Named(None, DIVISOR, values)


def _are_focal(one: Explained, other: Explained) -> bool:
    """Return whether both losses are the same focal loss, up to its numbers."""
    return one.formula.family == other.formula.family and "focal" in one.formula.family


def _is_usual(each: Explained) -> bool:
    """Return whether a loss is a sum or a mean, and not weighted besides."""
    return each.scale is not None and "times the sum" not in _reduction(each)[0]


def _is_width(one: Explained, other: Explained, ratio: float) -> bool:
    """Return whether a ratio of two Huber losses is the width of one of them, or its inverse."""
    widths = [float(each.formula.settings["delta"]) for each in (one, other)]
    return any(relative(ratio, each) < TOLERANCE for width in widths for each in (width, 1 / width))
