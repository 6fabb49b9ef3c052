import torch
from torch import nn


class FeatureNet(nn.Module):
    """One electrode and the branch with small filters."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(1, 8, kernel_size=10, stride=3),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.MaxPool1d(4, 4),
            nn.Dropout(0.5),
            nn.Conv1d(8, 12, kernel_size=5, padding="same"),
            nn.BatchNorm1d(12),
            nn.ReLU(),
            nn.MaxPool1d(3, 3),
            nn.Flatten(),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(36, 16), nn.Linear(16, 5))

    def forward(self, x):
        return self.classifier(self.features(x.unsqueeze(1)))


def build():
    model = FeatureNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0001)

    def clip(optimizer, args, kwargs):
        nn.utils.clip_grad_value_(model.parameters(), 1.0)

    optimizer.register_step_pre_hook(clip)
    return {
        "model": model,
        "loss": nn.CrossEntropyLoss(weight=torch.tensor([1, 1.2, 1, 1, 1.25])),
        "optimizer": optimizer,
    }
