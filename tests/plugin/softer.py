"""A plug-in as another package would have it: a layer, an optimizer, a loss and a data format.

It uses public functions only. Importing it registers the descriptions and the data format;
`register_in_engines` adds what NumPy and PyTorch make of them. CONTRIBUTING.md refers to its parts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from triptych.core.split import Split
from triptych.data.reading import Found
from triptych.data.registry import Format, register_format
from triptych.spec.layers import register_layer
from triptych.spec.losses import Loss, register_loss
from triptych.spec.optimizers import Optimizer, Slot, register_optimizer
from triptych.spec.placement import Layer, Parameter, PlacedLayer, Shape, Sizes

# ---- The descriptions ---------------------------------------------------------------------


@register_layer
@dataclass(frozen=True)
class ChannelGain(Layer):
    """y = gain·x, with one trained gain for each feature of a vector."""

    def place(self, shape: Shape, image_shape: Sizes) -> PlacedLayer:
        if len(shape) != 1 or image_shape:
            self.refuse(f"ChannelGain needs a vector of features, not {shape}")
        gain = Parameter(f"{self.name}/gain", shape, "vector", "ones")
        return PlacedLayer(self, shape, shape, (gain,))


@dataclass(frozen=True)
class AveragedSGD(Optimizer):
    """m ← βm + (1 - β)g, w ← w - η·m."""

    rate: float = 0.1
    beta1: float = 0.9
    name: ClassVar[str] = "averaged-sgd"
    label: ClassVar[str] = "averaged SGD"
    slot_kinds: ClassVar[dict[str, Slot]] = {"m": Slot("the running mean of the gradient", 1)}

    @property
    def slots(self) -> tuple[str, ...]:
        return ("m",)


register_optimizer(AveragedSGD)


@register_loss
@dataclass(frozen=True)
class PseudoHuber(Loss):
    """The mean over samples and classes of √(1 + d²) - 1, with d = logit - one_hot(label)."""

    name: ClassVar[str] = "pseudo_huber"
    label: ClassVar[str] = "pseudo-Huber"

    def evaluate(self, logits: np.ndarray, labels: np.ndarray) -> float:
        difference = logits.astype(np.float64) - np.eye(logits.shape[1])[labels]
        return float((np.sqrt(1 + difference**2) - 1).mean())

    def of_guessing(self, classes: int) -> float:
        return self.evaluate(np.full((1, classes), 1 / classes), np.zeros(1, int))


def read_lines(path: Path, options: Any, progress: Any) -> Found:
    """Read 8×8 images: in each line a label, a colon and 64 hexadecimal digits."""
    lines = path.read_text().split()
    labels = [int(line.partition(":")[0]) for line in lines]
    pixels = [[int(digit, 16) * 17 for digit in line.partition(":")[2]] for line in lines]
    images = np.array(pixels, np.uint8).reshape(-1, 8, 8, 1)
    classes = tuple(map(str, range(max(labels) + 1)))
    return Found(Split(images, np.array(labels, np.int32)), None, classes)


HEX = Format(
    name="hexadecimal lines",
    read=read_lines,
    help="a label and 64 hexadecimal digits in each line",
    suffixes=(".hexlines",),
)
register_format(HEX)

# ---- What the engines make of them --------------------------------------------------------


def register_in_engines() -> None:
    """Teach the layer, the optimizer and the loss to NumPy and, if it is installed, to PyTorch."""
    _register_in_numpy()
    _register_in_torch()


def _register_in_numpy() -> None:
    from triptych.engines.numpy import layers, loss, optimizers
    from triptych.engines.numpy.scratch.layers import Layer as NumPyLayer

    class Gain(NumPyLayer):
        learns = True

        def forward(self, x: Any, training: Any = None) -> Any:
            self.x = x
            return x * self.parameters["gain"]

        def backward(self, dy: Any, into: bool = True) -> Any:
            self.gradient("gain")[...] = (dy * self.x).sum(axis=0)
            return dy * self.parameters["gain"]

    def update(o: AveragedSGD, w: Any, g: Any, slots: Any, rate: float, step: int) -> None:
        slots["m"] *= o.beta1
        slots["m"] += (1 - o.beta1) * g
        w -= rate * slots["m"]

    def pseudo_huber(logits: Any, labels: Any, batch_labels: Any) -> Any:
        count = len(batch_labels) * logits.shape[1]
        difference = logits.copy()
        difference[np.arange(len(labels)), labels] -= 1
        root = np.sqrt(1 + difference**2)
        return (root - 1).sum() / count, difference / root / count

    layers.register_layer(ChannelGain, lambda layer: Gain(layer.name))
    optimizers.register_optimizer(AveragedSGD, update)
    loss.register_loss(PseudoHuber, lambda loss: pseudo_huber)


def _register_in_torch() -> None:
    try:
        import torch
    except ImportError:
        return
    from triptych.engines.torch import layers, loss, optimizers

    class Gain(torch.nn.Module):
        def __init__(self, place: PlacedLayer) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(place.input_shape))

        def forward(self, x: Any) -> Any:
            return x * self.gain

    class Averaged(torch.optim.Optimizer):
        def __init__(self, o: AveragedSGD, parameters: list[Any]) -> None:
            super().__init__(parameters, {"lr": o.rate})
            self.beta = o.beta1

        def step(self, closure: Any = None) -> None:
            for parameter in self.param_groups[0]["params"]:
                m = self.state[parameter]["m"]
                m.mul_(self.beta).add_(parameter.grad, alpha=1 - self.beta)
                parameter.sub_(m, alpha=self.param_groups[0]["lr"])

    def build_loss(description: PseudoHuber, classes: int, dtype: Any) -> Any:
        one_hot = torch.eye(classes, dtype=dtype)

        def compute(logits: Any, labels: Any) -> Any:
            return ((1 + (logits - one_hot[labels]) ** 2).sqrt() - 1).mean()

        return compute

    layers.register_layer(ChannelGain, Gain)
    optimizers.register_optimizer(AveragedSGD, Averaged)
    loss.register_loss(PseudoHuber, build_loss)
