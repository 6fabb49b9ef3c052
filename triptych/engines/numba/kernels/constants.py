"""Numbers in the dtype of an array.

In compiled code float32 times a literal is float64, so every literal is converted first.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload


def constant(value: float, like: Any) -> Any:
    """Return a number in the type of `like`, which is a float32 or a float64."""
    return type(like)(value)


@overload(constant)
def _compiled_constant(value, like):
    if like == types.float32:
        return lambda value, like: np.float32(value)
    return lambda value, like: np.float64(value)
