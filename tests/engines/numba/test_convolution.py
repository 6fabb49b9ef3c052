"""Convolutions, alone and with ReLU and pooling, against sums over the places of a window."""

import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.differences import numerical

pytest.importorskip("numba")

from triptych.engines.numba import convolution
from triptych.engines.numba.convolution import Conv2D, ConvolutionBlock, build_block, find_blocks
from triptych.engines.numba.layer import Training
from triptych.spec import layers as spec
from triptych.spec.network import Network

few = settings(max_examples=40, deadline=None)


def taps(x, layer):
    """What each place (i, j) of the window sees, (n, rows, columns, c), as views of padded x."""
    p, s, size = layer.padding, layer.stride, layer.size
    wide = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
    rows = (wide.shape[1] - size) // s + 1
    columns = (wide.shape[2] - size) // s + 1
    ends = s * (rows - 1) + 1, s * (columns - 1) + 1
    views = {
        (i, j): wide[:, i : i + ends[0] : s, j : j + ends[1] : s]
        for i, j in product(range(size), repeat=2)
    }
    return wide, views


def groups_of(layer, inputs):
    """The channels in and out of each group."""
    c, f = inputs // layer.groups, layer.filters // layer.groups
    return [(slice(g * c, (g + 1) * c), slice(g * f, (g + 1) * f)) for g in range(layer.groups)]


def convolve(x, kernel, bias, layer):
    _, views = taps(x, layer)
    y = np.zeros((*next(iter(views.values())).shape[:3], layer.filters)) + bias
    for (i, j), view in views.items():
        for reads, writes in groups_of(layer, x.shape[-1]):
            y[..., writes] += view[..., reads] @ kernel[i, j][:, writes]
    return y


def convolve_backward(x, kernel, dy, layer):
    _, views = taps(x, layer)
    dwide, dviews = taps(np.zeros_like(x), layer)
    dkernel = np.zeros_like(kernel)
    for i, j in views:
        for reads, writes in groups_of(layer, x.shape[-1]):
            dkernel[i, j][:, writes] = np.einsum(
                "nrqc,nrqf->cf", views[i, j][..., reads], dy[..., writes]
            )
            dviews[i, j][..., reads] += dy[..., writes] @ kernel[i, j][:, writes].T
    p = layer.padding
    return dkernel, dy.sum(axis=(0, 1, 2)), dwide[:, p : p + x.shape[1], p : p + x.shape[2]]


def pool_windows(y):
    """The four numbers of each 2×2 window, in row-major order, (n, rows, columns, f, 4)."""
    n, rows, columns, f = y.shape
    even = y[:, : rows // 2 * 2, : columns // 2 * 2]
    windows = even.reshape(n, rows // 2, 2, columns // 2, 2, f)
    return windows.transpose(0, 1, 3, 5, 2, 4).reshape(n, rows // 2, columns // 2, f, 4)


def unpool(dy, y):
    """dy where the first largest number of each window is, zeros elsewhere."""
    winner = np.argmax(pool_windows(y), axis=-1)
    dz = np.zeros_like(y)
    for n, r, q, f in np.ndindex(dy.shape):
        k = winner[n, r, q, f]
        dz[n, 2 * r + k // 2, 2 * q + k % 2, f] = dy[n, r, q, f]
    return dz


def with_arrays(block, x, layer, seed=0):
    """Give a block its kernel, bias and gradients."""
    rng = np.random.default_rng(seed)
    shape = (layer.size, layer.size, x.shape[-1] // layer.groups, layer.filters)
    block.parameters = {"kernel": rng.standard_normal(shape).astype(x.dtype)}
    if layer.bias:
        block.parameters["bias"] = rng.standard_normal(layer.filters).astype(x.dtype)
    block.gradients = {leaf: np.full_like(a, np.nan) for leaf, a in block.parameters.items()}
    return block


def check_block(layer, x, relu, pooled):
    block = with_arrays(ConvolutionBlock(layer, relu=relu, pooled=pooled), x, layer)
    kernel = block.parameters["kernel"]
    bias = block.parameters.get("bias", np.zeros(layer.filters))
    z = convolve(x, kernel, bias, layer)
    a = np.maximum(z, 0) if relu else z
    expected = pool_windows(a).max(axis=-1) if pooled else a
    for _ in range(2):  # the second time memory is not new
        y = block.forward(x, Training())
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
        dy = np.random.default_rng(1).standard_normal(y.shape)
        dx = block.backward(dy)
        da = unpool(dy, a) if pooled else dy
        dz = da * (z > 0) if relu else da
        dkernel, dbias, expected_dx = convolve_backward(x, kernel, dz, layer)
        np.testing.assert_allclose(block.gradients["kernel"], dkernel, rtol=1e-12, atol=1e-11)
        np.testing.assert_allclose(dx, expected_dx, rtol=1e-12, atol=1e-11)
        if layer.bias:
            np.testing.assert_allclose(block.gradients["bias"], dbias, rtol=1e-12, atol=1e-11)


@st.composite
def cases(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    layer = spec.Conv2D(
        "conv",
        groups * draw(st.integers(1, 3)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 3)),
        groups,
        bias=draw(st.booleans()),
    )
    least = max(1, layer.size - 2 * layer.padding + layer.stride)  # two rows of windows
    sides = st.integers(least, least + 7)
    shape = (draw(st.integers(0, 3)), draw(sides), draw(sides), groups * draw(st.integers(1, 8)))
    return layer, np.random.default_rng(draw(st.integers(0, 99))).standard_normal(shape)


@few
@given(cases(), st.booleans(), st.booleans())
def test_products_of_windows(case, relu, pooled):
    layer, x = case
    pooled = pooled and layer.groups == 1
    check_block(layer, x, relu, pooled)


@few
@given(
    st.integers(0, 3),
    st.integers(4, 11),
    st.integers(4, 11),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)
def test_winograd(n, h, w, c, f, padding, relu, pooled):
    layer = spec.Conv2D("conv", f, 3, 1, padding)
    x = np.random.default_rng(n + 10 * h + 100 * w).standard_normal((n, h, w, c))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "LEAST_CHANNELS", 1)
        check_block(layer, x, relu, pooled)


METHODS = pytest.mark.parametrize("least_channels", [1, 1000], ids=["winograd", "windows"])


@pytest.fixture
def method(monkeypatch, least_channels):
    monkeypatch.setattr(convolution, "LEAST_CHANNELS", least_channels)


@METHODS
@pytest.mark.usefixtures("method")
def test_differences_of_the_loss():
    """The gradients are slopes of Σ y·weights, which central differences measure."""
    layer = spec.Conv2D("conv", 3, 3, 1, 1)
    x = np.random.default_rng(5).standard_normal((2, 6, 5, 2))
    block = with_arrays(ConvolutionBlock(layer, relu=True, pooled=True), x, layer)
    weights = np.random.default_rng(1).standard_normal(block.forward(x, None).shape)
    dx = block.backward(weights).copy()

    def loss():
        return (block.forward(x, None) * weights).sum()

    for array, gradient in [
        (x, dx),
        (block.parameters["kernel"], block.gradients["kernel"].copy()),
        (block.parameters["bias"], block.gradients["bias"].copy()),
    ]:
        assert gradient == pytest.approx(numerical(loss, array, 1e-6), rel=1e-6, abs=1e-6)


@METHODS
@pytest.mark.usefixtures("method")
def test_of_equal_numbers_the_first_receives_the_gradient():
    """A kernel with one 1 in its middle returns x, whose numbers are all equal here."""
    layer = spec.Conv2D("conv", 1, 3, 1, 1, bias=False)
    x = np.ones((1, 4, 4, 1))
    block = with_arrays(ConvolutionBlock(layer, pooled=True), x, layer)
    block.parameters["kernel"][...] = 0
    block.parameters["kernel"][1, 1] = 1
    np.testing.assert_array_equal(block.forward(x, Training()), np.ones((1, 2, 2, 1)))
    dx = block.backward(np.arange(1.0, 5).reshape(1, 2, 2, 1))
    expected = [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(dx[0, :, :, 0], expected)


@METHODS
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.usefixtures("method")
def test_nan_reaches_every_output_that_depends_on_it(relu, pooled):
    layer = spec.Conv2D("conv", 2, 3, 1, 1)
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 2))
    x[0, 3, 4, 1] = np.nan
    block = with_arrays(ConvolutionBlock(layer, relu=relu, pooled=pooled), x, layer)
    depends = np.zeros((8, 8), bool)
    depends[2:5, 3:6] = True
    if pooled:
        depends = depends.reshape(4, 2, 4, 2).any(axis=(1, 3))
    y = block.forward(x, Training())
    assert np.isnan(y[0][depends]).all()


@METHODS
@pytest.mark.usefixtures("method")
def test_two_shares_add_up_to_one(monkeypatch):
    layer = spec.Conv2D("conv", 5, 3, 1, 1)
    x = np.random.default_rng(0).standard_normal((7, 9, 8, 4))
    results = {}
    for shares in (1, 2, 3):
        monkeypatch.setattr(convolution, "get_num_threads", lambda shares=shares: shares)
        block = with_arrays(ConvolutionBlock(layer, relu=True, pooled=True), x, layer)
        y = block.forward(x, Training())
        results[shares] = [y, block.backward(np.ones_like(y)), *block.gradients.values()]
        for array, single in zip(results[shares], results[1], strict=True):
            np.testing.assert_allclose(array, single, rtol=1e-12, atol=1e-12)


TWO_THREADS = """
import numpy as np
from triptych.engines.numba import convolution
from triptych.engines.numba.layer import Training
from triptych.spec import layers as spec
rng = np.random.default_rng(0)
x = rng.standard_normal((9, 10, 10, 20))
results = set()
for least in (1, 1000):
    convolution.LEAST_CHANNELS = least
    block = convolution.ConvolutionBlock(spec.Conv2D("conv", 24), relu=True, pooled=True)
    block.parameters = {"kernel": rng.standard_normal((3, 3, 20, 24)), "bias": np.ones(24)}
    block.gradients = {leaf: np.empty_like(a) for leaf, a in block.parameters.items()}
    results = set()
    for _ in range(20):
        y = block.forward(x, Training())
        arrays = [y, block.backward(np.ones_like(y)), *block.gradients.values()]
        results.add(b"".join(array.tobytes() for array in arrays))
    print(len(results))
"""


@pytest.mark.process
def test_runs_with_two_threads_are_equal_bit_by_bit():
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TWO_THREADS], env=environment, capture_output=True, check=True
    )
    assert done.stdout.split() == [b"1", b"1"]


def test_the_rounding_of_winograd_is_that_of_windows(monkeypatch):
    """In float32, root mean square of the difference to float64: 0.67, 1.66 and 0.94 of it."""
    rng = np.random.default_rng(0)
    layer = spec.Conv2D("conv", 64)
    x = rng.standard_normal((4, 26, 26, 32))
    dy = rng.standard_normal((4, 24, 24, 64))
    exact = with_arrays(Conv2D(layer), x, layer)
    references = [exact.forward(x, Training()), exact.backward(dy), exact.gradients["kernel"]]
    errors = {}
    for least in (1, 1000):
        monkeypatch.setattr(convolution, "LEAST_CHANNELS", least)
        small = with_arrays(Conv2D(layer), x.astype(np.float32), layer)
        for leaf, array in exact.parameters.items():
            small.parameters[leaf] = array.astype(np.float32)
            small.gradients[leaf] = np.empty_like(small.parameters[leaf])
        found = [small.forward(x.astype(np.float32), Training())]
        found += [small.backward(dy.astype(np.float32)), small.gradients["kernel"]]
        errors[least] = [
            np.sqrt(np.mean((array - reference) ** 2))
            for array, reference in zip(found, references, strict=True)
        ]
    assert (np.array(errors[1]) < 2 * np.array(errors[1000])).all()


def test_what_is_computed_in_one_sweep():
    network = Network(
        "blocks",
        (16, 16, 1),
        (
            spec.Conv2D("conv1", 2, padding=1),
            spec.Conv2D("conv2", 2, padding=1),
            spec.ReLU("relu2"),
            spec.MaxPool2D("pool2"),
            spec.Conv2D("conv3", 2, padding=1),
            spec.MaxPool2D("pool3"),
            spec.ReLU("relu3"),
            spec.Conv2D("conv4", 2, padding=1),
            spec.ReLU("relu4"),
            spec.MaxPool2D("pool4", 3, 2),
            spec.Flatten("flatten"),
            spec.Dense("dense", 3),
        ),
    )
    places = network.chain
    assert find_blocks(places) == [1, 3, 2, 1, 2, 1, 1, 1]
    block = build_block(places[1:4])
    assert (block.name, block.relu, block.pooled) == ("conv2", True, True)
    block = build_block(places[4:6])
    assert (block.name, block.relu, block.pooled) == ("conv3", False, True)
