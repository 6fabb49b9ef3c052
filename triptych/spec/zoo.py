"""The named networks with their recipes, and functions that build networks from a few numbers."""

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import SpecError, suggest
from .layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool2D,
    ReLU,
    Residual,
)
from .network import Network
from .placement import Layer, Shape

# Shapes of an image: of MNIST, and of CIFAR-10.
GREY = (28, 28, 1)
COLOUR = (32, 32, 3)


def dense(
    name: str,
    hidden: Sequence[int],
    dropout: float = 0.0,
    *,
    shape: Shape = GREY,
    classes: int = 10,
) -> Network:
    """Return a network of a Flatten, (Dense, ReLU, Dropout) for each hidden width, and a Dense.

    Parameters
    ----------
    name : str
        The network's name.
    hidden : sequence of int
        Units of each hidden layer; empty for a linear classifier.
    dropout : float
        The rate of the dropout after each hidden layer; 0 for no such layers.
    shape : tuple of int
        The shape of an image, (h, w, c).
    classes : int
        Units of the output.

    Raises
    ------
    SpecError
        If there is a dropout rate but no hidden layer.
    """
    if dropout and not hidden:
        raise SpecError(
            "dropout comes after a hidden layer, and there is none; give at least one width"
        )
    layers: list[Layer] = [Flatten("flatten")]
    for i, units in enumerate(hidden, 1):
        n = str(i) if len(hidden) > 1 else ""
        layers += [Dense(f"hidden{n}", units), ReLU(f"relu{n}")]
        if dropout:
            layers.append(Dropout(f"dropout{n}", dropout))
    return Network(name, shape, (*layers, Dense("output", classes)))


def convolutional(
    filters: Sequence[int],
    size: int,
    *,
    norm: bool = False,
    hidden: Sequence[int] = (),
    shape: Shape = GREY,
    classes: int = 10,
) -> Network:
    """Return a network of convolutions; each is followed by a max-pooling from 8×8 pixels on.

    Parameters
    ----------
    filters : sequence of int
        Filters of each convolution.
    size : int
        Side of the square windows in pixels.
    norm : bool
        Whether a BatchNorm follows each convolution.
    hidden : sequence of int
        Units of the dense layers before the output.
    shape : tuple of int
        The shape of an image, (h, w, c).
    classes : int
        Units of the output.
    """
    layers: list[Layer] = []
    side = shape[0]
    for i, number in enumerate(filters, 1):
        layers.append(Conv2D(f"conv{i}", number, size, padding=size // 2, bias=not norm))
        if norm:
            layers.append(BatchNorm(f"norm{i}"))
        layers.append(ReLU(f"relu{i}"))
        if side >= 8:
            layers.append(MaxPool2D(f"pool{i}"))
            side //= 2
    layers.append(Flatten("flatten"))
    for i, units in enumerate(hidden, 1):
        layers += [Dense(f"hidden{i}", units), ReLU(f"after{i}")]
    return Network("convolutional", shape, (*layers, Dense("output", classes)))


def mlp(shape: Shape, classes: int) -> Network:
    """Return a network of one hidden layer with BatchNorm.

    It classifies 98 % of MNIST's test images correctly after four epochs, which take seconds.
    """
    hidden = (Flatten("flatten"), Dense("hidden", 160, bias=False), BatchNorm("norm"), ReLU("relu"))
    return Network("mlp", shape, (*hidden, Dense("output", classes)))


def lenet(shape: Shape, classes: int) -> Network:
    """Return LeNet-5 (LeCun et al. 1998, section 2) with two modern parts.

    These are ReLU instead of tanh, and max-pooling instead of average pooling.
    """
    layers = _lenet(lambda n, layer: (layer, ReLU(f"relu{n}")))
    return Network("lenet", shape, (*layers, Dense("output", classes)))


def lenet_bn(shape: Shape, classes: int) -> Network:
    """Return `lenet` with a BatchNorm before every ReLU."""
    layers = _lenet(lambda n, layer: (layer, BatchNorm(f"norm{n}"), ReLU(f"relu{n}")), bias=False)
    return Network("lenet-bn", shape, (*layers, Dense("output", classes)))


def _lenet(
    block: Callable[[int, Layer], tuple[Layer, ...]], bias: bool = True
) -> tuple[Layer, ...]:
    return (
        *block(1, Conv2D("conv1", 6, 5, padding=2, bias=bias)),
        MaxPool2D("pool1"),
        *block(2, Conv2D("conv2", 16, 5, bias=bias)),
        MaxPool2D("pool2"),
        Flatten("flatten"),
        *block(3, Dense("hidden3", 120, bias=bias)),
        *block(4, Dense("hidden4", 84, bias=bias)),
    )


def cnn(shape: Shape, classes: int) -> Network:
    """Return two convolutions and two dense layers, as in PyTorch's and Keras's MNIST examples."""
    features = (
        Conv2D("conv1", 32),
        ReLU("relu1"),
        Conv2D("conv2", 64),
        ReLU("relu2"),
        MaxPool2D("pool"),
        Flatten("flatten"),
    )
    return Network(
        "cnn",
        shape,
        (
            *features,
            Dense("hidden", 128),
            ReLU("relu3"),
            Dropout("dropout", 0.5),
            Dense("output", classes),
        ),
    )


def _normed(
    n: int, filters: int, size: int = 3, padding: int = 0, *, pool: bool = False
) -> tuple[Layer, ...]:
    # With the max-pooling first, BatchNorm and ReLU have a quarter of the values.
    pooled = (MaxPool2D(f"pool{n}"),) if pool else ()
    return (
        Conv2D(f"conv{n}", filters, size, padding=padding, bias=False),
        *pooled,
        BatchNorm(f"norm{n}"),
        ReLU(f"relu{n}"),
    )


def fast(shape: Shape, classes: int) -> Network:
    """Return a network of three convolutions with BatchNorm, two of them with max-pooling.

    It classifies 99 % of MNIST's test images correctly after one epoch.
    """
    features = (*_normed(1, 8, 5, pool=True), *_normed(2, 32, pool=True), *_normed(3, 64))
    return Network("fast", shape, (*features, Flatten("flatten"), Dense("output", classes)))


def best(shape: Shape, classes: int) -> Network:
    """Return a network of four convolutions with BatchNorm, two of them with max-pooling.

    It classifies 99.5 % of MNIST's test images correctly if it is trained on shifted images.
    """
    features = (
        *_normed(1, 12, 5, pool=True),
        *_normed(2, 32, padding=1),
        *_normed(3, 48, pool=True),
        *_normed(4, 96),
    )
    return Network(
        "best",
        shape,
        (*features, Flatten("flatten"), Dropout("dropout", 0.3), Dense("output", classes)),
    )


def residual(name: str, blocks: int, width: int, shape: Shape, classes: int) -> Network:
    """Return the residual network for CIFAR-10 of He et al. 2016, section 4.2.

    It has three stages and 6·blocks + 2 layers. At the beginning of the second and third stage the
    shortcut is a strided 1×1 convolution with BatchNorm (option B of the paper).

    Parameters
    ----------
    name : str
        The network's name.
    blocks : int
        Residual blocks in each stage.
    width : int
        Filters of the first stage; each further stage has twice as many.
    shape : tuple of int
        The shape of an image, (h, w, c).
    classes : int
        Units of the output.
    """
    layers: list[Layer] = [
        Conv2D("conv0", width, padding=1, bias=False),
        BatchNorm("norm0"),
        ReLU("relu0"),
    ]
    for stage, filters in enumerate((width, 2 * width, 4 * width), 1):
        for block in range(1, blocks + 1):
            n = f"{stage}_{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            branch = (
                Conv2D(f"conv{n}a", filters, 3, stride, 1, bias=False),
                BatchNorm(f"norm{n}a"),
                ReLU(f"relu{n}a"),
                Conv2D(f"conv{n}b", filters, 3, 1, 1, bias=False),
                BatchNorm(f"norm{n}b"),
            )
            shortcut: tuple[Layer, ...] = ()
            if stride > 1:
                projection = Conv2D(f"short{n}", filters, 1, stride, bias=False)
                shortcut = (projection, BatchNorm(f"norm{n}s"))
            layers += [Residual(f"block{n}", branch, shortcut), ReLU(f"relu{n}")]
    return Network(name, shape, (*layers, GlobalAvgPool("mean"), Dense("output", classes)))


# Each network with its usual image shape; `get` builds it for other shapes too.
ZOO: dict[str, tuple[Shape, Callable[[Shape, int], Network]]] = {
    "classic": (GREY, lambda shape, classes: dense("classic", [10], shape=shape, classes=classes)),
    "custom": (
        GREY,
        lambda shape, classes: dense("custom", [128, 64], shape=shape, classes=classes),
    ),
    "regularized": (
        GREY,
        lambda shape, classes: dense("regularized", [128, 64], 0.2, shape=shape, classes=classes),
    ),
    "mlp": (GREY, mlp),
    "lenet": (GREY, lenet),
    "lenet-bn": (GREY, lenet_bn),
    "cnn": (GREY, cnn),
    "fast": (GREY, fast),
    "best": (GREY, best),
    "resnet20": (COLOUR, lambda shape, classes: residual("resnet20", 3, 16, shape, classes)),
    "resnet": (COLOUR, lambda shape, classes: residual("resnet", 2, 32, shape, classes)),
}


# Recipes for some of the networks, by the same names, as in a recipe file.
_TRIANGLE = {"name": "one-cycle", "curve": "linear", "peak": 0.25}
_PLAIN: dict[str, Any] = {"epochs": 5, "batch_size": 64, "optimizer": {"name": "adam"}}
_SMOOTHED = {"label_smoothing": 0.1}
_RESIDUAL: dict[str, Any] = {
    "epochs": 30,
    "batch_size": 128,
    "optimizer": {
        "name": "sgd",
        "rate": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
    },
    "schedule": {"name": "one-cycle"},
    "augmentation": {"crop": 4, "flip": True},
    "validation": 0.02,
}
RECIPES: dict[str, dict[str, Any]] = {
    "mlp": {
        "epochs": 4,
        "batch_size": 256,
        "optimizer": {"name": "adam", "rate": 0.03},
        "schedule": _TRIANGLE,
        "validation": 0.02,
    },
    "fast": {
        "epochs": 1,
        "batch_size": 64,
        "optimizer": {"name": "adamw", "rate": 0.03, "beta2": 0.99, "weight_decay": 0.05},
        "schedule": _TRIANGLE,
        "loss": _SMOOTHED,
        "validation": 0.02,
    },
    "best": {
        "epochs": 7,
        "batch_size": 128,
        "optimizer": {"name": "adamw", "rate": 0.02, "beta2": 0.99, "weight_decay": 0.05},
        "schedule": _TRIANGLE,
        "augmentation": {"shift": 2},
        "loss": _SMOOTHED,
        "validation": 0.02,
    },
    "lenet": _PLAIN,
    "lenet-bn": _PLAIN,
    "cnn": _PLAIN,
    "resnet20": _RESIDUAL,
    "resnet": _RESIDUAL,
}


def recipe(name: str) -> dict[str, Any]:
    """Return the named recipe in the form that `Recipe.from_json` reads.

    Raises
    ------
    SpecError
        If the name is unknown.
    """
    if name not in RECIPES:
        raise SpecError(
            f"recipe {name!r} is unknown; {suggest(name, RECIPES)} (any other: a .json file)"
        )
    return RECIPES[name]


def get(name: str, shape: Shape | None = None, classes: int = 10) -> Network:
    """Return the named network.

    Parameters
    ----------
    name : str
        A name in `ZOO`.
    shape : tuple of int, optional
        The shape of an image, (h, w, c); by default the network's usual one.
    classes : int
        Units of the output.

    Raises
    ------
    SpecError
        If the name is unknown, or the images are too small for the network.
    """
    if not isinstance(name, str) or name not in ZOO:
        raise SpecError(f"network {name!r} is unknown; {suggest(name, ZOO)}")
    usual, build = ZOO[name]
    return build(shape or usual, classes)
