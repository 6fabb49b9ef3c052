"""TensorFlow: Keras layers, `GradientTape`, K steps in one `tf.function`; or Keras's own `fit`."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple
from weakref import WeakMethod

import keras
import numpy as np
import tensorflow as tf

from ...core.devices import find_device
from ...core.engine import SAMPLES_EVALUATED_AT_ONCE, Exchange
from ...core.gradients import AllReduce, SummedGradients, check_synchronised, weights_of_steps
from ...core.plan import Plan
from ...core.split import Split
from ...core.state import State, check
from ...errors import EngineError
from ...spec.network import Network
from ...spec.recipe import Recipe
from .augmentation import augment
from .info import INFO
from .keras_fit import Fitting
from .layers import IMAGES, Model, NativeModel
from .loss import build_loss
from .optimizers import Optimizer
from .probe import Probe


class DeviceSplit(NamedTuple):
    """A split on the device: images (samples, rows, columns, channels) and labels (samples,)."""

    x: tf.Tensor
    y: tf.Tensor


class DevicePlan(NamedTuple):
    """A `Plan` on the device."""

    indices: tf.Tensor | None
    rates: tf.Tensor
    dropout_masks: dict[str, tf.Tensor]
    augmentations: dict[str, tf.Tensor]


class Engine:
    """The TensorFlow engine; `triptych.core.engine.Engine` describes its interface."""

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        *,
        device: str = "cpu",
        backend: str = "compiled",
        all_reduce: AllReduce | None = None,
    ) -> None:
        if all_reduce is not None:
            check_synchronised(INFO.label, network)
        self.network = network
        self.recipe = recipe
        self.backend = backend
        has_gpu = bool(tf.config.list_physical_devices("GPU"))
        self.device = find_device(INFO.label, device, {"cuda": has_gpu, "cpu": True})
        with self.on_device():
            self.model = Model(network, recipe.dtype, recipe.seed)
            self.model(
                {IMAGES: tf.zeros((1, *network.input_shape), recipe.dtype)}
            )  # adds variables
            self.weights, self.buffers = name_variables(network, self.model)
            kernels = [p.leaf == "kernel" for p in network.parameters]
            self.optimizer = Optimizer(recipe, list(self.weights.values()), kernels)
            self.loss = build_loss(recipe.loss, network.classes, recipe.dtype)
        self.losses: list[tf.Tensor] = []

        # The loop traces three graphs at most, each in half a second: one for the first shape, one
        # for any K, one for any batch size.
        self.train_graph: Callable[..., tf.Tensor] = tf.function(
            self.train_steps, reduce_retracing=True
        )
        if backend == "fit":
            self.train_graph = Fitting(self.model, self.optimizer, recipe, self.loss).train_steps
        self.trace_graph: Callable[..., Any] = tf.function(self.trace_step)
        self.shard_graph: Callable[..., Any] = tf.function(self.shard_step, reduce_retracing=True)
        self.shared_graph: Callable[..., tf.Tensor] = tf.function(
            self.shared_steps, reduce_retracing=True
        )
        # TensorFlow keeps a function that a graph calls, so this one must not keep the engine.
        self.exchange_in_graph = without_object(self.exchange_sums)
        self.exchange: Exchange | None = None
        self.failure: EngineError | None = None  # of `exchange`
        self.update_graph: Callable[..., None] = tf.function(self.update_weights)
        self.logits_graph: Callable[..., tf.Tensor] = tf.function(
            self.evaluate, reduce_retracing=True
        )
        # XLA compiles forward and backward pass, but not the loop around them, in which its
        # convolutions would take eighty times as long.
        self.gradient_graph: Callable[..., Any] = self.compute_gradients
        if backend == "xla":
            self.gradient_graph = tf.function(self.compute_gradients, jit_compile=True)

    def load(self, state: State) -> None:
        """Assign weights, buffers, slots and step."""
        check(state, self.network, self.recipe)
        for i, (name, weight) in enumerate(self.weights.items()):
            weight.assign(state[name])
            for slot, variables in self.optimizer.slots.items():
                variables[i].assign(state[f"{name}/{slot}"])
        for name, buffer in self.buffers.items():
            buffer.assign(state[name])
        self.optimizer.iterations.assign(int(state.get("step", 0)))

    def state(self) -> State:
        """Return copies of weights, buffers, slots and step."""
        state: State = {}
        for name, variable in (self.weights | self.buffers).items():
            state[name] = to_array(variable)
        for slot, variables in self.optimizer.slots.items():
            for name, variable in zip(self.weights, variables, strict=True):
                state[f"{name}/{slot}"] = to_array(variable)
        if self.recipe.optimizer.counts_steps:
            state["step"] = to_array(self.optimizer.iterations).astype(np.int64)
        return state

    def upload(self, split: Split) -> DeviceSplit:
        """Move a split onto the device."""
        with self.on_device():
            x = tf.constant(split.pixels(self.recipe.dtype))
            y = tf.constant(split.labels)
        return DeviceSplit(x, y)

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        """Make the plan's steps."""
        with self.on_device():
            losses = self.train_graph(data, self.to_device(plan))
        self.losses.append(losses)

    def gradients(self, data: DeviceSplit, plan: Plan) -> SummedGradients:
        """Return what a part of a batch adds to the gradients; see `ShardingEngine`."""
        if plan.empty:
            return SummedGradients.zero(self.network, self.recipe)
        labels = data.y.numpy()
        weight = float(weights_of_steps(self.network, self.recipe, labels, plan)[0])
        with self.on_device():
            factor = tf.constant(weight, self.recipe.dtype)
            loss, gradients = self.shard_graph(data, self.to_device(plan), factor)
        named = zip(self.weights, gradients, strict=True)
        by_name = {name: gradient.numpy() for name, gradient in named}
        return SummedGradients(by_name, float(loss), weight)

    def run_shared(self, data: DeviceSplit, plan: Plan, exchange: Exchange) -> list[float]:
        """Make steps together with other workers; see `SharedStepsEngine`."""
        if plan.empty:  # the graph would divide by no samples
            return [self.share_nothing(exchange, float(rate)) for rate in plan.rates]
        self.exchange = exchange
        weights = weights_of_steps(self.network, self.recipe, data.y.numpy(), plan)
        try:
            with self.on_device():
                factors = tf.constant(weights, self.recipe.dtype)
                return self.shared_graph(data, self.to_device(plan), factors).numpy().tolist()
        except tf.errors.OpError:
            if self.failure is None:
                raise
            raise self.failure from None
        finally:
            self.exchange = None
            self.failure = None

    def share_nothing(self, exchange: Exchange, rate: float) -> float:
        """Make a step of which other workers have all samples; return its loss."""
        total = exchange(SummedGradients.zero(self.network, self.recipe))
        self.update(total.mean_gradients, rate)
        return total.mean_loss

    def update(self, gradients: State, rate: float) -> None:
        """Make the update of a step from given gradients; see `UpdatingEngine`."""
        self.probe().update(gradients, rate)

    def wait(self) -> np.ndarray:
        """Return the losses since the last wait."""
        if not self.losses:
            return np.zeros(0, self.recipe.dtype)
        losses = np.concatenate([part.numpy() for part in self.losses])
        self.losses = []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        """Return the logits of all samples in evaluation mode."""
        logits: list[np.ndarray] = []
        with self.on_device():
            for first in range(0, len(data.x), SAMPLES_EVALUATED_AT_ONCE):
                x = data.x[first : first + SAMPLES_EVALUATED_AT_ONCE]
                logits.append(self.logits_graph(x).numpy())
        return np.concatenate(logits)

    def native_model(self) -> tf.Module:
        """Return the trained network in evaluation mode: images in, logits out."""
        return NativeModel(self.model)

    def probe(self) -> Probe:
        """Return access to the layers, the loss and the update; see `LayerProbe`."""
        return Probe(self.model, self.weights, self.loss, self.apply_gradients)

    def apply_gradients(self, gradients: list[tf.Tensor], rate: float) -> None:
        """Make the update of a step from the gradients of all weights."""
        with self.on_device():
            self.update_graph(gradients, tf.constant(rate, self.recipe.dtype))

    def trace(self, data: DeviceSplit, plan: Plan, *, outputs: bool = True) -> State:
        """Return what the plan's first step computes."""
        with self.on_device():
            loss, gradients, layer_outputs = self.trace_graph(data, self.to_device(plan), outputs)
        trace: State = {}
        if outputs:
            for place in self.network.places:
                name = place.layer.name
                trace[f"output/{name}"] = layer_outputs[name].numpy()
        trace["loss"] = np.asarray(loss.numpy())
        by_name = dict(zip(self.weights, gradients, strict=True))
        for name in self.network.gradient_order:
            trace[f"gradient/{name}"] = by_name[name].numpy()
        return trace

    # --- The training step, in graphs ------------------------------------------------------------

    def train_steps(self, data: DeviceSplit, plan: DevicePlan) -> tf.Tensor:
        """Make K training steps, and return their losses."""
        count = tf.shape(plan.rates)[0]
        losses = tf.TensorArray(plan.rates.dtype, size=count)
        for k in tf.range(count):  # a loop of the graph, by AutoGraph
            inputs, y = self.select_batch(data, plan, k)
            loss, gradients, _ = self.gradient_graph(inputs, y)
            self.update_weights(gradients, plan.rates[k])
            losses = losses.write(k, loss)
        return losses.stack()

    def update_weights(self, gradients: list[tf.Tensor], rate: Any) -> None:
        """Update the weights with the gradients of all of them."""
        self.optimizer.rate.assign(rate)
        self.optimizer.apply(gradients)

    def compute_gradients(
        self, inputs: dict[str, tf.Tensor], y: tf.Tensor, outputs: bool = False
    ) -> tuple[tf.Tensor, list[tf.Tensor], dict[str, tf.Tensor]]:
        """Return a batch's loss, its gradients and, if wanted, the outputs of all layers."""
        weights = [weight.value for weight in self.weights.values()]
        layer_outputs: dict[str, tf.Tensor] = {}
        with tf.GradientTape() as tape:
            logits = self.model.call(inputs, True, layer_outputs if outputs else None)
            loss = self.loss(logits, y)
        return loss, tape.gradient(loss, weights), layer_outputs

    def shared_steps(self, data: DeviceSplit, plan: DevicePlan, weights: tf.Tensor) -> tf.Tensor:
        """Make K steps together with other workers; return the losses of the whole batches."""
        count = tf.shape(plan.rates)[0]
        losses = tf.TensorArray(plan.rates.dtype, size=count)
        for k in tf.range(count):  # a loop of the graph, by AutoGraph
            inputs, y = self.select_batch(data, plan, k)
            loss, gradients, _ = self.gradient_graph(inputs, y)
            sums = [weights[k] * each for each in (*gradients, loss)]
            dtypes = [each.dtype for each in sums]
            means = tf.numpy_function(self.exchange_in_graph, [*sums, weights[k]], dtypes)
            for mean, summed in zip(means, sums, strict=True):
                mean.set_shape(summed.shape)
            self.update_weights(means[:-1], plan.rates[k])
            losses = losses.write(k, means[-1])
        return losses.stack()

    def exchange_sums(self, *sums: np.ndarray) -> list[np.ndarray]:
        """Return the means over the whole batch; the graph calls this in each shared step.

        Parameters
        ----------
        *sums : ndarray
            The summed gradients of this worker's samples, their summed loss, and their weight.
        """
        *gradients, loss, weight = sums
        named = dict(zip(self.weights, gradients, strict=True))
        assert self.exchange
        try:
            total = self.exchange(SummedGradients(named, float(loss), float(weight)))
        except EngineError as error:  # TensorFlow passes its text on, and not the error
            self.failure = error
            raise
        means = total.mean_gradients
        return [*(means[name] for name in self.weights), np.asarray(total.mean_loss, loss.dtype)]

    def shard_step(
        self, data: DeviceSplit, plan: DevicePlan, factor: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return the loss of a plan's first step and its gradients, multiplied by a factor."""
        inputs, y = self.select_batch(data, plan, 0)
        loss, gradients, _ = self.gradient_graph(inputs, y)
        return factor * loss, [factor * gradient for gradient in gradients]

    def trace_step(self, data: DeviceSplit, plan: DevicePlan, outputs: bool) -> Any:
        """Return what `compute_gradients` returns of one step."""
        buffers = [buffer.value for buffer in self.buffers.values()]
        values = [tf.identity(buffer) for buffer in buffers]
        inputs, y = self.select_batch(data, plan, 0)
        result = self.gradient_graph(inputs, y, outputs)
        # The forward pass moved running statistics, but a trace must change nothing.
        for buffer, value in zip(buffers, values, strict=True):
            buffer.assign(value)
        return result

    def evaluate(self, x: tf.Tensor) -> tf.Tensor:
        """Return the logits of images in evaluation mode."""
        return self.model({IMAGES: x})

    def select_batch(
        self, data: DeviceSplit, plan: DevicePlan, k: Any
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Return the model's inputs (images and dropout masks) and the labels of step `k`."""
        x, y = data
        if plan.indices is not None:
            x = tf.gather(x, plan.indices[k])
            y = tf.gather(y, plan.indices[k])
        if plan.augmentations:
            draws = {name: draws[k] for name, draws in plan.augmentations.items()}
            x = augment(self.recipe.augmentation, x, draws)
        masks = {name: masks[k] for name, masks in plan.dropout_masks.items()}
        return {IMAGES: x} | masks, y

    # --- Between NumPy and the device ------------------------------------------------------------

    def to_device(self, plan: Plan) -> DevicePlan:
        """Return a plan's arrays on the device."""
        indices = None if plan.indices is None else tf.constant(plan.indices)
        rates = tf.constant(plan.rates, self.recipe.dtype)
        masks = {name: tf.constant(mask) for name, mask in plan.dropout_masks.items()}
        draws = {name: tf.constant(drawn) for name, drawn in plan.augmentations.items()}
        return DevicePlan(indices, rates, masks, draws)

    def on_device(self) -> AbstractContextManager[None]:
        """Place operations and variables on the engine's device."""
        return tf.device({"cpu": "/CPU:0", "cuda": "/GPU:0"}[self.device])


def without_object(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls a method, and does not keep the object of the method."""
    weak = WeakMethod(method)

    def call(*arguments: Any) -> Any:
        found = weak()
        assert found
        return found(*arguments)

    return call


def name_variables(
    network: Network, model: Model
) -> tuple[dict[str, keras.Variable], dict[str, keras.Variable]]:
    """Return weights and buffers by the specification's names, in order of computation."""
    weights: dict[str, keras.Variable] = {}
    buffers: dict[str, keras.Variable] = {}
    layers = model.layers_by_name()
    for place in network.places:
        if place.branch:  # a residual has no variables except those of the layers inside
            continue
        layer = layers[place.layer.name]
        trainable = layer.trainable_variables
        others = layer.non_trainable_variables
        for p, variable in zip(place.parameters, trainable, strict=True):
            weights[p.name] = variable
        for p, variable in zip(place.buffers, others, strict=True):
            buffers[p.name] = variable
    return weights, buffers


def to_array(variable: keras.Variable) -> np.ndarray:
    """Return a copy of a Keras variable's value."""
    return np.array(variable.value.numpy())
