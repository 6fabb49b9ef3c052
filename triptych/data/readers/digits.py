"""The 1,797 handwritten digits inside scikit-learn, scaled from 8×8 to 28×28 as MNIST's are."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.split import Split
from ...errors import DataError

SIDE = 28


def read() -> Split:
    """Return scikit-learn's digits as a split.

    They are the test part of UCI's Optical Recognition of Handwritten Digits. Their file is read
    without importing scikit-learn, which takes most of a second.

    Raises
    ------
    DataError
        Where scikit-learn is not installed.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError(
            "digits: they come inside scikit-learn, which is not installed; "
            "get it with: pip install scikit-learn"
        )
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(path, delimiter=",")
    pixels = table[:, :-1].reshape(-1, 8, 8) / 16
    labels = table[:, -1].astype(np.int32)
    return Split(enlarge(pixels, SIDE)[..., None], labels)


def enlarge(images: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """Scale square images in [0, 1] bilinearly to `side` pixels; round to whole 0–255.

    Output pixel i is at input coordinate s = (i + ½)·n/side - ½, clamped to [0, n-1] (half-pixel
    centres, the edge repeated). Its value is (1 - f)·image[⌊s⌋] + f·image[⌊s⌋ + 1] with f = s -
    ⌊s⌋, along rows and then columns.

    Parameters
    ----------
    images : ndarray of float64, shape (count, n, n)
    side : int
        In pixels.

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
