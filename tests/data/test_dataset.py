"""What a run records of its data."""

import numpy as np

from triptych.data.dataset import Dataset, box_of, pixel_range


def test_the_range_of_pixels_is_that_of_the_network():
    bytes_ = np.full((2, 3, 3, 1), 7, np.uint8)
    assert pixel_range(bytes_) == [0.0, 1.0]  # whatever they are, they are divided by 255
    fractions = np.full((2, 3, 3, 1), 0.25)
    assert pixel_range(fractions) == [0.0, 1.0]
    centred = np.linspace(-0.5, 2.75, 18, dtype=np.float32).reshape(2, 3, 3, 1)
    assert pixel_range(centred) == [-0.5, 2.75]


def test_a_data_set_of_images_records_ground_and_range(digits: Dataset):
    described = digits.describe()
    assert described["pixels"] == [0.0, 1.0]
    assert 0 <= described["border"] < 64
    assert described["box"] == 28
    assert "standardised" not in described


def test_the_box_is_that_of_the_training_images(digits: Dataset):
    assert box_of(digits.train.pixels("float32")) == 28
    image = np.zeros((3, 28, 28, 1), np.float32)
    image[0, 4:24, 10:15] = 0.5
    image[1, 12:16, 4:24] = 0.5
    assert box_of(image) == 20
    assert box_of(np.zeros((2, 28, 28, 1), np.float32)) == 1
