"""Resizing matrices are those of PyTorch and TensorFlow."""

import numpy as np
import pytest

from triptych.doctor.resizing import METHODS, matrix, resize

# Both ways of each axis: larger and smaller, by whole and by other factors.
SIZES = [(4, 7), (14, 20), (5, 9), (18, 24)]


def images():
    return np.random.default_rng(0).uniform(0, 34, (2, 9, 12, 3))


TORCH = {
    "nearest, by centres": {"mode": "nearest-exact"},
    "nearest, by corners": {"mode": "nearest"},
    "bilinear": {"mode": "bilinear"},
    "bilinear, align_corners=True": {"mode": "bilinear", "align_corners": True},
    "bilinear, antialias=True": {"mode": "bilinear", "antialias": True},
    "bicubic, a = -0.75": {"mode": "bicubic"},
    "bicubic, a = -0.5, antialias=True": {"mode": "bicubic", "antialias": True},
}
TENSORFLOW = {
    "nearest, by centres": {"method": "nearest"},
    "bilinear": {"method": "bilinear"},
    "bilinear, antialias=True": {"method": "bilinear", "antialias": True},
    "bicubic, a = -0.5": {"method": "bicubic"},
    "bicubic, a = -0.5, antialias=True": {"method": "bicubic", "antialias": True},
}


@pytest.mark.framework
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TORCH)
def test_as_pytorch(name, size):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(images()).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(x, size=size, **TORCH[name])
    made = resize(images(), METHODS[name], *size)
    np.testing.assert_allclose(made, expected.permute(0, 2, 3, 1).numpy(), atol=1e-12)


@pytest.mark.framework
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TENSORFLOW)
def test_as_tensorflow(name, size):
    tensorflow = pytest.importorskip("tensorflow")
    expected = tensorflow.image.resize(images(), size, **TENSORFLOW[name])
    made = resize(images(), METHODS[name], *size)
    # TensorFlow resizes in float32.
    np.testing.assert_allclose(made, expected.numpy(), atol=3e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_constant_image_stays_constant(name):
    np.testing.assert_allclose(matrix(METHODS[name], 6, 11).sum(1), 1, atol=1e-12)
