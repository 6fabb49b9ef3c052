"""One-line titles of training runs."""

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from .losses import SoftmaxCrossEntropy
from .network import Network
from .recipe import Recipe


def title(network: Network, recipe: Recipe) -> str:
    """Return a one-line description of a network and of how it is trained.

    For example ``784-10-10: SGD 0.1, full batch, float32, seed 0``. Options that are off are left
    out.
    """
    schedule = recipe.schedule
    clip = recipe.clip
    parts = [_describe_network_and_rate(network, recipe), *_describe_optimizer(recipe)]
    if schedule.name != "constant":
        parts.append(schedule.name)
    if schedule.warmup:
        parts.append(f"warm-up of {schedule.warmup:g} epochs")
    parts += _describe_loss(recipe)
    if clip.limit:
        parts.append(f"clipped by {clip.by} {clip.limit:g}")
    parts += _describe_settings(recipe.augmentation)
    batch = "full batch" if recipe.batch_size == "full" else f"batch {recipe.batch_size}"
    parts += [batch, recipe.dtype, f"seed {recipe.seed}"]
    return ", ".join(parts)


def _describe_network_and_rate(network: Network, recipe: Recipe) -> str:
    optimizer = recipe.optimizer
    dropout = "".join(f", dropout {layer.rate:g}" for layer, _ in network.dropouts[:1])
    name = "Nesterov" if getattr(optimizer, "nesterov", False) else optimizer.label
    return f"{network.architecture}{dropout}: {name} {optimizer.rate:g}"


def _describe_optimizer(recipe: Recipe) -> list[str]:
    optimizer = recipe.optimizer
    left_out = ["rate", "nesterov"]  # they are in the title's beginning
    # Options of a decay or a velocity mean nothing without one.
    if not optimizer.weight_decay:
        left_out.append("decoupled")
    if not getattr(optimizer, "momentum", 0):
        left_out.append("velocity")
    return _describe_settings(optimizer, left_out)


def _describe_loss(recipe: Recipe) -> list[str]:
    loss = recipe.loss
    name = [] if type(loss) is SoftmaxCrossEntropy else [loss.label]
    weighted = bool(getattr(loss, "class_weights", ()))
    return name + _describe_settings(loss, () if weighted else ("weigh", "divide"))


def _describe_settings(part: Any, left_out: Collection[str] = ()) -> list[str]:
    """Return the settings of a part of a recipe, without zeros, false flags and default words."""
    described: list[str] = []
    for field in fields(part):
        value = getattr(part, field.name)
        default_word = isinstance(value, str) and value == field.default
        if field.name in left_out or not value or default_word:
            continue
        name = field.name.replace("_", " ")
        if value is True:
            described.append(name)
        elif isinstance(value, int | float):
            described.append(f"{name} {value:g}")
        else:
            described.append(f"{name} {value}")
    return described
