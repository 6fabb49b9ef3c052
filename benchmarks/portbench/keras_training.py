"""The Keras side's loss, optimizer, schedule and metric, as text."""

from __future__ import annotations

from . import own_losses
from .code import arguments, number, rate_text
from .design import Part, Side, is_default
from .keras_model import Imports
from .style import Style

CLASSES = {
    "sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "adagrad": "Adagrad",
    "adadelta": "Adadelta", "nadam": "Nadam", "adamax": "Adamax",
}  # fmt: skip
KEYWORDS = (
    ("lr", "learning_rate"), ("momentum", "momentum"), ("nesterov", "nesterov"),
    ("beta_1", "beta_1"), ("beta_2", "beta_2"), ("rho", "rho"), ("eps", "epsilon"),
    ("initial", "initial_accumulator_value"), ("weight_decay", "weight_decay"),
)  # fmt: skip
CLIPS = {"global": "global_clipnorm", "each": "clipnorm", "value": "clipvalue"}


def loss(part: Part, style: Style, imports: Imports) -> tuple[list[str], str]:
    """Return the lines before ``build`` and the expression of a loss."""
    if part.get("weights"):
        return _weighted(part, style, imports)
    if part.get("smoothing"):
        return _smoothed(part, style, imports)
    if part.kind in own_losses.KERAS:
        return _own(part, style, imports)
    name, text, options = LOSSES[part.kind]
    words = [_option(part, *entry, style) for entry in options]
    if part.get("form") == "logits":
        words.insert(0, "from_logits=True")
    extra = arguments(*words, _reduction(part))
    if not extra and style.chance("loss by name", 0.5):
        return [], f'"{style.pick("loss name", text)}"'
    return [], f"{imports.keras('losses')}.{name}({extra})"


def _option(part: Part, name: str, keyword: str, usual: object, style: Style) -> str | None:
    value = part.get(name, usual)
    return None if value == usual else f"{keyword}={number(value, style)}"


LOSSES: dict[str, tuple[str, tuple[str, ...], tuple[tuple[str, str, object], ...]]] = {
    "cross_entropy": (
        "SparseCategoricalCrossentropy",
        ("sparse_categorical_crossentropy",),
        (("ignored", "ignore_class", None),),
    ),
    "binary": ("BinaryCrossentropy", ("binary_crossentropy",), ()),
    "mse": ("MeanSquaredError", ("mse", "mean_squared_error"), ()),
    "mae": ("MeanAbsoluteError", ("mae", "mean_absolute_error"), ()),
    "huber": ("Huber", ("huber",), (("delta", "delta", 1.0),)),
    "kl": ("KLDivergence", ("kl_divergence",), ()),
    "poisson": ("Poisson", ("poisson",), ()),
}


def _own(part: Part, style: Style, imports: Imports) -> tuple[list[str], str]:
    words = {name: imports.ops(name) for name in own_losses.OPERATIONS}
    words["losses"] = imports.keras("losses")
    name = style.pick("loss name", ("loss_fn", "custom_loss", "my_loss"))
    body = own_losses.lines(own_losses.KERAS, part, words)
    return [f"def {name}(y_true, y_pred):", *body, "", ""], name


def _smoothed(part: Part, style: Style, imports: Imports) -> tuple[list[str], str]:
    """Return label smoothing as an own function: the sparse loss of Keras has none."""
    name = style.pick("loss name", ("smoothed_loss", "smooth_crossentropy", "loss_fn"))
    entropy = imports.keras("losses.categorical_crossentropy")
    labels = f'{imports.ops("cast")}({imports.ops("reshape")}(y_true, (-1,)), "int32")'
    one_hot = f"{imports.ops('one_hot')}(labels, {part['classes']}, dtype=y_pred.dtype)"
    inside = f"one_hot, y_pred, from_logits=True, label_smoothing={part['smoothing']}"
    return [
        f"def {name}(y_true, y_pred):",
        f"    labels = {labels}",
        f"    one_hot = {one_hot}",
        f"    return {entropy}({inside})",
        "",
        "",
    ], name


def _reduction(part: Part) -> str | None:
    reduction = part.get("reduction", "mean")
    if reduction == "mean":
        return None
    return f'reduction="{reduction}"'


def _weighted(part: Part, style: Style, imports: Imports) -> tuple[list[str], str]:
    """Return a cross-entropy with a weight for each class, as an own function."""
    name = style.pick("weighted name", ("weighted_crossentropy", "weighted_loss", "class_loss"))
    ops = imports.ops
    entropy = imports.keras("losses.sparse_categorical_crossentropy")
    mean = {
        "weights": f"{ops('sum')}(weights * losses) / {ops('sum')}(weights)",
        "examples": "weights * losses",
    }[part["divides by"]]
    take = f"{ops('take')}({ops('convert_to_tensor')}(CLASS_WEIGHTS, dtype=y_pred.dtype), labels)"
    lines = [
        f"CLASS_WEIGHTS = {part['weights']}",
        "",
        "",
        f"def {name}(y_true, y_pred):",
        f'    labels = {ops("cast")}({ops("reshape")}(y_true, (-1,)), "int32")',
        f"    weights = {take}",
        f"    losses = {entropy}(labels, y_pred, from_logits=True)",
        f"    return {mean}",
        "",
        "",
    ]
    return lines, name


def optimizer(part: Part, style: Style, imports: Imports, rate: str | None) -> str:
    """Return the expression that makes an optimizer.

    Parameters
    ----------
    part : Part
        The optimizer.
    style : Style
        The side's style.
    imports : Imports
        Where names come from.
    rate : str or None
        The name of a schedule that replaces the learning rate.
    """
    words: list[str] = []
    for name, keyword in KEYWORDS:
        value = part.get(name)
        if name == "lr" and rate is not None:
            words.append(style.pick("rate word", ("", "learning_rate=")) + rate)
            continue
        if value is None or value is False or value == 0:
            continue
        if is_default("keras", part, name) and not (name == "lr" and not part.get("lr left out")):
            continue
        text = rate_text(value, style) if name == "lr" else number(value, style)
        by_place = name == "lr" and style.chance("rate by place", 0.4)
        words.append(text if by_place else f"{keyword}={text}")
    if part.get("clip") is not None:
        kind, bound = part["clip"]
        words.append(f"{CLIPS[kind]}={bound}")
    return f"{imports.keras('optimizers')}.{CLASSES[part.kind]}({', '.join(words)})"


def schedule(part: Part, rate: float, style: Style, imports: Imports) -> tuple[list[str], str]:
    """Return the lines before ``build`` and the expression of a schedule."""
    if part.kind == "warm-up":
        return _warm_up(part, rate, style, imports)
    module = imports.keras("optimizers.schedules")
    if part.kind == "step":
        stairs = "" if part.get("continuous") else ", staircase=True"
        inside = f"decay_steps={part['size']}, decay_rate={part['gamma']}{stairs}"
        return [], f"{module}.ExponentialDecay({rate}, {inside})"
    if part.kind == "piecewise":
        values = [float(f"{rate * part['gamma'] ** i:.6g}") for i in range(len(part["at"]) + 1)]
        bounds = [at - 1 + part.get("shift", 0) for at in part["at"]]
        return [], f"{module}.PiecewiseConstantDecay({bounds}, {values})"
    if part.kind == "cosine":
        alpha = f", alpha={part['alpha']}" if part["alpha"] else ""
        return [], f"{module}.CosineDecay({rate}, decay_steps={part['length']}{alpha})"
    power = f", power={part['power']}" if part["power"] != 1.0 else ""
    end = f", end_learning_rate={part['end']}" if part["end"] != 1e-4 else ""
    return [], f"{module}.PolynomialDecay({rate}, decay_steps={part['length']}{end}{power})"


def _warm_up(part: Part, rate: float, style: Style, imports: Imports) -> tuple[list[str], str]:
    name = style.pick("warm-up name", ("WarmUp", "LinearWarmup", "WarmupSchedule"))
    ops = imports.ops
    base = imports.keras("optimizers.schedules.LearningRateSchedule")
    step = f'{ops("cast")}(step, "float32")'
    shifted = f"({step} + {part['offset']})" if part["offset"] else step
    factor = f"{ops('minimum')}(1.0, {shifted} / self.steps)"
    lines = [
        f"class {name}({base}):",
        "    def __init__(self, rate, steps):",
        "        self.rate = rate",
        "        self.steps = steps",
        "",
        "    def __call__(self, step):",
        f"        return self.rate * {factor}",
        "",
        "",
    ]
    return lines, f"{name}({rate}, {part['length']})"


def metric(part: Part, side: Side, style: Style, imports: Imports) -> str:
    """Return the expression of a metric."""
    name, inside = {
        "accuracy": ("SparseCategoricalAccuracy", ""),
        "binary_accuracy": ("BinaryAccuracy", _threshold(part)),
        "mean_absolute_error": ("MeanAbsoluteError", ""),
        "root_mean_squared_error": ("RootMeanSquaredError", ""),
        "mean_squared_error": ("MeanSquaredError", ""),
        "top_k": ("SparseTopKCategoricalAccuracy", f"k={part.get('k')}"),
    }[part.kind]
    if part.kind == "top_k" and part["k"] == 5:
        inside = ""
    return f"{imports.keras('metrics')}.{name}({inside})"


def _threshold(part: Part) -> str:
    threshold = part.get("threshold", 0.5)
    return "" if threshold == 0.5 else f"threshold={threshold}"


def callback(part: Part, style: Style, imports: Imports) -> str:
    """Return the expression of a callback."""
    module = imports.keras("callbacks")
    delta = f"min_delta={number(part['min_delta'], style)}"
    if part.kind == "early stopping":
        patience = f"patience={part['patience']}" if part["patience"] else None
        words = (patience, delta if part["min_delta"] else None)
        return f"{module}.EarlyStopping({arguments(*words)})"
    words = (f"factor={part['factor']}", f"patience={part['patience']}",
             delta if part["min_delta"] != 1e-4 else None)  # fmt: skip
    return f"{module}.ReduceLROnPlateau({arguments(*words)})"
