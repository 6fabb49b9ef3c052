"""Whole training steps of both sides from equal weights: finds what the stages before missed."""

import numpy as np

from .. import catalogue
from ..bounds import TRAVEL_BOUND, travel_differences
from ..code_lines import value_text
from ..examination import Examination, Pair, Result
from ..findings import Finding
from ..observation import Array, Arrays, array_names, largest
from ..optimizers import described_rule
from ..probes import TRAINING_STEPS
from ..rules import SQUARING
from ..side import both
from ..wording import fix_lines

# Stages that a training step contains.
PARTS = (
    "data",
    "weights",
    "forward",
    "mode",
    "loss",
    "gradient",
    "compilation",
    "update",
    "schedule",
)
# A first step that is so near to that of squared pieces is taken for it.
MOST_ERROR_OF_PIECES = 0.05


def examine(examination: Examination) -> Result:
    """Make training steps with both sides and compare the weights."""
    if not (examination.has("optimizer") and examination.has("loss") and examination.targets):
        return Result()
    if any(examination.results[name].findings for name in PARTS if name in examination.results):
        return Result()
    if examination.alignment.findings:
        return Result()
    names = list(examination.trained())
    if not names:
        return Result()
    b_inputs = examination.alignment.inputs_to_b(examination.a_inputs)
    (a_after, _), (b_after, _) = both(
        lambda: examination.a.train(
            examination.a_inputs, examination.targets, TRAINING_STEPS, examination.dtype
        ),
        lambda: examination.b.train(
            b_inputs, examination.targets, TRAINING_STEPS, examination.dtype
        ),
    )
    a_before = examination.a.weights(examination.dtype)
    differences = _differences(examination, names, a_before, a_after, b_after)
    bound = TRAVEL_BOUND[examination.dtype]
    worst = max(differences, key=lambda name: differences[name])
    if differences[worst] <= bound:
        return Result(largest=differences[worst], bound=bound)
    for pair in examination.alignment.pairs:
        found = _of_embedding(examination, pair, differences)
        if found:
            return Result((found,), (), 0.0, bound)
    pair = _pair(examination, worst)
    return Result((_unknown(pair, worst, differences[worst], bound),), (), 0.0, bound)


def _differences(
    examination: Examination,
    names: list[str],
    before: Arrays,
    a_after: Arrays,
    b_after: Arrays,
) -> dict[str, float]:
    """Return the difference of each weight array over the largest distance of all weights."""
    gradients = array_names(examination.a_training.arrays, "gradient")
    return travel_differences(
        {name: gradients[name] for name in names},
        before,
        a_after,
        examination.alignment.weights_to_a(b_after),
        examination.dtype,
    )


def _pair(examination: Examination, name: str) -> Pair | None:
    path = name.rpartition("/")[0]
    return next((each for each in examination.alignment.pairs if each.a.path == path), None)


def _unknown(pair: Pair | None, name: str, difference: float, bound: float) -> Finding:
    return Finding(
        "update",
        None,
        "Whole training steps differ, although each part of them agrees",
        layer={"a": pair.a.path if pair else None, "b": pair.b.path if pair else None},
        values={"a": name, "b": name},
        effect={"training": difference, "bound": bound},
        evidence=f"{TRAINING_STEPS} training steps from equal weights; largest at {name}",
    )


def _of_embedding(
    examination: Examination, pair: Pair, differences: dict[str, float]
) -> Finding | None:
    """Return that a side squares the pieces of an embedding's gradient before it adds them."""
    rules = [described_rule(each) for each in examination.descriptions]
    if pair.a.kind != "embedding" or not all(rule and rule.family in SQUARING for rule in rules):
        return None
    name = f"{pair.a.path}/embeddings"
    if differences.get(name, 0.0) <= TRAVEL_BOUND[examination.dtype]:
        return None
    shares = _shares_of_squares(examination, pair)
    if shares is None:
        return None
    gradient = array_names(examination.a_training.arrays, "gradient")[name]
    steps = [_first_step(examination, name, side) for side in "ab"]
    errors = [_error_of_pieces(step, gradient, shares) for step in steps]
    of_pieces = [error < MOST_ERROR_OF_PIECES for error in errors]
    if of_pieces[0] == of_pieces[1]:
        return None
    words = {True: "squares the pieces, then adds", False: "adds, then squares"}
    return Finding(
        "update",
        "D95",
        catalogue.get("D95").title,
        layer=pair.paths,
        values={side: words[each] for side, each in zip("ab", of_pieces, strict=True)},
        effect={"training": differences[name], "bound": TRAVEL_BOUND[examination.dtype]},
        fix=fix_lines("D95", examination.descriptions),
        proved=True,
        evidence=(
            "the first step of words that occur several times is that of squared pieces, to "
            f"{value_text(min(errors))} of it"
        ),
    )


def _first_step(examination: Examination, name: str, side: str) -> Array:
    """Return how a side's first training step moves a weight of A."""
    targets, dtype = examination.targets, examination.dtype
    if side == "a":
        after, _ = examination.a.train(examination.a_inputs, targets, 1, dtype)
    else:
        b_inputs = examination.alignment.inputs_to_b(examination.a_inputs)
        b_after, _ = examination.b.train(b_inputs, targets, 1, dtype)
        after = examination.alignment.weights_to_a(b_after)
    return np.asarray(after[name], np.float64) - examination.a.weights(dtype)[name]


def _error_of_pieces(step: Array, gradient: Array, shares: Array) -> float:
    """Return how far a first step is from that of squared pieces, as a share of it.

    That step is rate · Σg / √Σg² instead of the rate, but for epsilon. The rate is that of words
    that occur once, or else of most words.
    """
    counted = np.abs(gradient) > 1e-3 * largest(gradient)
    repeated = counted & (np.abs(shares - 1) > 0.1)
    if not repeated.any():
        return float("inf")
    rates = -np.sign(gradient) * step * np.sqrt(shares)
    once = counted & (np.abs(shares - 1) < 1e-6)
    rate = np.median(rates[once]) if once.any() else np.median(rates[repeated])
    if not rate > 0:
        return float("inf")
    return float(np.median(np.abs(rates[repeated] / rate - 1)))


def _shares_of_squares(examination: Examination, pair: Pair) -> Array | None:
    """Return Σg² / (Σg)² of each element of an embedding, over the places where a word occurs."""
    arrays = examination.a_training.arrays
    numbers = examination.a_training.numbers.get(pair.a.path, [])
    if len(numbers) != 1:
        return None
    words = arrays.get(f"{numbers[0]}/input")
    gradient = arrays.get(f"{numbers[0]}/output_gradient")
    if words is None or gradient is None or words.size * gradient.shape[-1] != gradient.size:
        return None
    pieces = np.asarray(gradient, np.float64).reshape(words.size, -1)
    index = words.reshape(-1).astype(np.int64)
    shape = array_names(arrays, "gradient")[f"{pair.a.path}/embeddings"].shape
    total = np.zeros(shape)
    squares = np.zeros(shape)
    np.add.at(total, index, pieces)
    np.add.at(squares, index, pieces**2)
    with np.errstate(all="ignore"):
        return np.nan_to_num(squares / total**2, nan=1.0, posinf=1e300)
