"""NumPy: forward, backward and update by hand. This engine is the specification; the others are argued against it."""

from dataclasses import dataclass
from math import prod

import numpy as np

from ...core.engine import SAMPLES_EVALUATED_AT_ONCE
from ...core.plan import Plan
from ...core.split import Split, scaled
from ...core.state import State, check
from ...spec import layers as spec
from ...spec.network import Network
from ...spec.recipe import Recipe
from .layers import build_chain
from .loss import build_loss
from .scratch.augmentation import augment
from .scratch.crew import Crew
from .scratch.layers import Training, views
from .scratch.optimizers import prepare, update
from .scratch.products import Array


@dataclass(frozen=True)
class DeviceSplit:
    """A split.

    Attributes
    ----------
    x : ndarray, shape (n, h, w, c), or (n, pixels) without those that are zero in every image
    y : ndarray of int32, shape (n,)
    order : ndarray of int or None
        All pixels, the ones that x has first; None where x is the whole images.
    """

    x: Array
    y: Array
    order: Array | None = None


class Engine:
    """Weights, their gradients and each slot are one flat array, of which all else has views: an update is one sweep."""

    def __init__(
        self, network: Network, recipe: Recipe, *, device: str = "cpu", backend: str = "eager"
    ) -> None:
        self.device = (
            "cpu"  # whatever is asked for: a comparison on a GPU still needs its reference
        )
        self.network, self.recipe, self.crew = network, recipe, Crew()
        self.chain = build_chain(network.chain, self.crew)
        self.layers = self.chain.every()
        self.own = np.random.Generator(np.random.SFC64(recipe.seed))  # masks in free mode
        self.loss = build_loss(recipe.loss)
        self.losses: list[Array] = []
        kinds = ("weights", "gradients", *recipe.optimizer.slots)
        self.flat = {kind: np.zeros(network.parameter_count, recipe.dtype) for kind in kinds}
        shapes = {p.name: p.shape for p in network.parameters}
        weights, self.gradients, *slots = (views(flat, shapes) for flat in self.flat.values())
        self.arrays = weights | {p.name: np.zeros(p.shape, recipe.dtype) for p in network.buffers}
        for slot, arrays in zip(recipe.optimizer.slots, slots, strict=True):
            self.arrays |= {f"{name}/{slot}": array for name, array in arrays.items()}
        if recipe.optimizer.counts_steps:
            self.arrays["step"] = np.zeros((), np.int64)
        for layer, place in zip(self.layers, network.places, strict=True):
            layer.parameters = {p.leaf: self.arrays[p.name] for p in place.parameters}
            layer.buffers = {p.leaf: self.arrays[p.name] for p in place.buffers}
        self.chain.bind(self.flat["gradients"])
        # A pixel that is zero in every image changes nothing in a dense layer: its column is dropped, its weights lie last.
        flat_first = [type(layer) for layer in network.layers[:2]] == [spec.Flatten, spec.Dense]
        self.kernel = (
            f"{network.layers[1].name}/kernel"
            if flat_first and not recipe.augmentation.active
            else None
        )
        self.order: Array | None = None  # in which the rows of that kernel lie now

    def load(self, state: State) -> None:
        check(state, self.network, self.recipe)
        self._arrange(None)
        for name, array in self.arrays.items():
            array[...] = state[name]

    def state(self) -> State:
        self._arrange(None)
        return {name: np.array(array, order="C") for name, array in self.arrays.items()}

    def upload(self, split: Split) -> DeviceSplit:
        if self.kernel is None:
            return DeviceSplit(split.pixels(self.recipe.dtype), split.labels)
        rows = split.images.reshape(len(split), -1)
        used = rows.any(axis=0)
        order = np.argsort(~used, kind="stable")
        x = np.empty((len(split), np.count_nonzero(used)), self.recipe.dtype)
        for i in range(
            0, len(x), SAMPLES_EVALUATED_AT_ONCE
        ):  # a copy of all pixels would be as large again
            x[i : i + SAMPLES_EVALUATED_AT_ONCE] = scaled(
                rows[i : i + SAMPLES_EVALUATED_AT_ONCE, order[: x.shape[1]]], self.recipe.dtype
            )
        return DeviceSplit(x, split.labels, order)

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        self._arrange(data.order)
        with computing():
            for k, rate in enumerate(plan.rates):
                self.losses.append(self._gradients(*self._batch(data, plan, k)))
                self._update(float(rate))
                for layer in self.layers:
                    layer.advance()

    def wait(self) -> np.ndarray:
        losses, self.losses = np.array(self.losses, self.recipe.dtype), []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        self._arrange(data.order)
        logits = np.empty((len(data.x), self.network.classes), self.recipe.dtype)
        with computing():
            for i in range(0, len(logits), SAMPLES_EVALUATED_AT_ONCE):
                logits[i : i + SAMPLES_EVALUATED_AT_ONCE] = self.chain.forward(
                    data.x[i : i + SAMPLES_EVALUATED_AT_ONCE]
                )
        return logits

    def trace(self, data: DeviceSplit, plan: Plan, *, outputs: bool = True) -> State:
        x, y, masks = self._batch(data, plan, 0)
        seen: State | None = {} if outputs else None
        if outputs and data.order is not None:  # every pixel is wanted
            whole = np.zeros((len(x), data.order.size), x.dtype)
            whole[:, data.order[: x.shape[1]]] = x
            x = whole
        self._arrange(None if outputs else data.order)
        with computing():
            loss = self._gradients(x, y, masks, seen)
        self._arrange(None)
        return (
            (seen or {})
            | {"loss": loss}
            | {
                f"gradient/{name}": np.array(self.gradients[name], order="C")
                for name in self.network.gradient_order
            }
        )

    def _arrange(self, order: Array | None) -> None:
        """Bring the first kernel's rows, and those of its slots and gradient, into an order, or back into their own."""
        if order is self.order or self.kernel is None:
            return
        back = slice(None) if self.order is None else np.argsort(self.order)
        for name, array in [*self.arrays.items(), (self.kernel, self.gradients[self.kernel])]:
            if name.startswith(self.kernel):
                array[...] = array[back][slice(None) if order is None else order]
        self.order = order

    def _batch(
        self, data: DeviceSplit, plan: Plan, k: int
    ) -> tuple[Array, Array, dict[str, Array]]:
        masks = {name: mask[k] for name, mask in plan.dropout_masks.items()}
        x, y = (
            (data.x, data.y)
            if plan.indices is None
            else (data.x.take(plan.indices[k], axis=0), data.y[plan.indices[k]])
        )
        for layer, shape in self.network.dropouts:
            if layer.name not in masks:  # in free mode
                masks[layer.name] = np.moveaxis(self._kept(layer.rate, (*shape, len(x))), -1, 0)
        if plan.augmentations:
            x = augment(
                self.recipe.augmentation,
                x,
                {name: drawn[k] for name, drawn in plan.augmentations.items()},
            )
        return x, y, masks

    def _kept(self, rate: float, shape: tuple[int, ...]) -> Array:
        """Draw what dropout keeps: 32 bits for each number, twice as fast as a random float."""
        bits = self.own.bit_generator.random_raw(-(-prod(shape) // 2))
        return (bits.view(np.uint32)[: prod(shape)] >= np.uint32(rate * 2**32)).reshape(shape)

    def _gradients(
        self, x: Array, y: Array, masks: dict[str, Array], seen: State | None = None
    ) -> Array:
        """Compute all gradients and return the loss."""
        return self.chain.around(
            x, Training(y, masks, seen), lambda z, labels: self.loss(z, labels, y)
        )

    def _update(self, rate: float) -> None:
        optimizer, step = self.recipe.optimizer, 0
        if optimizer.counts_steps:
            self.arrays["step"] += 1
            step = int(self.arrays["step"])
        prepare(self.recipe, self.gradients, self.arrays, self.flat["gradients"])
        slots = {slot: self.flat[slot] for slot in optimizer.slots}
        update(
            optimizer, self.flat["weights"], self.flat["gradients"], slots, rate, step, self.crew
        )


def computing() -> np.errstate:
    """Return what steps run under: whoever reads the losses sees that they diverged."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")
