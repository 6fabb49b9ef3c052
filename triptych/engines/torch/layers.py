"""The layers as nn.Modules. Images are (batch, c, h, w)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...spec import layers as spec
from ...spec.placement import PlacedLayer


class Dropout(nn.Module):
    """nn.Dropout that can be dealt its mask instead of drawing it."""

    def __init__(self, rate: float, own: torch.Generator) -> None:
        super().__init__()
        self.rate, self.own = rate, own

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        if keep is None:
            keep = torch.rand(x.shape, generator=self.own, device=x.device).ge_(self.rate)
        return x * (keep.to(x.dtype) / (1 - self.rate))  # one product forward and one backward


class BatchNorm(nn.Module):
    """nn.BatchNorm, except that the batch's statistics move the running ones only when told, and biased if so specified.

    PyTorch's own stores the unbiased variance and no other (D20), and refuses a batch of one value a channel (D21).
    """

    def __init__(self, count: int, like: spec.BatchNorm) -> None:
        super().__init__()
        self.like = like
        self.weight, self.bias = nn.Parameter(torch.ones(count)), nn.Parameter(torch.zeros(count))
        self.register_buffer("running_mean", torch.zeros(count))
        self.register_buffer("running_variance", torch.ones(count))
        # With momentum 1 the kernel leaves in these the batch's mean and unbiased variance.
        self.register_buffer("mean", torch.zeros(count), persistent=False)
        self.register_buffer("variance", torch.ones(count), persistent=False)
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(
                x,
                self.running_mean,
                self.running_variance,
                self.weight,
                self.bias,
                False,
                0,
                self.like.epsilon,
            )
        self.count = x.numel() // x.shape[1]
        if self.count == 1:
            self.mean.copy_(x.detach().flatten())
            self.variance.zero_()
            shape = (1, -1, *[1] * (x.dim() - 2))
            return (x - x) * self.weight.view(shape) + self.bias.view(shape)
        return F.batch_norm(
            x, self.mean, self.variance, self.weight, self.bias, True, 1.0, self.like.epsilon
        )

    @torch.no_grad()
    def advance(self) -> None:
        variance = (
            self.variance if self.like.unbiased else self.variance * ((self.count - 1) / self.count)
        )
        self.running_mean.lerp_(self.mean, self.like.momentum)
        self.running_variance.lerp_(variance, self.like.momentum)


class LayerNorm(nn.LayerNorm):
    """nn.LayerNorm over the channels, which come first in an image."""

    def forward(self, x: Tensor) -> Tensor:
        return (
            super().forward(x) if x.dim() == 2 else super().forward(x.movedim(1, -1)).movedim(-1, 1)
        )


class Chain(nn.Module):
    """Modules one after the other; a mask to those that are dealt one."""

    def __init__(self, places: Iterable[PlacedLayer], own: torch.Generator) -> None:
        super().__init__()
        places = list(places)
        self.names = [
            p.layer.name for p in places
        ]  # not a ModuleDict: it takes no key that is the name of a method
        self.stack = nn.ModuleList(module(p, own) for p in places)
        self.quick = spec.quick([p.layer for p in places])

    def forward(
        self, x: Tensor, keep: dict[str, Tensor], seen: dict[str, Tensor] | None = None
    ) -> Tensor:
        for i in self.quick if seen is None else range(len(self.stack)):
            name, layer = self.names[i], self.stack[i]
            x = (
                layer(x, keep, seen)
                if isinstance(layer, Residual)
                else layer(x, keep[name])
                if name in keep
                else layer(x)
            )
            if seen is not None:
                seen[name] = x
        return x

    def named(self) -> dict[str, nn.Module]:
        """Return every module by its layer's name."""
        found: dict[str, nn.Module] = {}
        for name, layer in zip(self.names, self.stack, strict=True):
            if isinstance(layer, Residual):
                found |= layer.branch.named() | layer.projection.named()
            found[name] = layer
        return found


class Residual(nn.Module):
    def __init__(self, place: PlacedLayer, own: torch.Generator) -> None:
        super().__init__()
        self.branch, self.projection = Chain(place.branch, own), Chain(place.projection, own)

    def forward(
        self, x: Tensor, keep: dict[str, Tensor], seen: dict[str, Tensor] | None = None
    ) -> Tensor:
        return self.branch(x, keep, seen) + self.projection(x, keep, seen)


def module(place: PlacedLayer, own: torch.Generator) -> nn.Module:
    channels = place.input_shape[-1]
    match place.layer:
        case spec.Flatten():
            return nn.Flatten()
        case spec.Dense(units=units, bias=bias):
            return nn.Linear(channels, units, bias)
        case spec.Conv2D() as c:
            return nn.Conv2d(
                channels, c.filters, c.size, c.stride, c.padding, groups=c.groups, bias=c.bias
            )
        case spec.MaxPool2D(size=size, stride=stride, padding=padding):
            return nn.MaxPool2d(size, stride, padding)
        case spec.AvgPool2D(size=size, stride=stride, padding=padding):
            return nn.AvgPool2d(
                size, stride, padding
            )  # it counts the padding (D72), as the specification does
        case spec.GlobalAvgPool():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case spec.BatchNorm() as norm:
            return BatchNorm(channels, norm)
        case spec.LayerNorm(epsilon=epsilon):
            return LayerNorm(channels, epsilon)
        case spec.Residual():
            return Residual(place, own)
        case spec.Dropout(rate=rate):
            return Dropout(rate, own)
        case spec.ReLU():
            return nn.ReLU()
        case spec.LeakyReLU(slope=slope):
            return nn.LeakyReLU(slope)
        case spec.GELU(form=form):
            return nn.GELU("none" if form == "erf" else "tanh")
        case spec.SiLU():
            return nn.SiLU()
        case spec.Tanh():
            return nn.Tanh()
        case spec.Sigmoid():
            return nn.Sigmoid()
        case other:
            raise TypeError(f"PyTorch: no module for {other}")
