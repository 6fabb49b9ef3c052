"""The 1,797 real handwritten digits inside scikit-learn, scaled from 8×8 to 28×28, so that the network stays 784-10-10."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.split import Split
from ...errors import DataError

SIDE = 28


def read() -> Split:
    """Return scikit-learn's digits as a split (UCI Optical Recognition of Handwritten Digits, test part).

    Its file is read without importing scikit-learn, which takes most of a second.

    Raises
    ------
    DataError
        Where scikit-learn is not installed.
    """
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise DataError(
            "digits: they come inside scikit-learn, which is not installed; get it with: pip install scikit-learn"
        )
    table = np.loadtxt(
        Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=","
    )
    return Split(
        enlarge(table[:, :-1].reshape(-1, 8, 8) / 16, SIDE)[..., None],
        table[:, -1].astype(np.int32),
    )


def enlarge(images: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """Scale square images in [0, 1] bilinearly to `side` pixels and round to whole 0–255.

    Output pixel i looks at input coordinate s = (i + ½)·n/side - ½, clamped to [0, n-1] (half-pixel centres, the edge
    repeated), and takes (1 - f)·image[⌊s⌋] + f·image[⌊s⌋ + 1] with f = s - ⌊s⌋, along rows and then columns.

    Parameters
    ----------
    images : ndarray of float, shape (count, n, n)
    side : int

    Returns
    -------
    ndarray of uint8, shape (count, side, side)
    """
    n = images.shape[1]
    s = np.clip((np.arange(side) + 0.5) * n / side - 0.5, 0, n - 1)
    low = np.minimum(s.astype(int), n - 2)
    weights = np.zeros((side, n))
    weights[np.arange(side), low] = 1 - (s - low)
    weights[np.arange(side), low + 1] = s - low
    return np.rint(weights @ images @ weights.T * 255).astype(np.uint8)
