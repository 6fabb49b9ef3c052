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
    b_after, _ = examination.b.train(
        examination.alignment.inputs_to_b(examination.a_inputs),
        examination.targets,
        1,
        examination.dtype,
    )
    carried = examination.alignment.weights_to_a(b_after)[name]
    moved = carried - examination.a.weights(examination.dtype)[name]
    gradient = array_names(examination.a_training.arrays, "gradient")[name]
    rate = largest(moved[shares.max(1) > 0.999]) if np.any(shares.max(1) > 0.999) else None
    repeated = (shares < 0.9) & (np.abs(gradient) > 1e-3 * largest(gradient))
    if rate is None or not repeated.any():
        return None
    # The first step is rate · Σg / √Σg² instead of the rate, but for epsilon.
    expected = -np.sign(gradient) * rate * np.sqrt(1 / np.maximum(shares, 1e-300))
    error = np.median(np.abs(moved[repeated] / expected[repeated] - 1))
    if not error < 0.05:
        return None
    frameworks = [each.framework for each in examination.descriptions]
    return Finding(
        "update",
        "D95",
        catalogue.get("D95").title,
        layer=pair.paths,
        values={
            side: "squares the pieces, then adds" if name == "keras" else "adds, then squares"
            for side, name in zip("ab", frameworks, strict=True)
        },
        effect={"training": differences[name], "bound": TRAVEL_BOUND[examination.dtype]},
        fix=fix_lines("D95", examination.descriptions),
        proved=True,
        evidence=(
            "the first step of words that occur several times is that of squared pieces, to "
            f"{value_text(float(error))} of it"
        ),
    )


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
