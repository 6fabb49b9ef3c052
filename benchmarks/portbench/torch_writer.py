"""The program of the PyTorch side."""

from __future__ import annotations

from . import numpy_steps, torch_model, torch_training
from .batches import lines as batch_lines
from .code import Program, constant_lines, indent
from .design import Pair, Part, Side
from .style import Style

SCHEDULERS = ("StepLR", "MultiStepLR", "CosineAnnealingLR", "PolynomialLR",
              "LambdaLR", "ReduceLROnPlateau")  # fmt: skip


def write(pair: Pair, side: Side, style: Style, form: str) -> Program:
    """Return the program of a PyTorch side.

    Parameters
    ----------
    pair : Pair
        The pair that the side belongs to.
    side : Side
        The side.
    style : Style
        The side's style.
    form : str
        One of `torch_model.forms`.
    """
    model = torch_model.TorchModel(pair, side, style, form)
    maker = model.write()
    before = list(model.classes)
    build, entries = _training(pair, side, style, before)
    frozen = torch_model.frozen_lines(model.places)
    if style.chance("device", 0.15):
        before += ['device = torch.device("cpu")', "", ""]
        maker += ".to(device)"
    body = [f"model = {maker}", *frozen, *_loading(side, style), *build]
    before = [*_preprocess(pair, side, style, entries), *before]
    returned = [f'"{name}": {value},' for name, value in _ordered(entries).items()]
    lines = ["def build():", *indent([*body, "return {", *indent(returned), "}"])]
    if side.optimizer is not None:
        before = constant_lines("\n".join(lines), side.optimizer["lr"], style) + before
    text = "\n".join([*before, *lines]) + "\n"
    return Program("\n".join(_imports(text, style)) + "\n\n\n" + text, model.places)


def _ordered(entries: dict[str, str]) -> dict[str, str]:
    order = ("model", "preprocess", "loss", "optimizer", "schedule", "schedule_unit",
             "steps_per_epoch", "metric", "callbacks", "batches")  # fmt: skip
    entries = {"model": "model", **entries}
    return {name: entries[name] for name in order if name in entries}


def _training(
    pair: Pair, side: Side, style: Style, before: list[str]
) -> tuple[list[str], dict[str, str]]:
    """Return lines of ``build`` and entries of its result; extend the lines before it."""
    build: list[str] = []
    entries: dict[str, str] = {}
    if side.loss is not None:
        lines, entries["loss"] = torch_training.loss(side.loss, style)
        before += lines
        if side.loss.get("weights"):
            build.append(f"weights = torch.tensor({side.loss['weights']})")
    if side.optimizer is not None:
        build.append(f"optimizer = {torch_training.optimizer(side.optimizer, style)}")
        build += torch_training.clipping(side.optimizer)
        entries["optimizer"] = "optimizer"
    if side.schedule is not None:
        before += torch_training.schedule_lines(side.schedule)
        build.append(f"scheduler = {torch_training.schedule(side.schedule, style)}")
        entries["schedule"] = "scheduler"
        entries.update(_schedule_entries(side.schedule))
    if side.callback is not None:
        lines, made = torch_training.callback(side.callback, style)
        before += lines
        entries["callbacks"] = f"[{made}]"
    if side.batches is not None:
        before += batch_lines(side.batches, style)
        entries["batches"] = "batches"
    if side.metric is not None:
        lines, entries["metric"] = torch_training.metric(side.metric, side, style)
        before += lines
    return build, entries


def _schedule_entries(part: Part) -> dict[str, str]:
    if part.kind == "plateau":
        return {}
    entries = {"schedule_unit": f'"{part["unit"]}"'}
    if part.get("steps_per_epoch"):
        entries["steps_per_epoch"] = str(part["steps_per_epoch"])
    return entries


def _loading(side: Side, style: Style) -> list[str]:
    if side.loading is None:
        return []
    name = style.pick("weights name", ("weights", "state", "w"))
    load = f'{name} = np.load(Path(__file__).parent / "weights.npz")'
    tensors = f"{{key: torch.tensor({name}[key]) for key in {name}.files}}"
    return [load, f"model.load_state_dict({tensors})"]


def _preprocess(pair: Pair, side: Side, style: Style, entries: dict[str, str]) -> list[str]:
    """Return the lines of the function ``preprocess``, and its entry."""
    name = style.pick("raw name", ("images", "x", "batch")) if pair.data.kind == "images" else "x"
    layout = _layout(pair, side)
    if not side.preprocess and not layout:
        return []
    code, value = numpy_steps.lines(side.preprocess, style, name)
    tensor = style.pick("to tensor", ("torch.from_numpy", "torch.tensor", "torch.as_tensor"))
    if side.preprocess and side.preprocess[-1].kind in ("flip_channels", "reverse"):
        value = f"{value}.copy()"
    result = f"{tensor}({value}){layout}"
    if not code and style.chance("preprocess as lambda"):
        entries["preprocess"] = f"lambda {name}: {result}"
        return []
    entries["preprocess"] = "preprocess"
    return [f"def preprocess({name}):", *indent([*code, f"return {result}"]), "", ""]


def _layout(pair: Pair, side: Side) -> str:
    if side.forms.get("layout") == "forward":
        return ""
    if pair.data.kind == "images":
        return ".permute(0, 3, 1, 2)"
    return ".transpose(1, 2)" if pair.family == "series" else ""


def _imports(text: str, style: Style) -> list[str]:
    standard: list[str] = []
    lines: list[str] = []
    if "Path(" in text:
        standard += ["from pathlib import Path", ""]
    if "np." in text:
        lines.append("import numpy as np")
    lines.append("import torch")
    lines.append(style.pick("nn import", ("import torch.nn as nn", "from torch import nn")))
    if "F." in text:
        lines.append("import torch.nn.functional as F")
    if " optim." in text:
        lines.append("from torch import optim")
    if " lr_scheduler." in text:
        lines.append("from torch.optim import lr_scheduler")
    bare = [name for name in SCHEDULERS if f"scheduler = {name}(" in text]
    if bare:
        lines.append(f"from torch.optim.lr_scheduler import {bare[0]}")
    return [*standard, *sorted(lines, key=lambda line: (line.startswith("from"), line))]
