"""BatchNorm of the same numbers in two memory layouts, against float64."""

import numpy as np
import torch
from torch import nn

torch.manual_seed(0)
images = np.random.default_rng(0).random((64, 28, 28, 1), np.float32)
moved = torch.from_numpy(images).movedim(3, 1)  # a view: the channels stay last in memory
copied = moved.clone(memory_format=torch.contiguous_format)  # the same numbers, channels first
assert torch.equal(moved, copied)
convolution = nn.Conv2d(1, 8, 3)
weight = torch.rand(64, 8, 26, 26)


def statistics(x):
    norm = nn.BatchNorm2d(8, momentum=1.0).to(x.dtype)
    output = norm(x)
    (output * weight.to(x.dtype)).sum().backward()
    return {"output": output, "variance": norm.running_var, "gradient": norm.weight.grad}


print("torch", torch.__version__.partition("+")[0])
for name, batch in (("channels last", moved), ("channels first", copied)):
    features = convolution(batch).detach()
    exact = statistics(features.double())
    for what, value in statistics(features).items():
        error = (value - exact[what]).abs().max() / exact[what].abs().max()
        print(f"{name}, {what}: relative error {error:.1e}")
