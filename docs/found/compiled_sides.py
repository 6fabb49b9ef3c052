"""Sides for the doctor: the model of torch_compile_zero_gradient.py, eager and compiled."""

import numpy as np
import torch
from torch import nn


def eager():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 8, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 128)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"model": model, "loss": nn.MSELoss(), "optimizer": optimizer}


def compiled():
    side = eager()
    return side | {"model": torch.compile(side["model"])}


if __name__ == "__main__":
    draw = np.random.default_rng(0).standard_normal
    x = draw((64, 2, 8, 8), np.float32)
    y = draw((64, 128), np.float32)
    np.savez("batch.npz", x=x, y=y)
