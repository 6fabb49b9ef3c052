"""The NumPy engine: forward pass, backward pass and update without a framework.

It is the reference: every other engine is compared with it. It is written to be read, next to the
formulas: `layer`, `layers`, `convolution`, `loss` and `optimizers`, then the rest.
"""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import numpy as np

from ...core.gradients import AllReduce, SummedGradients, check_synchronised
from ...core.plan import Plan
from ...core.split import Split, scaled
from ...core.state import State, arrays_of, check
from ...spec import layers as spec
from ...spec.network import Network
from ...spec.recipe import Recipe
from .augmentation import augment
from .info import INFO
from .layer import Array, Arrays
from .layers import build_chain
from .loss import build_loss
from .normalization import BatchNorm
from .optimizers import OPTIMIZERS, apply_update
from .probe import Probe, computing

# The windows of a convolution are size² times as large as its images, so images are evaluated in
# small groups: 128 images of 32×32 pixels with 64 channels in float64 have windows of 600 MB.
SAMPLES_EVALUATED_AT_ONCE = 128


class DeviceSplit(NamedTuple):
    """A split in the form that the engine computes with.

    Attributes
    ----------
    x : ndarray, shape (n, h, w, c)
        The images in the recipe's dtype.
    y : ndarray of int32, shape (n,)
        The class of each image.
    """

    x: Array
    y: Array


class Engine:
    """The engine; `triptych.core.engine` describes its methods.

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
        self.chain = build_chain(network.chain)
        self.layers = self.chain.with_inner()
        self.loss = build_loss(recipe.loss)
        OPTIMIZERS.find(recipe.optimizer)  # one without an update is refused at once
        self.synchronised = all_reduce is not None and network.couples_batch
        self.mask_generator = np.random.default_rng(recipe.seed)  # in free mode
        self.losses: list[Array] = []
        types = arrays_of(network, recipe)
        self.arrays: State = {name: np.zeros(*each) for name, each in types.items()}
        for layer, place in zip(self.layers, network.places, strict=True):
            layer.parameters = {p.leaf: self.arrays[p.name] for p in place.parameters}
            layer.buffers = {p.leaf: self.arrays[p.name] for p in place.buffers}
            if isinstance(layer, BatchNorm):
                layer.all_reduce = all_reduce

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
        return DeviceSplit(split.pixels(self.recipe.dtype), split.labels)

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        """Make the plan's training steps."""
        with computing():
            for k in range(len(plan)):
                self.losses.append(self.make_step(data, plan, k))

    def gradients(self, data: DeviceSplit, plan: Plan) -> SummedGradients:
        """Return what a part of a batch adds to the gradients; see `ShardingEngine`."""
        nothing = SummedGradients.zero(self.network, self.recipe)
        if plan.empty and not self.synchronised:
            return nothing
        x, y, masks = self.select_batch(data, plan, 0)
        with computing():
            loss, gradients = self.compute_gradients(x, y, masks, summed=True)
            self.update_buffers()
        if plan.empty:  # it has taken part in the statistics of the other workers
            return nothing
        return SummedGradients(gradients, float(loss), self.weight_of(y))

    def update(self, gradients: State, rate: float) -> None:
        """Make the update of a step from given gradients; see `UpdatingEngine`."""
        with computing():
            apply_update(self.recipe, self.arrays, gradients, rate)

    def wait(self) -> np.ndarray:
        """Return the losses since the last call; the steps are finished already."""
        losses = np.array(self.losses, self.recipe.dtype)
        self.losses = []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        """Return the logits of every sample in evaluation mode, shape (samples, classes)."""
        self.set_mode(None)
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
        self.set_mode(None)
        with computing(), self.recording() as outputs:
            self.chain.forward(scaled(images, self.recipe.dtype))
        return outputs

    def probe(self) -> Probe:
        """Return access to the layers, the loss and the update; see `LayerProbe`."""
        return Probe(self.layers, self.loss, self.update)

    def trace(self, data: DeviceSplit, plan: Plan, *, outputs: bool = True) -> State:
        """Return what the first step of a plan computes, without updating the weights."""
        x, y, masks = self.select_batch(data, plan, 0)
        recording = self.recording() if outputs else nullcontext(State())
        with computing(), recording as recorded:
            loss, gradients = self.compute_gradients(x, y, masks)
        trace: State = {f"output/{name}": output for name, output in recorded.items()}
        trace["loss"] = loss
        for name in self.network.gradient_order:
            trace[f"gradient/{name}"] = gradients[name]
        return trace

    def select_batch(self, data: DeviceSplit, plan: Plan, k: int) -> tuple[Array, Array, Arrays]:
        """Return the images, the labels and the dropout masks of step `k` of a plan."""
        x, y = data
        if plan.indices is not None:
            x = x[plan.indices[k]]
            y = y[plan.indices[k]]
        if plan.augmentations:
            draws = {name: drawn[k] for name, drawn in plan.augmentations.items()}
            x = augment(self.recipe.augmentation, x, draws)
        masks = {name: mask[k] for name, mask in plan.dropout_masks.items()}
        for layer, shape in self.network.dropouts:
            if layer.name not in masks:  # in free mode
                masks[layer.name] = self.mask_generator.random((len(x), *shape)) >= layer.rate
        return x, y, masks

    def set_mode(self, masks: Arrays | None) -> None:
        """Set every layer to training with its mask, or to evaluation if there are no masks."""
        for layer in self.layers:
            layer.training = masks is not None
            layer.mask = masks.get(layer.name) if masks is not None else None

    @contextmanager
    def recording(self) -> Generator[State]:
        """Record the output of every layer, by its name, while the context is open."""
        outputs: State = {}
        try:
            for layer in self.layers:
                layer.outputs = outputs
            yield outputs
        finally:
            for layer in self.layers:
                layer.outputs = None

    def make_step(self, data: DeviceSplit, plan: Plan, k: int) -> Array:
        """Make step `k` of a plan, and return its loss."""
        x, y, masks = self.select_batch(data, plan, k)
        loss, gradients = self.compute_gradients(x, y, masks)
        apply_update(self.recipe, self.arrays, gradients, float(plan.rates[k]))
        self.update_buffers()
        return loss

    def compute_gradients(
        self, x: Array, y: Array, masks: Arrays, *, summed: bool = False
    ) -> tuple[Array, State]:
        """Return the mean loss of a batch, and its gradients by the names of the parameters.

        Or the sum of the samples' losses, and its gradients.
        """
        self.set_mode(masks)
        logits = self.chain.forward(x)
        loss, dlogits = self.loss(logits, y)
        if summed:
            loss = loss * self.weight_of(y)
            dlogits = dlogits * self.weight_of(y)
        self.chain.parameter_gradients(dlogits)
        gradients: State = {}
        for layer, place in zip(self.layers, self.network.places, strict=True):
            for p in place.parameters:
                gradients[p.name] = layer.gradients[p.leaf]
        return loss, gradients

    def weight_of(self, labels: Array) -> float:
        """Return what the sum of these samples' losses is divided by in a batch of them."""
        return self.recipe.loss.divisor(labels, self.network.classes)

    def update_buffers(self) -> None:
        """Let every layer change its buffers, once in a step."""
        for layer in self.layers:
            layer.update_buffers()
