"""TensorFlow: Keras layers, GradientTape, the K-step loop inside one tf.function; or Keras's own fit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .. import network as spec
from .. import recipe as how
from ..data.dataset import Split
from ..errors import EngineError
from ..plan import Plan
from ..state import State, check

LABEL = "TensorFlow"
REQUIRES = "tensorflow"
INSTALL = "pip install 'triptych[tensorflow]'"
BACKENDS = {"compiled": "tf.function", "xla": "XLA", "fit": "Keras fit"}
ARGUED = {
    "gpu": "cuda",
    "debugging": "inside tf.function a step is a graph: print becomes tf.print, and errors speak of generated code",
    "scalability": "from one device to clusters and TPUs, with tf.distribute",
}

IMAGES = "images"


class Dropout(keras.layers.Layer):
    """keras.layers.Dropout that can be dealt its mask. (Keras reserves the argument name ``mask``.)"""

    def __init__(self, rate: float, own: tf.random.Generator, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.own = rate, own

    def call(self, x: tf.Tensor, keep: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        if not training or self.rate == 0:
            return x
        if keep is None:
            keep = self.own.uniform(tf.shape(x)) >= self.rate
        return x * tf.cast(keep, x.dtype) / (1 - self.rate)


class Network(keras.Model):
    """The layers in order. Inputs are a dict: the images, and a mask for each dropout that is dealt one."""

    def __init__(self, network: spec.Network, own: tf.random.Generator, dtype: str) -> None:
        super().__init__(name=network.name, dtype=dtype)
        self.stack = [keras_layer(layer, own, dtype) for layer in network.layers]

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        return self.outputs(inputs, training)[-1]

    def outputs(self, inputs: dict[str, tf.Tensor], training: bool) -> list[tf.Tensor]:
        """Return the output of every layer, in order; the last one is the logits."""
        x, outputs = inputs[IMAGES], []
        for layer in self.stack:
            x = layer(x, inputs.get(layer.name), training=training) if isinstance(layer, Dropout) else layer(x)
            outputs.append(x)
        return outputs


def keras_layer(layer: spec.Layer, own: tf.random.Generator, dtype: str) -> keras.layers.Layer:
    match layer:
        case spec.Dense(name=name, units=units):
            return keras.layers.Dense(units, name=name, dtype=dtype)
        case spec.ReLU(name=name):
            return keras.layers.ReLU(name=name, dtype=dtype)
        case spec.Dropout(name=name, rate=rate):
            return Dropout(rate, own, name=name, dtype=dtype)
        case spec.Flatten(name=name):
            return keras.layers.Flatten(name=name, dtype=dtype)
        case other:
            raise NotImplementedError(f"TensorFlow: no layer for {other}")


class Optimizer(keras.optimizers.Optimizer):
    """The specification's updates as a Keras optimizer, because Keras's own formulas differ.

    The rate is a variable of the recipe's dtype: Keras keeps its learning rate in floatx, and 0.1 read from float32
    is 0.1000000015 (D62).
    """

    def __init__(self, o: how.Optimizer, dtype: str, variables: list[keras.Variable]) -> None:
        super().__init__(learning_rate=o.rate)
        self.spec = o
        self.build(variables)
        self.rate = tf.Variable(o.rate, dtype=dtype, trainable=False)
        self.slots: dict[str, list[Any]] = {slot: self.add_optimizer_variables(variables, slot) for slot in o.slots}

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: Any) -> None:
        i = self._get_variable_index(variable)
        slots = {name: kept[i] for name, kept in self.slots.items()}
        self.assign_sub(variable, self._change(self.spec, gradient, slots))

    def _change(self, o: how.Optimizer, g: tf.Tensor, slots: dict[str, Any]) -> tf.Tensor:
        """Advance the slots and return what is to be taken off the weights."""
        match o:
            case how.SGD(momentum=0):
                return self.rate * g
            case how.SGD():  # Keras stores rate·gradient in its velocity; ours stores the gradient (D54)
                velocity = self._keep(slots["velocity"], o.momentum * slots["velocity"] + g)
                return self.rate * (g + o.momentum * velocity if o.nesterov else velocity)
            case how.Adam():  # Keras adds epsilon before the bias correction; ours after it (D47)
                m = self._keep(slots["m"], o.beta1 * slots["m"] + (1 - o.beta1) * g)
                v = self._keep(slots["v"], o.beta2 * slots["v"] + (1 - o.beta2) * g**2)
                # In float64, and by tf.constant: a cast of a Python float goes through float32 (D63).
                t = tf.cast(self.iterations + 1, tf.float64)
                of_m = tf.cast(1 - tf.constant(o.beta1, tf.float64) ** t, g.dtype)
                of_v = tf.cast(1 - tf.constant(o.beta2, tf.float64) ** t, g.dtype)
                return self.rate / of_m * m / (tf.sqrt(v / of_v) + o.epsilon)
            case how.RMSprop():  # Keras adds epsilon inside the root; ours outside (D48)
                v = self._keep(slots["v"], o.decay * slots["v"] + (1 - o.decay) * g**2)
                return self.rate * g / (tf.sqrt(v) + o.epsilon)
            case other:
                raise NotImplementedError(f"TensorFlow: no optimizer for {other}")

    def _keep(self, slot: Any, value: tf.Tensor) -> tf.Tensor:
        self.assign(slot, value)
        return value


@dataclass(frozen=True)
class Native:
    x: tf.Tensor
    y: tf.Tensor


class Engine:
    def __init__(self, network: spec.Network, recipe: how.Recipe, *, device: str = "cpu", backend: str = "compiled") -> None:
        self.description, self.recipe, self.backend = network, recipe, backend
        self.device = find_device(device)
        with self._on_device():
            own = tf.random.Generator.from_seed(recipe.seed)
            self.network = Network(network, own, recipe.dtype)
            self.network({IMAGES: tf.zeros((1, *network.input_shape), recipe.dtype)})  # builds the variables
            self.variables = {p.name: self._variable(p) for p in network.parameters}
            self.optimizer = Optimizer(recipe.optimizer, recipe.dtype, list(self.variables.values()))
        self.losses: list[tf.Tensor] = []
        if backend == "fit":
            self.fitting = Fitting(self.network, self.optimizer, recipe.dtype)
        self._steps: Callable[..., tf.Tensor] = tf.function(self._loop, jit_compile=backend == "xla")
        self._logits: Callable[..., tf.Tensor] = tf.function(lambda x: self.network({IMAGES: x}))
        self._traced: Callable[..., Any] = tf.function(self._seen, jit_compile=backend == "xla")

    def load(self, state: State) -> None:
        check(state, self.description, self.recipe)
        for i, (name, variable) in enumerate(self.variables.items()):
            variable.assign(state[name])
            for slot, kept in self.optimizer.slots.items():
                kept[i].assign(state[f"{name}/{slot}"])
        self.optimizer.iterations.assign(int(state.get("step", 0)))

    def state(self) -> State:
        weights = {name: array(variable) for name, variable in self.variables.items()}
        slots = {f"{name}/{slot}": array(kept[i]) for slot, kept in self.optimizer.slots.items() for i, name in enumerate(self.variables)}
        step = {"step": array(self.optimizer.iterations).astype(np.int64)} if self.recipe.optimizer.counts_steps else {}
        return weights | slots | step

    def put(self, split: Split) -> Native:
        with self._on_device():
            return Native(tf.constant(split.pixels(self.recipe.dtype)), tf.constant(split.labels))

    def run(self, data: Native, plan: Plan) -> None:
        with self._on_device():
            order, rate, keep = self._arguments(plan)
            steps = self.fitting.run if self.backend == "fit" else self._run
            self.losses.append(steps(data, order, rate, keep))

    def sync(self) -> np.ndarray:
        losses = np.concatenate([part.numpy() for part in self.losses]) if self.losses else np.zeros(0, self.recipe.dtype)
        self.losses = []
        return losses

    def logits(self, data: Native) -> np.ndarray:
        with self._on_device():
            return self._logits(data.x).numpy()

    def trace(self, data: Native, plan: Plan, *, outputs: bool = True) -> State:
        with self._on_device():
            order, _, keep = self._arguments(plan)
            seen, loss, gradients = self._traced(data.x, data.y, order, keep, outputs)
        forward = {f"output/{layer.name}": x.numpy() for layer, x in zip(self.description.layers, seen, strict=False)}
        backward = [p.name for place in reversed(self.description.places) for p in place.parameters]
        by_name = dict(zip(self.variables, gradients, strict=True))
        return forward | {"loss": np.asarray(loss.numpy())} | {f"gradient/{name}": by_name[name].numpy() for name in backward}

    def _run(self, data: Native, order: tf.Tensor | None, rate: tf.Tensor, keep: dict[str, tf.Tensor]) -> tf.Tensor:
        return self._steps(data.x, data.y, order, rate, keep)

    def _loop(self, x: tf.Tensor, y: tf.Tensor, order: tf.Tensor | None, rate: tf.Tensor, keep: dict[str, tf.Tensor]) -> tf.Tensor:
        losses = tf.TensorArray(rate.dtype, size=len(rate))
        for k in tf.range(len(rate)):
            loss, gradients = self._gradients(*self._batch(x, y, order, keep, k))
            self.optimizer.rate.assign(rate[k])
            self.optimizer.apply(gradients, list(self.variables.values()))
            losses = losses.write(k, loss)
        return losses.stack()

    def _seen(self, x: tf.Tensor, y: tf.Tensor, order: tf.Tensor | None, keep: dict[str, tf.Tensor], outputs: bool) -> Any:
        inputs, labels = self._batch(x, y, order, keep, 0)
        return self.network.outputs(inputs, training=True) if outputs else [], *self._gradients(inputs, labels)

    @staticmethod
    def _batch(x: tf.Tensor, y: tf.Tensor, order: tf.Tensor | None, keep: dict[str, tf.Tensor], k: Any) -> Any:
        masks = {name: mask[k] for name, mask in keep.items()}
        if order is None:
            return {IMAGES: x} | masks, y
        return {IMAGES: tf.gather(x, order[k])} | masks, tf.gather(y, order[k])

    def _gradients(self, inputs: dict[str, tf.Tensor], y: tf.Tensor) -> Any:
        variables = [variable.value for variable in self.variables.values()]
        with tf.GradientTape() as tape:
            logits = self.network(inputs, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        return loss, tape.gradient(loss, variables)

    def _arguments(self, plan: Plan) -> tuple[tf.Tensor | None, tf.Tensor, dict[str, tf.Tensor]]:
        order = None if plan.order is None else tf.constant(plan.order)
        rate = tf.constant(plan.rate, self.recipe.dtype)
        return order, rate, {name: tf.constant(mask) for name, mask in plan.keep.items()}

    def _variable(self, p: spec.Parameter) -> keras.Variable:
        layer = next(layer for layer in self.network.stack if layer.name == p.layer)
        return getattr(layer, p.leaf)

    def _on_device(self) -> Any:
        return tf.device({"cpu": "/CPU:0", "cuda": "/GPU:0"}[self.device])


def array(variable: keras.Variable) -> np.ndarray:
    """Return a copy of a Keras variable's value."""
    return np.array(variable.value.numpy())


class Recorder(keras.losses.Loss):
    """Softmax cross-entropy that also writes down the loss of each step: fit reports only running means (D83)."""

    def __init__(self, dtype: str) -> None:
        super().__init__(name="loss", dtype=dtype)
        self.written = tf.Variable(tf.zeros(0, dtype), shape=[None], trainable=False)
        self.inner = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)

    def __call__(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None) -> tf.Tensor:
        loss = self.inner(y_true, y_pred, sample_weight)
        self.written.assign(tf.concat([self.written, loss[None]], 0))
        return loss


class Rates(keras.callbacks.Callback):
    """Gives the optimizer each step's rate."""

    def __init__(self, optimizer: Optimizer, rates: np.ndarray) -> None:
        super().__init__()
        self.steps, self.rates = optimizer, rates

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.steps.rate.assign(self.rates[batch])


class Fitting:
    """Keras's own training loop over the same batches: images and masks as inputs, trained on logits."""

    def __init__(self, network: Network, optimizer: Optimizer, dtype: str) -> None:
        self.network, self.optimizer = network, optimizer
        self.recorder = Recorder(dtype)
        network.compile(optimizer, self.recorder)

    def run(self, data: Native, order: tf.Tensor | None, rate: tf.Tensor, keep: dict[str, tf.Tensor]) -> tf.Tensor:
        # A Dataset and not arrays: fit casts float64 arrays to floatx (D76). All rows as they lie are not copied.
        if order is None:
            steps = tf.data.Dataset.from_tensors((data.x, data.y)).repeat(len(rate))
        else:
            steps = tf.data.Dataset.from_tensor_slices((tf.gather(data.x, order), tf.gather(data.y, order)))
        if keep:
            masks = tf.data.Dataset.from_tensor_slices(keep)
            steps = tf.data.Dataset.zip(steps, masks).map(lambda xy, keep: ({IMAGES: xy[0], **keep}, xy[1]))
        else:
            steps = steps.map(lambda x, y: ({IMAGES: x}, y))
        self.recorder.written.assign(tf.zeros(0, rate.dtype))
        rates = rate.numpy()
        if len(set(rates)) == 1:
            self.optimizer.rate.assign(rates[0])
            callbacks = []
        else:
            callbacks = [Rates(self.optimizer, rates)]
        self.network.fit(steps, shuffle=False, verbose=0, callbacks=callbacks)
        return tf.identity(self.recorder.written)


def find_device(name: str) -> str:
    """Return the device to use, or raise `EngineError` saying what is missing."""
    gpu = bool(tf.config.list_physical_devices("GPU"))
    if name == "auto":
        return "cuda" if gpu else "cpu"
    if name == "mps":
        raise EngineError("TensorFlow has no mps device; use --device cpu or auto")
    if name not in ("cpu", "cuda"):
        raise EngineError(f"TensorFlow: device {name!r} is unknown; known: auto, cpu, cuda")
    if name == "cuda" and not gpu:
        raise EngineError("TensorFlow sees no cuda device on this machine; use --device cpu or auto")
    return name
