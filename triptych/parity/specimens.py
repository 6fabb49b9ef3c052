"""Small networks that together hold every layer type with every option, for any images from 12×12: where layers are proved.

Each begins with a pool that makes its images a third as large, so that a step is quick. ``smooth`` and ``edged`` are walked
as whole trajectories, ``normed`` step by step: a LayerNorm of images amplifies rounding as a BatchNorm does, so it stands there.
"""

from ..spec.layers import (
    GELU,
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
from ..spec.placement import Shape


def smooth(shape: Shape, classes: int) -> Network:
    """Without kinks, with masks before and after the flatten."""
    features = (
        *(AvgPool2D("shrink", 3, 3, 1), Conv2D("conv1", 4, 3, 2, 1), GELU("gelu1")),
        *(
            Conv2D("conv2", 4, 3, padding=1, groups=2, bias=False),
            SiLU("silu"),
            AvgPool2D("pool", 3, 2, 1),
            Dropout("dropout1", 0.2),
        ),
    )
    head = (
        *(
            Flatten("flatten"),
            Dropout("dropout2", 0.1),
            Dense("hidden1", 24),
            Tanh("tanh"),
            Dropout("dropout3", 0.0),
        ),
        *(
            Dense("hidden2", 24, bias=False),
            LayerNorm("norm"),
            GELU("gelu2", "tanh"),
            Dropout("dropout4"),
            Dense("output", classes),
        ),
    )
    return Network("smooth", shape, (*features, *head))


def edged(shape: Shape, classes: int) -> Network:
    """With kinks and ties: maxima of overlapping and padded windows, and groups."""
    features = (
        *(
            MaxPool2D("shrink", 3, 3, 1),
            Conv2D("conv1", 6, padding=1),
            LeakyReLU("leaky1", 0.2),
            MaxPool2D("pool1", 3, 2, 1),
        ),
        *(
            Conv2D("conv2", 9, 2, groups=3),
            ReLU("relu"),
            MaxPool2D("pool2"),
            Conv2D("conv3", 8, 1),
            LeakyReLU("leaky2"),
        ),
    )
    return Network("edged", shape, (*features, GlobalAvgPool("mean"), Dense("output", classes)))


def normed(shape: Shape, classes: int) -> Network:
    """Norms of images, of what was flattened and of vectors; residuals with and without a projection, one in another."""
    inner = Residual("inner", (SiLU("silu"),))
    plain = Residual(
        "plain",
        (Conv2D("conv2", 4, padding=1, bias=False), BatchNorm("norm2", 0.01, 1e-3, False), inner),
    )
    projection = (Conv2D("short", 6, 1, 2, bias=False), LayerNorm("norm4"))
    projected = Residual("projected", (Conv2D("conv3", 6, 3, 2, 1), BatchNorm("norm3")), projection)
    features = (
        *(
            AvgPool2D("shrink", 4, 3),
            Conv2D("conv1", 4, padding=1),
            BatchNorm("norm1"),
            ReLU("relu1"),
        ),
        *(plain, projected, ReLU("relu2")),
    )
    head = (
        *(
            Flatten("flatten"),
            BatchNorm("norm5"),
            LayerNorm("norm6", 1e-3),
            Dropout("dropout", 0.2),
            Dense("hidden", 12),
        ),
        *(BatchNorm("norm7", 0.2, 1e-4, False), Sigmoid("sigmoid"), Dense("output", classes)),
    )
    return Network("normed", shape, (*features, *head))


SPECIMENS = (smooth, edged, normed)
