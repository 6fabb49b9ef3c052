"""What is trained and how, in a line."""

from dataclasses import fields
from typing import Any

from .network import Network
from .recipe import Recipe


def title(network: Network, recipe: Recipe) -> str:
    """Return what was trained, in a line."""
    o, plan, clip = recipe.optimizer, recipe.schedule, recipe.clip
    dropout = "".join(f", dropout {layer.rate:g}" for layer, _ in network.dropouts[:1])
    name = "Nesterov" if getattr(o, "nesterov", False) else o.label
    parts = [
        f"{network.architecture}{dropout}: {name} {o.rate:g}",
        *_said(
            o,
            (
                "rate",
                "nesterov",
                "" if o.weight_decay else "decoupled",
                "" if getattr(o, "momentum", 0) else "velocity",
            ),
        ),
        *([plan.name] if plan.name != "constant" else []),
        *([f"warm-up of {plan.warmup:g} epochs"] if plan.warmup else []),
        *_said(
            recipe.loss, () if getattr(recipe.loss, "class_weights", ()) else ("weigh", "divide")
        ),
        *([f"clipped by {clip.by} {clip.limit:g}"] if clip.limit else []),
        *_said(recipe.augmentation),
        "full batch" if recipe.batch_size == "full" else f"batch {recipe.batch_size}",
        recipe.dtype,
        f"seed {recipe.seed}",
    ]
    return ", ".join(parts)


def _said(part: Any, left_out: tuple[str, ...] = ()) -> list[str]:
    """Return the numbers that are not 0, the switches that are on, and the words that are not the usual ones."""
    said: list[str] = []
    for f in fields(part):
        name, value = f.name.replace("_", " "), getattr(part, f.name)
        if f.name in left_out or not value or (isinstance(value, str) and value == f.default):
            continue
        said.append(
            name
            if value is True
            else f"{name} {value:g}"
            if isinstance(value, int | float)
            else f"{name} {value}"
        )
    return said
