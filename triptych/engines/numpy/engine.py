"""The NumPy engine: forward pass, backward pass and update without a framework.

It is the reference: every other engine is compared with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ...core.engine import SAMPLES_EVALUATED_AT_ONCE
from ...core.gradients import AllReduce, SummedGradients, check_synchronised
from ...core.plan import Plan
from ...core.split import Split, scaled
from ...core.state import State, check
from ...spec import layers as spec
from ...spec.network import Network
from ...spec.placement import PlacedLayer
from ...spec.recipe import Recipe
from .info import INFO
from .layers import build_chain
from .loss import build_loss
from .probe import Probe, computing
from .scratch.augmentation import augment
from .scratch.crew import Crew
from .scratch.layers import Training, views
from .scratch.normalisation import BatchNorm
from .scratch.optimizers import UPDATES, prepare, update
from .scratch.products import Array


@dataclass(frozen=True)
class DeviceSplit:
    """A split in the form that the engine computes with.

    Attributes
    ----------
    x : ndarray, shape (n, h, w, c) or (n, used pixels)
        The images in the recipe's dtype: whole, or flattened without the pixels that are zero in
        every image.
    y : ndarray of int32, shape (n,)
        The class of each image.
    order : ndarray of int, shape (h·w·c,), or None
        The indices of all pixels, those in `x` first; None if `x` has whole images.
    """

    x: Array
    y: Array
    order: Array | None = None


class Engine:
    """The engine; `triptych.core.engine` describes its methods.

    All weights are views into one flat array, and so are all gradients and the arrays of each
    optimizer slot. An update is therefore a single pass over flat arrays.

    Parameters
    ----------
    network : Network
        The network to train.
    recipe : Recipe
        How to train it.
    device : str
        Ignored: the engine uses the CPU, so that a comparison on a GPU has its reference.
    backend : str
        Ignored: there is only ``eager``.
    all_reduce : callable, optional
        Adds arrays over the workers that train together; BatchNorm calls it.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        *,
        device: str = "cpu",
        backend: str = "eager",
        all_reduce: AllReduce | None = None,
    ) -> None:
        del device, backend
        if all_reduce is not None:
            check_synchronised(INFO.label, network, (spec.BatchNorm,))
        self.device = "cpu"
        self.network = network
        self.recipe = recipe
        self.crew = Crew()
        self.chain = build_chain(network.chain, self.crew)
        self.layers = self.chain.every()
        self.synchronised = all_reduce is not None and network.couples_batch
        for layer in self.layers:
            if isinstance(layer, BatchNorm):
                layer.all_reduce = all_reduce
        self.mask_generator = np.random.Generator(np.random.SFC64(recipe.seed))  # in free mode
        self.loss = build_loss(recipe.loss)
        UPDATES.find(recipe.optimizer)  # one without an update is refused at once
        self.losses: list[Array] = []
        kinds = ("weights", "gradients", *recipe.optimizer.slots)
        self.flat = {kind: np.zeros(network.parameter_count, recipe.dtype) for kind in kinds}
        shapes = {p.name: p.shape for p in network.parameters}
        weights, gradients, *slots = (views(flat, shapes) for flat in self.flat.values())
        self.parameter_gradients = gradients
        self.arrays = weights | {p.name: np.zeros(p.shape, recipe.dtype) for p in network.buffers}
        for slot, arrays in zip(recipe.optimizer.slots, slots, strict=True):
            self.arrays |= {f"{name}/{slot}": array for name, array in arrays.items()}
        if recipe.optimizer.counts_steps:
            self.arrays["step"] = np.zeros((), np.int64)
        for layer, place in zip(self.layers, network.places, strict=True):
            layer.parameters = {p.leaf: self.arrays[p.name] for p in place.parameters}
            layer.buffers = {p.leaf: self.arrays[p.name] for p in place.buffers}
        self.chain.bind(self.flat["gradients"])
        # A pixel that is zero in every image does not change the output of a dense layer. It is
        # left out of the images, and its weights are moved to the end of the first kernel.
        flat_first = [type(layer) for layer in network.layers[:2]] == [spec.Flatten, spec.Dense]
        self.kernel: str | None = None  # the name of the kernel whose rows are moved
        if flat_first and not recipe.augmentation.active:
            self.kernel = f"{network.layers[1].name}/kernel"
        self.order: Array | None = None  # the present order of that kernel's rows

    def load(self, state: State) -> None:
        """Replace weights, buffers and optimizer slots by those of a state."""
        check(state, self.network, self.recipe)
        self._arrange(None)
        for name, array in self.arrays.items():
            array[...] = state[name]

    def state(self) -> State:
        """Return copies of the weights, buffers and optimizer slots."""
        self._arrange(None)
        return {name: np.array(array, order="C") for name, array in self.arrays.items()}

    def upload(self, split: Split) -> DeviceSplit:
        """Return a split in the recipe's dtype, without pixels that are never used."""
        if self.kernel is None:
            return DeviceSplit(split.pixels(self.recipe.dtype), split.labels)
        rows = split.images.reshape(len(split), -1)
        used = rows.any(axis=0) if split.used is None else split.used.ravel()
        order = np.argsort(~used, kind="stable")
        columns = order[: np.count_nonzero(used)]
        x = np.empty((len(split), len(columns)), self.recipe.dtype)
        # In parts, because a temporary copy of all pixels would double the memory.
        for start in range(0, len(x), SAMPLES_EVALUATED_AT_ONCE):
            part = slice(start, start + SAMPLES_EVALUATED_AT_ONCE)
            x[part] = scaled(rows[part, columns], self.recipe.dtype)
        return DeviceSplit(x, split.labels, order)

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        """Make the plan's training steps."""
        self._arrange(data.order)
        with computing():
            for k, rate in enumerate(plan.rates):
                self.losses.append(self._gradients(*self._batch(data, plan, k)))
                self.apply_update(float(rate))
                for layer in self.layers:
                    layer.advance()

    def gradients(self, data: DeviceSplit, plan: Plan) -> SummedGradients:
        """Return what a part of a batch adds to the gradients; see `ShardingEngine`."""
        if plan.empty and not self.synchronised:
            return self._no_gradients()
        self._arrange(data.order)
        x, y, masks = self._batch(data, plan, 0)
        with computing():
            loss = self._gradients(x, y, masks, summed=True)
            for layer in self.layers:
                layer.advance()
        if plan.empty:  # it has taken part in the statistics of the other workers
            return self._no_gradients()
        gradients: State = {}
        for name, gradient in self.parameter_gradients.items():
            gradients[name] = np.empty_like(gradient)
            gradients[name][self._rows(name)] = gradient
        return SummedGradients(gradients, float(loss), self._weight(y))

    def update(self, gradients: State, rate: float) -> None:
        """Make the update of a step from given gradients; see `core.engine.UpdatingEngine`."""
        for name, gradient in gradients.items():
            self.parameter_gradients[name][...] = gradient[self._rows(name)]
        with computing():
            self.apply_update(rate)

    def wait(self) -> np.ndarray:
        """Return the losses since the last call; the steps are finished already."""
        losses = np.array(self.losses, self.recipe.dtype)
        self.losses = []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        """Return the logits of every sample in evaluation mode, shape (samples, classes)."""
        self._arrange(data.order)
        logits = np.empty((len(data.x), self.network.classes), self.recipe.dtype)
        with computing():
            for start in range(0, len(logits), SAMPLES_EVALUATED_AT_ONCE):
                part = slice(start, start + SAMPLES_EVALUATED_AT_ONCE)
                logits[part] = self.chain.forward(data.x[part])
        return logits

    def layer_outputs(self, images: Array) -> State:
        """Return the output of every layer in evaluation mode, by the layer's name.

        Parameters
        ----------
        images : ndarray of uint8 or floats, shape (n, h, w, c)
            As in `Split`.
        """
        self._arrange(None)
        layers = {layer.name: layer for layer in self.layers}
        outputs: State = {}

        def evaluate(places: Sequence[PlacedLayer], x: Array) -> Array:
            for place in places:
                name = place.layer.name
                if place.branch:
                    x = evaluate(place.branch, x) + evaluate(place.projection, x)
                else:
                    x = layers[name].forward(x).copy()
                outputs[name] = x
            return x

        with computing():
            evaluate(self.network.chain, scaled(images, self.recipe.dtype))
        return outputs

    def probe(self) -> Probe:
        """Return access to the layers, the loss and the update; see `LayerProbe`."""
        self._arrange(None)
        return Probe(self.layers, self.loss, self.parameter_gradients, self.apply_update)

    def trace(self, data: DeviceSplit, plan: Plan, *, outputs: bool = True) -> State:
        """Return what the first step of a plan computes, without updating the weights."""
        x, y, masks = self._batch(data, plan, 0)
        seen: State | None = {} if outputs else None
        if outputs and data.order is not None:
            # The output of the Flatten has all pixels, so those that are zero are put back.
            whole = np.zeros((len(x), data.order.size), x.dtype)
            whole[:, data.order[: x.shape[1]]] = x
            x = whole
        self._arrange(None if outputs else data.order)
        with computing():
            loss = self._gradients(x, y, masks, seen)
        self._arrange(None)
        result: State = dict(seen or {})
        result["loss"] = loss
        for name in self.network.gradient_order:
            result[f"gradient/{name}"] = np.array(self.parameter_gradients[name], order="C")
        return result

    def _arrange(self, order: Array | None) -> None:
        """Bring the rows of the first kernel, its slots and its gradient into an order.

        None is the canonical order.
        """
        if order is self.order or self.kernel is None:
            return
        back = slice(None) if self.order is None else np.argsort(self.order)
        gradient = self.parameter_gradients[self.kernel]
        for name, array in [*self.arrays.items(), (self.kernel, gradient)]:
            if name.startswith(self.kernel):
                array[...] = array[back][slice(None) if order is None else order]
        self.order = order

    def _no_gradients(self) -> SummedGradients:
        """Return what a part without samples adds, in the same order in memory."""
        gradients = {name: np.zeros_like(each) for name, each in self.parameter_gradients.items()}
        return SummedGradients(gradients, 0.0, 0.0)

    def _rows(self, name: str) -> Array | slice:
        """Return which rows of a canonical gradient those of the present arrangement are."""
        if name == self.kernel and self.order is not None:
            return self.order
        return slice(None)

    def _batch(
        self, data: DeviceSplit, plan: Plan, k: int
    ) -> tuple[Array, Array, dict[str, Array]]:
        """Return the images, the labels and the dropout masks of step `k` of a plan."""
        masks = {name: mask[k] for name, mask in plan.dropout_masks.items()}
        x = data.x
        y = data.y
        if plan.indices is not None:
            x = x.take(plan.indices[k], axis=0)
            y = y[plan.indices[k]]
        for layer, shape in self.network.dropouts:
            if layer.name not in masks:  # in free mode
                mask = self._draw_mask(layer.rate, (*shape, len(x)))
                masks[layer.name] = np.moveaxis(mask, -1, 0)
        if plan.augmentations:
            drawn = {name: values[k] for name, values in plan.augmentations.items()}
            x = augment(self.recipe.augmentation, x, drawn)
        return x, y, masks

    def _draw_mask(self, rate: float, shape: tuple[int, ...]) -> Array:
        """Return a dropout mask, bool of this shape: True where a value is kept.

        It is made from 32 random bits for each value, which takes half as long as random floats.
        """
        bits = self.mask_generator.bit_generator.random_raw(-(-prod(shape) // 2))
        return (bits.view(np.uint32)[: prod(shape)] >= np.uint32(rate * 2**32)).reshape(shape)

    def _gradients(
        self,
        x: Array,
        y: Array,
        masks: dict[str, Array],
        seen: State | None = None,
        *,
        summed: bool = False,
    ) -> Array:
        """Compute all gradients of the mean loss, or of the summed one, and return the loss."""

        def compute_loss(z: Array, labels: Array) -> tuple[Array, Array]:
            value, gradient = self.loss(z, labels, y)
            if summed:
                return value * self._weight(y), gradient * self._weight(y)
            return value, gradient

        return self.chain.around(x, Training(y, masks, seen), compute_loss)

    def _weight(self, labels: Array) -> float:
        """Return what the sum of these samples' losses is divided by in a batch of them."""
        return self.recipe.loss.divisor(labels, self.network.classes)

    def apply_update(self, rate: float) -> None:
        """Update the weights and slots with the present gradients, which are changed."""
        optimizer = self.recipe.optimizer
        step = 0
        if optimizer.counts_steps:
            self.arrays["step"] += 1
            step = int(self.arrays["step"])
        prepare(self.recipe, self.parameter_gradients, self.arrays, self.flat["gradients"])
        slots = {slot: self.flat[slot] for slot in optimizer.slots}
        update(
            optimizer, self.flat["weights"], self.flat["gradients"], slots, rate, step, self.crew
        )
