"""Arrays of one side in the form of the other."""

import numpy as np
import pytest

from triptych.doctor.carrying import (
    in_padded_shape,
    last_of_sequence,
    last_step,
    with_one_gradient,
)
from triptych.doctor.relations import relations

GENERATOR = np.random.default_rng(5)
IMAGES = GENERATOR.normal(size=(2, 4, 5, 3))
ONE = [[1, 1], [1, 1]]
NONE = [[0, 0], [0, 0]]
AROUND = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))


@pytest.mark.parametrize("b_padding", ["valid", NONE])
def test_a_layer_that_pads_before_a_convolution_gives_it_what_the_other_one_pads(b_padding):
    found = in_padded_shape(IMAGES, AROUND.shape, ONE, b_padding)
    assert found is not None
    np.testing.assert_array_equal(found, AROUND)


@pytest.mark.parametrize("b_padding", ["same", ONE])
def test_a_convolution_that_pads_takes_what_a_layer_pads_on_the_other_side(b_padding):
    found = in_padded_shape(AROUND, IMAGES.shape, NONE, b_padding)
    assert found is not None
    np.testing.assert_array_equal(found, IMAGES)


def test_causal_padding_is_before_the_signal():
    signal = GENERATOR.normal(size=(2, 6, 3))
    before = np.pad(signal, ((0, 0), (2, 0), (0, 0)))
    found = in_padded_shape(before, signal.shape, [[0, 0]], "causal")
    assert found is not None
    np.testing.assert_array_equal(found, signal)
    assert in_padded_shape(before, signal.shape, [[0, 0]], "same") is None


def test_another_amount_of_padding_is_not_taken_for_the_same():
    shape = (2, 5, 6, 3)  # one row and one column more, where A pads two
    assert in_padded_shape(IMAGES, shape, ONE, "valid") is None
    filled = AROUND + 1  # what is around the image is not zero
    assert in_padded_shape(filled, IMAGES.shape, NONE, "same") is None
    assert in_padded_shape(IMAGES, AROUND.shape, "same", "valid") is None


def test_a_gradient_of_other_steps_is_not_handed_to_a_layer_that_returns_the_last_one():
    sequence = GENERATOR.normal(size=(2, 3, 8))
    shapes = {"output": (2, 8)}
    gradient = np.zeros((2, 3, 8))
    gradient[:, -1, :4] = 1.0
    gradient[:, 0, 4:] = 2.0
    state = GENERATOR.normal(size=(2, 2, 4))
    parts = {"output": sequence, "output1": state, "output_gradient": gradient}
    carried = last_step(parts, shapes)
    np.testing.assert_array_equal(
        carried["output_gradient"], np.repeat([[1.0, 2.0]], 4, 1) + [[0]] * 2
    )
    gradient[:, 0, 4:] = 0.0
    gradient[:, -1, 4:] = 2.0  # the backward direction after one step
    assert "output_gradient" not in last_step(parts, shapes)


def test_the_last_position_and_the_last_step_of_each_direction_are_told_apart():
    sequence = GENERATOR.normal(size=(2, 3, 8))
    two = last_of_sequence(sequence, 2)
    np.testing.assert_array_equal(two[:, 4:], sequence[:, 0, 4:])
    (relation, *_) = relations(sequence[:, -1], two, sequence, {}, 1e-9)
    assert relation.cause == "D104"


def test_the_gradient_of_the_last_state_arrives_at_the_last_step():
    sequence = GENERATOR.normal(size=(2, 3, 8))
    ends = [sequence[:, -1, :4], sequence[:, 0, 4:]]
    gradient = GENERATOR.normal(size=(2, 2, 4))
    parts = {"output": sequence, "output1": np.stack(ends), "output1_gradient": gradient}
    found = with_one_gradient(parts)
    expected = np.zeros_like(sequence)
    expected[:, -1, :4] = gradient[0]
    expected[:, 0, 4:] = gradient[1]
    np.testing.assert_array_equal(found["output_gradient"], expected)
    assert not found["output1_gradient"].any()
    time_first = parts | {"output": sequence.swapaxes(0, 1)}
    found = with_one_gradient(time_first)
    np.testing.assert_array_equal(found["output_gradient"], expected.swapaxes(0, 1))


def test_a_state_that_is_returned_twice_has_its_gradient_once():
    state = GENERATOR.normal(size=(2, 4))
    sequence = np.stack([state - 1, state], 1)
    gradient = GENERATOR.normal(size=(2, 4))
    parts = {"output": sequence, "output1": state, "output1_gradient": gradient}
    both = last_step(parts, {"output": (2, 4), "output1": (2, 4)})
    np.testing.assert_array_equal(both["output_gradient"], gradient)
    assert not both["output1_gradient"].any()


def test_a_last_state_of_a_sequence_with_either_axis_first_is_carried():
    state = GENERATOR.normal(size=(5, 4))
    sequence = np.stack([state - 1, state + 1, state], 1)
    gradient = GENERATOR.normal(size=(5, 4))
    parts = {
        "output": sequence,
        "output_gradient": np.zeros_like(sequence),
        "output1": state,
        "output1_gradient": gradient,
    }
    time_first = {
        name: part.swapaxes(0, 1) if part.ndim == 3 else part for name, part in parts.items()
    }
    for each in (parts, time_first):
        carried = last_step(each, {"output": (5, 4)})
        np.testing.assert_array_equal(carried["output"], state)
        np.testing.assert_array_equal(carried["output_gradient"], gradient)


def test_the_state_of_a_packed_sequence_is_not_its_last_step():
    sequence = GENERATOR.normal(size=(2, 3, 4))
    state = np.stack([sequence[0, 1], sequence[1, 2]])
    gradient = GENERATOR.normal(size=(2, 4))
    parts = {"output": sequence, "output1": state, "output1_gradient": gradient}
    found = with_one_gradient(parts)
    assert "output_gradient" not in found
    np.testing.assert_array_equal(found["output1_gradient"], gradient)
