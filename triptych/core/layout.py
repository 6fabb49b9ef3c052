"""Where every axis goes: the one place that knows how frameworks store things.

Canonical is channels-last images, dense kernels (in, out), convolution kernels (h, w, in, out). Each row reads
canonical -> native; the way back is the same pattern with its sides swapped. A role without a row is stored alike.
"""

import numpy as np
from einops import rearrange

from ..spec.placement import Sizes

Layout = dict[str, str]  # einops patterns from canonical to native, by role


def to_native(layout: Layout, role: str, array: np.ndarray, sizes: Sizes = ()) -> np.ndarray:
    """Return a contiguous array in the engine's own layout."""
    pattern = layout.get(role)
    # A copy, so that strides are canonical: those of an axis of length 1 are otherwise left as they were, and PyTorch would
    # take images of one channel for channels last, where its BatchNorm on a processor is a hundred times less exact.
    return (
        np.array(rearrange(array, pattern, **dict(sizes)), order="C")
        if pattern
        else np.ascontiguousarray(array)
    )


def to_canonical(layout: Layout, role: str, array: np.ndarray, sizes: Sizes = ()) -> np.ndarray:
    """Return a contiguous copy in the canonical layout."""
    pattern = layout.get(role)
    if pattern:
        left, right = pattern.split(" -> ")
        array = rearrange(array, f"{right} -> {left}", **dict(sizes))
    return np.array(array, order="C")
