"""Pooling against windows that NumPy cuts out one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from triptych.engines.numba.layer import Training
from triptych.engines.numba.pooling import AvgPool2D, GlobalAvgPool, MaxPool2D
from triptych.spec import layers as spec

few = settings(max_examples=60, deadline=None)


def windows(x, layer, fill):
    """Yield (row, column, slices of padded x, the window) of every output."""
    p, s, size = layer.padding, layer.stride, layer.size
    wide = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)), constant_values=fill)
    for r in range((wide.shape[1] - size) // s + 1):
        for q in range((wide.shape[2] - size) // s + 1):
            place = (slice(None), slice(r * s, r * s + size), slice(q * s, q * s + size))
            yield r, q, place, wide[place]


@st.composite
def cases(draw, kind):
    size = draw(st.integers(1, 4))
    layer = kind("pool", size, draw(st.integers(1, 4)), draw(st.integers(0, size // 2)))
    sides = st.integers(size, size + 6)
    shape = (draw(st.integers(0, 3)), draw(sides), draw(sides), draw(st.integers(1, 5)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.standard_normal(shape)
    if draw(st.booleans()):
        x = np.round(x)  # many equal numbers
    return layer, x


def cropped(wide, x, layer):
    p = layer.padding
    return wide[:, p : p + x.shape[1], p : p + x.shape[2]]


@few
@given(cases(spec.MaxPool2D))
def test_maximum(case):
    layer, x = case
    pool = MaxPool2D(layer)
    for _ in range(2):  # the second time memory is not new
        y = pool.forward(x, Training())
        dy = np.random.default_rng(0).standard_normal(y.shape)
        dx = pool.backward(dy)
        wide = np.pad(np.zeros_like(x), [(0, 0), *[(layer.padding,) * 2] * 2, (0, 0)])
        for r, q, place, window in windows(x, layer, -np.inf):
            n, _, _, c = window.shape
            flat = window.transpose(0, 3, 1, 2).reshape(n, c, layer.size**2)
            np.testing.assert_array_equal(y[:, r, q], flat.max(axis=-1))
            first = flat.argmax(axis=-1)  # of equal numbers the first one
            for image, o in np.ndindex(n, c):
                line, column = divmod(first[image, o], layer.size)
                wide[place][image, line, column, o] += dy[image, r, q, o]
        np.testing.assert_allclose(dx, cropped(wide, x, layer), rtol=1e-13, atol=1e-13)


@few
@given(cases(spec.AvgPool2D))
def test_mean(case):
    layer, x = case
    pool = AvgPool2D(layer)
    for _ in range(2):
        y = pool.forward(x, Training())
        dy = np.random.default_rng(0).standard_normal(y.shape)
        dx = pool.backward(dy)
        wide = np.pad(np.zeros_like(x), [(0, 0), *[(layer.padding,) * 2] * 2, (0, 0)])
        for r, q, place, window in windows(x, layer, 0):
            np.testing.assert_allclose(y[:, r, q], window.mean(axis=(1, 2)), rtol=1e-13, atol=1e-14)
            wide[place] += dy[:, r, q][:, None, None] / layer.size**2
        np.testing.assert_allclose(dx, cropped(wide, x, layer), rtol=1e-13, atol=1e-13)


def test_mean_of_the_whole_image():
    x = np.random.default_rng(0).standard_normal((3, 4, 5, 2))
    pool = GlobalAvgPool(spec.GlobalAvgPool("pool"))
    assert pool.name == "pool"
    y = pool.forward(x, Training())
    np.testing.assert_allclose(y, np.einsum("nrqc->nc", x) / 20, rtol=1e-13)
    dy = np.arange(6.0).reshape(3, 2)
    dx = pool.backward(dy)
    np.testing.assert_allclose(dx, np.einsum("nc,rq->nrqc", dy, np.full((4, 5), 1 / 20)))
    assert dx.flags.c_contiguous


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_nan_is_the_maximum(place):
    x = np.array([[[1.0], [2.0]], [[3.0], [4.0]]])[None]
    x[0][place] = np.nan
    pool = MaxPool2D(spec.MaxPool2D("pool"))
    assert np.isnan(pool.forward(x, None)).all()


def test_windows_of_minus_infinity():
    """Padding never wins: the gradient stays inside the image."""
    x = np.full((1, 2, 2, 1), -np.inf)
    pool = MaxPool2D(spec.MaxPool2D("pool", 2, 2, 1))
    np.testing.assert_array_equal(pool.forward(x, None), x)
    dx = pool.backward(np.arange(1.0, 5).reshape(1, 2, 2, 1))
    np.testing.assert_array_equal(dx[0, :, :, 0], [[1, 2], [3, 4]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layer", [MaxPool2D(spec.MaxPool2D("p")), AvgPool2D(spec.AvgPool2D("p"))])
def test_the_dtype_stays(dtype, layer):
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 3)).astype(dtype)
    y = layer.forward(x, None)
    assert y.dtype == layer.backward(y.copy()).dtype == dtype
