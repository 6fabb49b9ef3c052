"""The same networks built in plain PyTorch and Keras, as other people build them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from triptych.spec.layers import AvgPool2D, BatchNorm, Conv2D, Dense, Flatten, ReLU
from triptych.spec.network import Network

IMAGES = np.random.default_rng(3).random((20, 12, 12, 2), np.float32)
# Two convolutions, BatchNorm on images and on vectors, a Flatten after an image that is not square
# any more, and two dense layers of the same shape.
NETWORK = Network(
    "foreign",
    (12, 12, 2),
    (
        Conv2D("conv1", 4, 3, bias=False),
        BatchNorm("norm1"),
        ReLU("relu1"),
        Conv2D("conv2", 6, 3, 1, 1),
        ReLU("relu2"),
        AvgPool2D("pool"),
        Flatten("flatten"),
        Dense("hidden1", 16),
        ReLU("relu3"),
        Dense("hidden2", 16),
        BatchNorm("norm2"),
        ReLU("relu4"),
        Dense("hidden3", 16),
        ReLU("relu5"),
        Dense("output", 3),
    ),
)


def torch_model() -> Any:
    """Return the network as a Sequential of PyTorch, with random weights and statistics."""
    import torch
    from torch import nn

    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(150, 16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.ReLU(),
        nn.Linear(16, 3),
    )
    with torch.no_grad():
        for name, array in model.state_dict().items():
            if array.is_floating_point():
                array.uniform_(0.5 if name.endswith("var") else -0.5, 1)
    return model.eval()


def residual_model() -> Any:
    """Return ResNet-20 for CIFAR-10 with the names that are usual in PyTorch."""
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            stride = 1 if inputs == outputs else 2
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.shortcut = nn.Sequential()
            if inputs != outputs:
                convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
                self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

        def forward(self, x: Any) -> Any:
            branch = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
            return functional.relu(branch + self.shortcut(x))

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
            self.layer2 = nn.Sequential(Block(16, 32), Block(32, 32), Block(32, 32))
            self.layer3 = nn.Sequential(Block(32, 64), Block(64, 64), Block(64, 64))
            self.linear = nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            x = functional.relu(self.bn1(self.conv1(x)))
            x = self.layer3(self.layer2(self.layer1(x)))
            return self.linear(x.mean(dim=(2, 3)))

    return Residual()


def torch_logits(model: Any) -> np.ndarray:
    """Return what PyTorch computes of the images."""
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2))).numpy()


def keras_model() -> Any:
    """Return the network as a Sequential of Keras, with random weights and statistics."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            keras.Input((12, 12, 2)),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dense(16),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(16, activation="relu"),
            layers.Dense(3),
        ]
    )
    rng = np.random.default_rng(4)
    for weight in model.weights:
        low = 0.5 if weight.path.endswith(("variance", "gamma")) else -0.5
        weight.assign(rng.uniform(low, 1, weight.shape))
    return model


def keras_arrays(model: Any) -> dict[str, np.ndarray]:
    """Return the weights by their paths, as they are saved."""
    return {weight.path: weight.numpy() for weight in model.weights}


def arrays_like(framework: str) -> dict[str, np.ndarray]:
    """Return arrays with the names and shapes of both models, without a framework."""
    rng = np.random.default_rng(5)
    shapes = TORCH_SHAPES if framework == "torch" else KERAS_SHAPES
    return {name: rng.random(shape, np.float32) for name, shape in shapes.items()}


def written(folder: Path, network: Network = NETWORK) -> Path:
    """Write a network as a file for ``--network``."""
    path = folder / "network.json"
    path.write_text(json.dumps(network.to_json()))
    return path


TORCH_SHAPES: dict[str, tuple[int, ...]] = {
    "0.weight": (4, 2, 3, 3),
    **{f"1.{leaf}": (4,) for leaf in ("weight", "bias", "running_mean", "running_var")},
    "3.weight": (6, 4, 3, 3),
    "3.bias": (6,),
    "7.weight": (16, 150),
    "7.bias": (16,),
    "9.weight": (16, 16),
    "9.bias": (16,),
    **{f"10.{leaf}": (16,) for leaf in ("weight", "bias", "running_mean", "running_var")},
    "12.weight": (16, 16),
    "12.bias": (16,),
    "14.weight": (3, 16),
    "14.bias": (3,),
}
KERAS_SHAPES: dict[str, tuple[int, ...]] = {
    "conv2d/kernel": (3, 3, 2, 4),
    **{f"norm/{leaf}": (4,) for leaf in ("gamma", "beta", "moving_mean", "moving_variance")},
    "conv2d_1/kernel": (3, 3, 4, 6),
    "conv2d_1/bias": (6,),
    "dense/kernel": (150, 16),
    "dense/bias": (16,),
    "dense_1/kernel": (16, 16),
    "dense_1/bias": (16,),
    **{f"norm_1/{leaf}": (16,) for leaf in ("gamma", "beta", "moving_mean", "moving_variance")},
    "dense_2/kernel": (16, 16),
    "dense_2/bias": (16,),
    "dense_3/kernel": (16, 3),
    "dense_3/bias": (3,),
}
