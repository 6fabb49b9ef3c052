"""The program of the Keras side."""

from __future__ import annotations

from . import keras_model, keras_training, numpy_steps
from .batches import lines as batch_lines
from .code import Program, constant_lines, indent
from .design import Pair, Side
from .keras_loading import loading
from .style import Style


def write(pair: Pair, side: Side, style: Style, form: str) -> Program:
    """Return the program of a Keras side.

    Parameters
    ----------
    pair : Pair
        The pair that the side belongs to.
    side : Side
        The side.
    style : Style
        The side's style.
    form : str
        One of `keras_model.forms`.
    """
    imports = keras_model.Imports(style)
    model = keras_model.KerasModel(pair, side, style, form, imports)
    maker = model.write()
    before = list(model.classes)
    build, entries = _training(side, style, imports, before)
    helper, loads = loading(pair, side, style, form, model.places)
    before = before + helper
    before = [*_preprocess(side, style, entries), *before]
    if not build and not loads and style.chance("model in the result"):
        entries = {"model": maker, **entries}
        body: list[str] = []
    else:
        entries = {"model": "model", **entries}
        body = [f"model = {maker}", *loads, *build]
    lines = ["def build():", *indent([*body, *_returned(entries)])]
    if side.optimizer is not None:
        before = constant_lines("\n".join(lines), side.optimizer["lr"], style) + before
    text = "\n".join([*before, *lines]) + "\n"
    return Program("\n".join(_imports(text, imports)) + "\n\n\n" + text, model.places)


def _returned(entries: dict[str, str]) -> list[str]:
    order = ("model", "preprocess", "loss", "optimizer", "schedule", "steps_per_epoch", "metric",
             "callbacks", "batches")  # fmt: skip
    lines = [f'"{name}": {entries[name]},' for name in order if name in entries]
    return ["return {", *indent(lines), "}"]


def _training(
    side: Side, style: Style, imports: keras_model.Imports, before: list[str]
) -> tuple[list[str], dict[str, str]]:
    """Return lines of ``build`` and entries of its result; extend the lines before it."""
    build: list[str] = []
    entries: dict[str, str] = {}
    rate: str | None = None
    if side.loss is not None:
        lines, entries["loss"] = keras_training.loss(side.loss, style, imports)
        before += lines
    if side.schedule is not None and side.optimizer is not None:
        lines, made = keras_training.schedule(side.schedule, side.optimizer["lr"], style, imports)
        before += lines
        rate = style.pick("schedule name", ("schedule", "lr_schedule", "learning_rate"))
        build.append(f"{rate} = {made}")
        entries["schedule"] = rate
        if side.schedule.get("steps_per_epoch"):
            entries["steps_per_epoch"] = str(side.schedule["steps_per_epoch"])
    if side.optimizer is not None:
        made = keras_training.optimizer(side.optimizer, style, imports, rate)
        if style.chance("optimizer in the result", 0.6):
            entries["optimizer"] = made
        else:
            build.append(f"optimizer = {made}")
            entries["optimizer"] = "optimizer"
    if side.callback is not None:
        entries["callbacks"] = f"[{keras_training.callback(side.callback, style, imports)}]"
    if side.batches is not None:
        before += batch_lines(side.batches, style)
        entries["batches"] = "batches"
    if side.metric is not None:
        entries["metric"] = keras_training.metric(side.metric, side, style, imports)
    return build, entries


def _preprocess(side: Side, style: Style, entries: dict[str, str]) -> list[str]:
    """Return the lines of the function ``preprocess``, and its entry."""
    if not side.preprocess:
        return []
    name = style.pick("raw name", ("images", "x", "data"))
    code, value = numpy_steps.lines(side.preprocess, style, name)
    if not code and style.chance("preprocess as lambda"):
        entries["preprocess"] = f"lambda {name}: {value}"
        return []
    entries["preprocess"] = "preprocess"
    return [f"def preprocess({name}):", *indent([*code, f"return {value}"]), "", ""]


def _imports(text: str, imports: keras_model.Imports) -> list[str]:
    lines = imports.text(text)
    standard: list[str] = []
    if "Path(" in text:
        standard += ["from pathlib import Path", ""]
    if "np." in text:
        lines = sorted(
            [*lines, "import numpy as np"], key=lambda line: (line.startswith("from"), line)
        )
    return [*standard, *lines]
