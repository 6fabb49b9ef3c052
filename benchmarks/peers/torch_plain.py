"""PyTorch as most people write it: nn.Sequential, NCHW, torch.optim's defaults, eager, tensors in memory."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych import network as spec
from triptych import recipe as how
from triptych.data.dataset import Split
from triptych.layout import to_canonical, to_native
from triptych.plan import Plan
from triptych.state import State


def cnn(rate: float) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Dropout(rate), nn.Linear(128, 10)),
    )


MODELS: dict[str, Callable[[float], nn.Module]] = {"cnn": cnn}


@dataclass(frozen=True)
class Native:
    x: Tensor
    y: Tensor


class Engine:
    """As much of an engine as a timing needs; its state is the weights alone."""

    def __init__(self, network: spec.Network, recipe: how.Recipe, *, device: str = "cpu", backend: str = "plain") -> None:
        self.device, self.recipe, self.parameters = device, recipe, network.parameters
        rate = max((layer.rate for layer, _ in network.dropouts), default=0.0)
        self.model = MODELS[network.name](rate).to(getattr(torch, recipe.dtype))
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.losses: list[Tensor] = []

    def load(self, state: State) -> None:
        with torch.no_grad():
            for p, weight in zip(self.parameters, self.model.parameters(), strict=True):
                weight.copy_(torch.from_numpy(to_native("torch", p.role, state[p.name], p.sizes)))

    def state(self) -> State:
        arrays = [weight.detach().numpy() for weight in self.model.parameters()]
        return {p.name: to_canonical("torch", p.role, array, p.sizes) for p, array in zip(self.parameters, arrays, strict=True)}

    def put(self, split: Split) -> Native:
        x = to_native("torch", "image", split.pixels(self.recipe.dtype))
        return Native(torch.from_numpy(x), torch.from_numpy(split.labels).long())

    def run(self, data: Native, plan: Plan) -> None:
        assert plan.order is not None
        self.model.train()
        for rows in torch.from_numpy(plan.order):
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(data.x[rows]), data.y[rows])
            loss.backward()
            self.optimizer.step()
            self.losses.append(loss.detach())

    def sync(self) -> np.ndarray:
        losses, self.losses = torch.stack(self.losses).numpy(), []
        return losses
