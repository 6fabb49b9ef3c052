"""What stands for the call of a layer whose settings are changed."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from .. import geometry
from ..adapter import Unsupported
from . import backend

Call = Callable[..., Any]


def like(original: Call, call: Call) -> Call:
    """Give a function the signature of the call that it stands for."""
    call.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    return call


def spatial_sizes(tensor: Any, first: bool) -> list[int]:
    """Return the sizes of an image's spatial axes."""
    shape = tuple(tensor.shape)
    return list(shape[2:] if first else shape[1:-1])


def padded(tensor: Any, padding: geometry.Padding, first: bool, value: float = 0.0) -> Any:
    """Return a tensor with rows and columns added; negative numbers cut them."""
    added = [[max(before, 0), max(after, 0)] for before, after in padding]
    cut = [slice(max(-before, 0), _end(after)) for before, after in padding]
    ends = [[0, 0], [0, 0], *added] if first else [[0, 0], *added, [0, 0]]
    tensor = ops.pad(tensor, ends, constant_values=value)
    whole = slice(None)
    return tensor[(whole, whole, *cut)] if first else tensor[(whole, *cut, whole)]


def _end(after: int) -> int | None:
    return after if after < 0 else None


def _resolved(padding: Any, sizes: list[int], window: Any, strides: Any, dilation: Any) -> Any:
    if isinstance(padding, str):
        return geometry.resolve(padding, sizes, window, strides, dilation)
    return padding


def convolve_padded(layer: Any, original: Call, padding: Any) -> Call:
    """Return the call of a convolution, itself without padding, with another padding."""
    first = layer.data_format == "channels_first"

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        sizes = spatial_sizes(inputs, first)
        ends = _resolved(padding, sizes, layer.kernel_size, layer.strides, layer.dilation_rate)
        return original(padded(inputs, ends, first), *args, **kwargs)

    return like(original, call)


def pool_padded(layer: Any, original: Call, padding: Any, *, count_padding: bool) -> Call:
    """Return the call of a pooling layer, itself without padding, with another padding."""
    first = layer.data_format == "channels_first"
    average = layer.pool_mode == "average"

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        sizes = spatial_sizes(inputs, first)
        ends = _resolved(padding, sizes, layer.pool_size, layer.strides, None)
        lowest = 0.0 if average else float(np.finfo(backend.dtype_of(inputs)).min)
        result = original(padded(inputs, ends, first, lowest), *args, **kwargs)
        if average and not count_padding:
            ones = padded(ops.ones_like(inputs), ends, first)
            result = result / original(ones, *args, **kwargs)
        return result

    return like(original, call)


def cut_transposed(layer: Any, original: Call, padding: Any) -> Call:
    """Return the call of a transposed convolution, itself whole, cut at its ends."""
    first = layer.data_format == "channels_first"

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        activate = layer.activation
        vars(layer)["activation"] = None
        vars(layer)["use_bias"] = False
        try:
            result = original(inputs, *args, **kwargs)
        finally:
            vars(layer)["activation"] = activate
            vars(layer)["use_bias"] = layer.bias is not None
        # The whole output has no rows where the stride is larger than the kernel.
        sizes = spatial_sizes(inputs, first)
        present = spatial_sizes(result, first)
        ends: geometry.Padding = []
        parts = zip(
            padding,
            sizes,
            present,
            layer.kernel_size,
            layer.strides,
            layer.dilation_rate,
            strict=True,
        )
        for (before, after), size, rows, width, stride, step in parts:
            whole = (size - 1) * stride + (width - 1) * step + 1
            ends.append([-before, whole - rows - after])
        result = padded(result, ends, first)
        if layer.bias is not None:
            shape = [1, -1] + [1] * len(sizes) if first else [1] * (len(sizes) + 1) + [-1]
            result = result + ops.reshape(layer.bias, shape)
        return activate(result) if activate is not None else result

    return like(original, call)


def unbiased_variance(layer: Any, original: Call) -> Call:
    """Return the call of a BatchNorm whose running variance divides by n - 1, as PyTorch's."""
    signature = inspect.signature(original)
    variance = layer.moving_variance

    def call(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs).arguments
        kept = ops.convert_to_tensor(variance.value) * layer.momentum
        result = original(*args, **kwargs)
        if arguments.get("training") and layer.trainable:
            shape = arguments["inputs"].shape
            count = int(np.prod(shape)) / shape[layer.axis]
            new = ops.convert_to_tensor(variance.value) - kept
            variance.assign(kept + new * (count / (count - 1)))
        return result

    return like(original, call)


def other_axes(original: Call) -> Call:
    """Return the call of a layer that gets the time before the batch."""

    def exchanged(value: Any) -> Any:
        if keras.ops.is_tensor(value) and len(value.shape) > 2:
            return ops.swapaxes(value, 0, 1)
        return value

    def call(*args: Any, **kwargs: Any) -> Any:
        args = tuple(exchanged(each) for each in args)
        kwargs = {name: exchanged(each) for name, each in kwargs.items()}
        return keras.tree.map_structure(exchanged, original(*args, **kwargs))

    return like(original, call)


def in_mode(original: Call, training: bool) -> Call:
    """Return the call of a layer that is always in training mode, or never."""
    signature = inspect.signature(original)

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.arguments["training"] = training
        return original(*bound.args, **bound.kwargs)

    return like(original, call)


def flatten_channels_first(original: Call) -> Call:
    """Return the call of a Flatten that reads the channels first, as PyTorch's."""

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        rank = len(inputs.shape)
        moved = ops.transpose(inputs, (0, rank - 1, *range(1, rank - 1)))
        return original(moved, *args, **kwargs)

    return like(original, call)


def resize_corners(layer: Any, original: Call) -> Call:
    """Return the call of an UpSampling2D whose corners stay where they are."""
    if not isinstance(layer, layers.UpSampling2D) or layer.data_format == "channels_first":
        raise Unsupported("only UpSampling2D with channels last can have align_corners")

    def call(inputs: Any) -> Any:
        height, width = inputs.shape[1] * layer.size[0], inputs.shape[2] * layer.size[1]
        return backend.resize_corners(inputs, height, width, layer.interpolation)

    return like(original, call)
