"""Which settings of two calls may be the cause, and what the catalogue calls it."""

import pytest

from triptych.doctor.hypotheses import hypotheses
from triptych.doctor.observation import Call


def call(kind: str, **settings: object) -> Call:
    return Call(3, "layer", kind, kind, settings)


def test_functions_that_also_have_another_axis_are_told_with_it() -> None:
    a = call("activation", function="log_softmax", axis=-1)
    b = call("activation", function="softmax", axis=-2)
    (hypothesis,) = hypotheses(a, b)
    assert hypothesis.values == {"function": ("log_softmax", "softmax"), "axis": (-1, -2)}
    assert hypothesis.cause == "D121"
    changed = {change.setting: change.value for change in hypothesis.changes}
    assert changed == {"function": "log_softmax", "axis": -1}
    (same_axis,) = hypotheses(a, call("activation", function="softmax", axis=-1))
    assert list(same_axis.values) == ["function"]
    assert same_axis.cause is None


@pytest.mark.parametrize(
    ("setting", "a", "b", "cause"),
    [
        ("reset_after", True, False, "D106"),
        ("batch_first", True, False, "D99"),
        # Another function, not another formula of the hard sigmoid.
        ("recurrent_activation", "sigmoid", "hard_sigmoid", None),
    ],
)
def test_settings_of_a_recurrent_layer(setting: str, a: object, b: object, cause: object) -> None:
    (hypothesis,) = hypotheses(call("gru", **{setting: a}), call("gru", **{setting: b}))
    assert hypothesis.cause == cause
