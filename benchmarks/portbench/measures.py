"""From what two programs compute to how much they differ at each stage."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .layout import Array
from .runner import STEPS, Measured

# The measures that belong to a stage; the largest of them counts.
STAGE_MEASURES = {
    "data": ("data", "batches"),
    "weights": ("weights",),
    "forward": ("forward_eval",),
    "mode": ("mode", "forward_train"),
    "loss": ("loss",),
    "gradient": ("gradient",),
    "update": ("update_1", f"update_{STEPS}"),
    "schedule": ("schedule",),
    "buffers": ("buffers_1", f"buffers_{STEPS}"),
    "callback": ("callback",),
    "metric": ("metric",),
}
BUFFERS = ("running_mean", "running_var")


def measures(torch: Measured, keras: Measured, heads: tuple[str, str]) -> dict[str, float]:
    """Return how much two programs differ.

    Every number is the largest difference divided by the largest value; those of updates and
    buffers are divided by the largest distance that a weight or a buffer has moved.

    Parameters
    ----------
    torch, keras : dict
        What the programs computed.
    heads : tuple of str
        What the models return, by which their outputs are made comparable.
    """
    found: dict[str, float] = {}
    found["data"] = _data(torch, keras)
    if "batches/sizes" in torch:
        found["batches"] = _group(torch, keras, "batches/")
    found["weights"] = _group(torch, keras, "weights/")
    for name in ("forward_eval", "forward_train"):
        if name in torch and name in keras:
            found[name] = _outputs(torch[name], keras[name], heads)
    if "forward_eval" in torch:
        found["mode"] = _mode(torch, keras)
    for name in ("loss", "metric", "schedule"):
        if name in torch and name in keras:
            found[name] = difference(torch[name], keras[name])
    for name in ("gradient", "callback"):
        found[name] = _group(torch, keras, f"{name}/")
    for count in (1, STEPS):
        found[f"update_{count}"] = _moved(torch, keras, count, lambda name: not _buffer(name))
        found[f"buffers_{count}"] = _moved(torch, keras, count, _buffer)
    return {name: value for name, value in found.items() if not np.isnan(value)}


def difference(a: Array, b: Array) -> float:
    """Return the largest difference of two arrays, divided by the largest value."""
    if a.size != b.size:
        return 1.0
    a, b = a.astype("float64"), b.astype("float64").reshape(a.shape)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return 1.0
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    largest = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0))
    return float(np.abs(a - b).max(initial=0) / largest) if largest else 0.0


def _data(torch: Measured, keras: Measured) -> float:
    worst = 0.0
    for name in torch:
        if not name.startswith("data/"):
            continue
        a, b = torch[name], keras[name]
        if a.ndim > 2 and a.shape != b.shape:
            a = np.moveaxis(a, 1, -1)
        worst = max(worst, difference(a, b))
    return worst


def _group(torch: Measured, keras: Measured, prefix: str) -> float:
    """Return the largest difference in a group, over the group's largest value."""
    names = [name for name in torch if name.startswith(prefix) and name in keras]
    if not names:
        return float("nan")
    largest = max(float(np.abs(torch[name]).max(initial=0)) for name in names)
    if any(torch[name].shape != keras[name].shape for name in names):
        return 1.0
    gaps = [float(np.abs(torch[name] - keras[name]).max(initial=0)) for name in names]
    worst = max(gaps)
    if not np.isfinite(worst):
        return 1.0
    return worst / largest if largest else worst


def _outputs(a: Array, b: Array, heads: tuple[str, str]) -> float:
    if heads[0] != heads[1]:
        a, b = _probabilities(a, heads[0]), _probabilities(b, heads[1])
    return difference(a, b)


def _probabilities(x: Array, head: str) -> Array:
    x = x.astype("float64")
    if head == "log_softmax":
        return np.exp(x)
    if head != "logits":
        return x
    if x.shape[-1] == 1 or x.ndim == 1:
        return 1 / (1 + np.exp(-x))
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _mode(torch: Measured, keras: Measured) -> float:
    """Return how much evaluation repeats itself and the rates of dropout differ."""
    again = max(difference(side["forward_eval"], side["forward_again"]) for side in (torch, keras))
    rates = [
        [rate for rate in side.get("dropout", np.zeros(0)).tolist() if rate]
        for side in (torch, keras)
    ]
    return max(again, 0.0 if rates[0] == rates[1] else 1.0)


def _buffer(name: str) -> bool:
    return name.rpartition(".")[2] in BUFFERS


def _moved(torch: Measured, keras: Measured, count: int, chosen: Callable[[str], bool]) -> float:
    """Return the largest difference after some steps, over the largest distance moved."""
    prefix = f"after_{count}/"
    names = [
        name.removeprefix(prefix)
        for name in torch
        if name.startswith(prefix) and name in keras and chosen(name)
    ]
    if not names:
        return float("nan")
    gap, distance = 0.0, 0.0
    for name in names:
        moves = [side[prefix + name] - side["weights/" + name] for side in (torch, keras)]
        gap = max(gap, float(np.abs(moves[0] - moves[1]).max()))
        distance = max(distance, float(np.abs(moves[0]).max()))
    if not np.isfinite(gap):
        return 1.0
    return gap / distance if distance else gap


def at_stage(found: dict[str, float], stage: str) -> float:
    """Return how much the programs differ at a stage."""
    return max((found[name] for name in STAGE_MEASURES[stage] if name in found), default=0.0)
