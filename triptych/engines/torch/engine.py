"""PyTorch: nn.Module, autograd, torch.optim.

torch.optim is used wherever its formula is the one asked for; `optimizers` has the rest.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.devices import find_device
from ...core.engine import SAMPLES_EVALUATED_AT_ONCE
from ...core.layout import to_canonical, to_native
from ...core.plan import Plan
from ...core.split import Split
from ...core.state import State, check
from ...errors import EngineError
from ...spec import network as spec
from ...spec import recipe as how
from ...spec.placement import Parameter
from . import precision
from .augmentation import augment
from .info import INFO
from .layers import BatchNorm, Chain
from .loss import cross_entropy
from .optimizers import SLOTS, kept, optimizer, update


@dataclass(frozen=True)
class DeviceSplit:
    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Moved:
    """A plan on the device."""

    order: Tensor | None
    masks: dict[str, Tensor]
    drawn: dict[str, Tensor]


class Engine:
    def __init__(
        self,
        network: spec.Network,
        recipe: how.Recipe,
        *,
        device: str = "cpu",
        backend: str = "eager",
    ) -> None:
        self.description, self.recipe, self.backend = network, recipe, backend
        self.device = device_of(device, recipe.dtype)
        self.dtype: torch.dtype = getattr(torch, recipe.dtype)
        self.own = torch.Generator(self.device).manual_seed(recipe.seed)  # masks in free mode
        self.network = Chain(network.chain, self.own).to(self.device, self.dtype)
        self.modules = self.network.named()
        self.norms = [module for module in self.modules.values() if isinstance(module, BatchNorm)]
        if not self.norms:
            # Channels last in memory, the axes stay: convolutions follow their kernels, and maxima take a fifth of the time. Not
            # with BatchNorm, which on a processor is a hundred times less exact so in float32.
            self.network.to(memory_format=torch.channels_last)
        self.optimizer = optimizer(recipe.optimizer, list(self.network.parameters()))
        self.kernels = [self._own(p) for p in network.parameters if p.leaf == "kernel"]
        self.loss = cross_entropy(recipe.loss, network.classes, self.dtype, self.device)
        self.step = 0
        # Compiling the module is what its users do; loss and optimizer stay eager.
        self.model = torch.compile(self.network) if backend == "compiled" else self.network
        self.losses: list[Tensor] = []

    def load(self, state: State) -> None:
        check(state, self.description, self.recipe)
        self.step = int(state.get("step", 0))
        with torch.no_grad():
            for p in self.description.parameters:
                weight = self._own(p)
                weight.copy_(self._tensor(p, state[p.name]))
                own = {
                    slot: self._tensor(p, state[f"{p.name}/{slot}"])
                    for slot in self.recipe.optimizer.slots
                }
                # With the weight's strides: fused kernels go through memory as it lies.
                slots = {
                    slot: torch.empty_like(weight).copy_(tensor) for slot, tensor in own.items()
                }
                self.optimizer.state[weight] = kept(self.recipe.optimizer, slots, self.step)
            for p in self.description.buffers:
                self._own(p).copy_(self._tensor(p, state[p.name]))

    def state(self) -> State:
        parameters = self.description.parameters
        weights = {
            p.name: self._array(p, self._own(p)) for p in (*parameters, *self.description.buffers)
        }
        theirs = SLOTS[type(self.recipe.optimizer)]
        slots = {
            f"{p.name}/{slot}": self._array(p, self.optimizer.state[self._own(p)][theirs[slot]])
            for slot in self.recipe.optimizer.slots
            for p in parameters
        }
        step = {"step": np.array(self.step)} if self.recipe.optimizer.counts_steps else {}
        return weights | slots | step

    def upload(self, split: Split) -> DeviceSplit:
        x = to_native(INFO.layout, "image", split.pixels(self.recipe.dtype))
        return DeviceSplit(
            torch.from_numpy(x).to(self.device),
            torch.from_numpy(split.labels).to(self.device, torch.int64),
        )

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        steps = self._moved(plan)
        self.model.train()
        with precision.step(self.backend):
            for k, rate in enumerate(plan.rates):
                loss = self._gradients(*self._batch(data, steps, k))
                self.step += 1
                update(self.recipe, self.optimizer, self.kernels, float(rate), self.step)
                for norm in self.norms:
                    norm.advance()
                self.losses.append(loss)

    def wait(self) -> np.ndarray:
        losses = (
            torch.stack(self.losses).cpu().numpy()
            if self.losses
            else np.zeros(0, self.recipe.dtype)
        )
        self.losses = []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        if self.model.training:  # for one image the call would take as long as the answer
            self.model.eval()
        with torch.inference_mode(), precision.step(self.backend):
            return (
                torch.cat(
                    [
                        self._forward(self.network, x, {})
                        for x in data.x.split(SAMPLES_EVALUATED_AT_ONCE)
                    ]
                )
                .cpu()
                .numpy()
            )

    def trace(self, data: DeviceSplit, plan: Plan, *, outputs: bool = True) -> State:
        x, y, keep = self._batch(data, self._moved(plan), 0)
        seen: dict[str, Tensor] = {}
        self.model.train()
        with precision.step(self.backend):
            # The compiled module first: it is the one that is timed, so its gradients are the ones shown.
            drawn = self.own.get_state()
            loss = self._gradients(x, y, keep)
            if outputs:
                self.own.set_state(drawn)  # the same masks again
                with torch.no_grad():
                    self._forward(self.network, x, keep, seen)
        arrays = {name: y.to(self.dtype).cpu().numpy() for name, y in seen.items()}
        forward = {
            f"output/{p.layer.name}": to_canonical(
                INFO.layout, p.role, arrays[p.layer.name], p.fold if p.role == "flat" else ()
            )
            for p in self.description.places
            if outputs
        }
        gradients: State = {}
        parameters = {p.name: p for p in self.description.parameters}
        for name in self.description.backward:
            gradient = self._own(parameters[name]).grad
            assert gradient is not None
            gradients[f"gradient/{name}"] = self._array(parameters[name], gradient)
        return forward | {"loss": loss.cpu().numpy()} | gradients

    def _gradients(self, x: Tensor, y: Tensor, keep: dict[str, Tensor]) -> Tensor:
        self.optimizer.zero_grad()
        loss = self.loss(self._forward(self.model, x, keep), y)
        loss.backward()
        return loss.detach()

    def _forward(
        self, model: Any, x: Tensor, keep: dict[str, Tensor], seen: dict[str, Tensor] | None = None
    ) -> Tensor:
        with precision.forward(self.backend, self.device):
            return model(x, keep, seen).to(self.dtype)

    def _moved(self, plan: Plan) -> Moved:
        """Return a plan's arrays on the device, masks in the layout of what they cover."""
        places = {p.layer.name: p for p in self.description.places}
        masks: dict[str, Tensor] = {}
        for name, mask in plan.dropout_masks.items():
            p = places[name]
            rows = mask.reshape(
                -1, *p.output_shape
            )  # K and B as one axis: the layout table knows samples only
            native = to_native(INFO.layout, p.role, rows, p.fold if p.role == "flat" else ())
            masks[name] = torch.from_numpy(native.reshape(*mask.shape[:2], *native.shape[1:])).to(
                self.device
            )
        drawn = {
            name: torch.from_numpy(array).to(self.device, torch.int64)
            for name, array in plan.augmentations.items()
        }
        return Moved(
            None if plan.indices is None else torch.from_numpy(plan.indices).to(self.device),
            masks,
            drawn,
        )

    def _batch(
        self, data: DeviceSplit, steps: Moved, k: int
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        x, y = data.x, data.y
        if steps.order is not None:  # x[order] takes three times as long as index_select
            x, y = x.index_select(0, steps.order[k]), y.index_select(0, steps.order[k])
        if steps.drawn:
            x = augment(
                self.recipe.augmentation, x, {name: drawn[k] for name, drawn in steps.drawn.items()}
            )
        return x, y, {name: mask[k] for name, mask in steps.masks.items()}

    def _own(self, p: Parameter) -> Tensor:
        return getattr(
            self.modules[p.layer],
            {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(p.leaf, p.leaf),
        )

    def _tensor(self, p: Parameter, array: np.ndarray) -> Tensor:
        return torch.tensor(to_native(INFO.layout, p.role, array, p.sizes), device=self.device)

    def _array(self, p: Parameter, tensor: Tensor) -> np.ndarray:
        return to_canonical(INFO.layout, p.role, tensor.detach().cpu().numpy(), p.sizes)


def device_of(name: str, dtype: str) -> str:
    """Return the device to use; Apple's has no float64."""
    apple = torch.backends.mps.is_available()
    if name == "mps" and apple and dtype != "float32":
        raise EngineError(
            "PyTorch's mps device has no float64; use dtype float32, or the device cpu"
        )
    return find_device(
        INFO.label,
        name,
        {"cuda": torch.cuda.is_available(), "mps": apple and dtype == "float32", "cpu": True},
    )
