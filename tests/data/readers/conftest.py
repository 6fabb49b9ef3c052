"""Images with labels, which the tests of readers write into files."""

import numpy as np
import pytest

from triptych.data.dataset import Dataset


@pytest.fixture(scope="module")
def sample(digits: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Images (100, 28, 28) and labels (100,), ten of each digit in mixed order."""
    rows = np.array([np.flatnonzero(digits.train.labels == label)[:10] for label in range(10)])
    order = rows.T.ravel()
    return digits.train.images[order, ..., 0], digits.train.labels[order].astype(int)
