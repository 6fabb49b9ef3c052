import torch
from torch import nn

DECAY = 3


def build():
    model = nn.Sequential(nn.Linear(200, 1))
    optimizer = torch.optim.SGD(
        [{"params": model[0].weight, "weight_decay": DECAY}, {"params": model[0].bias}],
        lr=0.01,
    )
    return {"model": model, "loss": nn.MSELoss(), "optimizer": optimizer}
