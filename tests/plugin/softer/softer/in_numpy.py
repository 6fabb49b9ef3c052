"""What the NumPy engine makes of the descriptions: with every gradient by hand."""

from typing import Any

import numpy as np

from triptych.engines.numpy.layer import Layer
from triptych.engines.numpy.layers import register_layer
from triptych.engines.numpy.loss import register_loss
from triptych.engines.numpy.optimizers import register_optimizer

from .specs import AveragedSGD, ChannelGain, PseudoHuber


class Gain(Layer):
    def forward(self, x: Any) -> Any:
        self.x = x
        return x * self.parameters["gain"]

    def parameter_gradients(self, dy: Any) -> None:
        self.gradients["gain"] = (dy * self.x).sum(axis=0)

    def input_gradient(self, dy: Any) -> Any:
        return dy * self.parameters["gain"]


def update(o: AveragedSGD, w: Any, g: Any, slots: Any, rate: float, step: int) -> None:
    slots["m"] *= o.beta1
    slots["m"] += (1 - o.beta1) * g
    w -= rate * slots["m"]


def pseudo_huber(logits: Any, labels: Any) -> Any:
    difference = logits.copy()
    difference[np.arange(len(labels)), labels] -= 1
    root = np.sqrt(1 + difference**2)
    return (root - 1).mean(), difference / root / difference.size


def build_loss(loss: PseudoHuber) -> Any:
    return pseudo_huber


register_layer(ChannelGain, Gain)
register_optimizer(AveragedSGD, update)
register_loss(PseudoHuber, build_loss)
