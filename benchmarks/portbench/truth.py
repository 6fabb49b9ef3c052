"""``truth.json`` of a pair, in the form of the specimens."""

from __future__ import annotations

import difflib
from typing import Any

from .check import Checked
from .design import Node
from .draw import Drawn, anchors
from .faults.kind import OUTSIDE

SOURCE = "generated"
OWN_WEIGHTS = "each side its own initialiser; copy one side's into the other"


def truth(drawn: Drawn, checked: Checked | None) -> dict[str, Any]:
    """Return the truth about a pair.

    Parameters
    ----------
    drawn : Drawn
        The pair.
    checked : Checked or None
        What was measured; None if nothing was.
    """
    loaded = drawn.loaded is not None
    facts: dict[str, Any] = {
        "title": "A correct port",
        "stage": "none",
        "layer": None,
        "cause": "none",
        "cause_text": "a correct port",
        "verdict": "equal",
        "two_faults": len(drawn.kinds) == 2,
        "accept": {"stages": ["none"], "causes": ["none"]},
    }
    if drawn.kinds:
        facts.update(_fault(drawn, 0))
        facts["patch"] = patch(drawn, "as written", "correct")
        facts["fix"] = _fix(facts["patch"])
    if len(drawn.kinds) == 2:
        facts["title"] += "; " + drawn.kinds[1].title
        facts["second"] = _fault(drawn, 1)
        facts["first_patch"] = patch(drawn, "as written", "without 1")
    facts["also"] = drawn.pair.also
    facts["weights"] = "loaded by both sides from weights.npz" if loaded else OWN_WEIGHTS
    facts["source"] = SOURCE
    facts["family"] = drawn.pair.family
    facts["kinds"] = [kind.name for kind in drawn.kinds]
    facts["seed"] = drawn.seed
    facts["heads"] = {"torch": drawn.pair.torch.head, "keras": drawn.pair.keras.head}
    facts["anchors"] = anchors(drawn.pair, drawn.programs["as written"])
    if checked is not None:
        facts["effect"] = _effects(checked)
    return facts


def _fault(drawn: Drawn, place: int) -> dict[str, Any]:
    kind, node = drawn.kinds[place], drawn.nodes[place]
    outside = kind.cause == OUTSIDE
    return {
        "title": kind.title,
        "stage": kind.stage,
        "layer": _layer(drawn, node),
        "cause": kind.cause,
        "cause_text": kind.title,
        "verdict": "differ",
        "accept": {
            "stages": [kind.stage, *kind.accept],
            "causes": [] if outside else [kind.cause, *kind.causes],
        },
    }


def _layer(drawn: Drawn, node: Node | None) -> dict[str, str | None] | None:
    """Return where a node is on either side; nodes correspond by kind and number."""
    if node is None:
        return None
    written = drawn.programs["as written"]
    places = [place for program in written.values() for place in program.places]
    key = next((place.key for place in places if place.node is node), None)
    if key is None:
        return None
    return {
        framework: next((place.path for place in program.places if place.key == key), None)
        for framework, program in written.items()
    }


def patch(drawn: Drawn, variant: str, target: str) -> list[dict[str, str]]:
    """Return text replacements that turn one variant into another.

    Every replacement names the ``side``, the ``old`` text, which occurs once, and the ``new`` text.
    """
    changes: list[dict[str, str]] = []
    for framework, program in drawn.programs[variant].items():
        old, new = program.text, drawn.programs[target][framework].text
        if old != new:
            changes += [
                {"side": framework, "old": before, "new": after}
                for before, after in _replacements(old, new)
            ]
    return changes


def _replacements(old: str, new: str) -> list[tuple[str, str]]:
    """Return replacements of lines, widened until each old text occurs once."""
    a, b = old.splitlines(keepends=True), new.splitlines(keepends=True)
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    pairs: list[tuple[str, str]] = []
    for tag, first, last, start, end in matcher.get_opcodes():
        if tag == "equal":
            continue
        before, after = "".join(a[first:last]), "".join(b[start:end])
        while old.count(before) != 1 or not before:
            if first == 0 and last == len(a):
                return [(old, new)]
            if first > 0:
                first, start = first - 1, start - 1
            else:
                last, end = last + 1, end + 1
            before, after = "".join(a[first:last]), "".join(b[start:end])
        pairs.append((before, after))
    if apply(old, pairs) == new:
        return pairs
    return [(old, new)]


def apply(text: str, pairs: list[tuple[str, str]]) -> str:
    """Return a text after replacements."""
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def _fix(changes: list[dict[str, str]]) -> str:
    """Return a line for people: what the changed lines become."""
    lines: list[str] = []
    for change in changes:
        old = set(change["old"].splitlines())
        fresh = [line.strip() for line in change["new"].splitlines() if line not in old]
        lines.append(f"{change['side']}: " + ("; ".join(fresh) or "remove the line"))
    return " | ".join(lines)


def _effects(checked: Checked) -> dict[str, dict[str, float]]:
    """Return the measures under the specimens' names, with four digits."""
    names = {
        ("as written", "float32"): "as_written",
        ("as written", "float64"): "float64",
        ("correct", "float64"): "float64_after_fix",
        ("without 1", "float64"): "float64_first_fault_fixed",
        ("without 2", "float64"): "float64_second_fault_fixed",
    }
    if checked.effect["correct"] is checked.effect["as written"]:
        del names["correct", "float64"]
    effects: dict[str, dict[str, float]] = {}
    for (variant, dtype), name in names.items():
        found = checked.effect.get(variant, {}).get(dtype)
        if found is not None:
            effects[name] = {key: float(f"{value:.3g}") for key, value in found.items()}
    return effects
