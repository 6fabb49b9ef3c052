"""Parameters in dicts, lists and tuples: their names, and the same containers again."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from triptych.doctor.frameworks.adapter import ModelError
from triptych.doctor.frameworks.function.tree import parameters_of, rebuilt


class Layer(NamedTuple):
    kernel: Any
    bias: Any


def array(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def test_the_nesting_gives_the_layers() -> None:
    tree = {"encoder": {"fc1": {"w": array(2, 3), "b": array(3)}}, "out": [array(3, 1), array(1)]}
    names = [each.name for each in parameters_of(tree)]
    assert names == ["encoder.fc1/w", "encoder.fc1/b", "out/0", "out/1"]


def test_collections_of_flax_are_parts_of_the_same_layers() -> None:
    tree = {"params": {"bn": {"scale": array(4)}}, "batch_stats": {"bn": {"mean": array(4)}}}
    parameters = parameters_of(tree)
    assert [each.name for each in parameters] == ["bn/scale", "bn/mean"]
    assert [each.user_name for each in parameters] == ["params/bn/scale", "batch_stats/bn/mean"]


def test_a_flat_dict_is_one_layer_and_slashes_are_no_levels() -> None:
    names = [each.name for each in parameters_of({"W1": array(2, 3), "mlp/b": array(3)})]
    assert names == ["parameters/W1", "parameters/mlp.b"]


def test_the_same_containers_get_other_arrays() -> None:
    tree = {"a": Layer(array(2), array(1)), "steps": 3, "key": np.zeros(2, np.uint32), "b": (None,)}
    given = [np.ones(2), np.full(1, 2.0)]
    made = rebuilt(tree, given)
    assert isinstance(made["a"], Layer)
    assert made["a"].kernel is given[0]
    assert made["a"].bias is given[1]
    assert made["steps"] == 3
    assert made["key"] is tree["key"]
    assert made["b"] == (None,)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"steps": 3}, "no arrays"),
        ({"params": {"a": {"w": array(1)}}, "batch_stats": {"a": {"w": array(1)}}}, "two arrays"),
    ],
)
def test_what_cannot_be_used_is_refused(tree: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parameters_of(tree)
