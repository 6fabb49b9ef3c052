"""Small networks in which layers are proved: together they contain every layer with every option.

They take any images from 12×12. Each begins with a pool that makes its images a third as large, so
that a step is fast. ``smooth`` and ``edged`` are compared over whole trajectories. ``normed`` is
compared step by step, because its norms of images amplify rounding. A layer that is in none of them
gets a network of its own, built from its examples. An activation in it sees inputs far to both
sides of 0.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..errors import SpecError
from ..spec.layers import (
    GELU,
    LAYERS,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Tanh,
)
from ..spec.network import Network
from ..spec.placement import Layer, Shape


def smooth(shape: Shape, classes: int) -> Network:
    """Build a network without kinks, with dropout before and after the flatten."""
    layers = (
        AvgPool2D("shrink", 3, 3, 1),
        Conv2D("conv1", 4, 3, 2, 1),
        GELU("gelu1"),
        Conv2D("conv2", 4, 3, padding=1, groups=2, bias=False),
        SiLU("silu"),
        AvgPool2D("pool", 3, 2, 1),
        Dropout("dropout1", 0.2),
        Flatten("flatten"),
        Dropout("dropout2", 0.1),
        Dense("hidden1", 24),
        Tanh("tanh"),
        Dropout("dropout3", 0.0),
        Dense("hidden2", 24, bias=False),
        LayerNorm("norm"),
        GELU("gelu2", "tanh"),
        Dropout("dropout4"),
        Dense("output", classes),
    )
    return Network("smooth", shape, layers)


def edged(shape: Shape, classes: int) -> Network:
    """Build a network with kinks and ties: maxima of overlapping and padded windows, and groups."""
    layers = (
        MaxPool2D("shrink", 3, 3, 1),
        Conv2D("conv1", 6, padding=1),
        LeakyReLU("leaky1", 0.2),
        MaxPool2D("pool1", 3, 2, 1),
        Conv2D("conv2", 9, 2, groups=3),
        ReLU("relu"),
        MaxPool2D("pool2"),
        Conv2D("conv3", 8, 1),
        LeakyReLU("leaky2"),
        GlobalAvgPool("mean"),
        Dense("output", classes),
    )
    return Network("edged", shape, layers)


def normed(shape: Shape, classes: int) -> Network:
    """Build a network with norms of images, of flattened images and of vectors, and residuals.

    One residual has a projection, one has none, and one is inside another.
    """
    inner = Residual("inner", (SiLU("silu"),))
    plain = Residual(
        "plain",
        (Conv2D("conv2", 4, padding=1, bias=False), BatchNorm("norm2", 0.01, 1e-3, False), inner),
    )
    projection = (Conv2D("short", 6, 1, 2, bias=False), LayerNorm("norm4"))
    projected = Residual("projected", (Conv2D("conv3", 6, 3, 2, 1), BatchNorm("norm3")), projection)
    layers = (
        AvgPool2D("shrink", 4, 3),
        Conv2D("conv1", 4, padding=1),
        BatchNorm("norm1"),
        ReLU("relu1"),
        plain,
        projected,
        ReLU("relu2"),
        Flatten("flatten"),
        BatchNorm("norm5"),
        LayerNorm("norm6", 1e-3),
        Dropout("dropout", 0.2),
        Dense("hidden", 12),
        BatchNorm("norm7", 0.2, 1e-4, False),
        Sigmoid("sigmoid"),
        Dense("output", classes),
    )
    return Network("normed", shape, layers)


def _driven_far(activations: Sequence[Layer]) -> list[Layer]:
    """Return activations in order, each after layers that give its inputs a deviation of 16."""
    layers: list[Layer] = []
    for activation in activations:
        name = activation.name
        layers.append(BatchNorm(f"{name}_norm"))
        layers += [_doubling(f"{name}_double{number}") for number in range(1, 5)]
        layers.append(activation)
    return [*layers, BatchNorm("last_norm")]  # the next layer's inputs have a usual size again


def _doubling(name: str) -> Residual:
    """Return a layer that doubles its input, exactly: a branch that changes nothing is added."""
    return Residual(name, (Dropout(f"{name}_branch", 0.0),))


SPECIMENS = (smooth, edged, normed)


def specimens(shape: Shape, classes: int) -> list[Network]:
    """Return networks that together contain every registered layer.

    Parameters
    ----------
    shape : tuple of int
        Of an image.
    classes : int
        Units of the output.
    """
    networks = [build(shape, classes) for build in SPECIMENS]
    contained = {type(place.layer) for network in networks for place in network.places}
    further = [kind for kind in LAYERS.values() if kind not in contained]
    return [*networks, *(_of_examples(kind, shape, classes) for kind in further)]


def _of_examples(kind: type[Layer], shape: Shape, classes: int) -> Network:
    """Return a network with the examples of a layer: among images if it takes them.

    The inputs of layers that work element by element are driven far to both sides of 0.
    """
    name = kind.__name__.lower()
    examples = [
        replace(example, name=f"{name}{number}")
        for number, example in enumerate(kind.examples(), 1)
    ]
    if kind.cost_kind == "elementwise":
        examples = _driven_far(examples)
    images = [AvgPool2D("shrink", 3, 3, 1), Conv2D("conv", 4, padding=1)]
    flat = [Flatten("flatten"), Dense("hidden", 12)]
    output = Dense("output", classes)
    try:
        return Network(name, shape, (*images, *examples, *flat, output))
    except SpecError:
        return Network(name, shape, (*images, *flat, *examples, output))
