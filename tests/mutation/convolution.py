"""Mistakes in convolution and pooling."""

import numpy as np
from mutation.planting import Mutation, stored, with_layer, with_numpy_layer

from triptych.core.state import State
from triptych.engines.numpy.convolution import Conv2D, MaxPool2D


def same_padding(self, x):
    """D70: what "same" means to TensorFlow; at stride 2 on an even side there is nothing to the
    left.
    """
    import tensorflow as tf

    return tf.nn.bias_add(
        tf.nn.conv2d(x, self.kernel.value, self.layer.stride, "SAME"), self.bias.value
    )


def bias_gradient_averaged(self, dy):
    Conv2D.parameter_gradients(self, dy)
    self.gradients["bias"] = dy.mean(axis=(1, 2)).sum(axis=0)


def stride_ignored(self, dy):
    """What the windows saw is taken to lie side by side."""
    p, kernel = self.spec.padding, self.parameters["kernel"]
    n, h, w, c = self.shape
    _, rows, columns, _ = dy.shape
    wide = np.zeros((n, h + 2 * p, w + 2 * p, c))
    for i, j in np.ndindex(self.spec.size, self.spec.size):
        wide[:, i : i + rows, j : j + columns] += dy @ kernel[i, j].T
    return wide[:, p : p + h, p : p + w]


def to_the_last(self, dy):
    """The last of equal maxima: the first, seen from the other corner."""
    turned = MaxPool2D(self.spec)
    turned.forward(self.x[:, ::-1, ::-1])
    return turned.input_gradient(dy[:, ::-1, ::-1])[:, ::-1, ::-1]


def remembering(self, x):
    self.x = x
    return MaxPool2D.forward(self, x)


def zeros_win(self, x):
    import tensorflow as tf

    p = self.layer.padding
    return tf.nn.max_pool2d(
        tf.pad(x, ((0, 0), (p, p), (p, p), (0, 0))), self.layer.size, self.layer.stride, "VALID"
    )


def whole(start: State) -> State:
    """Kernels of -1, 0 and 1, so that there are ties."""
    return {
        name: np.rint(1.5 * a / np.abs(a).max()) if name.endswith("kernel") else a
        for name, a in start.items()
    }


def interleaved(kernel: np.ndarray) -> np.ndarray:
    """Filter k belongs to group k mod 3, not to k // 3."""
    return kernel[..., np.arange(9).reshape(3, 3).T.ravel()]


def flipped(kernel: np.ndarray) -> np.ndarray:
    return kernel[::-1, ::-1]


def without_padding_in_the_count(self, x):
    """D72: what TensorFlow's own padding does."""
    import tensorflow as tf

    return tf.nn.avg_pool2d(x, self.layer.size, self.layer.stride, "SAME")


MUTATIONS = [
    Mutation(
        "convolution for cross-correlation",
        stored("conv1/kernel", flipped),
        "output",
        "conv1",
        "edged",
        "torch",
    ),
    Mutation(
        "convolution for cross-correlation, TensorFlow",
        stored("conv1/kernel", flipped),
        "output",
        "conv1",
        "edged",
        "tensorflow",
    ),
    Mutation(
        "kernel with inputs and outputs exchanged",
        stored("conv2/kernel", lambda kernel: kernel.swapaxes(2, 3)),
        "output",
        "conv2",
        "normed",
        "torch",
    ),
    Mutation(
        "kernel with rows and columns exchanged",
        stored("conv2/kernel", lambda kernel: kernel.swapaxes(0, 1)),
        "output",
        "conv2",
        "smooth",
        "tensorflow",
    ),
    Mutation(
        "asymmetric padding at stride 2, D70",
        with_layer("conv1", call=same_padding),
        "output",
        "conv1",
        "smooth",
        "tensorflow",
    ),
    Mutation(
        "groups interleaved",
        stored("conv2/kernel", interleaved),
        "output",
        "conv2",
        "edged",
        "tensorflow",
    ),
    Mutation(
        "bias gradient averaged over space",
        with_numpy_layer("conv1", parameter_gradients=bias_gradient_averaged),
        "gradient",
        "conv1",
        "edged",
        array="conv1/bias",
    ),
    Mutation(
        "stride ignored going back",
        with_numpy_layer("conv3", input_gradient=stride_ignored),
        "gradient",
        "norm2",
        "normed",
    ),
    Mutation(
        "ties to the last maximum",
        with_numpy_layer("pool2", forward=remembering, input_gradient=to_the_last),
        "gradient",
        "conv2",
        "edged",
        start=whole,
    ),
    Mutation(
        "padding that wins a maximum",
        with_layer("pool1", call=zeros_win),
        "output",
        "pool1",
        "edged",
        "tensorflow",
    ),
    Mutation(
        "padding left out of a mean, D72",
        with_layer("pool", count_include_pad=False),
        "output",
        "pool",
        "smooth",
        "torch",
    ),
    Mutation(
        "padding left out of a mean, TensorFlow",
        with_layer("pool", call=without_padding_in_the_count),
        "output",
        "pool",
        "smooth",
        "tensorflow",
    ),
]
