"""One side that is a model of PyTorch."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ...observation import (
    COMPILED,
    Array,
    Arrays,
    Call,
    Change,
    Description,
    Observation,
    Updates,
    inputs_of,
    name_at,
)
from .. import several_losses
from ..adapter import ModelError, Unsupported, UserCalls, check_weights
from .changes import Changes
from .description import describe_side
from .functional_layers import Discoverer
from .layer_call import replaced
from .layout import CHANNELS_FIRST, tensors_in, to_array, to_tensor
from .loss import changed_output, loss_of
from .model import UserModel, is_keras, parts_of
from .recorder import Options, Recorder
from .separated import separated
from .state import DoublePrecision, as_before, as_compiled, default_dtype, tensors_of_loss
from .training import Training, batches_of, measure
from .user_calls import user_calls
from .weights import STATISTICS


def accepts(model: Any) -> bool:
    """Return whether a model is one of PyTorch: a module, or a callable that refers to one."""
    if is_keras(model):
        return False
    if isinstance(model, nn.Module):
        return True
    if not callable(model):
        return False
    modules, tensors = parts_of(model)
    return bool(modules or tensors)


@contextmanager
def double_precision() -> Generator[None]:
    """Make new tensors in float64."""
    with default_dtype(torch.float64):
        yield


class Adapter:
    """A model of PyTorch with what belongs to it; see `triptych.doctor.frameworks.adapter.Adapter`.

    Parameters
    ----------
    parts : dict
        What ``build()`` returned.
    dtype : str
        ``native`` or ``float64``.
    """

    def __init__(self, parts: dict[str, Any], dtype: str) -> None:
        self._parts = parts
        self._model = UserModel(parts["model"], parts.get("optimizer"))
        self._loss = several_losses.of_parts(parts)
        self._double: DoublePrecision | None = None
        if dtype == "float64":
            tensors = [*self._model.tensors(), *tensors_of_loss(self._loss)]
            self._double = DoublePrecision(tensors)
        self._training = Training(self._model, parts)
        self._changes = Changes(self._model, self._training, parts)
        self._has_run = False
        self._seed = 0
        # Of the last observation.
        self._calls: tuple[Call, ...] = ()
        self._output_layouts: list[str] = []
        self._output: Any = None

    @contextmanager
    def _ready(self, *, keep_weights: bool = True) -> Generator[None]:
        """Exchange tensors for float64 if wanted, and put everything back afterwards."""
        if self._double is None:
            with as_before(self._model, weights=keep_weights, seed=self._seed):
                yield
            return
        with (
            default_dtype(torch.float64),
            self._double.exchanged(),
            as_before(self._model, weights=keep_weights, seed=self._seed),
        ):
            yield

    def description(self) -> Description:
        """Return what this side consists of."""
        with self._ready():
            description = describe_side(self._model, self._parts)
            if description.schedule is None or description.optimizer is None:
                return description
            schedule = replace(description.schedule, momenta=self._training.momenta())
            return replace(description, schedule=schedule)

    def inputs(self, batch: Arrays) -> Arrays:
        """Return what the model gets after the user's preprocessing."""
        names = inputs_of(batch)
        raw = [batch[name] for name in names]
        with self._ready():
            preprocess = self._parts.get("preprocess")
            made = preprocess(*raw) if preprocess else tuple(map(torch.from_numpy, raw))
            tensors = tensors_in(made)
            self._discover(tensors)
        if not tensors:
            raise ModelError(
                f"preprocess() returns {type(made).__name__}; it must return what the model gets, "
                "a tensor or a tuple of tensors"
            )
        arrays = {name_at("input", place): to_array(each) for place, each in enumerate(tensors)}
        arrays = {name: self._cast(array) for name, array in arrays.items()}
        return self._changes.inputs.applied(arrays)

    def _discover(self, tensors: list[torch.Tensor]) -> None:
        """Find out which functions of the user's are layers, when the model runs first."""
        if self._has_run or not self._model.has_loose_weights:
            return
        self._has_run = True
        dtype = self._model.dtype
        tensors = [each.to(dtype) if each.is_floating_point() else each for each in tensors]
        self._model.set_training(False)
        with Discoverer(self._model.layers) as discoverer:
            self._model.call(*tensors)
        self._model.layers = discoverer.layers()

    def _cast(self, array: Array) -> Array:
        double = self._double is not None and np.issubdtype(array.dtype, np.floating)
        return array.astype(np.float64) if double else array

    def weights(self) -> Arrays:
        """Return all weights and buffers."""
        with self._ready():
            return self._weights()

    def _weights(self) -> Arrays:
        return {name: role.read(tensor) for name, role, tensor in self._model.weights()}

    def framework_weights(self) -> Arrays:
        """Return the ``state_dict`` of the model."""
        model = self._parts["model"]
        if not isinstance(model, nn.Module):
            raise Unsupported("the model is a function and has no state_dict")
        with self._ready():
            return {name: to_array(tensor) for name, tensor in model.state_dict().items()}

    def load(self, weights: Arrays) -> None:
        """Set weights and buffers."""
        with self._ready(keep_weights=False):
            places = {name: (role, tensor) for name, role, tensor in self._model.weights()}
            shapes = {name: role.read(tensor).shape for name, (role, tensor) in places.items()}
            check_weights(weights, shapes)
            for name, array in weights.items():
                role, tensor = places[name]
                role.write(tensor, array)

    def separate(self, paths: Sequence[str]) -> None:
        """Show attention layers as the dense layers that they consist of."""
        layers = self._model.layers
        for path in paths:
            layers = separated(layers, path)
        self._model.layers = layers

    def observe(
        self,
        inputs: Arrays,
        *,
        training: bool,
        targets: Arrays | None = None,
        forced: Arrays | None = None,
        dropout: bool = False,
    ) -> Observation:
        """Run the model once."""
        backward = bool(targets) and self._loss is not None
        options = Options(
            gradients=backward,
            dropout=dropout,
            forced=forced or {},
            changes=self._changes.functions,
            activations=self._changes.activations,
        )
        recorder = Recorder(options)
        with self._ready():
            self._model.set_training(training)
            tensors = self._tensors(inputs)
            with recorder.watching(self._model):
                output = self._model.call(*tensors)
            arrays = recorder.arrays
            arrays.update(self._outputs(output, recorder))
            called = {call.layer for call in recorder.calls if call.anchor}
            if backward:
                assert targets
                self._backward(output, targets, recorder)
                arrays.update(self._gradients(called))
            if training:
                arrays.update(self._buffers())
            if self._runs_compiled and not forced:
                compiled = self._compiled(tensors, targets if backward else None, training, called)
                arrays.update({f"{COMPILED}/{name}": array for name, array in compiled.items()})
        self._calls = tuple(recorder.calls)
        return Observation(self._calls, arrays)

    @property
    def _runs_compiled(self) -> bool:
        """Whether compiled code is run: in double precision it would not be that of the user."""
        return self._model.is_compiled and self._double is None

    def repeat(self, inputs: Arrays) -> Observation:
        """Run the model in evaluation mode with other random numbers."""
        with self._other_numbers():
            return self.observe(inputs, training=False)

    @contextmanager
    def _other_numbers(self) -> Generator[None]:
        """Draw other random numbers."""
        self._seed = 1
        try:
            yield
        finally:
            self._seed = 0

    def _compiled(
        self,
        tensors: list[torch.Tensor],
        targets: Arrays | None,
        training: bool,
        called: set[str],
    ) -> Arrays:
        """Return what the compiled model computes, whose calls cannot be seen."""
        recorder = Recorder(Options())
        layouts = self._output_layouts
        with as_before(self._model), as_compiled(self._model):
            self._model.set_training(training)
            output = self._model.call(*tensors)
            arrays = {
                name_at("output", place): to_array(tensor, layouts[place])
                for place, tensor in enumerate(tensors_in(output))
            }
            if targets:
                self._backward(output, targets, recorder)
                arrays.update(recorder.arrays)
                arrays.update(self._gradients(called))
        return arrays

    def _tensors(self, inputs: Arrays) -> list[torch.Tensor]:
        """Return the model's inputs in the order of their numbers, floating ones in its dtype."""
        names = sorted(inputs, key=lambda name: int(name.removeprefix("input") or 0))
        tensors = [to_tensor(inputs[name]) for name in names]
        dtype = self._model.dtype
        return [each.to(dtype) if each.is_floating_point() else each for each in tensors]

    def _outputs(self, output: Any, recorder: Recorder) -> Arrays:
        tensors = tensors_in(output)
        if not tensors:
            raise ModelError(
                f"the model returns {type(output).__name__}; it must return a tensor, or a tuple, "
                "list or dict of tensors"
            )
        self._output_layouts = [recorder.layouts.get(tensor) for tensor in tensors]
        self._output = replaced(output, {id(tensor): tensor.detach() for tensor in tensors})
        return {
            name_at("output", place): to_array(tensor, self._output_layouts[place])
            for place, tensor in enumerate(tensors)
        }

    def _backward(self, output: Any, targets: Arrays, recorder: Recorder) -> None:
        arrays = recorder.arrays
        # Copies, whose gradients are those of the loss alone.
        copies: dict[int, torch.Tensor] = {}
        for place, tensor in enumerate(tensors_in(output)):
            if tensor.requires_grad:
                copies[id(tensor)] = tensor.clone()
                name = f"{name_at('output', place)}_gradient"
                layout = self._output_layouts[place]
                copies[id(tensor)].register_hook(
                    lambda gradient, name=name, layout=layout: arrays.update(
                        {name: to_array(gradient, layout)}
                    )
                )
        loss = self._loss_of(replaced(output, copies), targets)
        arrays["loss"] = to_array(loss)
        total = loss
        for term in recorder.terms:
            total = total + term
        if total.requires_grad:
            total.backward()

    def _loss_of(self, output: Any, targets: Arrays) -> torch.Tensor:
        target = self._targets(targets)
        return loss_of(self._loss, output, target, self._changes.loss, self._class_axis())

    def _class_axis(self) -> int:
        return 1 if self._layout_of_output(0) == CHANNELS_FIRST else -1

    def _targets(self, targets: Arrays) -> Any:
        """Return the targets as the loss gets them: floats in the model's dtype, int64."""
        tensors: list[torch.Tensor] = []
        for name in sorted(targets, key=lambda name: int(name[1:] or 1)):
            tensor = to_tensor(targets[name])
            if tensor.is_floating_point():
                tensor = tensor.to(self._model.dtype)
            elif tensor.dtype != torch.bool:
                tensor = tensor.long()
            tensors.append(tensor)
        return tensors[0] if len(tensors) == 1 else tuple(tensors)

    def _gradients(self, called: set[str]) -> Arrays:
        """Return the gradients; zeros where nothing flows back to a weight of a called layer."""
        gradients: Arrays = {}
        for name, role, tensor in self._model.weights():
            gradient = tensor.grad
            if gradient is None and tensor.requires_grad and name.rpartition("/")[0] in called:
                gradient = torch.zeros_like(tensor)
            if gradient is not None:
                gradient = gradient.to_dense() if gradient.is_sparse else gradient
                gradients[f"gradient/{name}"] = role.read(gradient)
        return gradients

    def _buffers(self) -> Arrays:
        return {
            f"buffer/{name}": role.read(tensor)
            for name, role, tensor in self._model.weights()
            if role.attribute in STATISTICS
        }

    def loss(self, outputs: Arrays, targets: Arrays) -> Arrays:
        """Return the user's loss for given outputs, and its gradient."""
        if self._loss is None:
            raise Unsupported("build() returns no loss")
        with self._ready():
            tensors = self._given_outputs(outputs)
            for tensor in tensors:
                tensor.requires_grad_(tensor.is_floating_point())
            loss = self._loss_of(self._packed(tensors), targets)
            if loss.requires_grad:
                loss.backward()
            arrays = {"loss": to_array(loss)}
            for place, tensor in enumerate(tensors):
                if tensor.grad is not None:
                    name = f"{name_at('output', place)}_gradient"
                    arrays[name] = to_array(tensor.grad, self._layout_of_output(place))
        return arrays

    def _given_outputs(self, outputs: Arrays) -> list[torch.Tensor]:
        names = sorted(outputs, key=lambda name: int(name.removeprefix("output") or 0))
        tensors = [
            to_tensor(outputs[name], self._layout_of_output(place))
            for place, name in enumerate(names)
        ]
        dtype = self._model.dtype
        return [each.to(dtype) if each.is_floating_point() else each for each in tensors]

    def _packed(self, tensors: list[torch.Tensor]) -> Any:
        """Return tensors as the model has returned its outputs the last time."""
        before = tensors_in(self._output)
        if len(before) == len(tensors) > 1:
            return replaced(self._output, dict(zip(map(id, before), tensors, strict=True)))
        return tensors[0] if len(tensors) == 1 else tuple(tensors)

    def _layout_of_output(self, place: int) -> str:
        """Return the layout of an output as it was when the model ran the last time."""
        return self._output_layouts[place] if place < len(self._output_layouts) else ""

    def update(self, gradients: Sequence[Arrays]) -> Updates:
        """Apply gradients one by one with a new optimizer."""
        with self._ready():
            return self._training.update(gradients)

    def train(self, inputs: Arrays, targets: Arrays, steps: int) -> tuple[Arrays, list[float]]:
        """Make training steps; return weights and losses."""
        training = self._training
        if self._loss is None or training.optimizer is None:
            raise Unsupported("build() returns no loss or no optimizer")
        training.check_steps()
        losses: list[float] = []
        with self._ready(), training.fresh():
            self._model.set_training(True)
            tensors = self._tensors(inputs)
            for number in range(steps):
                training.optimizer.zero_grad()
                with self._watched_or_compiled():
                    output = self._model.call(*tensors)
                loss = self._loss_of(output, targets)
                loss.backward()
                training.step(number)
                losses.append(loss.item())
            return self._weights(), losses

    def _watched_or_compiled(self) -> AbstractContextManager[None]:
        """Return a context in which the model is called without dropout."""
        if self._runs_compiled:
            return as_compiled(self._model)
        options = Options(
            arrays=False,
            changes=self._changes.functions,
            activations=self._changes.activations,
        )
        return Recorder(options).watching(self._model)

    def rates(self, updates: int) -> list[float]:
        """Return the learning rate of each update."""
        with self._ready():
            return self._training.rates(updates)

    def metric(self, outputs: Arrays, targets: Arrays) -> float:
        """Return the user's metric."""
        metric = self._parts.get("metric")
        if metric is None:
            raise Unsupported("build() returns no metric")
        with self._ready():
            output = self._packed(self._given_outputs(outputs))
            target = self._targets(targets)
            changes = self._changes.metric
            output = changed_output(output, target, changes, self._class_axis())
            arguments = changes.get("arguments", {})
            return measure(metric, output, target, arguments, self._parts.get("batch_size"))

    def epochs(self, validation_losses: Sequence[float]) -> dict[str, Any]:
        """Simulate epochs."""
        with self._ready():
            return self._training.epochs(validation_losses)

    def batches(self, batch: Arrays) -> list[Arrays]:
        """Return the batches of one epoch.

        In double precision an order to which the user gives no seed is another one.
        """
        numbers = nullcontext() if self._double is None else self._other_numbers()
        with numbers, self._ready():
            return batches_of(self._parts, batch)

    def user_calls(self, inputs: Arrays, targets: Arrays | None) -> UserCalls:
        """Return what a user runs again and again."""
        target = self._targets(targets) if targets else None
        tensors = self._tensors(inputs)
        return user_calls(self._model, self._training, self._loss, tensors, target)

    def change(self, changes: Sequence[Change]) -> None:
        """Apply changes until `restore`; see `triptych.doctor.frameworks.torch.changes.Changes`."""
        with self._ready():
            self._changes.apply(changes, self._calls)

    def restore(self) -> None:
        """Undo all changes."""
        self._changes.restore()
