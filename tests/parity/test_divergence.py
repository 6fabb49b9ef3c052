"""The yardstick itself: what it calls equal, and what it says of what is not."""

import numpy as np
import pytest
from support.errors import relative_errors

from triptych.core import registry, state
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.core.state import State
from triptych.parity import lockstep
from triptych.parity.divergence import first_divergence
from triptych.spec import zoo
from triptych.spec.optimizers import optimizer
from triptych.spec.recipe import Recipe

TRACE = {
    "output/hidden": np.array([[1.0, -2.0]]),
    "output/output": np.array([[4.0, 8.0]]),
    "loss": np.array(0.5),
    "gradient/output/kernel": np.array([10.0, 1.0]),
    "gradient/hidden/kernel": np.array([1e-3, 2e-3]),
}
STATE = {
    "output/kernel": np.array([[1.0, 2.0]]),
    "output/bias": np.zeros(2),
    "output/kernel/m": np.array([[3.0, 4.0]]),
    "step": np.array(3),
}


def test_a_figure_is_over_the_largest_of_its_kind():
    other = TRACE | {"gradient/hidden/kernel": np.array([1e-3, 2e-3 + 1e-6])}
    assert (
        relative_errors(TRACE, other)["gradients"]
        == np.abs(other["gradient/hidden/kernel"][1] - 2e-3) / 10.0
    )
    assert relative_errors(TRACE, TRACE) == {
        "output/hidden": 0,
        "output/output": 0,
        "loss": 0,
        "gradients": 0,
    }
    # a layer that is called "output" is not the stage of that name
    assert relative_errors(STATE, STATE, "update") == {"weights": 0, "m": 0, "step": 0}


def test_the_first_divergence_is_the_first_in_order_of_computation():
    wrong = TRACE | {
        "gradient/output/kernel": np.array([10.0, 2.0]),
        "output/output": np.array([[4.0, 8.1]]),
    }
    difference = first_divergence(TRACE, wrong, 1e-11)
    assert difference
    assert (difference.stage, difference.layer, difference.index, difference.why) == (
        "output",
        "output",
        (0, 1),
        "value",
    )
    assert (difference.reference, difference.candidate) == ("8", "8.0999999999999996")
    assert "layer output: output/output[0, 1] is 8.0999999999999996, the reference has 8" in str(
        difference
    )
    assert first_divergence(TRACE, TRACE, 0.0) is None


def test_shape_then_dtype_then_value():
    for changed, why in (
        (np.zeros((2, 1)), "shape"),
        (np.array([[1.0, 2.0]], np.float32), "dtype"),
        (np.array([[1.0, np.nan]]), "not finite"),
        (np.array([[np.inf, 2.0]]), "not finite"),
        (np.array([[1.0, 2.1]]), "value"),
    ):
        difference = first_divergence(STATE, STATE | {"output/kernel": changed}, 1e-11, "update")
        assert difference
        assert (difference.why, difference.stage, difference.layer) == (why, "update", "output")
        assert (
            relative_errors(STATE, STATE | {"output/kernel": changed}, "update")["weights"] > 1e-11
        )


def test_a_loss_is_an_array_without_axes():
    difference = first_divergence(TRACE, TRACE | {"loss": np.array(0.6)}, 1e-11)
    assert difference
    assert (difference.stage, difference.layer, difference.index) == ("loss", "-", ())


def test_the_bound_on_weights_is_theirs_and_that_of_arrays_by_name():
    """A difference of 1e-9 in each array by itself, with a bound of 1e-7 on weights."""
    reference = STATE | {"norm/running_mean": np.ones(2), "other/running_mean": np.ones(2)}
    shifted = frozenset({"norm/running_mean"})
    tolerances = lockstep.Tolerances(weights=1e-7, bound=1e-11, shifted=shifted)
    for name in reference:
        changed = reference | {name: reference[name] * (1 + 1e-9) + 1e-9}
        difference = first_divergence(reference, changed, tolerances.limit, "update")
        widened = name in {"output/kernel", "output/bias", "norm/running_mean"}
        assert (difference is None) == widened, name


def test_missing_and_extra_arrays_fail():
    less = {name: array for name, array in STATE.items() if name != "output/bias"}
    difference = first_divergence(STATE, less, 1e-11, "update")
    assert difference
    assert (difference.name, difference.why) == ("output/bias", "missing")
    assert relative_errors(STATE, less, "update")["weights"] == np.inf
    difference = first_divergence(less, STATE, 1e-11, "update")
    assert difference
    assert (difference.name, difference.why) == ("output/bias", "missing")


def test_two_all_zero_kinds_are_equal_and_one_is_not():
    zero = {"a/bias": np.zeros(3)}
    assert first_divergence(zero, {"a/bias": np.zeros(3)}, 1e-11, "update") is None
    assert first_divergence(zero, {"a/bias": np.array([0, 1e-300, 0])}, 1e-11, "update")


def gradients(*values: float) -> State:
    return {"gradient/output/bias": np.array(values)}


def test_gradients_that_are_rounding_as_a_whole_are_equal():
    """Means of differences of probabilities, each known to one unit in the last place of 1."""
    noise = gradients(8.7e-18, -5e-18)
    assert first_divergence(noise, gradients(0.0, 3e-18), 1e-11) is None
    assert first_divergence(gradients(0.0, 0.0), noise, 1e-11) is None
    assert relative_errors(noise, gradients(0.0, 3e-18))["gradients"] <= 1e-11
    slots = {
        "output/bias/m": noise["gradient/output/bias"],
        "output/bias/v": np.array([7.6e-35, 2.5e-35]),
    }
    other = {"output/bias/m": np.zeros(2), "output/bias/v": np.array([0.0, 1e-33])}
    assert first_divergence(slots, other, 1e-11, "update") is None


def test_small_gradients_that_are_wrong_are_found():
    """Of a size of 1e-6, by a hundred-millionth; a gradient that should be zero; a slot of
    squares.
    """
    for right, wrong in (
        (gradients(1e-6, 2e-7), gradients(1e-6, 2e-7 + 1e-14)),
        (gradients(1e-9, 2e-9), gradients(1e-9, 2.001e-9)),
        (gradients(0.0, 0.0), gradients(0.0, 3e-16)),
    ):
        assert first_divergence(right, wrong, 1e-11)
        assert relative_errors(right, wrong)["gradients"] > 1e-11
    squares = {"output/bias/v": np.array([1e-12, 4e-14])}
    assert first_divergence(
        squares, {"output/bias/v": np.array([1e-12, 4e-14 + 1e-21])}, 1e-11, "update"
    )
    # Weights and losses have no floor.
    for name in ("output/bias", "output/bias/unknown"):
        assert first_divergence(
            {name: np.zeros(2)}, {name: np.array([0.0, 1e-18])}, 1e-11, "update"
        )
    assert first_divergence({"loss": np.array(0.0)}, {"loss": np.array(1e-18)}, 1e-11)


@pytest.mark.parametrize("chosen", ["sgd", "momentum", "nesterov", "adadelta"])
def test_images_without_a_pixel_in_equal_classes_are_proved_equal(chosen: str):
    """The true gradient of every parameter is zero.

    The other optimizers divide it by something as small.
    """
    pytest.importorskip("torch")
    black = Split(np.zeros((20, 28, 28, 1), np.uint8), np.tile(np.arange(10, dtype=np.int32), 2))
    network = zoo.get("classic")
    recipe = Recipe(5, "full", optimizer(chosen), dtype="float64")
    start = state.initial(network, recipe)
    reference, other = (registry.create(name, network, recipe) for name in ("numpy", "torch"))
    steps = BatchPlanner(network, recipe, len(black), 1).singles()
    *_, outcome = lockstep.walk(
        reference, other, black, steps, start, lockstep.Tolerances.of(network, recipe)
    )
    assert outcome.equal, str(outcome.divergence)
    assert outcome.steps == 5


def test_a_reference_that_is_not_finite_is_equal_to_nothing():
    for wrong in (np.nan, np.inf):
        reference = TRACE | {"output/output": np.array([[wrong, 8.0]])}
        for candidate in (TRACE, reference):
            difference = first_divergence(reference, candidate, 1e-11)
            assert difference
            assert difference.why == "not finite"
            assert relative_errors(reference, candidate)["output/output"] == np.inf
