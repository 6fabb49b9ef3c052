"""Normalisation against its formulas, differences of the loss, and several workers."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.differences import numerical

pytest.importorskip("numba")

from triptych.engines.numba.layer import Training
from triptych.engines.numba.normalization import BatchNorm, LayerNorm
from triptych.spec import layers as spec

few = settings(max_examples=30, deadline=None)
shapes = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 6)),
    st.tuples(*[st.integers(1, 5)] * 3, st.integers(1, 6)),
)


def with_arrays(layer, channels, dtype=np.float64):
    rng = np.random.default_rng(3)
    layer.parameters = {
        leaf: rng.standard_normal(channels).astype(dtype) for leaf in ("gamma", "beta")
    }
    layer.gradients = {leaf: np.full_like(a, np.nan) for leaf, a in layer.parameters.items()}
    layer.buffers = {
        "running_mean": rng.standard_normal(channels).astype(dtype),
        "running_variance": rng.uniform(0.5, 2, channels).astype(dtype),
    }
    return layer


def normalised(x, layer, axes):
    variance = x.var(axis=axes, keepdims=True)
    normal = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(variance + layer.epsilon)
    return normal * layer.parameters["gamma"] + layer.parameters["beta"]


def check_gradients(layer, x, axes):
    """The backward pass is the slope of Σ y·weights, by central differences of the formula."""
    weights = np.random.default_rng(1).standard_normal(x.shape)
    layer.forward(x, Training())
    dx = layer.backward(weights)

    def loss():
        return (normalised(x, layer, axes) * weights).sum()

    arrays = [(x, dx)]
    arrays += [(layer.parameters[leaf], layer.gradients[leaf]) for leaf in ("gamma", "beta")]
    for array, gradient in arrays:
        assert gradient.dtype == array.dtype
        assert gradient == pytest.approx(numerical(loss, array), rel=1e-6, abs=1e-6)


@few
@given(shapes, st.booleans())
def test_batch_norm(shape, unbiased):
    x = np.random.default_rng(sum(shape)).standard_normal(shape) + 2
    layer = with_arrays(BatchNorm(spec.BatchNorm("norm", 0.2, 0.1, unbiased)), shape[-1])
    axes = tuple(range(len(shape) - 1))
    expected = normalised(x, layer, axes)
    np.testing.assert_allclose(layer.forward(x, Training()), expected, rtol=1e-12, atol=1e-12)
    check_gradients(layer, x, axes)
    before = {leaf: array.copy() for leaf, array in layer.buffers.items()}
    layer.update_buffers()
    count = x.size // shape[-1]
    variance = x.var(axis=axes)
    if unbiased and count > 1:
        variance = x.var(axis=axes, ddof=1)
    means = 0.8 * before["running_mean"] + 0.2 * x.mean(axis=axes)
    variances = 0.8 * before["running_variance"] + 0.2 * variance
    np.testing.assert_allclose(layer.buffers["running_mean"], means, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(layer.buffers["running_variance"], variances, rtol=1e-12)


def test_batch_norm_in_evaluation():
    x = np.random.default_rng(0).standard_normal((3, 2, 2, 4))
    layer = with_arrays(BatchNorm(spec.BatchNorm("norm")), 4)
    deviation = np.sqrt(layer.buffers["running_variance"] + 1e-5)
    normal = (x - layer.buffers["running_mean"]) / deviation
    expected = normal * layer.parameters["gamma"] + layer.parameters["beta"]
    np.testing.assert_allclose(layer.forward(x, None), expected, rtol=1e-12)


@few
@given(shapes)
def test_layer_norm(shape):
    x = np.random.default_rng(sum(shape)).standard_normal(shape) - 1
    layer = with_arrays(LayerNorm(spec.LayerNorm("norm", 0.1)), shape[-1])
    expected = normalised(x, layer, -1)
    for training in (Training(), None):
        np.testing.assert_allclose(layer.forward(x, training), expected, rtol=1e-12, atol=1e-12)
    check_gradients(layer, x, -1)


class Group:
    """Workers in threads whose arrays are added."""

    def __init__(self, count):
        self.barrier = Barrier(count)
        self.arrays = {}

    def member(self, worker):
        def all_reduce(array):
            self.arrays[worker] = array.copy()
            self.barrier.wait(10)
            total = sum(self.arrays[key] for key in sorted(self.arrays))
            self.barrier.wait(10)
            return total

        return all_reduce


@pytest.mark.parametrize("sizes", [(3, 4), (5, 1, 1), (7, 0)])
def test_batch_norm_of_several_workers_is_that_of_the_whole_batch(sizes):
    x = np.random.default_rng(0).standard_normal((7, 2, 3, 4))
    dy = np.random.default_rng(1).standard_normal(x.shape)
    settings_of_norm = spec.BatchNorm("norm", 0.3, 1e-3)
    single = with_arrays(BatchNorm(settings_of_norm), 4)
    y = single.forward(x, Training())
    dx = single.backward(dy)
    single.update_buffers()
    group = Group(len(sizes))
    ends = np.cumsum(sizes)[:-1]

    def work(worker):
        layer = with_arrays(BatchNorm(settings_of_norm), 4)
        layer.all_reduce = group.member(worker)
        part = np.ascontiguousarray(np.split(x, ends)[worker])
        found = layer.forward(part, Training()).copy()
        gradient = layer.backward(np.ascontiguousarray(np.split(dy, ends)[worker]))
        layer.update_buffers()
        return layer, found, gradient

    with ThreadPoolExecutor(len(sizes)) as pool:
        results = list(pool.map(work, range(len(sizes))))
    np.testing.assert_allclose(np.concatenate([r[1] for r in results]), y, rtol=1e-12)
    np.testing.assert_allclose(np.concatenate([r[2] for r in results]), dx, rtol=1e-11, atol=1e-13)
    for leaf in ("gamma", "beta"):
        total = sum(layer.gradients[leaf] for layer, _, _ in results)
        np.testing.assert_allclose(total, single.gradients[leaf], rtol=1e-11, atol=1e-13)
    for layer, _, _ in results:
        for leaf, array in single.buffers.items():
            np.testing.assert_allclose(layer.buffers[leaf], array, rtol=1e-12)


def test_sums_of_many_float32_numbers():
    """The sums are exact enough that only the last digits of the output differ."""
    x = (np.random.default_rng(0).standard_normal((50_000, 2)) + 100).astype(np.float32)
    layer = with_arrays(BatchNorm(spec.BatchNorm("norm")), 2, np.float32)
    y = layer.forward(x, Training())
    expected = normalised(x.astype(np.float64), layer, 0)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, rtol=0, atol=3e-5)


@pytest.mark.parametrize("layer", [BatchNorm(spec.BatchNorm("n")), LayerNorm(spec.LayerNorm("n"))])
def test_float32_stays_float32_and_nan_is_kept(layer):
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    x[2, 1] = np.nan
    with_arrays(layer, 3, np.float32)
    y = layer.forward(x, Training())
    dx = layer.backward(np.ones_like(y))
    assert y.dtype == dx.dtype == np.float32
    assert np.isnan(y[2, 1])
    assert np.isnan(dx[2, 1])
