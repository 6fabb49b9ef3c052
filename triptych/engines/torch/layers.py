"""The layers as nn.Modules."""

import torch
from torch import Tensor, nn

from ... import network as spec


class Dropout(nn.Module):
    """nn.Dropout that can be dealt its mask instead of drawing it."""

    def __init__(self, rate: float, own: torch.Generator) -> None:
        super().__init__()
        self.rate, self.own = rate, own

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        if keep is None:
            keep = torch.rand(x.shape, generator=self.own, device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


class Network(nn.Module):
    def __init__(self, network: spec.Network, own: torch.Generator) -> None:
        super().__init__()
        self.stack = nn.ModuleDict({p.layer.name: module(p, own) for p in network.places})

    def forward(self, x: Tensor, keep: dict[str, Tensor], seen: dict[str, Tensor] | None = None) -> Tensor:
        for name, layer in self.stack.items():
            x = layer(x, keep[name]) if name in keep else layer(x)
            if seen is not None:
                seen[name] = x
        return x


def module(place: spec.Placed, own: torch.Generator) -> nn.Module:
    match place.layer:
        case spec.Dense(units=units):
            return nn.Linear(place.input_shape[0], units)
        case spec.ReLU():
            return nn.ReLU()
        case spec.Dropout(rate=rate):
            return Dropout(rate, own)
        case spec.Flatten():
            return nn.Flatten()
        case other:
            raise NotImplementedError(f"PyTorch: no module for {other}")
