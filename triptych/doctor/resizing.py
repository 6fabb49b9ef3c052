"""Resizing of images as the frameworks do it, each axis by a matrix."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .observation import Array

LARGEST_SIDE = 4096  # pixels of images that are resized


def _linear(distance: Array) -> Array:
    return np.maximum(0, 1 - np.abs(distance))


def _cubic(a: float) -> Callable[[Array], Array]:
    """Return the cubic kernel of Keys (1981) with its parameter a."""

    def kernel(distance: Array) -> Array:
        x = np.abs(distance)
        near = ((a + 2) * x - (a + 3)) * x**2 + 1
        far = a * (((x - 5) * x + 8) * x - 4)
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

    return kernel


@dataclass(frozen=True)
class Method:
    """A way to resize.

    Attributes
    ----------
    name : str
        For a title.
    cause : str
        The id in the catalogue if the other side uses another method.
    kernel : callable or None
        The weight of a pixel by its distance in pixels; None for the nearest pixel.
    width : int
        Half the width of the kernel, in pixels.
    align_corners : bool
        Whether the centres of the first and last pixels of both images coincide.
    centres : bool
        Of the nearest pixel: whether centres of pixels decide.
    antialias : bool
        Whether the kernel is widened where the image shrinks.
    inside : bool
        Whether pixels outside the image count nothing, rather than as the nearest pixel inside.
    table : int
        If not 0, into how many parts the distance between pixels is divided for a table of weights.
    """

    name: str
    cause: str
    kernel: Callable[[Array], Array] | None = None
    width: int = 1
    align_corners: bool = False
    centres: bool = True
    antialias: bool = False
    inside: bool = False
    table: int = 0


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("nearest, by centres", "D73"),
        Method("nearest, by corners", "D73", centres=False),
        Method("bilinear", "D75", _linear),
        Method("bilinear, align_corners=True", "D75", _linear, align_corners=True),
        Method("bilinear, antialias=True", "D75", _linear, antialias=True, inside=True),
        Method("bicubic, a = -0.75", "D74", _cubic(-0.75), 2),
        # tensorflow: core/kernels/image/resize_bicubic_op.cc
        Method("bicubic, a = -0.5", "D74", _cubic(-0.5), 2, inside=True, table=1024),
        Method(
            "bicubic, a = -0.5, antialias=True",
            "D74",
            _cubic(-0.5),
            2,
            antialias=True,
            inside=True,
        ),
    )
}


def matrix(method: Method, before: int, after: int) -> Array:
    """Return what a row of pixels is multiplied by.

    Parameters
    ----------
    method : Method
        The way to resize.
    before, after : int
        The number of pixels.

    Returns
    -------
    ndarray
        Shape (after, before), float64.
    """
    positions = np.arange(after, dtype=np.float64)
    scale = before / after
    if method.align_corners:
        centres = positions * (before - 1) / max(after - 1, 1)
    elif method.kernel is None and not method.centres:
        centres = np.floor(positions * scale)
    else:
        centres = (positions + 0.5) * scale - 0.5
    result = np.zeros((after, before))
    if method.kernel is None:
        chosen = centres if not method.centres else np.floor(centres + 0.5)
        result[np.arange(after), np.clip(chosen.astype(int), 0, before - 1)] = 1
        return result
    if method.table:
        centres = np.round(centres * method.table) / method.table
    wider = max(scale, 1.0) if method.antialias else 1.0
    reach = int(np.ceil(method.width * wider)) + 1
    for row, centre in enumerate(centres):
        pixels = np.arange(int(np.floor(centre)) - reach, int(np.floor(centre)) + reach + 1)
        weights = method.kernel((pixels - centre) / wider)
        if method.inside:
            weights = np.where((pixels >= 0) & (pixels < before), weights, 0)
        np.add.at(result[row], np.clip(pixels, 0, before - 1), weights / weights.sum())
    return result


def resize(images: Array, method: Method, height: int, width: int) -> Array:
    """Return images of another size.

    Parameters
    ----------
    images : ndarray
        Shape (batch, height, width, channels).
    method : Method
        The way to resize.
    height, width : int
        The new size.
    """
    rows = matrix(method, images.shape[1], height)
    columns = matrix(method, images.shape[2], width)
    wide = np.asarray(images, np.float64)
    return np.einsum("ph,qw,nhwc->npqc", rows, columns, wide, optimize=True)


def methods_used(
    images: Array, a: Array, b: Array, same: Callable[[Array, Array], bool]
) -> dict[str, str]:
    """Return by which methods both sides have resized the same images.

    Parameters
    ----------
    images, a, b : ndarray
        Before, and afterwards on either side; shape (batch, height, width, channels).
    same : callable
        Whether what a method makes of the images, its first argument, is what a side has.

    Returns
    -------
    dict of str to str
        ``a`` and ``b``: names of methods; empty if they are equal, one is not known, or the images
        are too large.
    """
    if max(*images.shape[1:3], *a.shape[1:3]) > LARGEST_SIDE:
        return {}
    used: dict[str, str] = {}
    for name, method in METHODS.items():
        resized = resize(images, method, *a.shape[1:3])
        for side, array in (("a", a), ("b", b)):
            if side not in used and same(resized, array):
                used[side] = name
    return used if len(used) == 2 and used["a"] != used["b"] else {}


def cause_of(used: Mapping[str, str]) -> str | None:
    """Return the id in the catalogue of different methods.

    Parameters
    ----------
    used : mapping of str to str
        Names of methods.
    """
    causes = {METHODS[name].cause for name in used.values()}
    return next((each for each in ("D74", "D73", "D75") if each in causes), None)
