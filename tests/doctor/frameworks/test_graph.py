"""The evaluator of graphs: forward, backward, forcing, layouts."""

import numpy as np
import pytest

from triptych.doctor.frameworks.graph import GraphRun, Node


def product(weights, name):
    """Return y = x·W with its gradients."""

    def operation(inputs):
        (x,) = inputs
        return [x @ weights], lambda dy: ([dy[0] @ weights.T], {name: x.T @ dy[0]})

    return operation


def square(inputs):
    (x,) = inputs
    return [x * x], lambda dy: ([2 * x * dy[0]], {})


def add(inputs):
    return [inputs[0] + inputs[1]], lambda dy: ([dy[0], dy[0]], {})


@pytest.fixture
def chain():
    """x·V, squared, plus itself, times W; and the weights."""
    rng = np.random.default_rng(0)
    first, last = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
    nodes = [
        Node("first", "Dense", "dense", ("x",), ("a",), product(first, "first/kernel"), {}, True),
        Node("", "square", "function", ("a",), ("b",), square),
        Node("", "add", "merge", ("a", "b"), ("c",), add),
        Node("last", "Dense", "dense", ("c",), ("y",), product(last, "last/kernel"), {}, True),
    ]
    return nodes, first, last


def test_values_and_gradients_are_those_of_the_formula(chain):
    nodes, first, last = chain
    rng = np.random.default_rng(1)
    x, dy = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    run = GraphRun(nodes)
    run.forward({"x": x})
    hidden = x @ first
    assert np.allclose(run.values["y"], (hidden + hidden**2) @ last)
    gradients = run.backward({"y": dy})
    at_sum = dy @ last.T
    at_hidden = at_sum * (1 + 2 * hidden)
    assert np.allclose(gradients["last/kernel"], (hidden + hidden**2).T @ dy)
    assert np.allclose(gradients["first/kernel"], x.T @ at_hidden)
    assert np.allclose(run.arrays["0/output_gradient"], at_hidden)
    assert np.allclose(run.arrays["3/input_gradient"], at_sum)
    assert [call.inputs for call in run.calls] == [1, 1, 2, 1]


def test_forced_anchors_neither_pass_on_values_nor_gradients(chain):
    nodes, first, last = chain
    rng = np.random.default_rng(2)
    forced = {
        "0/input": rng.normal(size=(5, 3)),
        "0/output": rng.normal(size=(5, 4)),
        "0/output_gradient": rng.normal(size=(5, 4)),
        "3/input": rng.normal(size=(5, 4)),
        "3/output": rng.normal(size=(5, 2)),
        "3/output_gradient": rng.normal(size=(5, 2)),
        "3/input_gradient": rng.normal(size=(5, 4)),
    }
    x, dy = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    run = GraphRun(nodes, forced)
    run.forward({"x": x})
    assert np.array_equal(run.arrays["0/input"], x)
    assert np.allclose(run.arrays["0/output"], forced["0/input"] @ first)
    hidden = forced["0/output"]
    assert np.allclose(run.arrays["3/input"], hidden + hidden**2)
    assert np.allclose(run.arrays["3/output"], forced["3/input"] @ last)
    assert np.array_equal(run.values["y"], forced["3/output"])
    gradients = run.backward({"y": dy})
    assert np.array_equal(run.arrays["3/output_gradient"], dy)
    assert np.allclose(gradients["last/kernel"], forced["3/input"].T @ forced["3/output_gradient"])
    assert np.allclose(run.arrays["3/input_gradient"], forced["3/output_gradient"] @ last.T)
    arriving = forced["3/input_gradient"] * (1 + 2 * hidden)
    assert np.allclose(run.arrays["0/output_gradient"], arriving)
    assert np.allclose(gradients["first/kernel"], forced["0/input"].T @ forced["0/output_gradient"])


def test_a_part_that_is_not_forced_propagates(chain):
    nodes, _, _ = chain
    x, dy = np.ones((5, 3)), np.ones((5, 2))
    run = GraphRun(nodes, {"3/input": np.zeros((5, 4))})
    run.forward({"x": x})
    run.backward({"y": dy})
    # Without a gradient for a forced input, nothing passes; the output is not forced.
    assert np.array_equal(run.arrays["0/output_gradient"], np.zeros((5, 4)))
    assert np.array_equal(run.arrays["3/output"], np.zeros((5, 2)))
    assert np.array_equal(run.arrays["3/output_gradient"], dy)


def test_channels_are_recorded_as_the_last_axis():
    images = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    doubled = Node(
        "conv",
        "Conv",
        "conv",
        ("x",),
        ("y",),
        lambda inputs: ([2 * inputs[0]], lambda dy: ([2 * dy[0]], {})),
        anchor=True,
        channels_first=True,
    )
    run = GraphRun([doubled], {"0/output": np.zeros((2, 4, 5, 3))})
    run.forward({"x": images})
    assert np.array_equal(run.arrays["0/input"], np.moveaxis(images, 1, -1))
    assert np.array_equal(run.arrays["0/output"], 2 * np.moveaxis(images, 1, -1))
    assert run.values["y"].shape == images.shape


def test_an_unseen_node_has_no_call(chain):
    nodes, _, _ = chain
    moved = Node("", "copy", "function", ("x",), ("z",), lambda each: (each, None), seen=False)
    run = GraphRun([moved, *nodes])
    run.forward({"x": np.ones((5, 3))})
    assert [call.number for call in run.calls] == [0, 1, 2, 3]
    assert "0/output" in run.arrays
    assert run.calls[0].layer == "first"
