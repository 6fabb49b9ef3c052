"""Padding by amounts that a file may have made up."""

import numpy as np
import pytest

from triptych.doctor.carrying import in_padded_shape
from triptych.doctor.formulas import pool
from triptych.doctor.padding import padded

IMAGES = np.random.default_rng(0).normal(size=(2, 6, 6, 3))


def test_usual_padding_is_that_of_numpy():
    around = [(0, 0), (1, 2), (3, 0), (0, 0)]
    found = padded(IMAGES, around, -1.0)
    assert found is not None
    np.testing.assert_array_equal(found, np.pad(IMAGES, around, constant_values=-1.0))


@pytest.mark.parametrize("pixels", [2000, 10**9, 10**30])
def test_padding_far_beyond_the_array_is_not_computed(pixels: int):
    assert padded(IMAGES, [(0, 0), (pixels, pixels), (pixels, 0), (0, 0)]) is None
    shape = (2, 6, 6, 3)
    assert in_padded_shape(IMAGES, shape, [[pixels, 0]] * 2, [[0, pixels]] * 2) is None
    settings = {"pooling": "max", "size": [2, 2], "strides": [1, 1], "padding": [[pixels] * 2] * 2}
    assert pool(IMAGES, settings) is None
    settings |= {"size": [pixels, pixels], "padding": "same"}
    assert pool(IMAGES, settings) is None
