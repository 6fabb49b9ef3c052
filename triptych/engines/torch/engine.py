"""PyTorch: `nn.Module`, autograd and `torch.optim`.

One training step is `Engine.compute_gradients`, then `apply_update` in ``optimizers.py``.
"""

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...core.devices import find_device
from ...core.engine import SAMPLES_EVALUATED_AT_ONCE, Exchange
from ...core.gradients import AllReduce, SummedGradients, check_synchronised
from ...core.layout import canonical_view, to_canonical, to_native
from ...core.plan import Plan
from ...core.split import Split
from ...core.state import State, check
from ...errors import EngineError
from ...spec import layers as spec
from ...spec.network import Network
from ...spec.placement import Layer, Parameter, PlacedLayer
from ...spec.recipe import Recipe
from . import precision
from .augmentation import augment
from .info import INFO
from .layers import BatchNorm, NativeModel, Sequential
from .loss import build_loss
from .optimizers import apply_update, build_optimizer, initial_state, slot_key
from .probe import Probe


class DeviceSplit(NamedTuple):
    """A split on the device: images (samples, channels, rows, columns) and labels (samples,)."""

    x: Tensor
    y: Tensor


class DevicePlan(NamedTuple):
    """A `Plan` on the device, with its masks in PyTorch's layout; rates stay on the host."""

    indices: Tensor | None
    dropout_masks: dict[str, Tensor]
    augmentations: dict[str, Tensor]
    empty: bool  # as of the `Plan`


class Engine:
    """The PyTorch engine; `triptych.core.engine.Engine` describes its interface."""

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        *,
        device: str = "cpu",
        backend: str = "eager",
        all_reduce: AllReduce | None = None,
    ) -> None:
        if all_reduce is not None:
            check_synchronised(INFO.label, network, synchronised_layers(backend))
        self.network = network
        self.recipe = recipe
        self.backend = backend
        self.device = choose_device(device, recipe.dtype)
        self.dtype: torch.dtype = getattr(torch, recipe.dtype)
        self.generator = torch.Generator(self.device)  # of dropout masks in free mode
        self.generator.manual_seed(recipe.seed)

        self.model = Sequential(network.chain).to(self.device, self.dtype)
        layers = self.model.layers_by_name()
        norms = [layer for layer in layers.values() if isinstance(layer, BatchNorm)]
        self.synchronised = all_reduce is not None and bool(norms)
        for norm in norms:
            norm.all_reduce = all_reduce
        if not norms:
            # Channels last in memory, while the axes stay: convolutions follow the layout of
            # their kernels, and a maximum takes a fifth of the time. Not with BatchNorm, which on
            # a CPU is then a hundred times less exact in float32.
            self.model.to(memory_format=torch.channels_last)
        # Compiling the module is what PyTorch's users do; loss and optimizer stay eager.
        self.compiled_model = torch.compile(self.model) if backend == "compiled" else self.model
        self.weights, self.buffers = name_tensors(network, layers)
        self.kernels = [self.weights[p.name] for p in network.parameters if p.leaf == "kernel"]

        self.optimizer = build_optimizer(recipe.optimizer, list(self.weights.values()))
        with torch.device(self.device):
            self.loss = build_loss(recipe.loss, network.classes, self.dtype)
        self.places = {place.layer.name: place for place in network.places}
        self.step = 0
        self.losses: list[Tensor] = []

    def load(self, state: State) -> None:
        """Take in weights, buffers, slots and step."""
        check(state, self.network, self.recipe)
        self.step = int(state.get("step", 0))
        for p in self.network.parameters:
            weight = self.weights[p.name]
            self.write(weight, p, state[p.name])
            slots: dict[str, Tensor] = {}
            for slot in self.recipe.optimizer.slots:
                # With the strides of the weight: fused kernels go through both in memory order.
                slots[slot] = torch.empty_like(weight, requires_grad=False)
                self.write(slots[slot], p, state[f"{p.name}/{slot}"])
            self.optimizer.state[weight] = initial_state(self.recipe.optimizer, slots, self.step)
        for p in self.network.buffers:
            self.write(self.buffers[p.name], p, state[p.name])

    def state(self) -> State:
        """Return copies of weights, buffers, slots and step."""
        optimizer = self.recipe.optimizer
        state: State = {}
        for p in self.network.parameters:
            state[p.name] = self.read(self.weights[p.name], p)
        for p in self.network.buffers:
            state[p.name] = self.read(self.buffers[p.name], p)
        for slot in optimizer.slots:
            for p in self.network.parameters:
                tensors = self.optimizer.state[self.weights[p.name]]
                state[f"{p.name}/{slot}"] = self.read(tensors[slot_key(optimizer, slot)], p)
        if optimizer.counts_steps:
            state["step"] = np.array(self.step)
        return state

    def upload(self, split: Split) -> DeviceSplit:
        """Move a split onto the device."""
        images = to_native(INFO.layout, "image", split.pixels(self.recipe.dtype))
        x = torch.from_numpy(images).to(self.device)
        y = torch.from_numpy(split.labels).to(self.device, torch.int64)
        return DeviceSplit(x, y)

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        """Make the plan's steps."""
        self.model.train()
        with precision.step(self.backend):
            self.train_steps(data, self.to_device(plan), plan.rates)

    def gradients(self, data: DeviceSplit, plan: Plan) -> SummedGradients:
        """Return what a part of a batch adds to the gradients; see `ShardingEngine`."""
        loss, weight = self.sum_gradients(data, self.to_device(plan), 0)
        gradients = {name: parameter.grad for name, parameter in self.weights.items()}
        return SummedGradients(self.views(gradients), loss, weight)

    def run_shared(self, data: DeviceSplit, plan: Plan, exchange: Exchange) -> list[float]:
        """Make steps together with other workers; see `SharedStepsEngine`."""
        on_device = self.to_device(plan)
        losses: list[float] = []
        for k, rate in enumerate(plan.rates):
            loss, weight = self.sum_gradients(data, on_device, k)
            gradients = {name: parameter.grad for name, parameter in self.weights.items()}
            arrays = {name: gradient.cpu().numpy() for name, gradient in gradients.items()}
            total = exchange(SummedGradients(arrays, loss, weight))
            for name, mean in total.mean_gradients.items():
                gradients[name].copy_(torch.from_numpy(mean))
            self.update_weights(float(rate))
            losses.append(total.mean_loss)
        return losses

    def sum_gradients(self, data: DeviceSplit, plan: DevicePlan, k: int) -> tuple[float, float]:
        """Leave the gradients of the summed loss in ``grad``; return that loss and its weight."""
        if plan.empty and not self.synchronised:
            for parameter in self.weights.values():
                parameter.grad = torch.zeros_like(parameter)
            return 0.0, 0.0
        self.model.train()
        with precision.step(self.backend):
            x, y, masks = self.select_batch(data, plan, k)
            weight = self.recipe.loss.divisor(y.cpu().numpy(), self.network.classes)
            loss = self.compute_gradients(x, y, masks, weight)
        return loss.item(), weight

    def update(self, gradients: State, rate: float) -> None:
        """Make the update of a step from given gradients; see `UpdatingEngine`."""
        self.probe().update(gradients, rate)

    def wait(self) -> np.ndarray:
        """Return the losses since the last wait."""
        if not self.losses:
            return np.zeros(0, self.recipe.dtype)
        losses = torch.stack(self.losses).cpu().numpy()
        self.losses = []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        """Return the logits of all samples in evaluation mode."""
        if self.model.training:  # for one image the call would take as long as the answer
            self.model.eval()
        with torch.inference_mode(), precision.step(self.backend):
            parts = data.x.split(SAMPLES_EVALUATED_AT_ONCE)
            logits = [self.forward(self.model, x, {}) for x in parts]
            return torch.cat(logits).cpu().numpy()

    def native_model(self) -> nn.Module:
        """Return the trained network in evaluation mode, with its layers in their listed order."""
        has_images = len(self.network.input_shape) == 3
        model = NativeModel(copy.deepcopy(self.model), has_images).eval()
        for module in model.modules():
            if isinstance(module, Sequential):
                module.fast_order = list(range(len(module.layers)))
        return model

    def probe(self) -> Probe:
        """Return access to the layers, the loss and the update; see `LayerProbe`."""
        layers = self.model.layers_by_name()
        return Probe(self.network, layers, self.weights, self.loss, self.update_weights, self.read)

    def trace(self, data: DeviceSplit, plan: Plan, *, outputs: bool = True) -> State:
        """Return what the plan's first step computes."""
        self.model.train()
        with precision.step(self.backend):
            loss, layer_outputs = self.trace_step(data, self.to_device(plan), outputs)
        trace: State = {}
        if outputs:
            for place in self.network.places:
                output = layer_outputs[place.layer.name].to(self.dtype).cpu().numpy()
                sizes = layout_sizes(place)
                name = f"output/{place.layer.name}"
                trace[name] = to_canonical(INFO.layout, place.role, output, sizes)
        trace["loss"] = loss.cpu().numpy()
        parameters = {p.name: p for p in self.network.parameters}
        for name in self.network.gradient_order:
            gradient = self.weights[name].grad
            trace[f"gradient/{name}"] = self.read(gradient, parameters[name])
        return trace

    # --- The training step -----------------------------------------------------------------------

    def train_steps(self, data: DeviceSplit, plan: DevicePlan, rates: np.ndarray) -> None:
        """Make K training steps, and append their losses to ``losses``."""
        for k, rate in enumerate(rates):
            # Without a name for the batch, whose memory is free again before the next one is made.
            loss = self.compute_gradients(*self.select_batch(data, plan, k))
            self.update_weights(float(rate))
            self.losses.append(loss)

    def update_weights(self, rate: float) -> None:
        """Update the weights with the gradients that they have."""
        self.step += 1
        apply_update(self.recipe, self.optimizer, self.kernels, rate, self.step)

    def compute_gradients(
        self, x: Tensor, y: Tensor, masks: dict[str, Tensor], weight: float | None = None
    ) -> Tensor:
        """Leave the gradients of a batch in the parameters' ``grad``, and return its loss.

        With a weight both are those of the loss times the weight.
        """
        self.optimizer.zero_grad()
        logits = self.forward(self.compiled_model, x, masks)
        if weight is None:
            loss = self.loss(logits, y)
        elif weight:
            loss = self.loss(logits, y) * weight
        else:  # of no sample: the layers take part in the statistics of the other workers
            loss = logits.sum()
        loss.backward()
        return loss.detach()

    def trace_step(
        self, data: DeviceSplit, plan: DevicePlan, outputs: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute one step's gradients; return its loss and, if wanted, all layers' outputs."""
        x, y, masks = self.select_batch(data, plan, 0)
        buffers = [buffer.clone() for buffer in self.buffers.values()]
        # The gradients of the compiled module, because that is the one that is timed.
        loss = self.compute_gradients(x, y, masks)
        layer_outputs: dict[str, Tensor] = {}
        with torch.no_grad():
            if outputs:
                self.forward(self.model, x, masks, layer_outputs)
            # The forward passes moved running statistics, but a trace must change nothing.
            for buffer, before in zip(self.buffers.values(), buffers, strict=True):
                buffer.copy_(before)
        return loss, layer_outputs

    def forward(
        self,
        model: nn.Module,
        x: Tensor,
        masks: dict[str, Tensor],
        outputs: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Return the logits; `outputs` receives the outputs of all layers."""
        with precision.forward(self.backend, self.device):
            return model(x, masks, outputs).to(self.dtype)

    def select_batch(
        self, data: DeviceSplit, plan: DevicePlan, k: int
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return images, labels and dropout masks of step `k` of a plan."""
        x, y = data
        if plan.indices is not None:  # x[indices] takes three times as long as index_select
            x = x.index_select(0, plan.indices[k])
            y = y.index_select(0, plan.indices[k])
        if plan.augmentations:
            draws = {name: draws[k] for name, draws in plan.augmentations.items()}
            x = augment(self.recipe.augmentation, x, draws)
        masks = {name: masks[k] for name, masks in plan.dropout_masks.items()}
        if self.recipe.random == "free":
            masks = self.draw_masks(len(x), masks)
        return x, y, masks

    def draw_masks(self, batch: int, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a mask for every dropout layer; those that are not given are drawn."""
        masks = dict(given)
        for layer, shape in self.network.dropouts:
            if layer.name not in masks:
                # Images have their channels first, vectors only one axis.
                native_shape = (shape[-1], *shape[:-1])
                uniform = torch.rand(
                    (batch, *native_shape), generator=self.generator, device=self.device
                )
                masks[layer.name] = uniform.ge_(layer.rate)
        return masks

    # --- Between NumPy and the device ------------------------------------------------------------

    def to_device(self, plan: Plan) -> DevicePlan:
        """Return a plan's arrays on the device, its masks in the layout of what they cover."""
        indices = None
        if plan.indices is not None:
            indices = torch.from_numpy(plan.indices).to(self.device)
        masks: dict[str, Tensor] = {}
        for name, mask in plan.dropout_masks.items():
            masks[name] = self.mask_to_device(self.places[name], mask)
        draws = {
            name: torch.from_numpy(drawn).to(self.device, torch.int64)
            for name, drawn in plan.augmentations.items()
        }
        return DevicePlan(indices, masks, draws, plan.empty)

    def mask_to_device(self, place: PlacedLayer, masks: np.ndarray) -> Tensor:
        """Return the K masks of one layer on the device."""
        # The layout table knows one axis of samples: steps and samples are joined for a moment.
        samples = masks.reshape(-1, *place.output_shape)
        native = to_native(INFO.layout, place.role, samples, layout_sizes(place))
        native = native.reshape(*masks.shape[:2], *native.shape[1:])
        return torch.from_numpy(native).to(self.device)

    @torch.no_grad()
    def write(self, tensor: Tensor, parameter: Parameter, array: np.ndarray) -> None:
        """Copy a canonical array into a tensor."""
        native = torch.tensor(to_native(INFO.layout, parameter.role, array, parameter.sizes))
        if native.shape != tensor.shape:  # `copy_` would broadcast
            raise EngineError(
                f"PyTorch: {parameter.name} has shape {tuple(tensor.shape)} in its module, "
                f"its layer declares {tuple(native.shape)}"
            )
        tensor.copy_(native)

    def read(self, tensor: Tensor, parameter: Parameter) -> np.ndarray:
        """Return a tensor as a canonical array, a copy."""
        native = tensor.detach().cpu().numpy()
        return to_canonical(INFO.layout, parameter.role, native, parameter.sizes)

    def views(self, tensors: dict[str, Tensor]) -> State:
        """Return a tensor for each parameter as a canonical array, which may share its memory."""
        views: State = {}
        for p in self.network.parameters:
            native = tensors[p.name].detach().cpu().numpy()
            views[p.name] = canonical_view(INFO.layout, p.role, native, p.sizes)
        return views


def synchronised_layers(backend: str) -> tuple[type[Layer], ...]:
    """Return the classes of layers whose statistics can be those of all workers together."""
    # A graph that is compiled cannot call the all-reduce.
    return () if backend == "compiled" else (spec.BatchNorm,)


def choose_device(name: str, dtype: str) -> str:
    """Return the device to use; Apple's has no float64."""
    has_apple_gpu = torch.backends.mps.is_available()
    if name == "mps" and has_apple_gpu and dtype != "float32":
        raise EngineError(
            "PyTorch's mps device has no float64; use dtype float32, or the device cpu"
        )
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": has_apple_gpu and dtype == "float32",
        "cpu": True,
    }
    return find_device(INFO.label, name, available)


def name_tensors(
    network: Network, layers: dict[str, nn.Module]
) -> tuple[dict[str, nn.Parameter], dict[str, Tensor]]:
    """Return parameters and buffers by the specification's names, in order of computation."""
    weights: dict[str, nn.Parameter] = {}
    buffers: dict[str, Tensor] = {}
    for place in network.places:
        if place.branch:  # a residual has no arrays except those of the layers inside
            continue
        tensors = layers[place.layer.name].state_dict(keep_vars=True).values()
        parameters = [tensor for tensor in tensors if isinstance(tensor, nn.Parameter)]
        persistent = [tensor for tensor in tensors if not isinstance(tensor, nn.Parameter)]
        for p, parameter in zip(place.parameters, parameters, strict=True):
            weights[p.name] = parameter
        for p, buffer in zip(place.buffers, persistent, strict=True):
            buffers[p.name] = buffer
    return weights, buffers


def layout_sizes(place: PlacedLayer) -> tuple[tuple[str, int], ...]:
    """Return the axis lengths that the layout pattern of a layer's output cannot infer."""
    return place.image_shape if place.role == "flat" else ()
