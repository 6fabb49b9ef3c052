"""TensorFlow: Keras layers, GradientTape, the K-step loop inside one tf.function; or Keras's own fit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ... import network as spec
from ... import recipe as how
from ...data.dataset import Split
from ...errors import EngineError
from ...plan import Plan
from ...state import State, check
from .fitting import Fitting
from .layers import IMAGES, Network
from .optimizers import Optimizer

LABEL = "TensorFlow"
REQUIRES = "tensorflow"
INSTALL = "pip install 'triptych[tensorflow]'"
BACKENDS = {"compiled": "tf.function", "xla": "XLA", "fit": "Keras fit"}
ARGUED = {
    "gpu": "cuda",
    "debugging": "inside tf.function a step is a graph: print becomes tf.print, and errors speak of generated code",
    "scalability": "from one device to clusters and TPUs, with tf.distribute",
}


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
            steps = self.fitting.run if self.backend == "fit" else self._steps
            self.losses.append(steps(data.x, data.y, order, rate, keep))

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
