"""Measurements of convolution, pooling and resizing."""

from typing import Any

import numpy as np

from .support import Array, Values, apart, check, draw, flat, installed, moved_to_last, to_numpy

SIZES = ((4, 4), (7, 7))


def _image(size: int = 6) -> Array:
    """Return an image with one channel, channels first."""
    return draw(1, 1, size, size)


def _convolution_apart(size: int) -> float:
    """Return how far 'same' with stride 2 is from padding=1, for an image of a size."""
    import keras
    import torch

    image = _image(size)
    kernel = draw(3, 3, seed=1)
    layer = torch.nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False)
    layer.weight.data = torch.from_numpy(kernel[None, None])
    expected = layer(torch.from_numpy(image))
    same = keras.layers.Conv2D(1, 3, strides=2, padding="same", use_bias=False)
    same.build((None, size, size, 1))
    same.set_weights([kernel[..., None, None]])
    return apart(same(moved_to_last(image)), moved_to_last(to_numpy(expected)))


@check("D70")
def same_convolution() -> Values:
    """Measure how far 'same' with kernel 3 and stride 2 is from padding=1 and from (0, 1)."""
    import keras
    import torch

    functional = torch.nn.functional
    image = _image()
    kernel = draw(3, 3, seed=1)
    padded = functional.pad(torch.from_numpy(image), (0, 1, 0, 1))
    expected = functional.conv2d(padded, torch.from_numpy(kernel[None, None]), stride=2)
    same = keras.ops.conv(moved_to_last(image), kernel[..., None, None], strides=2, padding="same")
    try:
        torch.nn.Conv2d(1, 1, 3, stride=2, padding="same")
        refusal = "accepted"
    except ValueError as error:
        refusal = type(error).__name__
    return {
        "torch padding='same', stride 2": refusal,
        "keras, from padding=1, 6×6": _convolution_apart(6),
        "keras, from padding=1, 7×7": _convolution_apart(7),
        "keras, from pad (0, 1), 6×6": apart(same, moved_to_last(to_numpy(expected))),
    }


@check("D71")
def default_padding() -> Values:
    """Measure the size of 28×28 pixels after a convolution with kernel 3."""
    import keras
    import torch

    image = np.zeros((1, 28, 28, 1), np.float32)
    return {
        "torch": torch.nn.Conv2d(1, 1, 3)(torch.zeros(1, 1, 28, 28)).shape[-1],
        "keras": keras.layers.Conv2D(1, 3)(image).shape[1],
    }


@check("D72")
def average_pooling() -> Values:
    """Measure the corner of an image of ones after averages of 3×3 with padding."""
    import keras
    import torch

    ones = np.ones((1, 4, 4, 1), np.float32)
    image = torch.ones(1, 1, 4, 4)
    left_out = torch.nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
    counted = keras.layers.AveragePooling2D(3, 1)(keras.layers.ZeroPadding2D(1)(ones))
    return {
        "torch": torch.nn.AvgPool2d(3, 1, padding=1)(image)[0, 0, 0, 0],
        "keras": keras.layers.AveragePooling2D(3, 1, padding="same")(ones)[0, 0, 0, 0],
        "torch, count_include_pad=False": left_out(image)[0, 0, 0, 0],
        "keras, after ZeroPadding2D": counted[0, 0, 0, 0],
    }


def _torch_resized(image: Array, size: int, mode: str, **options: Any) -> Any:
    import torch

    interpolate = torch.nn.functional.interpolate
    return interpolate(torch.from_numpy(image), size=(size, size), mode=mode, **options)


def _keras_resized(image: Array, size: int, mode: str, **options: Any) -> Array:
    """Return an image of shape (1, 1, h, w), resized by Keras, in the same layout."""
    import keras

    channels_last = moved_to_last(image)
    resized = keras.ops.image.resize(channels_last, (size, size), interpolation=mode, **options)
    return np.moveaxis(to_numpy(resized), -1, 1)


def _numbered() -> Array:
    """Return an image of 4×4 pixels with values from 0 to 34, larger steps at the end."""
    values = np.arange(16, dtype=np.float32) ** 1.3
    return values.reshape(1, 1, 4, 4)


@check("D73")
def nearest() -> Values:
    """Measure the columns that 4 pixels become when they are resized to 7, 3 and 8."""
    image = np.tile(np.arange(4, dtype=np.float32), (4, 1))[None, None]
    values: Values = {}
    for size in (7, 3, 8):
        values[f"torch, 4→{size}"] = flat(_torch_resized(image, size, "nearest")[0, 0, 0])
        values[f"keras, 4→{size}"] = flat(_keras_resized(image, size, "nearest")[0, 0, 0])
    exact = _torch_resized(image, 7, "nearest-exact")
    values["torch nearest-exact, 4→7"] = flat(exact[0, 0, 0])
    return values


@check("D74")
def bicubic() -> Values:
    """Measure the largest difference for 4→7 pixels with values from 0 to 34."""
    image = _numbered()
    expected = _keras_resized(image, 7, "bicubic")
    values: Values = {
        "torch, from keras": apart(_torch_resized(image, 7, "bicubic"), expected),
        "torch antialias=True, from keras": apart(
            _torch_resized(image, 7, "bicubic", antialias=True), expected
        ),
    }
    if installed("jax"):
        import jax

        values["jax, from torch antialias=True"] = apart(
            jax.image.resize(image, (1, 1, 7, 7), "bicubic"),
            _torch_resized(image, 7, "bicubic", antialias=True),
        )
        values["jax, from keras"] = apart(
            jax.image.resize(image, (1, 1, 7, 7), "bicubic"), expected
        )
    return values


@check("D75")
def bilinear() -> Values:
    """Measure the largest difference for 4→7 and 4→3 pixels with values from 0 to 34."""
    image = _numbered()
    larger = _keras_resized(image, 7, "bilinear")
    smaller = _keras_resized(image, 3, "bilinear")
    corners = _torch_resized(image, 7, "bilinear", align_corners=True)
    values: Values = {
        "torch, from keras, 4→7": apart(_torch_resized(image, 7, "bilinear"), larger),
        "torch, from keras, 4→3": apart(_torch_resized(image, 3, "bilinear"), smaller),
        "torch align_corners=True, from keras, 4→7": apart(corners, larger),
    }
    if installed("jax"):
        import jax

        resized = jax.image.resize(image, (1, 1, 3, 3), "bilinear")
        smoothed = _torch_resized(image, 3, "bilinear", antialias=True)
        values["jax, from keras, 4→3"] = apart(resized, smaller)
        values["jax, from torch antialias=True, 4→3"] = apart(resized, smoothed)
    return values


@check("D112")
def same_pooling() -> Values:
    """Measure how far 'same' with window 3 and stride 2 is from padding=1 and from (0, 1)."""
    import keras
    import torch

    functional = torch.nn.functional
    image = _image()
    tensor = torch.from_numpy(image)
    pooled = keras.layers.MaxPooling2D(3, 2, padding="same")(moved_to_last(image))
    ends = functional.pad(tensor, (0, 1, 0, 1), value=-torch.inf)
    both = keras.ops.pad(
        moved_to_last(image), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf
    )
    padded = moved_to_last(to_numpy(functional.max_pool2d(tensor, 3, 2, padding=1)))
    at_the_end = moved_to_last(to_numpy(functional.max_pool2d(ends, 3, 2)))
    return {
        "keras, from padding=1": apart(pooled, padded),
        "keras, from pad (0, 1)": apart(pooled, at_the_end),
        "keras, padded with -inf, from padding=1": apart(
            keras.layers.MaxPooling2D(3, 2)(both), padded
        ),
    }
