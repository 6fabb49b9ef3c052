"""What a kind of fault is, and helpers that the kinds share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..design import DEFAULTS, Node, Pair, Side
from ..shapes import infer
from ..style import Style

STAGES = (
    "data", "weights", "forward", "mode", "loss", "gradient", "update", "schedule", "buffers",
    "callback", "metric",
)  # fmt: skip
OUTSIDE = "outside"
EVERY_FAMILY = (
    "dense", "conv", "normalised", "residual", "recurrent", "attention", "series", "tokens",
    "masked",
)  # fmt: skip


class Unsuitable(Exception):
    """A drawn pair has no place for this kind of fault, so that another must be drawn."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes
    ----------
    name : str
        Unique.
    title : str
        One line, for people.
    stage : str
        Where the sides first differ: one of `STAGES`.
    cause : str
        An id of the catalogue of differences, or ``outside``.
    families : tuple of str
        The families in which it can be generated.
    prepare : callable
        Changes both sides of a correct pair, so that the fault has a place; the pair remains
        correct.
    apply : callable
        Changes one side; returns the node where the fault is, or None.
    slots : frozenset of str
        Parts of a program that it occupies. Two faults of one pair have no slot in common.
    tasks : tuple of str
        The tasks in which it can be generated.
    accept : tuple of str
        Stages beside `stage` that count as right.
    causes : tuple of str
        Causes beside `cause` that count as right.
    weight : int
        How often it is drawn, relative to the others.
    """

    name: str
    title: str
    stage: str
    cause: str
    families: tuple[str, ...]
    prepare: Callable[[Pair, Style], None]
    apply: Callable[[Pair, Style], Node | None]
    slots: frozenset[str]
    tasks: tuple[str, ...] = ("classes", "binary", "values")
    accept: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    weight: int = 1


def nothing(pair: Pair, style: Style) -> None:
    """Change nothing: the fault has a place in every pair."""


def culprit(style: Style) -> str:
    """Return the framework on whose side the fault is."""
    return style.pick("culprit", ("torch", "keras"))


def other(framework: str) -> str:
    """Return the other framework."""
    return "keras" if framework == "torch" else "torch"


def set_everywhere(pair: Pair, kind: str, option: str, value: Any) -> None:
    """Set an option of all nodes of a kind on both sides; raise `Unsuitable` if there is none."""
    for side in pair.sides:
        set_on(side, kind, option, value)


def set_on(side: Side, kind: str, option: str, value: Any) -> Node:
    """Set an option of all nodes of a kind on one side; return the first of them."""
    nodes = side.all(kind)
    if not nodes:
        raise Unsuitable(f"no {kind}")
    for node in nodes:
        node[option] = value
    return nodes[0]


def defaults_differ(kind: str, option: str) -> tuple[Callable[..., None], Callable[..., Node]]:
    """Return ``prepare`` and ``apply`` of a layer's option that is left at its default.

    Correct is the other framework's default on both sides; the culprit's program does not set it.
    """

    def prepare(pair: Pair, style: Style) -> None:
        set_everywhere(pair, kind, option, DEFAULTS[other(culprit(style))][kind, option])

    def apply(pair: Pair, style: Style) -> Node:
        framework = culprit(style)
        return set_on(pair.side(framework), kind, option, DEFAULTS[framework][kind, option])

    return prepare, apply


def replace(pair: Pair, old: Iterable[str], new: str, **options: Any) -> None:
    """Turn all nodes of some kinds into nodes of one kind, on both sides."""
    kinds = set(old)
    found = False
    for side in pair.sides:
        for node in side.walk():
            if node.kind in kinds:
                node.kind = new
                node.options = dict(options)
                found = True
    if not found:
        raise Unsuitable(f"no {' or '.join(sorted(kinds))}")


def shapes(pair: Pair) -> None:
    """Fill in the shapes of both sides again, after nodes were added or changed."""
    for side in pair.sides:
        try:
            infer(side.nodes, shape_of_input(pair, side))
        except ValueError as error:
            raise Unsuitable(str(error)) from None


def shape_of_input(pair: Pair, side: Side) -> tuple[int, ...]:
    """Return the shape of what the model gets, channels last, after preprocessing."""
    shape = pair.input_shape
    for step in side.preprocess:
        if step.kind == "crop":
            shape = (step["size"], step["size"], *shape[2:])
        if step.kind == "window":
            shape = (step["size"], *shape[1:])
    return shape
