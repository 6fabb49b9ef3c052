"""PyTorch as most people write it: nn.Sequential, NCHW, torch.optim's defaults, tensors in memory; and what they try to make it faster."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.core.layout import to_canonical, to_native
from triptych.core.plan import Plan
from triptych.core.split import Split
from triptych.core.state import State
from triptych.engines.torch.info import INFO
from triptych.spec import network as spec
from triptych.spec import recipe as how


def r1(rate: float) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.ReLU(), nn.Linear(10, 10))


def r2(rate: float) -> nn.Module:
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Dropout(rate)),
        *(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(rate), nn.Linear(64, 10)),
    )


def r3(rate: float) -> nn.Module:
    return nn.Sequential(
        *(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        ),
        *(nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Dropout(rate), nn.Linear(128, 10)),
    )


MODELS: dict[str, Callable[[float], nn.Module]] = {"R1": r1, "R2": r2, "R3": r3}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "adam": torch.optim.Adam,
}


@dataclass(frozen=True)
class DeviceSplit:
    x: Tensor
    y: Tensor


class Engine:
    """As much of an engine as a timing needs; its state is the weights alone, and `load` begins anew."""

    def __init__(
        self,
        network: spec.Network,
        recipe: how.Recipe,
        *,
        device: str = "cpu",
        backend: str = "plain",
    ) -> None:
        self.device, self.recipe, self.parameters, self.variant = (
            device,
            recipe,
            network.parameters,
            backend.partition("-")[2],
        )
        rate = max((layer.rate for layer, _ in network.dropouts), default=0.0)
        self.model: Any = MODELS[network.name](rate).to(getattr(torch, recipe.dtype))
        # Compiled, PyTorch 2.13 computes no gradient for what lies before a MaxPool and a Flatten where channels come first.
        last = self.variant in ("channels_last", "bf16", "compiled")
        self.format = torch.channels_last if last else torch.contiguous_format
        self.model.to(memory_format=self.format)
        if self.variant == "onednn":  # the process is its own, so the setting may be for good
            torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # pyright: ignore[reportAttributeAccessIssue] - a stub that is behind
        self.forward = torch.compile(self.model) if self.variant == "compiled" else self.model
        self.losses: list[Tensor] = []

    def load(self, state: State) -> None:
        with torch.no_grad():
            for p, weight in zip(self.parameters, self.model.parameters(), strict=True):
                weight.copy_(
                    torch.from_numpy(to_native(INFO.layout, p.role, state[p.name], p.sizes))
                )
        self.optimizer = OPTIMIZERS[self.recipe.optimizer.name](self.model.parameters())

    def state(self) -> State:
        arrays = [weight.detach().numpy() for weight in self.model.parameters()]
        return {
            p.name: to_canonical(INFO.layout, p.role, array, p.sizes)
            for p, array in zip(self.parameters, arrays, strict=True)
        }

    def upload(self, split: Split) -> DeviceSplit:
        x = torch.from_numpy(to_native(INFO.layout, "image", split.pixels(self.recipe.dtype)))
        return DeviceSplit(
            x.contiguous(memory_format=self.format), torch.from_numpy(split.labels).long()
        )

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        self.model.train()
        for x, y in self.batches(data, plan):
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16) if self.variant == "bf16" else nullcontext():
                loss = F.cross_entropy(self.forward(x), y)
            loss.backward()
            self.optimizer.step()
            self.losses.append(loss.detach())

    def batches(self, data: DeviceSplit, plan: Plan) -> Iterable[tuple[Tensor, Tensor]]:
        if plan.indices is None:
            return [(data.x, data.y)] * len(plan)
        return ((data.x[rows], data.y[rows]) for rows in torch.from_numpy(plan.indices))

    def wait(self) -> np.ndarray:
        losses, self.losses = torch.stack(self.losses).numpy(), []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        if self.model.training:
            self.model.eval()
        with torch.inference_mode():
            return self.forward(data.x).numpy()
