"""Which loss belongs to which output and target."""

import numpy as np
import pytest

from triptych.doctor.frameworks.adapter import ModelError
from triptych.doctor.frameworks.several_losses import SeveralLosses, of_parts


def terms(losses: object, outputs: object, targets: list[str], **given: object) -> list[object]:
    several = SeveralLosses(losses, given.get("weights"))
    found = several.terms(outputs, targets, given.get("order", ()))  # type: ignore[arg-type]
    return [(each.loss, each.weight, each.output, each.target) for each in found]


def test_losses_take_outputs_and_targets_in_their_order() -> None:
    found = terms(["f", "g"], ["a", "b"], ["y", "y2"], weights=[1, 0.5])
    assert found == [("f", 1.0, "a", "y"), ("g", 0.5, "b", "y2")]


def test_one_target_is_that_of_every_loss() -> None:
    assert terms(["f", "g"], ("a", "b"), ["y"]) == [("f", 1.0, "a", "y"), ("g", 1.0, "b", "y")]


@pytest.mark.parametrize(("targets", "expected"), [(["y", "y2"], "y2"), (["y2"], "y2")])
def test_an_output_without_a_loss_is_left_out(targets: list[str], expected: str) -> None:
    assert terms([None, "g"], ["a", "b"], targets) == [("g", 1.0, "b", expected)]


def test_targets_that_fit_the_losses_belong_to_them_alone() -> None:
    several = SeveralLosses({"one": "f", "two": None, "three": "h"})
    assert several.targets(["y", "y2"])[::2] == ["y", "y2"]
    assert several.targets(["y", "y2", "y3"]) == ["y", "y2", "y3"]
    assert several.targets(["y"]) == ["y", "y", "y"]


def test_names_are_those_of_a_dict_or_of_the_model() -> None:
    losses = {"second": "g", "first": "f"}
    expected = [("g", 1.0, "b", "y"), ("f", 3.0, "a", "y2")]
    outputs = {"first": "a", "second": "b"}
    assert terms(losses, outputs, ["y", "y2"], weights={"first": 3}) == expected
    order = ("first", "second")
    found = terms(losses, ["a", "b"], ["y", "y2"], weights={"first": 3}, order=order)
    assert found == expected


@pytest.mark.parametrize(
    ("losses", "outputs", "targets", "weights", "message"),
    [
        (["f", "g"], ["a", "b"], ["y"], [1.0], "1 weights of 2 losses"),
        ([None, None], ["a", "b"], ["y"], None, "no loss of any output"),
        ({"f": 1}, ["a"], ["y"], {"g": 1.0}, "has 'g', of which there is no loss"),
        (["f", "g"], ["a", "b"], ["y", "y2", "y3"], None, "2 losses and 3 targets"),
        (["f", "g"], ["a"], ["y"], None, "output 1; the model returns 1 outputs without names"),
        ({"f": 1}, {"a": 1}, ["y"], None, "output 'f'; the model returns a"),
    ],
)
def test_what_does_not_fit_is_refused(
    losses: object, outputs: object, targets: list[str], weights: object, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        terms(losses, outputs, targets, weights=weights)


def test_one_loss_with_weights_is_that_of_each_output() -> None:
    several = of_parts({"loss": "f", "loss_weights": [1.0, 2.0]})
    assert several.losses == ["f", "f"]
    several = of_parts({"loss": "f", "loss_weights": np.array([1.0, 2.0])})
    assert (several.losses, several.weights) == (["f", "f"], [1.0, 2.0])
    assert of_parts({"loss": "f"}) == "f"
    assert of_parts({}) is None
