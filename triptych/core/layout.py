"""Conversion of arrays between the canonical layout and the layout of a framework.

In the canonical layout an image is (h, w, channels), a dense kernel (in, out) and a convolution
kernel (h, w, in, out). A `Layout` has an einops pattern ``canonical -> native`` for each role of an
array (`Parameter.role`) that the framework stores differently. The same pattern with its sides
swapped converts back.
"""

import numpy as np
from einops import rearrange

from ..spec.placement import Sizes

Layout = dict[str, str]  # einops patterns from canonical to native, by role


def to_native(layout: Layout, role: str, array: np.ndarray, sizes: Sizes = ()) -> np.ndarray:
    """Return a contiguous array in the framework's layout.

    Parameters
    ----------
    layout : dict of str to str
        The framework's patterns by role.
    role : str
        The role of the array, for example ``conv``.
    array : ndarray
        An array in the canonical layout.
    sizes : tuple of (str, int)
        Axis lengths that the pattern cannot infer.
    """
    view = native_view(layout, role, array, sizes)
    if view is array:
        return np.ascontiguousarray(array)
    # A copy sets the strides of axes of length 1, which `rearrange` leaves as they were. With the
    # old strides PyTorch would take images of one channel for channels-last ones, and its BatchNorm
    # on a CPU is a hundred times less accurate for those.
    return np.array(view, order="C")


def native_view(layout: Layout, role: str, array: np.ndarray, sizes: Sizes = ()) -> np.ndarray:
    """Return what `to_native` does, in the memory of the array where strides suffice."""
    pattern = layout.get(role)
    return rearrange(array, pattern, **dict(sizes)) if pattern else array


def to_canonical(layout: Layout, role: str, array: np.ndarray, sizes: Sizes = ()) -> np.ndarray:
    """Return a contiguous copy in the canonical layout; the inverse of `to_native`."""
    return np.array(canonical_view(layout, role, array, sizes), order="C")


def canonical_view(layout: Layout, role: str, array: np.ndarray, sizes: Sizes = ()) -> np.ndarray:
    """Return what `to_canonical` does, in the memory of the array where strides suffice."""
    pattern = canonical_pattern(layout, role)
    return rearrange(array, pattern, **dict(sizes)) if pattern else array


def canonical_pattern(layout: Layout, role: str) -> str:
    """Return the pattern from the framework's layout to the canonical one; empty if they agree."""
    left, arrow, right = layout.get(role, "").partition(" -> ")
    return f"{right}{arrow}{left}"
