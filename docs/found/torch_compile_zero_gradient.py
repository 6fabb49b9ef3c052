"""Gradients of a convolution before a pooling layer: eager, compiled, and with two workarounds."""

import warnings

import torch
from torch import nn

warnings.simplefilter("ignore")
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(2, 8, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 128)
)
x = torch.randn(64, 2, 8, 8)


def norms(name, **compilation):
    computed = torch.compile(model, **compilation) if compilation else model
    model.zero_grad()
    computed(x).square().mean().backward()
    print(name, *(f"{each.grad.norm():.4f}" for each in model.parameters()), sep="  ")
    torch.compiler.reset()


print("torch", torch.__version__.partition("+")[0])
norms("eager")
norms("aot_eager_decomp_partition", backend="aot_eager_decomp_partition")
norms("inductor", backend="inductor")
norms("inductor, layout_optimization off", options={"layout_optimization": False})
norms("inductor, reorder_for_peak_memory off", options={"reorder_for_peak_memory": False})
