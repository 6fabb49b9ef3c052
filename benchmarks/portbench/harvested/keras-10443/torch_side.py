import torch
from torch import nn


def build():
    model = nn.Sequential(
        nn.Linear(6, 10), nn.BatchNorm1d(10, eps=1e-3, momentum=0.01), nn.ReLU(), nn.Linear(10, 3)
    )
    return {
        "model": model,
        "loss": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
    }
