"""The bound on logits: of the size of what float32 sums really lose, in any order."""

from dataclasses import replace

import numpy as np
import pytest
from support import exporting

from triptych.core import state as states
from triptych.exporting.verification import UNIT_ROUNDOFF, Reference, with_rounded_sums
from triptych.spec import zoo
from triptych.spec.layers import BatchNorm, Dense, Flatten
from triptych.spec.network import Network


def one_sum(length: int) -> Network:
    """A network whose logits are sums of so many products."""
    return Network("sums", (1, length, 1), (Flatten("flatten"), Dense("output", 8)))


def added_one_by_one(model, images: np.ndarray) -> np.ndarray:
    """Return the logits, rounded to float32 after each product and each sum."""
    kernel = model.state["output/kernel"]
    total = np.zeros((len(images), kernel.shape[1]), np.float32)
    for pixel, weights in zip(images.reshape(len(images), -1).T, kernel, strict=True):
        total += pixel[:, np.newaxis] * weights
    return total + model.state["output/bias"]


@pytest.mark.parametrize("length", [100, 1_000, 10_000])
def test_it_holds_for_sums_that_are_rounded_after_each_product(length: int):
    network = one_sum(length)
    model = exporting.model_of(network)
    test = exporting.samples_of(network, 200)
    reference = Reference.of(model, test)
    error = np.abs(added_one_by_one(model, test.pixels("float32")) - reference.logits).max()
    assert reference.bound / 40 < error < reference.bound


def test_it_is_small_against_a_mistake():
    """Keras's epsilon in the place of PyTorch's changes the logits far more."""
    network = zoo.get("lenet-bn")
    layers = [
        replace(layer, epsilon=1e-3) if isinstance(layer, BatchNorm) else layer
        for layer in network.layers
    ]
    other = replace(network, layers=tuple(layers))
    test = exporting.samples_of(network)
    state = exporting.random_state(network)
    reference = Reference.of(exporting.model_of(network, state), test)
    mistaken = Reference.of(exporting.model_of(other, state), test)
    assert np.abs(mistaken.logits - reference.logits).max() > 20 * reference.bound


def test_only_kernels_differ_and_all_of_them_by_what_their_sums_lose():
    model = exporting.model_of(zoo.get("lenet-bn"))
    exact = states.cast(model.state, "float64")
    rounded = with_rounded_sums(model.network, model.state)
    for name, array in exact.items():
        if name.endswith("/kernel"):
            relative = np.std(rounded[name] / array - 1)
            expected = np.sqrt(array.size / array.shape[-1]) * UNIT_ROUNDOFF
            assert relative == pytest.approx(expected, rel=0.3)
        else:
            assert np.array_equal(rounded[name], array)
