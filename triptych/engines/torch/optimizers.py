"""The loss, and the updates: torch.optim, where its formula is the one asked for."""

import torch
from torch import nn

from ... import recipe as how


def optimizer(o: how.Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    # One fused kernel per step, where there is one: the results are the same to the bit (D93).
    fused = parameters[0].device.type in ("cpu", "cuda", "mps")
    match o:
        case how.SGD():
            return torch.optim.SGD(parameters, o.rate, o.momentum, nesterov=o.nesterov, fused=fused)
        case how.Adam():
            return torch.optim.Adam(parameters, o.rate, (o.beta1, o.beta2), o.epsilon, fused=fused)
        case how.RMSprop():
            return torch.optim.RMSprop(parameters, o.rate, o.decay, o.epsilon)
        case other:
            raise NotImplementedError(f"PyTorch: no optimizer for {other}")


# What torch.optim calls the specification's slots.
SLOTS: dict[type[how.Optimizer], dict[str, str]] = {
    how.SGD: {"velocity": "momentum_buffer"},
    how.Adam: {"m": "exp_avg", "v": "exp_avg_sq"},
    how.RMSprop: {"v": "square_avg"},
}
