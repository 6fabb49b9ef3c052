import torch
from torch import nn


def build():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 6 * 6, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )
    return {
        "model": model,
        "preprocess": lambda x: torch.from_numpy(x).movedim(3, 1),
        "loss": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
    }
