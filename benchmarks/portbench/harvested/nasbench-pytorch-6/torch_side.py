import torch
from torch import nn


class ConvBnRelu(nn.Module):
    def __init__(self, inputs, outputs, kernel_size):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Cell(nn.Module):
    """Input to three vertices; the second gets the first's output, too."""

    def __init__(self, inputs, outputs):
        super().__init__()
        half = outputs // 2
        self.project1 = ConvBnRelu(inputs, half, 1)
        self.vertex1 = ConvBnRelu(half, half, 3)
        self.project2 = ConvBnRelu(inputs, half, 1)
        self.vertex2 = ConvBnRelu(half, half, 1)
        self.project_out = ConvBnRelu(inputs, outputs, 1)

    def forward(self, x):
        first = self.vertex1(self.project1(x))
        second = self.vertex2(self.project2(x) + first)
        return torch.cat([first, second], 1) + self.project_out(x)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = ConvBnRelu(3, 8, 3)
        self.cell1 = Cell(8, 8)
        self.downsample = nn.MaxPool2d(2, 2)
        self.cell2 = Cell(8, 16)
        self.classifier = nn.Linear(16, 10)

    def forward(self, x):
        x = self.cell1(self.stem(x))
        x = self.cell2(self.downsample(x))
        return self.classifier(x.mean((2, 3)))


def build():
    net = Network()
    return {
        "model": net,
        "preprocess": lambda x: torch.from_numpy(x).permute(0, 3, 1, 2),
        "loss": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.RMSprop(net.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-4),
    }
