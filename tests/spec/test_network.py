import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.errors import SpecError
from triptych.spec import zoo
from triptych.spec.layers import (
    LAYERS,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    MaxPool2D,
    ReLU,
    Residual,
    register_layer,
)
from triptych.spec.network import Network
from triptych.spec.placement import Layer
from triptych.spec.serialization import layer_from_json, layer_to_json


@pytest.fixture
def stack() -> Iterator[type[Layer]]:
    """A registered layer that holds layers under a name of its own."""

    @dataclass(frozen=True)
    class Stack(Layer):
        parts: tuple[Layer, ...] = ()
        often: int = 1

    register_layer(Stack)
    yield Stack
    del LAYERS["Stack"]


def test_a_field_of_layers_is_known_by_its_type(stack: type[Any]):
    layer = stack("stack", (ReLU("a"), Residual("b", (Dense("c", 3),))), 2)
    written = json.loads(json.dumps(layer_to_json(layer)))
    assert written["parts"][1]["branch"][0] == layer_to_json(Dense("c", 3))
    assert layer_from_json(written) == layer
    with pytest.raises(SpecError, match="layer Stack: parts must be a list of layers, not 3"):
        layer_from_json(written | {"parts": 3})


def test_the_zoo_has_the_parameters_that_arithmetic_gives():
    assert zoo.get("classic").parameter_count == 784 * 10 + 10 + 10 * 10 + 10 == 7960
    assert zoo.get("custom").parameter_count == 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10
    assert [layer.rate for layer, _ in zoo.get("regularized").dropouts] == [0.2, 0.2]
    assert zoo.get("custom").architecture == "784-128-64-10"


def test_shapes_and_roles_come_from_walking_the_network():
    places = {p.layer.name: p for p in zoo.get("custom").places}
    assert places["flatten"].output_shape == (784,)
    assert places["flatten"].role == "flat"
    assert places["flatten"].image_shape == (("h", 28), ("w", 28))
    assert [p.role for p in zoo.get("custom").parameters] == [
        "folded",
        "vector",
        "dense",
        "vector",
        "dense",
        "vector",
    ]
    assert places["relu1"].role == "vector"


@given(
    st.lists(st.integers(1, 300), max_size=5),
    st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    st.integers(1, 9),
    st.integers(1, 3),
)
def test_json_gives_the_same_network_back(
    hidden: list[int], dropout: float, side: int, channels: int
):
    network = zoo.dense("any", hidden, dropout if hidden else 0.0, shape=(side, side + 1, channels))
    assert Network.from_json(network.to_json()) == network
    assert sum(count for *_, count in network.rows()) == network.parameter_count


def test_like_in_a_file_fills_in_what_is_left_out_and_nothing_else():
    own = [
        {"type": "BatchNorm", "name": "a", "momentum": 0.5},
        {"type": "Residual", "name": "r", "branch": [{"type": "LeakyReLU", "name": "b"}]},
    ]
    data = {
        "name": "n",
        "input_shape": [4],
        "layers": [*own, {"type": "Dense", "name": "c", "units": 3, "initializer": "he_normal"}],
    }
    norm, residual, dense = Network.from_json(data | {"like": "keras"}).layers
    assert (norm.momentum, norm.epsilon, norm.unbiased) == (0.5, 1e-3, False)
    assert residual.branch[0].slope == 0.3
    assert (dense.initializer, dense.bias_initializer) == ("he_normal", "zeros")
    assert Network.from_json(data).layers[0].epsilon == 1e-5
    with pytest.raises(SpecError, match="did you mean 'keras'"):
        Network.from_json(data | {"like": "kears"})


def test_what_only_shifts_a_batch_norms_channels_is_rounding():
    """Through what lets a shift pass; not through a nonlinearity, and not where a shortcut bypasses
    the norm.
    """
    branch = (Conv2D("c2", 4, 1), BatchNorm("n2"), Conv2D("c3", 4, 1))
    layers = (
        *(
            Conv2D("c1", 4, 1),
            MaxPool2D("p1"),
            BatchNorm("n1"),
            ReLU("r1"),
            Residual("r", branch),
            AvgPool2D("p2", 2, 1),
        ),
        *(
            BatchNorm("n3"),
            Conv2D("c4", 4, 1),
            AvgPool2D("p3", 3, 1, 1),
            BatchNorm("n4"),
            LayerNorm("l"),
            Flatten("f"),
            BatchNorm("n5"),
        ),
        *(Dense("d", 4, bias=False), BatchNorm("n6"), Dense("out", 3)),
    )
    network = Network("n", (8, 8, 1), layers)
    assert network.zero_gradient_parameters == {"c1/bias", "c2/bias", "c3/bias", "l/beta"}
    norms = ("n1", "n2", "n3", "n5")
    assert network.shifted_means == {f"{name}/running_mean" for name in norms}


def alone(kind: str, **values: object) -> Network:
    """Read a network of one layer of a file."""
    return Network.from_json(
        {"name": "n", "input_shape": [4], "layers": [{"type": kind, "name": "a"} | values]}
    )


def nested(depth: int) -> Network:
    """Read residuals inside one another."""
    layer = {"type": "ReLU", "name": "r"}
    for i in range(depth):
        layer = {"type": "Residual", "name": f"r{i}", "branch": [layer]}
    return Network.from_json(
        {
            "name": "n",
            "input_shape": [4],
            "layers": [layer, {"type": "Dense", "name": "output", "units": 3}],
        }
    )


def test_residuals_may_be_nested():
    assert len(nested(20).places) == 22


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: zoo.get("clasic"), "did you mean 'classic'"),
        (
            lambda: Network("n", (28, 28, 1), (Dense("output", 10),)),
            "put a Flatten or GlobalAvgPool before it",
        ),
        (lambda: Network("n", (784,), (Flatten("f"), Dense("output", 10))), "needs an image"),
        (
            lambda: Network("n", (784,), (Dense("a", 10), ReLU("a"), Dense("output", 10))),
            "two layers are called 'a'",
        ),
        (lambda: Network("n", (784,), (Dense("a", 10), ReLU("r"))), "last layer must be a Dense"),
        (lambda: Network("n", (784,), (Dense("a/b", 10),)), "letters, digits and _"),
        (lambda: Network("n", (784,), (Dense(5, 10),)), "letters, digits and _"),
        (lambda: zoo.dense("n", [], 0.5), "there is none"),
        (
            lambda: zoo.get("classic").check_fits((32, 32, 3)),
            r"takes inputs of shape \(28, 28, 1\), the images are \(32, 32, 3\)",
        ),
        (
            lambda: zoo.dense("n", [4], classes=5).check_fits((28, 28, 1)),
            "ends in 5 logits, the data has 10 classes",
        ),
        (lambda: Dense("a", 0), "at least 1, not 0"),
        (lambda: Dense("a", True), "not True"),
        (lambda: Dense("a", 10**21), "units must be at most"),
        (lambda: Dropout("a", 1.0), r"\[0, 1\), not 1.0"),
        (lambda: Dropout("a", 10**400), r"\[0, 1\), not 1000"),
        (lambda: zoo.get("lenet-b"), r"did you mean 'lenet-bn'\?$"),
        (
            lambda: alone("Dense", units=[10]),
            r"units must be a whole number of at least 1, not \[10\]",
        ),
        (
            lambda: alone("Dense", units=3, initializer=["he_uniform"]),
            r"initializer \['he_uniform'\] is unknown",
        ),
        (lambda: alone("Residual", branch=5), "branch must be a list of layers, not 5"),
        (lambda: nested(21), "nested more than 20 deep"),
        (lambda: nested(300), "nested more than 20 deep"),
        (
            lambda: Network.from_json(
                {"name": "n", "input_shape": [4], "layers": [{"type": "Dence"}]}
            ),
            "did you mean 'Dense'",
        ),
        (
            lambda: Network.from_json(
                {
                    "name": "n",
                    "input_shape": [4],
                    "layers": [{"type": "Dense", "name": "a", "unit": 3}],
                }
            ),
            "'units'",
        ),
        (lambda: Network.from_json({"name": "n", "layers": []}), "missing key 'input_shape'"),
        (lambda: Network.from_json([1]), "expected an object"),
        (
            lambda: Network.from_json({"name": ["n"], "input_shape": [4], "layers": []}),
            "its name must be a few letters",
        ),
        (
            lambda: Network.from_json({"name": "n", "input_shape": [-4], "layers": []}),
            "positive whole numbers",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(build, says: str):
    with pytest.raises(SpecError, match=says):
        build()
