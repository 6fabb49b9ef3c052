"""PyTorch as most people write it, and what they try to make it faster.

That is nn.Sequential, images with channels first, torch.optim's defaults, and tensors in memory.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from triptych.core.layout import to_canonical, to_native
from triptych.core.plan import Plan
from triptych.core.split import Split
from triptych.core.state import State
from triptych.engines.torch.info import INFO
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe


def r1(rate: float) -> nn.Module:
    """Return the model of R1."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.ReLU(), nn.Linear(10, 10))


def r2(rate: float) -> nn.Module:
    """Return the model of R2, with a dropout rate."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 128),
        nn.ReLU(),
        nn.Dropout(rate),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Dropout(rate),
        nn.Linear(64, 10),
    )


def r3(rate: float) -> nn.Module:
    """Return the model of R3, with a dropout rate."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 12 * 12, 128),
        nn.ReLU(),
        nn.Dropout(rate),
        nn.Linear(128, 10),
    )


def sgd(parameters: Any) -> torch.optim.Optimizer:
    """Return PyTorch's SGD."""
    return torch.optim.SGD(parameters, lr=0.1)


MODELS: dict[str, Callable[[float], nn.Module]] = {"R1": r1, "R2": r2, "R3": r3}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": sgd,
    "adam": torch.optim.Adam,
}
CHANNELS_LAST = ("channels_last", "bf16", "compiled")  # variants


@dataclass(frozen=True)
class DeviceSplit:
    """Images and labels as tensors."""

    x: Tensor
    y: Tensor


class Engine:
    """As much of an engine as a timing needs; its state is the weights, and `load` begins anew."""

    def __init__(
        self, network: Network, recipe: Recipe, *, device: str = "cpu", backend: str = "plain"
    ) -> None:
        self.device = device
        self.recipe = recipe
        self.parameters = network.parameters
        self.variant = backend.partition("-")[2]
        rate = max((layer.rate for layer, _ in network.dropouts), default=0.0)
        self.model: Any = MODELS[network.name](rate).to(getattr(torch, recipe.dtype))
        # With channels first, the model that PyTorch 2.13 compiles has no gradient for the layers
        # before a MaxPool2d and a Flatten.
        last = self.variant in CHANNELS_LAST
        self.format = torch.channels_last if last else torch.contiguous_format
        self.model.to(memory_format=self.format)
        if self.variant == "onednn":
            # The process belongs to this peer alone, so a global setting is no danger.
            settings: Any = torch.backends.mkldnn  # its stub lacks this one
            settings.matmul.fp32_precision = "bf16"
        self.forward = torch.compile(self.model) if self.variant == "compiled" else self.model
        self.losses: list[Tensor] = []

    def load(self, state: State) -> None:
        """Take the weights in, and begin with a new optimizer."""
        with torch.no_grad():
            for parameter, weight in zip(self.parameters, self.model.parameters(), strict=True):
                array = state[parameter.name]
                native = to_native(INFO.layout, parameter.role, array, parameter.sizes)
                weight.copy_(torch.from_numpy(native))
        self.optimizer = OPTIMIZERS[self.recipe.optimizer.name](self.model.parameters())

    def state(self) -> State:
        """Return the weights."""
        weights: State = {}
        for parameter, weight in zip(self.parameters, self.model.parameters(), strict=True):
            array = weight.detach().numpy()
            canonical = to_canonical(INFO.layout, parameter.role, array, parameter.sizes)
            weights[parameter.name] = canonical
        return weights

    def upload(self, split: Split) -> DeviceSplit:
        """Return a split as tensors in the model's memory format."""
        images = to_native(INFO.layout, "image", split.pixels(self.recipe.dtype))
        x = torch.from_numpy(images).contiguous(memory_format=self.format)
        return DeviceSplit(x, torch.from_numpy(split.labels).long())

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        """Make the steps of a plan."""
        self.model.train()
        for x, y in self.batches(data, plan):
            self.optimizer.zero_grad()
            with self._precision():
                loss = functional.cross_entropy(self.forward(x), y)
            loss.backward()
            self.optimizer.step()
            self.losses.append(loss.detach())

    def _precision(self) -> AbstractContextManager[Any]:
        if self.variant == "bf16":
            return torch.autocast("cpu", torch.bfloat16)
        return nullcontext()

    def batches(self, data: DeviceSplit, plan: Plan) -> Iterable[tuple[Tensor, Tensor]]:
        """Return the batch of each step."""
        if plan.indices is None:
            return [(data.x, data.y)] * len(plan)
        return ((data.x[rows], data.y[rows]) for rows in torch.from_numpy(plan.indices))

    def wait(self) -> np.ndarray:
        """Return the losses since the last call."""
        losses = torch.stack(self.losses).numpy()
        self.losses = []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        """Return the logits of all images, in evaluation mode."""
        if self.model.training:
            self.model.eval()
        with torch.inference_mode():
            return self.forward(data.x).numpy()
