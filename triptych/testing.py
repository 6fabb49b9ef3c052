"""For test suites: assert that two implementations of a model compute the same."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .api import diagnose

PASSED = ("equal", "rounding")


def assert_same(
    a: Any,
    b: Any,
    batch: str | Path | dict[str, NDArray[np.generic]],
    *,
    pairs: dict[str, str] | None = None,
) -> None:
    """Raise an `AssertionError` unless two implementations are equal up to rounding.

    Parameters
    ----------
    a, b, batch, pairs
        As in `triptych.diagnose`.

    Raises
    ------
    AssertionError
        Its message names each difference with its stage, layers, values and fix.
    TriptychError
        If a side or the batch cannot be used.
    """
    diagnosis = diagnose(a, b, batch, pairs=pairs)
    if diagnosis.verdict not in PASSED:
        raise AssertionError(str(diagnosis))
