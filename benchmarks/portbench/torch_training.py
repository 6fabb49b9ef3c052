"""The PyTorch side's loss, optimizer, schedule and metric, as text."""

from __future__ import annotations

from collections.abc import Callable

from . import own_losses
from .code import arguments, number, rate_text
from .design import Part, Side, is_default
from .style import Style

CLASSES = {
    "sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "adagrad": "Adagrad",
    "adadelta": "Adadelta", "nadam": "NAdam", "adamax": "Adamax",
}  # fmt: skip
# Settings in the order in which people write them: (option, keyword).
KEYWORDS = (
    ("lr", "lr"), ("momentum", "momentum"), ("dampening", "dampening"), ("nesterov", "nesterov"),
    ("beta_2", "betas"), ("rho", "rho"), ("eps", "eps"), ("initial", "initial_accumulator_value"),
    ("momentum_decay", "momentum_decay"), ("weight_decay", "weight_decay"),
)  # fmt: skip


def loss(part: Part, style: Style) -> tuple[list[str], str]:
    """Return the lines before ``build`` and the expression of a loss."""
    if part.kind in own_losses.TORCH:
        return _own(part, style)
    if part.kind in ("cross_entropy", "binary"):
        return _entropy(part, style)
    return LOSSES[part.kind](part, style)


def _entropy(part: Part, style: Style) -> tuple[list[str], str]:
    keys = (part.kind, part["form"])
    names = {
        ("cross_entropy", "logits"): ("CrossEntropyLoss", "cross_entropy"),
        ("cross_entropy", "log_probabilities"): ("NLLLoss", "nll_loss"),
        ("binary", "logits"): ("BCEWithLogitsLoss", "binary_cross_entropy_with_logits"),
        ("binary", "probabilities"): ("BCELoss", "binary_cross_entropy"),
    }
    module, function = names[keys]
    extra = _entropy_arguments(part)
    if not extra and style.chance("loss as function", 0.35):
        forms = (f"F.{function}", f"lambda output, target: F.{function}(output, target)")
        return [], style.pick("form of loss", forms)
    return [], f"nn.{module}({extra})"


def _entropy_arguments(part: Part) -> str:
    smoothing = part.get("smoothing")
    ignored = part.get("ignored")
    return arguments(
        "weight=weights" if part.get("weights") else None,
        f"ignore_index={ignored}" if ignored is not None else None,
        f"label_smoothing={smoothing}" if smoothing else None,
        _reduction(part),
    )


def _reduction(part: Part) -> str | None:
    reduction = part.get("reduction", "mean")
    return None if reduction == "mean" else f'reduction="{reduction}"'


def _mse(part: Part, style: Style) -> tuple[list[str], str]:
    if _reduction(part) is None and style.chance("loss as function", 0.3):
        return [], "F.mse_loss"
    return [], f"nn.MSELoss({_reduction(part) or ''})"


def _mae(part: Part, style: Style) -> tuple[list[str], str]:
    return [], f"nn.L1Loss({_reduction(part) or ''})"


def _huber(part: Part, style: Style) -> tuple[list[str], str]:
    delta = None if part["delta"] == 1.0 else f"delta={part['delta']}"
    return [], f"nn.HuberLoss({arguments(delta, _reduction(part))})"


def _smooth_l1(part: Part, style: Style) -> tuple[list[str], str]:
    beta = None if part["delta"] == 1.0 else f"beta={part['delta']}"
    return [], f"nn.SmoothL1Loss({arguments(beta, _reduction(part))})"


def _kl(part: Part, style: Style) -> tuple[list[str], str]:
    return [], f'nn.KLDivLoss(reduction="{part["reduction"]}")'


def _poisson(part: Part, style: Style) -> tuple[list[str], str]:
    logarithm = None if part["log input"] else "log_input=False"
    return [], f"nn.PoissonNLLLoss({arguments(logarithm, 'eps=1e-7')})"


def _own(part: Part, style: Style) -> tuple[list[str], str]:
    name = style.pick("loss name", ("loss_fn", "criterion", "compute_loss"))
    body = own_losses.lines(own_losses.TORCH, part, {})
    return [f"def {name}(output, target):", *body, "", ""], name


LossWriter = Callable[[Part, Style], tuple[list[str], str]]
LOSSES: dict[str, LossWriter] = {
    "mse": _mse,
    "mae": _mae,
    "huber": _huber,
    "smooth_l1": _smooth_l1,
    "kl": _kl,
    "poisson": _poisson,
}


def optimizer(part: Part, style: Style) -> str:
    """Return the expression that makes an optimizer."""
    module = style.pick("optimizer import", ("torch.optim", "torch.optim", "optim"))
    words: list[str] = []
    for name, keyword in KEYWORDS:
        value = part.get(name)
        if value is None or value is False or value == 0:
            continue
        if is_default("torch", part, name) and not (name == "lr" and not part.get("lr left out")):
            continue
        text = rate_text(value, style) if name == "lr" else number(value, style)
        if keyword == "betas":
            text = f"(0.9, {value})"
        if keyword == "rho" and part.kind == "rmsprop":
            keyword = "alpha"
        words.append(f"{keyword}={text}")
    parameters = part.get("parameters", "model.parameters()")
    name = CLASSES[part.kind]
    if part.get("coupled"):
        name = name.removesuffix("W")
    return f"{module}.{name}({arguments(parameters, *words)})"


def clipping(part: Part) -> list[str]:
    """Return the lines that limit the gradients before each step, or none."""
    limit = part.get("clip")
    if limit is None:
        return []
    kind, bound = limit
    lines = {
        "global": [f"torch.nn.utils.clip_grad_norm_(model.parameters(), {bound})"],
        "each": ["for parameter in model.parameters():",
                 f"    torch.nn.utils.clip_grad_norm_(parameter, {bound})"],
        "value": [f"torch.nn.utils.clip_grad_value_(model.parameters(), {bound})"],
    }[kind]  # fmt: skip
    return ["", "def clip(optimizer, args, kwargs):", *(f"    {line}" for line in lines), "",
            "optimizer.register_step_pre_hook(clip)"]  # fmt: skip


def schedule(part: Part, style: Style) -> str:
    """Return the expression that makes a schedule; the optimizer's name is ``optimizer``."""
    steps = part.get("steps_per_epoch", 1) if part["unit"] == "epoch" else 1
    if part.kind == "step":
        inside = f"step_size={part['size'] // steps}, gamma={part['gamma']}"
        return f"{_scheduler(style)}StepLR(optimizer, {inside})"
    if part.kind == "piecewise":
        inside = f"milestones={[at // steps for at in part['at']]}, gamma={part['gamma']}"
        return f"{_scheduler(style)}MultiStepLR(optimizer, {inside})"
    if part.kind == "cosine":
        floor = f"eta_min={part['floor']}" if part["floor"] else None
        inside = arguments("optimizer", f"T_max={part['length'] // steps}", floor)
        return f"{_scheduler(style)}CosineAnnealingLR({inside})"
    if part.kind == "polynomial":
        inside = arguments("optimizer", f"total_iters={part['length'] // steps}",
                           f"power={part['power']}")  # fmt: skip
        return f"{_scheduler(style)}PolynomialLR({inside})"
    if part.kind == "warm-up":
        return f"{_scheduler(style)}LambdaLR(optimizer, warmup)"
    return plateau(part, style)


def plateau(part: Part, style: Style) -> str:
    """Return the expression of a schedule that waits for a plateau."""
    threshold = None
    if part["threshold mode"] == "abs":
        threshold = f'threshold={number(part["threshold"], style)}, threshold_mode="abs"'
    inside = arguments("optimizer", f"factor={part['factor']}", f"patience={part['patience']}",
                       threshold)  # fmt: skip
    return f"{_scheduler(style)}ReduceLROnPlateau({inside})"


def _scheduler(style: Style) -> str:
    return style.pick("scheduler import", ("torch.optim.lr_scheduler.", "lr_scheduler.", ""))


def schedule_lines(part: Part) -> list[str]:
    """Return the function that a schedule needs before ``build``, or none."""
    if part.kind != "warm-up":
        return []
    step = f"(step + {part['offset']})" if part["offset"] else "step"
    factor = f"min(1.0, {step} / {part['length']})"
    return ["def warmup(step):", f"    return {factor}", "", ""]


def metric(part: Part, side: Side, style: Style) -> tuple[list[str], str]:
    """Return the lines before ``build`` and the expression of a metric."""
    body = METRICS[part.kind].format(threshold=f"{part.get('threshold', 0.5):g}", k=part.get("k"))
    if style.chance("metric as lambda"):
        return [], f"lambda output, target: {body}"
    name = style.pick("metric name", ("metric", "score", "evaluate"))
    return [f"def {name}(output, target):", f"    return {body}", "", ""], name


METRICS = {
    "accuracy": "(output.argmax(dim=1) == target).double().mean().item()",
    "binary_accuracy": "((output > {threshold}) == (target > 0.5)).double().mean().item()",
    "mean_absolute_error": "(output - target).abs().mean().item()",
    "root_mean_squared_error": "((output - target) ** 2).mean().sqrt().item()",
    "mean_squared_error": "((output - target) ** 2).mean().item()",
    "top_k": "(output.topk({k}).indices == target[:, None]).any(dim=1).double().mean().item()",
}
EARLY_STOPPING = """\
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience = patience
        self.min_delta = min_delta
        self.best = float("inf")
        self.waited = 0
        self.stop_training = False

    def on_epoch_end(self, epoch, logs):
        if logs["val_loss"] < self.best - self.min_delta:
            self.best = logs["val_loss"]
            self.waited = 0
            return
        self.waited += 1
        if self.waited {compare} self.patience:
            self.stop_training = True
"""


def callback(part: Part, style: Style) -> tuple[list[str], str]:
    """Return the lines before ``build`` and the expression of a callback."""
    compare = ">" if part.get("late") else ">="
    delta = f", min_delta={number(part['min_delta'], style)}" if part["min_delta"] else ""
    made = f"EarlyStopping(patience={part['patience']}{delta})"
    return [*EARLY_STOPPING.format(compare=compare).splitlines(), "", ""], made
