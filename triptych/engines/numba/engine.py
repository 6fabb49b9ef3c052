"""The Numba engine: the formulas of the NumPy engine, as compiled loops."""

from collections.abc import Sequence
from contextlib import nullcontext
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.engine import SAMPLES_EVALUATED_AT_ONCE
from ...core.gradients import (
    AllReduce,
    SummedGradients,
    check_synchronised,
    weights_of_steps,
)
from ...core.plan import Plan
from ...core.split import Split
from ...core.state import State, check
from ...spec import layers as spec
from ...spec.network import Network
from ...spec.placement import Parameter
from ...spec.recipe import Recipe
from .augmentation import augment
from .dense_steps import DenseSteps, find_units
from .info import INFO
from .kernels.masks import draw_mask
from .kernels.updates import prepare_gradients
from .layer import Training
from .layers import build_chain
from .loss import CompiledLoss, build_loss
from .normalization import BatchNorm
from .optimizers import CompiledUpdate, build_optimizer
from .probe import Probe
from .threads import computing, one_blas_thread

Array = NDArray[Any]


class DeviceSplit(NamedTuple):
    """A split: images (samples, rows, columns, channels) and labels (samples,)."""

    x: Array
    y: NDArray[np.int32]


class Engine:
    """The Numba engine; `triptych.core.engine.Engine` describes its interface.

    All weights are views of one flat array, and so are all gradients and each optimizer slot: an
    update is one sweep over flat arrays.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        *,
        device: str = "cpu",
        backend: str = "compiled",
        all_reduce: AllReduce | None = None,
    ) -> None:
        del device, backend
        if all_reduce is not None:
            check_synchronised(INFO.label, network, (spec.BatchNorm,))
        self.device = "cpu"
        self.network = network
        self.recipe = recipe
        self.synchronised = all_reduce is not None and network.couples_batch
        self.chain = build_chain(network.chain)
        self.layers = self.chain.with_inner()
        self.loss = build_loss(recipe.loss, network.classes, recipe.dtype)
        self.update_rule = build_optimizer(recipe.optimizer)
        self.mask_keys = np.random.default_rng(recipe.seed)  # in free mode
        self.losses: list[float] = []
        count = network.parameter_count
        self.weights = np.zeros(count, recipe.dtype)
        self.flat_gradients = np.zeros(count, recipe.dtype)
        self.slots = np.zeros((len(recipe.optimizer.slots), count), recipe.dtype)
        self.kernel_ranges = kernel_ranges(network.parameters)
        self.parameter_gradients = views(self.flat_gradients, network.parameters)
        self.arrays = views(self.weights, network.parameters)
        self.arrays |= {p.name: np.zeros(p.shape, recipe.dtype) for p in network.buffers}
        for slot, flat in zip(recipe.optimizer.slots, self.slots, strict=True):
            named = views(flat, network.parameters)
            self.arrays |= {f"{name}/{slot}": array for name, array in named.items()}
        if recipe.optimizer.counts_steps:
            self.arrays["step"] = np.zeros((), np.int64)
        for layer, place in zip(self.layers, network.places, strict=True):
            # Blocks share these dictionaries with their layers.
            layer.parameters.update({p.leaf: self.arrays[p.name] for p in place.parameters})
            layer.buffers.update({p.leaf: self.arrays[p.name] for p in place.buffers})
            gradients = {p.leaf: self.parameter_gradients[p.name] for p in place.parameters}
            layer.gradients.update(gradients)
            if isinstance(layer, BatchNorm):
                layer.all_reduce = all_reduce

        self.dense_steps = self.build_dense_steps()

    def build_dense_steps(self) -> DenseSteps | None:
        """Return what makes the steps of a dense network; None for any other."""
        units = find_units(self.chain.layers)
        loss = self.loss
        update = self.update_rule
        if not units:
            return None
        if not isinstance(loss, CompiledLoss) or not isinstance(update, CompiledUpdate):
            return None
        return DenseSteps(
            units,
            self.weights,
            self.slots,
            self.kernel_ranges,
            loss,
            update,
            self.recipe,
        )

    def load(self, state: State) -> None:
        """Replace weights, buffers and optimizer slots by those of a state."""
        check(state, self.network, self.recipe)
        for name, array in self.arrays.items():
            array[...] = state[name]

    def state(self) -> State:
        """Return copies of the weights, buffers and optimizer slots."""
        return {name: array.copy() for name, array in self.arrays.items()}

    def upload(self, split: Split) -> DeviceSplit:
        """Return a split in the recipe's dtype."""
        x = np.ascontiguousarray(split.pixels(self.recipe.dtype))
        return DeviceSplit(x, np.ascontiguousarray(split.labels, np.int32))

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        """Make the plan's training steps."""
        if self.dense_steps is not None and not plan.augmentations:
            self.run_dense(self.dense_steps, data, plan)
            return
        with computing():
            for k, rate in enumerate(plan.rates):
                x, y, masks = self.select_batch(data, plan, k)
                self.losses.append(self.compute_gradients(x, y, masks, self.divisor(y)))
                self.apply_update(float(rate))
                for layer in self.layers:
                    layer.update_buffers()

    def run_dense(self, dense_steps: DenseSteps, data: DeviceSplit, plan: Plan) -> None:
        """Make the plan's training steps of a dense network."""
        x, y = data
        samples = len(x) if plan.indices is None else plan.indices.shape[1]
        masks = self.with_drawn_masks(plan.dropout_masks, len(plan), samples)
        divisors = weights_of_steps(self.network, self.recipe, y, plan)
        steps_before = int(self.arrays.get("step", 0))
        with one_blas_thread():
            losses = dense_steps.train(
                x.reshape(len(x), -1),
                y,
                plan.indices,
                masks,
                divisors,
                plan.rates,
                steps_before + 1,
            )
        if self.recipe.optimizer.counts_steps:
            self.arrays["step"] += len(plan)
        self.losses.extend(losses)

    def gradients(self, data: DeviceSplit, plan: Plan) -> SummedGradients:
        """Return what a part of a batch adds to the gradients; see `ShardingEngine`."""
        if plan.empty and not self.synchronised:
            return SummedGradients.zero(self.network, self.recipe)
        x, y, masks = self.select_batch(data, plan, 0)
        with computing():
            loss = self.compute_gradients(x, y, masks, 1.0)
            for layer in self.layers:
                layer.update_buffers()
        if plan.empty:  # it has taken part in the statistics of the other workers
            return SummedGradients.zero(self.network, self.recipe)
        gradients = {name: array.copy() for name, array in self.parameter_gradients.items()}
        return SummedGradients(gradients, loss, self.divisor(y))

    def update(self, gradients: State, rate: float) -> None:
        """Make the update of a step from given gradients; see `UpdatingEngine`."""
        self.probe().update(gradients, rate)

    def wait(self) -> np.ndarray:
        """Return the losses since the last call; the steps are finished already."""
        losses = np.array(self.losses, self.recipe.dtype)
        self.losses = []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        """Return the logits of every sample in evaluation mode, shape (samples, classes)."""
        if self.dense_steps is not None:
            # One image is computed without BLAS, and asking BLAS takes a fifth of its time.
            with one_blas_thread() if len(data.x) > 1 else nullcontext():
                return self.dense_steps.logits(data.x.reshape(len(data.x), -1))
        with computing():
            logits = np.empty((len(data.x), self.network.classes), self.recipe.dtype)
            for start in range(0, len(logits), SAMPLES_EVALUATED_AT_ONCE):
                part = slice(start, start + SAMPLES_EVALUATED_AT_ONCE)
                logits[part] = self.chain.forward(data.x[part], None)
        return logits

    def probe(self) -> Probe:
        """Return access to the layers, the loss and the update; see `LayerProbe`."""

        def compute_loss(logits: Array, labels: Array) -> tuple[float, Array]:
            return self.loss(logits, labels, self.divisor(labels))

        return Probe(self.layers, compute_loss, self.parameter_gradients, self.apply_update)

    def trace(self, data: DeviceSplit, plan: Plan, *, outputs: bool = True) -> State:
        """Return what the first step of a plan computes, without updating the weights."""
        x, y, masks = self.select_batch(data, plan, 0)
        recorded: State | None = {} if outputs else None
        with computing():
            loss = self.compute_gradients(x, y, masks, self.divisor(y), recorded)
        trace: State = {f"output/{name}": array for name, array in (recorded or {}).items()}
        trace["loss"] = np.array(loss, self.recipe.dtype)
        for name in self.network.gradient_order:
            trace[f"gradient/{name}"] = self.parameter_gradients[name].copy()
        return trace

    def compute_gradients(
        self,
        x: Array,
        y: NDArray[np.int32],
        masks: dict[str, Array],
        divisor: float,
        outputs: State | None = None,
    ) -> float:
        """Write the gradients of all parameters; return the loss.

        Parameters
        ----------
        x, y : ndarray
            Images and labels of a step.
        masks : dict of str to ndarray of bool
            What each dropout layer keeps, by its name.
        divisor : float
            What the sum of the samples' losses is divided by.
        outputs : dict, optional
            Where the output of every layer is recorded, by its name.
        """
        logits = self.chain.forward(x, Training(masks, outputs))
        loss, gradient = self.loss(logits, y, divisor)
        self.chain.parameter_gradients(gradient)
        return loss

    def apply_update(self, rate: float) -> None:
        """Update the weights and slots with the present gradients, which are changed."""
        step = 0
        if self.recipe.optimizer.counts_steps:
            self.arrays["step"] += 1
            step = int(self.arrays["step"])
        clip = self.recipe.clip
        if self.recipe.loss.l2 or clip.limit is not None:
            prepare_gradients(
                self.weights.dtype.type(self.recipe.loss.l2),
                self.kernel_ranges,
                clip.by == "value",
                clip.limit or 0.0,
                clip.epsilon,
                self.weights,
                self.flat_gradients,
            )
        self.update_rule(self.weights, self.flat_gradients, self.slots, rate, step)

    def divisor(self, labels: NDArray[np.int32]) -> float:
        """Return what the sum of these samples' losses is divided by in a batch of them."""
        return self.recipe.loss.divisor(labels, self.network.classes)

    def select_batch(
        self, data: DeviceSplit, plan: Plan, k: int
    ) -> tuple[Array, NDArray[np.int32], dict[str, Array]]:
        """Return the images, the labels and the dropout masks of step `k` of a plan."""
        masks = {name: mask[k] for name, mask in plan.dropout_masks.items()}
        x, y = data
        if plan.indices is not None:
            x = x.take(plan.indices[k], axis=0)
            y = y[plan.indices[k]]
        masks = self.with_drawn_masks(masks, len(x))
        if plan.augmentations:
            draws = {name: values[k] for name, values in plan.augmentations.items()}
            x = augment(self.recipe.augmentation, x, draws)
        return x, y, masks

    def with_drawn_masks(
        self, masks: dict[str, NDArray[np.bool_]], *batch: int
    ) -> dict[str, NDArray[np.bool_]]:
        """Return the masks of a plan, and those that the engine draws in free mode.

        Parameters
        ----------
        masks : dict of str to ndarray of bool
            By the names of their layers.
        *batch : int
            The first axes of a mask.
        """
        masks = dict(masks)
        for layer, shape in self.network.dropouts:
            if layer.name not in masks:
                masks[layer.name] = self.draw_mask(layer.rate, (*batch, *shape))
        return masks

    def draw_mask(self, rate: float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return a dropout mask of this shape: True where a value is kept."""
        mask = np.empty(prod(shape), np.bool_)
        low_key, high_key = self.mask_keys.integers(2**32, size=2, dtype=np.uint32)
        draw_mask(low_key, high_key, np.uint32(rate * 2**32), mask)
        return mask.reshape(shape)


def views(flat: Array, parameters: Sequence[Parameter]) -> dict[str, Array]:
    """Return views of a flat array, one for each parameter, by its name."""
    arrays: dict[str, Array] = {}
    start = 0
    for parameter in parameters:
        stop = start + prod(parameter.shape)
        arrays[parameter.name] = flat[start:stop].reshape(parameter.shape)
        start = stop
    return arrays


def kernel_ranges(parameters: Sequence[Parameter]) -> NDArray[np.int64]:
    """Return where each kernel begins and ends in the flat arrays, shape (kernels, 2)."""
    ranges: list[tuple[int, int]] = []
    start = 0
    for parameter in parameters:
        stop = start + prod(parameter.shape)
        if parameter.leaf == "kernel":
            ranges.append((start, stop))
        start = stop
    return np.array(ranges, np.int64).reshape(-1, 2)
