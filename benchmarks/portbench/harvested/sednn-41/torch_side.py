import torch
import torch.nn.functional as F
from torch import nn


class DNN(nn.Module):
    def __init__(self, frames=7, bins=9, hidden=32):
        super().__init__()
        self.fc1 = nn.Linear(frames * bins, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, hidden)
        self.fc4 = nn.Linear(hidden, bins)

    def forward(self, x):
        x = x.view(len(x), -1)
        for layer in (self.fc1, self.fc2, self.fc3):
            x = F.dropout(F.relu(layer(x)), p=0.2, training=self.training)
        return self.fc4(x)


def mse_loss(output, target):
    return torch.mean(torch.abs(output - target) ** 2)


def build():
    model = DNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, eps=1e-8)
    return {"model": model, "loss": mse_loss, "optimizer": optimizer}
