"""JAX: pure functions over a dict of arrays, `jax.value_and_grad`, K steps in one `lax.scan`.

With convolutions on a CPU, each step is a call of its own instead: inside a loop XLA computes the
gradient of a kernel without its fast routines (a step of the network ``cnn`` takes 6 s, not 0.17).

What a function depends on besides arrays is a static argument. Equal ones are compiled once in a
process, even if several engines use them.
"""

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ...core.devices import find_device
from ...core.engine import SAMPLES_EVALUATED_AT_ONCE
from ...core.gradients import AllReduce, SummedGradients, check_synchronised
from ...core.plan import Plan
from ...core.split import Split
from ...core.state import State, check
from ...spec import layers as spec
from ...spec.augmentation import Augmentation
from ...spec.losses import Loss
from ...spec.network import Network
from ...spec.recipe import Recipe
from .augmentation import augment
from .info import INFO
from .layers import ForwardPass, build_layer, draw_masks, run_layers
from .loss import build_loss
from .optimizers import Update, apply_update, build_optimizer
from .probe import Probe

Arrays = dict[str, Array]  # the state by its names: weights, buffers, slots, step
Carry = tuple[Arrays, Array]  # from step to step: the state, and the key of dropout masks


class DeviceSplit(NamedTuple):
    """A split on the device: images (samples, rows, columns, channels) and labels (samples,)."""

    x: Array
    y: Array


class DevicePlan(NamedTuple):
    """A `Plan`, or one step of it, as arguments of jitted functions."""

    indices: np.ndarray | None
    rates: np.ndarray
    dropout_masks: dict[str, np.ndarray]
    augmentations: dict[str, np.ndarray]


class Task(NamedTuple):
    """What the gradients of a step depend on, besides arrays."""

    network: Network
    loss: Loss
    augmentation: Augmentation


class Engine:
    """The JAX engine; `triptych.core.engine.Engine` describes its interface."""

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        *,
        device: str = "cpu",
        backend: str = "scan",
        all_reduce: AllReduce | None = None,
    ) -> None:
        if all_reduce is not None:
            check_synchronised(INFO.label, network)
        self.network = network
        self.recipe = recipe
        self.device = find_device(INFO.label, device, {"cuda": has_gpu(), "cpu": True})
        self.task = Task(network, recipe.loss, recipe.augmentation)
        self.update_rule = Update(recipe.optimizer, recipe.clip, recipe.loss.l2)
        has_convolution = any(isinstance(place.layer, spec.Conv2D) for place in network.places)
        self.loops = self.device != "cpu" or not has_convolution
        with self.settings():
            check_builders(self.task, self.update_rule)
            self.key = jax.random.key(recipe.seed)  # of dropout masks in free mode
        self.arrays: Arrays = {}
        self.losses: list[Array] = []

    def load(self, state: State) -> None:
        """Take in weights, buffers, slots and step."""
        check(state, self.network, self.recipe)
        self.names = list(state)  # in order; dicts that jitted functions return are sorted
        with self.settings():
            self.arrays = {name: jnp.array(array) for name, array in state.items()}

    def state(self) -> State:
        """Return copies of weights, buffers, slots and step."""
        return {name: np.array(self.arrays[name]) for name in self.names}

    def upload(self, split: Split) -> DeviceSplit:
        """Move a split onto the device."""
        with self.settings():
            x = jnp.asarray(split.pixels(self.recipe.dtype))
            y = jnp.asarray(split.labels)
        return DeviceSplit(x, y)

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        """Make the plan's steps."""
        carry = (self.arrays, self.key)
        steps = self.to_device(plan)
        with self.settings():
            if self.loops:
                carry, losses = train_steps(self.task, self.update_rule, data, carry, steps)
                self.losses.append(losses)
            else:
                for k in range(len(plan)):
                    step = select_step(steps, k)
                    carry, loss = train_step(self.task, self.update_rule, data, carry, step)
                    self.losses.append(loss)
        self.arrays, self.key = carry

    def gradients(self, data: DeviceSplit, plan: Plan) -> SummedGradients:
        """Return what a part of a batch adds to the gradients; see `ShardingEngine`."""
        if plan.empty:
            return SummedGradients.zero(self.network, self.recipe)
        labels = np.asarray(data.y)
        if plan.indices is not None:
            labels = labels[plan.indices[0]]
        weight = self.recipe.loss.divisor(labels, self.network.classes)
        step = select_step(self.to_device(plan), 0)
        with self.settings():
            loss, gradients, buffers, self.key = shard_step(
                self.task, self.arrays, self.key, data, step, weight
            )
        self.arrays.update(buffers)
        by_name = {p.name: np.array(gradients[p.name]) for p in self.network.parameters}
        return SummedGradients(by_name, float(loss), weight)

    def update(self, gradients: State, rate: float) -> None:
        """Make the update of a step from given gradients; see `UpdatingEngine`."""
        self.probe().update(gradients, rate)

    def wait(self) -> np.ndarray:
        """Return the losses since the last wait."""
        if not self.losses:
            return np.zeros(0, self.recipe.dtype)
        losses = np.hstack(self.losses)
        self.losses = []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        """Return the logits of all samples in evaluation mode."""
        logits: list[Array] = []
        with self.settings():
            for first in range(0, len(data.x), SAMPLES_EVALUATED_AT_ONCE):
                x = data.x[first : first + SAMPLES_EVALUATED_AT_ONCE]
                logits.append(evaluate(self.network, self.arrays, x))
            return np.concatenate(logits)

    def probe(self) -> Probe:
        """Return access to the layers, the loss and the update; see `LayerProbe`."""
        places = {place.layer.name: place for place in self.network.places}

        def apply(gradients: Arrays, rate: float) -> Arrays:
            return update_step(self.update_rule, self.arrays, gradients, jnp.asarray(rate))

        with self.settings():
            loss = build_loss(self.task.loss, self.network.classes, self.recipe.dtype)
        return Probe(places, self.arrays, loss, apply, self.settings)

    def trace(self, data: DeviceSplit, plan: Plan, *, outputs: bool = True) -> State:
        """Return what the plan's first step computes."""
        step = select_step(self.to_device(plan), 0)
        with self.settings():
            loss, gradients, layer_outputs, self.key = trace_step(
                self.task, self.arrays, self.key, data, step
            )
        trace: State = {}
        if outputs:
            for place in self.network.places:
                name = place.layer.name
                trace[f"output/{name}"] = np.array(layer_outputs[name])
        trace["loss"] = np.array(loss)
        for name in self.network.gradient_order:
            trace[f"gradient/{name}"] = np.array(gradients[name])
        return trace

    def to_device(self, plan: Plan) -> DevicePlan:
        """Return a plan's arrays for a jitted function, which moves them to the device."""
        rates = plan.rates.astype(self.recipe.dtype)
        return DevicePlan(plan.indices, rates, plan.dropout_masks, plan.augmentations)

    @contextmanager
    def settings(self) -> Generator[None]:
        """Set for as long as this engine computes: float64, no products in TF32, and the device."""
        device = jax.devices(self.device)[0]
        with (
            jax.enable_x64(True),
            jax.default_matmul_precision("highest"),
            jax.default_device(device),
        ):
            yield


def has_gpu() -> bool:
    """Return whether JAX sees a CUDA device."""
    try:
        return bool(jax.devices("cuda"))
    except RuntimeError:
        return False


def check_builders(task: Task, update: Update) -> None:
    """Raise `EngineError` for a layer, loss or optimizer without a builder, before a step does."""
    for place in task.network.places:
        build_layer(place)
    build_loss(task.loss, task.network.classes, "float32")
    build_optimizer(update.optimizer)


# --- The training step, in pure functions --------------------------------------------------------


def make_step(
    task: Task, update: Update, data: DeviceSplit, carry: Carry, step: DevicePlan
) -> tuple[Carry, Array]:
    """Return state and key after one step, and its loss."""
    arrays, key = carry
    loss, gradients, forward_pass, key = compute_gradients(task, arrays, key, data, step)
    arrays = apply_update(update, arrays | forward_pass.buffers, gradients, step.rates)
    return (arrays, key), loss


train_step = jax.jit(make_step, static_argnums=(0, 1), donate_argnums=3)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def train_steps(
    task: Task, update: Update, data: DeviceSplit, carry: Carry, steps: DevicePlan
) -> tuple[Carry, Array]:
    """Return state and key after K steps, and the K losses."""
    return lax.scan(partial(make_step, task, update, data), carry, steps)


@partial(jax.jit, static_argnums=0)
def trace_step(
    task: Task, arrays: Arrays, key: Array, data: DeviceSplit, step: DevicePlan
) -> tuple[Array, Arrays, Arrays, Array]:
    """Return one step's loss, gradients and outputs of all layers, and the next key."""
    loss, gradients, forward_pass, key = compute_gradients(task, arrays, key, data, step)
    return loss, gradients, forward_pass.outputs, key


@partial(jax.jit, static_argnums=0)
def shard_step(
    task: Task, arrays: Arrays, key: Array, data: DeviceSplit, step: DevicePlan, factor: float
) -> tuple[Array, Arrays, Arrays, Array]:
    """Return one step's loss and gradients, multiplied by a factor, new buffers, and next key."""
    loss, gradients, forward_pass, key = compute_gradients(task, arrays, key, data, step)
    gradients = jax.tree.map(lambda gradient: factor * gradient, gradients)
    return factor * loss, gradients, forward_pass.buffers, key


update_step = jax.jit(apply_update, static_argnums=0)


@partial(jax.jit, static_argnums=0)
def evaluate(network: Network, arrays: Arrays, x: Array) -> Array:
    """Return the logits in evaluation mode."""
    return run_layers(network.chain, x, ForwardPass(arrays))


def compute_gradients(
    task: Task, arrays: Arrays, key: Array, data: DeviceSplit, step: DevicePlan
) -> tuple[Array, Arrays, ForwardPass, Array]:
    """Return a step's loss, gradients by name, what its forward pass collected, next key."""
    network = task.network
    x, y = select_batch(task.augmentation, data, step)
    masks, key = draw_masks(network, key, len(x), x.dtype, step.dropout_masks)
    loss_function = build_loss(task.loss, network.classes, x.dtype)

    def loss_of_weights(weights: Arrays) -> tuple[Array, tuple[Arrays, Arrays]]:
        forward_pass = ForwardPass(arrays | weights, training=True, masks=masks)
        logits = run_layers(network.chain, x, forward_pass)
        return loss_function(logits, y), (forward_pass.outputs, forward_pass.buffers)

    weights = {p.name: arrays[p.name] for p in network.parameters}
    differentiate = jax.value_and_grad(loss_of_weights, has_aux=True)
    (loss, (outputs, buffers)), gradients = differentiate(weights)
    forward_pass = ForwardPass(arrays, True, masks, outputs, buffers)
    return loss, gradients, forward_pass, key


def select_step(plan: DevicePlan, k: int) -> DevicePlan:
    """Return step `k` of a plan."""
    return jax.tree.map(lambda array: array[k], plan)


def select_batch(
    augmentation: Augmentation, data: DeviceSplit, step: DevicePlan
) -> tuple[Array, Array]:
    """Return images and labels of a step."""
    x, y = data
    if step.indices is not None:
        x = x[step.indices]
        y = y[step.indices]
    if step.augmentations:
        x = augment(augmentation, x, step.augmentations)
    return x, y
