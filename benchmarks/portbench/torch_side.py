"""Measures a PyTorch program: what it computes at every stage of training."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from .layout import NORMS, Anchor, Array, from_torch
from .runner import EPOCHS, RATES, STEPS, Measured, batch, inputs, load, prefixed, stop_epoch

# Optimizers import it: once, before the process is forked, instead of in every fork.
importlib.import_module("torch._dynamo")

SEED = 20260
_dropout = functional.dropout


def measure(job: dict[str, Any]) -> Measured:
    """Run a program as its author would, and return what it computes.

    Parameters
    ----------
    job : dict
        ``folder``, ``dtype`` and ``anchors``.
    """
    torch.set_num_threads(1)
    dtype = getattr(torch, job["dtype"])
    torch.set_default_dtype(dtype)
    torch.manual_seed(SEED)
    folder = Path(job["folder"])
    built = load(folder / "torch_side.py")()
    arrays = batch(folder)
    return Run(built, arrays, dtype, job["anchors"]).all()


class Run:
    """The measurements of one program.

    Parameters
    ----------
    built : dict
        What ``build`` returned.
    arrays : dict
        The batch.
    dtype : torch.dtype
        In which everything is computed.
    anchors : list of dict
        The layers with weights.
    """

    def __init__(
        self, built: dict[str, Any], arrays: Measured, dtype: torch.dtype, anchors: list[Anchor]
    ) -> None:
        self.built = built
        self.arrays = arrays
        self.dtype = dtype
        self.anchors = anchors
        self.model = built["model"]
        self.measured: Measured = {}
        self.rates: list[float] = []

    def all(self) -> Measured:
        """Measure every stage that the program has."""
        raw = inputs(self.arrays)
        if "batches" in self.built:
            self._batches()
        prepare = self.built.get("preprocess")
        data = prepare(*raw) if prepare else tuple(torch.from_numpy(x) for x in raw)
        data = data if isinstance(data, tuple) else (data,)
        for place, x in enumerate(data):
            self.measured[f"data/{place}"] = x.detach().numpy()
        self.inputs = [self._cast(x) for x in data]
        if not self._loaded():
            self._unsettle()
        self._state("weights")
        self._forward()
        if "metric" in self.built:
            self._metric()
        if "loss" in self.built:
            self._train()
        if "schedule" in self.built:
            self._schedule()
        if "callbacks" in self.built:
            self._callbacks()
        return self.measured

    def _loaded(self) -> bool:
        return "loss" not in self.built

    def _cast(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.dtype) if x.is_floating_point() else x

    def _target(self) -> torch.Tensor:
        return self._cast(torch.from_numpy(self.arrays["y"]))

    def _unsettle(self) -> None:
        """Move normalisation layers from their neutral start, which would hide differences."""
        random = torch.Generator().manual_seed(SEED)
        for anchor in self.anchors:
            if anchor["kind"] not in NORMS:
                continue
            layer = self.model.get_submodule(anchor["torch"])
            state = layer.state_dict()
            for name, tensor in state.items():
                if name == "running_var":
                    tensor.mul_(torch.rand(tensor.shape, generator=random) + 0.5)
                elif tensor.is_floating_point():
                    tensor.add_(0.1 * torch.randn(tensor.shape, generator=random))

    def _named(self, tensors: dict[str, torch.Tensor], gradient: bool = False) -> Measured:
        """Return tensors in the common layout, by the name of PyTorch's layer and parameter."""
        named: Measured = {}
        for anchor in self.anchors:
            start = anchor["torch"] + "."
            own = {
                name.removeprefix(start): tensor.detach().numpy().copy()
                for name, tensor in tensors.items()
                if name.startswith(start) and not name.endswith("num_batches_tracked")
            }
            for name, array in from_torch(anchor, own, gradient).items():
                named[start + name] = array
        return named

    def _state(self, prefix: str) -> Measured:
        named = self._named(dict(self.model.state_dict()))
        self.measured.update(prefixed(prefix, named))
        return named

    def _forward(self) -> None:
        """Evaluate twice: something random in evaluation mode gives two results."""
        self.model.eval()
        with torch.no_grad():
            first = self.model(*self.inputs)
            second = self.model(*self.inputs)
        self.measured["forward_eval"] = first.numpy()
        self.measured["forward_again"] = second.numpy()
        self.output = first

    def _metric(self) -> None:
        metric = self.built["metric"]
        target = self._target()
        if hasattr(metric, "compute"):
            metric.update(self.output, target)
            value = metric.compute()
        else:
            value = metric(self.output, target)
        self.measured["metric"] = np.array(float(value))

    def _loss(self, output: torch.Tensor) -> torch.Tensor:
        loss = self.built["loss"](output, self._target())
        return loss if loss.ndim == 0 else loss.mean()

    def _train(self) -> None:
        """Train with dropout switched off, whose masks are never alike."""
        rates: list[float] = []

        def identity(x: torch.Tensor, p: float = 0.5, training: bool = True, *_: Any, **__: Any):
            rates.append(p if training else 0.0)
            return x

        functional.dropout = identity
        self.model.train()
        optimizer = self.built.get("optimizer")
        for step in range(STEPS):
            output = self.model(*self.inputs)
            loss = self._loss(output)
            self.model.zero_grad()
            loss.backward()
            if step == 0:
                self.measured["dropout"] = np.array(rates)
                self.measured["forward_train"] = output.detach().numpy()
                self.measured["loss"] = loss.detach().numpy()
                self._gradients()
            if optimizer is None:
                break
            optimizer.step()
            self._step_schedule(step)
            if step == 0:
                self._state("after_1")
            self.measured[f"loss_{step}"] = loss.detach().numpy()
        self._state(f"after_{STEPS}")
        functional.dropout = _dropout

    def _gradients(self) -> None:
        gradients = {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for name, parameter in self.model.named_parameters()
        }
        self.measured.update(prefixed("gradient", self._named(gradients, gradient=True)))

    def _step_schedule(self, step: int) -> None:
        schedule = self.built.get("schedule")
        if schedule is None or "val_loss" in self.arrays:
            return
        per = 1
        if self.built.get("schedule_unit", "epoch") == "epoch":
            per = self.built.get("steps_per_epoch", 1)
        if (step + 1) % per == 0:
            schedule.step()

    def _schedule(self) -> None:
        """Follow the learning rate of a fresh program, without training."""
        fresh = load(Path(self._file()))()
        self.built = {**self.built, "schedule": fresh["schedule"]}
        optimizer = fresh["optimizer"]
        rates: list[float] = []
        series = self.arrays.get("val_loss")
        if series is not None:
            for value in series[:EPOCHS]:
                fresh["schedule"].step(float(value))
                rates.append(optimizer.param_groups[0]["lr"])
        else:
            for step in range(RATES):
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                self._step_schedule(step)
        name = "schedule" if series is None else "callback/rate"
        self.measured[name] = np.array(rates, "float64")

    def _file(self) -> str:
        return str(sys.modules["torch_side"].__file__)

    def _callbacks(self) -> None:
        stops: list[bool] = []
        rates: list[float] = []
        optimizer = self.built.get("optimizer")
        for epoch, value in enumerate(self.arrays["val_loss"][:EPOCHS]):
            logs = {"val_loss": float(value), "loss": float(value)}
            for callback in self.built["callbacks"]:
                callback.on_epoch_end(epoch, logs)
            stops.append(any(stop_epoch(callback) for callback in self.built["callbacks"]))
            if optimizer is not None:
                rates.append(optimizer.param_groups[0]["lr"])
        self.measured["callback/stop"] = np.array(stops, "float64")
        self.measured["callback/rate"] = np.array(rates, "float64")

    def _batches(self) -> None:
        made = list(self.built["batches"](self.arrays["x"], self.arrays["y"]))
        self.measured["batches/sizes"] = np.array([len(x) for x, _ in made])
        order: list[Array] = [np.asarray(y) for _, y in made]
        self.measured["batches/targets"] = np.concatenate(order)
