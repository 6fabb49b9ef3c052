"""Layers are matched by order, shapes and values, and weights are carried over."""

from dataclasses import replace

import numpy as np
import pytest
from support.fake_side import (
    FakeSide,
    Step,
    activation,
    batch_norm,
    dense,
    examined,
    layer_norm,
)

from triptych.doctor.alignment import align
from triptych.doctor.carrying import input_forms, last_step
from triptych.doctor.matching import Snapshot
from triptych.doctor.settling import aligned, feature_order
from triptych.errors import TriptychError

BATCH = {"x": np.random.default_rng(5).normal(size=(6, 4))}


def snapshot(side, batch=BATCH):
    inputs = side.inputs(batch)
    observation = side.observe(inputs, training=False)
    return Snapshot(side.description(), observation, inputs, side.weights())


def sides(a_steps, b_steps):
    return FakeSide("A", "torch", a_steps), FakeSide("B", "keras", b_steps)


def paths(alignment):
    return [(pair.a.path, pair.b.path) for pair in alignment.pairs]


def settled(a, b, batch=BATCH):
    return examined(a, b, batch)


def output_difference(examination):
    """Return how far B with A's weights is from A."""
    inputs = examination.alignment.inputs_to_b(examination.a_inputs)
    output = examination.b.observe(inputs, training=False).arrays["output"]
    return np.max(np.abs(output - examination.a_evaluation.arrays["output"]))


def test_layers_are_matched_in_order_whatever_their_names():
    a, b = sides(
        [dense("z", 4, 5, 1), activation("relu"), dense("a", 5, 5, 2), dense("m", 5, 3, 3)],
        [dense("first", 4, 5, 4), dense("second", 5, 5, 5), dense("third", 5, 3, 6)],
    )
    alignment = align(snapshot(a), snapshot(b))
    assert paths(alignment) == [("z", "first"), ("a", "second"), ("m", "third")]
    assert alignment.findings == ()


def test_a_missing_layer_is_named_and_the_others_stay_matched():
    a, b = sides(
        [dense("a1", 4, 5, 1), layer_norm("norm", 5, 1e-5), dense("a2", 5, 3, 2)],
        [dense("b1", 4, 5, 3), dense("b2", 5, 3, 4)],
    )
    alignment = align(snapshot(a), snapshot(b))
    assert paths(alignment) == [("a1", "b1"), ("a2", "b2")]
    (finding,) = alignment.findings
    assert finding.layer == {"a": "norm", "b": None}
    assert "norm (LayerNorm 5)" in finding.title
    assert finding.fix == {"a": "x  # without norm", "b": "layers.LayerNormalization(epsilon=1e-5)"}


def test_names_break_ties_between_equal_layers():
    a, b = sides(
        [dense("first", 4, 4, 1), dense("second", 4, 4, 2), dense("out", 4, 2, 3)],
        [dense("second", 4, 4, 4), dense("out", 4, 2, 5)],
    )
    assert paths(align(snapshot(a), snapshot(b))) == [("second", "second"), ("out", "out")]


def stack(side, count, seeds):
    hidden = [dense(f"{side}{n}", 4, 4, seed) for n, seed in zip(range(count), seeds, strict=True)]
    return [dense(f"{side}_in", 3, 4, 90), *hidden, dense(f"{side}_out", 4, 2, 91)]


@pytest.mark.parametrize("more", ["a", "b"])
def test_which_of_equal_layers_is_extra_cannot_be_told_without_loaded_weights(more):
    batch = {"x": np.random.default_rng(5).normal(size=(6, 3))}
    large, small = stack("l", 4, (1, 2, 3, 4)), stack("s", 3, (5, 6, 7))
    a, b = sides(*((large, small) if more == "a" else (small, large)))
    alignment = align(snapshot(a, batch), snapshot(b, batch))
    (finding,) = alignment.findings
    assert finding.layer == {"a": None, "b": None}
    names = {"a": ("PyTorch", "Keras"), "b": ("Keras", "PyTorch")}[more]
    size = "Linear 4 → 4"
    assert finding.title == (
        f"{names[0]} has 4 equal layers ({size}), {names[1]} has 3 in their place; which one is "
        "extra cannot be told: l0, l1, l2, l3"
    )


@pytest.mark.parametrize("extra", range(4))
def test_loaded_weights_tell_which_of_equal_layers_is_extra(extra):
    batch = {"x": np.random.default_rng(5).normal(size=(6, 3))}
    kept = [seed for seed in range(4) if seed != extra]
    a, b = sides(stack("l", 4, range(4)), stack("s", 3, kept))
    alignment = align(snapshot(a, batch), snapshot(b, batch))
    (finding,) = alignment.findings
    assert finding.layer == {"a": f"l{extra}", "b": None}
    assert paths(alignment)[1:-1] == [(f"l{seed}", f"s{n}") for n, seed in enumerate(kept)]


def test_two_more_of_equal_layers_are_one_finding():
    batch = {"x": np.random.default_rng(5).normal(size=(6, 3))}
    a, b = sides(stack("l", 4, range(4)), stack("s", 2, (8, 9)))
    (finding,) = align(snapshot(a, batch), snapshot(b, batch)).findings
    assert "has 2 in their place; which ones are extra cannot be told" in finding.title


def test_names_that_are_equal_on_both_sides_tell_which_layer_is_extra():
    a, b = sides(
        [dense("first", 4, 4, 1), dense("second", 4, 4, 2), dense("out", 4, 2, 3)],
        [dense("second", 4, 4, 4), dense("out", 4, 2, 5)],
    )
    (finding,) = align(snapshot(a), snapshot(b)).findings
    assert finding.layer == {"a": "first", "b": None}


def test_another_width_is_one_finding_also_where_the_next_layer_shows_it():
    a, b = sides(
        [dense("a1", 4, 8, 1), batch_norm("an", 8, 1e-5), dense("a2", 8, 3, 2)],
        [dense("b1", 4, 6, 3), batch_norm("bn", 6, 1e-5), dense("b2", 6, 3, 4)],
    )
    alignment = align(snapshot(a), snapshot(b))
    (finding,) = alignment.findings
    assert finding.layer == {"a": "a1", "b": "b1"}
    assert finding.values == {"a": [4, 8], "b": [4, 6]}
    assert finding.fix == {"a": "nn.Linear(4, 6)", "b": "layers.Dense(8)"}


def test_another_kind_of_normalization_takes_the_weights_that_it_has():
    a, b = sides(
        [dense("a1", 4, 5, 1), batch_norm("an", 5, 1e-5)],
        [dense("b1", 4, 5, 2), layer_norm("bn", 5, 1e-5)],
    )
    alignment = align(snapshot(a), snapshot(b))
    (finding,) = alignment.findings
    assert finding.values == {"a": "BatchNorm1d", "b": "LayerNorm"}
    assert finding.fix == {
        "a": "nn.LayerNorm(5, eps=1e-5)",
        "b": "layers.BatchNormalization(epsilon=1e-5)",
    }
    carried = alignment.weights_to_b({"an/scale": np.full(5, 3.0)})
    np.testing.assert_array_equal(carried["bn/scale"], np.full(5, 3.0))


def test_a_missing_bias_is_named_and_is_zero_in_the_other_model():
    a, b = sides([dense("a1", 4, 5, 1, bias=False)], [dense("b1", 4, 5, 2)])
    alignment = align(snapshot(a), snapshot(b))
    (finding,) = alignment.findings
    assert finding.title == "b1 in Keras has a bias, a1 in PyTorch has none"
    assert finding.fix["a"] == "nn.Linear(4, 5, bias=True)"
    assert "use_bias=False" in finding.fix["b"]
    carried = alignment.weights_to_b(a.weights())
    np.testing.assert_array_equal(carried["b1/bias"], np.zeros(5))
    np.testing.assert_array_equal(carried["b1/kernel"], a.weights()["a1/kernel"])
    assert alignment.weights_to_a(b.weights()).keys() == {"a1/kernel"}


def recurrent(path, biases, seed):
    generator = np.random.default_rng(seed)
    weights = {"kernel": generator.normal(size=(4, 12))}
    weights |= {"recurrent_kernel": generator.normal(size=(3, 12))}
    weights |= {role: generator.normal(size=12) for role in biases}
    return Step(path, "lstm", {}, weights, "LSTM")


def snapshot_of_weights(side):
    """Return a side that is not run: its layers are matched without calls."""
    empty = replace(snapshot(FakeSide("", "torch", [])), description=side.description())
    return replace(empty, weights=side.weights())


@pytest.mark.parametrize("split", ["a", "b"])
def test_two_biases_become_one_and_one_becomes_two(split):
    two, one = ("bias", "recurrent_bias"), ("bias",)
    a, b = sides(
        [recurrent("la", two if split == "a" else one, 1)],
        [recurrent("lb", one if split == "a" else two, 2)],
    )
    alignment = align(snapshot_of_weights(a), snapshot_of_weights(b))
    assert alignment.findings == ()
    carried = alignment.weights_to_b(a.weights())
    total = sum(array for name, array in carried.items() if name.endswith("bias"))
    expected = sum(array for name, array in a.weights().items() if name.endswith("bias"))
    np.testing.assert_array_equal(total, expected)
    back = alignment.weights_to_a(carried)
    total_back = sum(array for name, array in back.items() if name.endswith("bias"))
    np.testing.assert_array_equal(total_back, expected)


def test_parameters_of_a_custom_layer_are_matched_by_shape_up_to_transposition():
    generator = np.random.default_rng(0)
    first = {"mix": generator.normal(size=(2, 3)), "gain": generator.normal(size=4)}
    second = {"alpha": np.zeros(4), "w": np.zeros((3, 2))}
    a, b = sides([Step("ca", "other", {}, first)], [Step("cb", "other", {}, second)])
    alignment = align(snapshot_of_weights(a), snapshot_of_weights(b))
    carried = alignment.weights_to_b(a.weights())
    np.testing.assert_array_equal(carried["cb/w"], first["mix"].T)
    np.testing.assert_array_equal(carried["cb/alpha"], first["gain"])
    back = alignment.weights_to_a(carried)
    np.testing.assert_array_equal(back["ca/mix"], first["mix"])


def test_a_convolution_of_one_pixel_fits_a_dense_layer():
    kernel = np.arange(6.0).reshape(1, 1, 3, 2)
    a, b = sides(
        [Step("conv", "conv", {}, {"kernel": kernel})],
        [Step("fc", "dense", {}, {"kernel": np.zeros((3, 2))})],
    )
    alignment = align(snapshot_of_weights(a), snapshot_of_weights(b))
    carried = alignment.weights_to_b(a.weights())
    np.testing.assert_array_equal(carried["fc/kernel"], kernel[0, 0])
    np.testing.assert_array_equal(alignment.weights_to_a(carried)["conv/kernel"], kernel)


def test_a_mapping_is_obeyed_and_its_mistakes_are_named():
    a, b = sides(
        [dense("a1", 4, 4, 1), dense("a2", 4, 4, 2)], [dense("b1", 4, 4, 3), dense("b2", 4, 4, 4)]
    )
    alignment = align(snapshot(a), snapshot(b), {"a1": "b2", "a2": "b1"})
    assert paths(alignment) == [("a1", "b2"), ("a2", "b1")]
    with pytest.raises(TriptychError, match="'a9', which is no layer with weights of A"):
        align(snapshot(a), snapshot(b), {"a9": "b1"})


def image_batch():
    return {"x": np.random.default_rng(3).normal(size=(6, 2, 3, 4))}


def flatten(order, seen=True):
    return Step("", "flatten", {"order": order}, {}, "flatten", seen=seen)


@pytest.mark.parametrize("seen", [True, False])
def test_the_order_of_flattened_features_is_accounted_for(seen):
    a, b = sides(
        [flatten("channels_first", seen), dense("a1", 24, 5, 1), dense("a2", 5, 2, 2)],
        [flatten("channels_last", seen), dense("b1", 24, 5, 3), dense("b2", 5, 2, 4)],
    )
    examination = settled(a, b, image_batch())
    assert output_difference(examination) < 1e-12
    (first, second) = examination.alignment.pairs
    assert first.note
    assert not second.note
    kernel = examination.a_weights["a1/kernel"]
    carried = examination.alignment.weights_to_b({"a1/kernel": kernel})["b1/kernel"]
    # Pixel (h, w) of channel c is row c · 6 + 3 h + w in A and row (3 h + w) · 4 + c in B.
    np.testing.assert_array_equal(carried[(3 * 1 + 2) * 4 + 3], kernel[3 * 6 + 3 * 1 + 2])
    back = examination.alignment.weights_to_a({"b1/kernel": carried})["a1/kernel"]
    np.testing.assert_array_equal(back, kernel)


def test_parallel_branches_in_another_order_are_told_apart_by_values():
    one = [dense("a_one", 4, 3, 1), activation("tanh")]
    two = [dense("a_two", 4, 3, 2), activation("relu"), dense("a_deep", 3, 3, 3)]
    b_two = [dense("b_two", 4, 3, 4), activation("relu"), dense("b_deep", 3, 3, 5)]
    b_one = [dense("b_one", 4, 3, 6), activation("tanh")]
    a, b = sides([(one, two), dense("a_out", 6, 2, 7)], [(b_two, b_one), dense("b_out", 6, 2, 8)])
    examination = settled(a, b)
    pairs = dict(paths(examination.alignment))
    assert pairs["a_two"] == "b_two"
    assert pairs["a_deep"] == "b_deep"
    assert output_difference(examination) < 1e-12


def test_wrong_counterparts_are_exchanged_with_wrong_ones_only():
    functions = ("relu", "relu", "tanh", "tanh")
    a, b = sides(
        *(
            [
                tuple(
                    [activation(f), dense(f"{side}{n}", 4, 3, n)] for n, f in enumerate(functions)
                ),
                dense(f"{side}_out", 12, 2, 9),
            ]
            for side in "ab"
        )
    )
    examination = settled(a, b)
    mapping = {"a0": "b2", "a1": "b0", "a2": "b3", "a3": "b1", "a_out": "b_out"}
    pairs = dict(paths(aligned(examination, mapping)))
    assert {pairs["a0"], pairs["a1"]} == {"b0", "b1"}
    assert {pairs["a2"], pairs["a3"]} == {"b2", "b3"}


def test_a_fault_between_layers_is_not_taken_for_another_order():
    a, b = sides(
        [dense("a1", 4, 6, 1), activation("relu"), dense("a2", 6, 2, 2)],
        [dense("b1", 4, 6, 3), activation("tanh"), dense("b2", 6, 2, 4)],
    )
    examination = settled(a, b)
    assert [pair.input_order for pair in examination.alignment.pairs] == [None, None]


def test_any_order_of_features_is_found_and_nothing_else():
    generator = np.random.default_rng(1)
    expected = generator.normal(size=(5, 12))
    order = generator.permutation(12)
    found = feature_order(expected, expected[:, order], 1e-9)
    assert found == tuple(order)
    assert feature_order(expected, expected[:, order], 1e-9, grouped=True) is None
    assert feature_order(expected, expected[:, order] * 1.001, 1e-9) is None


def test_input_axes_keep_height_before_width_unless_the_shape_forbids_it():
    images = np.random.default_rng(2).normal(size=(4, 3, 8, 8))
    last = np.moveaxis(images, 1, -1)
    form = input_forms({"input": images}, {"input": last})["input"]
    np.testing.assert_array_equal(form.to_b(images), last)
    # B's image is turned by mistake: this is for the data stage to find.
    form = input_forms({"input": images}, {"input": np.swapaxes(last, 1, 2)})["input"]
    np.testing.assert_array_equal(form.to_b(images), last)
    gray = images[:, :1]
    form = input_forms({"input": gray}, {"input": gray[:, 0]})["input"]
    np.testing.assert_array_equal(form.to_b(gray), gray[:, 0])
    sequence = np.random.default_rng(2).normal(size=(4, 7, 3))
    form = input_forms({"input": np.swapaxes(sequence, 0, 1)}, {"input": sequence})["input"]
    np.testing.assert_array_equal(form.to_b(np.swapaxes(sequence, 0, 1)), sequence)


def test_a_last_step_of_another_batch_is_left_in_its_shape():
    parts = {"output": np.arange(48.0).reshape(24, 2)}
    shapes = {"output": (24, 20, 2), "output1": (20, 2)}
    carried = last_step(parts, shapes)
    assert carried.keys() == {"output1"}
    np.testing.assert_array_equal(carried["output1"], parts["output"])
    fitting = last_step(parts, shapes | {"output1": (24, 2)})
    np.testing.assert_array_equal(fitting["output1"], parts["output"])
