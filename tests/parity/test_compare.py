"""The yardstick itself: what it calls equal, and what it says of what is not."""

import numpy as np

from triptych.parity.compare import figures, first_divergence

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
    assert figures(TRACE, other)["gradients"] == np.abs(other["gradient/hidden/kernel"][1] - 2e-3) / 10.0
    assert figures(TRACE, TRACE) == {"output/hidden": 0, "output/output": 0, "loss": 0, "gradients": 0}
    # a layer that is called "output" is not the stage of that name
    assert figures(STATE, STATE, "update") == {"weights": 0, "m": 0, "step": 0}


def test_the_first_divergence_is_the_first_in_order_of_computation():
    wrong = TRACE | {"gradient/output/kernel": np.array([10.0, 2.0]), "output/output": np.array([[4.0, 8.1]])}
    found = first_divergence(TRACE, wrong, 1e-11)
    assert found
    assert (found.stage, found.layer, found.index, found.why) == ("output", "output", (0, 1), "value")
    assert (found.reference, found.candidate) == ("8", "8.0999999999999996")
    assert "layer output: output/output[0, 1] is 8.0999999999999996, the reference has 8" in str(found)
    assert first_divergence(TRACE, TRACE, 0.0) is None


def test_shape_then_dtype_then_value():
    for changed, why in (
        (np.zeros((2, 1)), "shape"),
        (np.array([[1.0, 2.0]], np.float32), "dtype"),
        (np.array([[1.0, np.nan]]), "not finite"),
        (np.array([[np.inf, 2.0]]), "not finite"),
        (np.array([[1.0, 2.1]]), "value"),
    ):
        found = first_divergence(STATE, STATE | {"output/kernel": changed}, 1e-11, "update")
        assert found
        assert (found.why, found.stage, found.layer) == (why, "update", "output")
        assert figures(STATE, STATE | {"output/kernel": changed}, "update")["weights"] > 1e-11


def test_a_loss_is_an_array_without_axes():
    found = first_divergence(TRACE, TRACE | {"loss": np.array(0.6)}, 1e-11)
    assert found
    assert (found.stage, found.layer, found.index) == ("loss", "-", ())


def test_the_bound_on_weights_is_theirs_and_that_of_arrays_by_name():
    """A difference of 1e-9 in each array by itself, with a bound of 1e-7 on weights."""
    own = STATE | {"norm/running_mean": np.ones(2), "other/running_mean": np.ones(2)}
    shifted = frozenset({"norm/running_mean"})
    for name in own:
        changed = own | {name: own[name] * (1 + 1e-9) + 1e-9}
        found = first_divergence(own, changed, 1e-11, "update", weights=1e-7, shifted=shifted)
        widened = name in {"output/kernel", "output/bias", "norm/running_mean"}
        assert (found is None) == widened, name


def test_missing_and_extra_arrays_fail():
    less = {name: array for name, array in STATE.items() if name != "output/bias"}
    found = first_divergence(STATE, less, 1e-11, "update")
    assert found
    assert (found.name, found.why) == ("output/bias", "missing")
    assert figures(STATE, less, "update")["weights"] == np.inf
    found = first_divergence(less, STATE, 1e-11, "update")
    assert found
    assert (found.name, found.why) == ("output/bias", "missing")


def test_two_all_zero_kinds_are_equal_and_one_is_not():
    zero = {"a/bias": np.zeros(3)}
    assert first_divergence(zero, {"a/bias": np.zeros(3)}, 1e-11, "update") is None
    assert first_divergence(zero, {"a/bias": np.array([0, 1e-300, 0])}, 1e-11, "update")


def test_a_reference_that_is_not_finite_is_equal_to_nothing():
    for wrong in (np.nan, np.inf):
        reference = TRACE | {"output/output": np.array([[wrong, 8.0]])}
        for candidate in (TRACE, reference):
            found = first_divergence(reference, candidate, 1e-11)
            assert found
            assert found.why == "not finite"
            assert figures(reference, candidate)["output/output"] == np.inf
