"""The descriptions of a layer, an optimizer and a loss, and a data format.

Triptych imports this module at its start, so what takes long to import is imported in functions.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from triptych.data.registry import Format, register_format
from triptych.spec.layers import register_layer
from triptych.spec.losses import Loss, register_loss
from triptych.spec.optimizers import Optimizer, Slot, register_optimizer
from triptych.spec.placement import Layer, Parameter, PlacedLayer, Shape, Sizes
from triptych.spec.validation import Fraction


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
    beta1: Fraction = 0.9
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

    def evaluate(self, logits: Any, labels: Any) -> float:
        import numpy as np

        difference = logits.astype(np.float64) - np.eye(logits.shape[1])[labels]
        return float((np.sqrt(1 + difference**2) - 1).mean())

    def of_guessing(self, classes: int) -> float:
        right = (1 + (1 - 1 / classes) ** 2) ** 0.5 - 1
        wrong = (1 + 1 / classes**2) ** 0.5 - 1
        return (right + (classes - 1) * wrong) / classes


def read_lines(path: Path, options: Any, progress: Any) -> Any:
    """Read 8×8 images: in each line a label, a colon and 64 hexadecimal digits."""
    import numpy as np

    from triptych.core.split import Split
    from triptych.data.reading import Contents

    lines = path.read_text().split()
    labels = [int(line.partition(":")[0]) for line in lines]
    pixels = [[int(digit, 16) * 17 for digit in line.partition(":")[2]] for line in lines]
    images = np.array(pixels, np.uint8).reshape(-1, 8, 8, 1)
    classes = tuple(map(str, range(max(labels) + 1)))
    return Contents(Split(images, np.array(labels, np.int32)), None, classes)


HEX = Format(
    name="hexadecimal lines",
    read=read_lines,
    help="a label and 64 hexadecimal digits in each line",
    suffixes=(".hexlines",),
)
register_format(HEX)
