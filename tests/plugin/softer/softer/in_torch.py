"""What the PyTorch engine makes of the descriptions: autograd derives the gradients."""

from typing import Any

import torch

from triptych.engines.torch.layers import register_layer
from triptych.engines.torch.loss import register_loss
from triptych.engines.torch.optimizers import register_optimizer
from triptych.spec.placement import PlacedLayer

from .specs import AveragedSGD, ChannelGain, PseudoHuber


class Gain(torch.nn.Module):
    def __init__(self, place: PlacedLayer) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(place.input_shape))

    def forward(self, x: Any) -> Any:
        return x * self.gain


class Averaged(torch.optim.Optimizer):
    def __init__(self, o: AveragedSGD, parameters: list[Any]) -> None:
        super().__init__(parameters, {"lr": o.rate})
        self.beta = o.beta1

    def step(self, closure: Any = None) -> None:
        for parameter in self.param_groups[0]["params"]:
            m = self.state[parameter]["m"]
            m.mul_(self.beta).add_(parameter.grad, alpha=1 - self.beta)
            parameter.sub_(m, alpha=self.param_groups[0]["lr"])


def build_loss(description: PseudoHuber, classes: int, dtype: Any) -> Any:
    one_hot = torch.eye(classes, dtype=dtype)

    def compute(logits: Any, labels: Any) -> Any:
        return ((1 + (logits - one_hot[labels]) ** 2).sqrt() - 1).mean()

    return compute


register_layer(ChannelGain, Gain)
register_optimizer(AveragedSGD, Averaged)
register_loss(PseudoHuber, build_loss)
