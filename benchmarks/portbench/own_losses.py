"""Losses that users write themselves, with a mistake that each invites."""

from __future__ import annotations

from typing import Any

from .design import Part

# A line, or the right line and the one with the mistake.
Line = str | tuple[str, str]

TORCH: dict[str, tuple[Line, ...]] = {
    "cosine": (
        (
            "return 1 - F.cosine_similarity(output, target, dim=1).mean()",
            "return -F.cosine_similarity(output, target, dim=1).mean()",
        ),
    ),
    "quantile": (
        ("error = target - output", "error = output - target"),
        "return torch.maximum({q} * error, ({q} - 1) * error).mean()",
    ),
    "charbonnier": (
        "error = output - target",
        (
            "return torch.sqrt(error**2 + {width}**2).mean()",
            "return torch.sqrt(error**2 + {width}).mean()",
        ),
    ),
    "half squares": (
        (
            "return 0.5 * ((output - target) ** 2).mean()",
            "return ((output - target) ** 2).mean()",
        ),
    ),
    "distance": ("return torch.linalg.norm(output - target, dim=1).mean()",),
    "focal": (
        "p = torch.sigmoid(output)",
        "right = torch.where(target > 0.5, p, 1 - p)",
        (
            "return -((1 - right) ** {gamma} * torch.log(right)).mean()",
            "return -(right**{gamma} * torch.log(right)).mean()",
        ),
    ),
}
KERAS: dict[str, tuple[Line, ...]] = {
    "cosine": (
        (
            "return 1 + {losses}.cosine_similarity(y_true, y_pred)",
            "return {losses}.cosine_similarity(y_true, y_pred)",
        ),
    ),
    "quantile": (
        ("error = y_true - y_pred", "error = y_pred - y_true"),
        "return {mean}({maximum}({q} * error, ({q} - 1) * error))",
    ),
    "charbonnier": (
        "error = y_pred - y_true",
        (
            "return {mean}({sqrt}(error**2 + {width}**2))",
            "return {mean}({sqrt}(error**2 + {width}))",
        ),
    ),
    "half squares": (
        (
            "return 0.5 * {mean}({square}(y_pred - y_true))",
            "return {mean}({square}(y_pred - y_true))",
        ),
    ),
    "distance": (
        (
            "squares = {sum}({square}(y_true - y_pred), axis=-1)",
            "distances = {norm}(y_true - y_pred, axis=-1)",
        ),
        (
            "return {mean}({sqrt}({maximum}(squares, 1e-30)))",
            "return {mean}(distances)",
        ),
    ),
    "focal": (
        "p = {sigmoid}(y_pred)",
        "right = {where}(y_true > 0.5, p, 1 - p)",
        (
            "return -{mean}((1 - right) ** {gamma} * {log}(right))",
            "return -{mean}(right**{gamma} * {log}(right))",
        ),
    ),
}
OPERATIONS = ("mean", "maximum", "sqrt", "square", "sum", "norm", "sigmoid", "where", "log")


def lines(table: dict[str, tuple[Line, ...]], part: Part, words: dict[str, Any]) -> list[str]:
    """Return the body of a loss.

    Parameters
    ----------
    table : dict
        `TORCH` or `KERAS`.
    part : Part
        The loss; its option ``mistake`` chooses among the lines.
    words : dict
        What the names in braces stand for, beside the options of the loss.
    """
    body: list[str] = []
    for line in table[part.kind]:
        text = line if isinstance(line, str) else line[bool(part.get("mistake"))]
        body.append("    " + text.format(**words, **part.options))
    return body
