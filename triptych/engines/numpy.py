"""NumPy: forward, backward and update by hand. This engine is the specification; the others are argued against it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Split
from ..network import Network
from ..plan import Plan
from ..recipe import Recipe
from ..scratch.augmentation import augment
from ..scratch.build import build
from ..scratch.layers import Chain, Training
from ..scratch.loss import softmax_cross_entropy
from ..scratch.optimizers import prepare, update
from ..state import State, check
from . import AT_ONCE

LABEL = "NumPy"
REQUIRES = "numpy"
INSTALL = "pip install numpy"
BACKENDS = {"eager": "from scratch"}
ARGUED = {
    "gpu": "none: processor only",
    "debugging": "every number is an array you can print; a wrong gradient is yours to find",
    "scalability": "one process, the threads of its BLAS",
}

Array = NDArray[Any]


@dataclass(frozen=True)
class Native:
    x: Array
    y: Array


class Engine:
    def __init__(self, network: Network, recipe: Recipe, *, device: str = "cpu", backend: str = "eager") -> None:
        self.device = "cpu"  # whatever is asked for: a comparison on a GPU still needs its reference
        self.network, self.recipe = network, recipe
        self.chain = Chain([build(layer) for layer in network.layers])
        self.layers = [part for layer in self.chain.layers for part in layer.every()]
        self.own = np.random.Generator(np.random.Philox(recipe.seed))  # masks in free mode
        self.arrays: State = {}
        self.losses: list[Array] = []

    def load(self, state: State) -> None:
        self.arrays = {name: array.copy() for name, array in check(state, self.network, self.recipe).items()}
        for layer, place in zip(self.layers, self.network.places, strict=True):
            layer.parameters = {p.leaf: self.arrays[p.name] for p in place.parameters}
            layer.buffers = {p.leaf: self.arrays[p.name] for p in place.buffers}

    def state(self) -> State:
        return {name: array.copy() for name, array in self.arrays.items()}

    def put(self, split: Split) -> Native:
        return Native(split.pixels(self.recipe.dtype), split.labels)

    def run(self, data: Native, plan: Plan) -> None:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # whoever reads the losses sees that it diverged
            for k, rate in enumerate(plan.rate):
                loss, gradients = self._gradients(*self._batch(data, plan, k))
                self._update(gradients, float(rate))
                for layer in self.layers:
                    layer.advance()
                self.losses.append(loss)

    def sync(self) -> np.ndarray:
        losses, self.losses = np.array(self.losses, self.recipe.dtype), []
        return losses

    def logits(self, data: Native) -> np.ndarray:
        return np.concatenate([self.chain.forward(data.x[i : i + AT_ONCE]) for i in range(0, len(data.x), AT_ONCE)])

    def trace(self, data: Native, plan: Plan, *, outputs: bool = True) -> State:
        seen: State = {}
        loss, gradients = self._gradients(*self._batch(data, plan, 0), seen if outputs else None)
        return seen | {"loss": loss} | {f"gradient/{name}": gradients[name] for name in self.network.backward}

    def _batch(self, data: Native, plan: Plan, k: int) -> tuple[Array, Array, dict[str, Array]]:
        masks = {name: mask[k] for name, mask in plan.keep.items()}
        if plan.order is None:
            x, y = data.x, data.y
        else:
            x, y = data.x[plan.order[k]], data.y[plan.order[k]]
        for layer, shape in self.network.dropouts:
            if layer.name not in masks:  # in free mode
                masks[layer.name] = self.own.random((len(x), *shape)) >= layer.rate
        if plan.augment:
            x = augment(self.recipe.augmentation, x, {name: drawn[k] for name, drawn in plan.augment.items()})
        return x, y, masks

    def _gradients(self, x: Array, y: Array, masks: dict[str, Array], seen: State | None = None) -> tuple[Array, State]:
        loss, dy = softmax_cross_entropy(self.chain.forward(x, Training(masks, seen)), y, self.recipe.loss)
        self.chain.backward(dy, into=False)
        return loss, {f"{layer.name}/{leaf}": g for layer in self.layers for leaf, g in layer.gradients.items()}

    def _update(self, gradients: State, rate: float) -> None:
        optimizer, step = self.recipe.optimizer, 0
        if optimizer.counts_steps:
            self.arrays["step"] += 1
            step = int(self.arrays["step"])
        prepare(self.recipe, gradients, self.arrays)
        for name, gradient in gradients.items():
            slots = {slot: self.arrays[f"{name}/{slot}"] for slot in optimizer.slots}
            update(optimizer, self.arrays[name], gradient, slots, rate, step)
