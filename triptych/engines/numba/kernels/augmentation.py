"""Augmentation: each function writes the changed images of a batch into `y`.

Images are x, y (batch, rows, columns, channels); `triptych.spec.augmentation` has the formulas.
The images are shared by the threads.
"""

from math import cos, floor, pi, sin

from numba import prange

from ..compilation import inlined, parallel_kernel
from .constants import constant


@parallel_kernel
def rotate(x, draws, y):
    """Rotate bilinearly by tenths of a degree, shape (batch,); outside the image are zeros."""
    height, width, channels = x.shape[1:]
    center_row = (height - 1) / 2
    center_column = (width - 1) / 2
    for n in prange(len(x)):
        cosine = cos(draws[n] * (pi / 1800))
        sine = sin(draws[n] * (pi / 1800))
        for i in range(height):
            for j in range(width):
                up = center_row + cosine * (i - center_row) + sine * (j - center_column)
                left = center_column - sine * (i - center_row) + cosine * (j - center_column)
                for c in range(channels):
                    y[n, i, j, c] = 0
                top = floor(up)
                west = floor(left)
                for row in range(top, top + 2):
                    for column in range(west, west + 2):
                        if 0 <= row < height and 0 <= column < width:
                            near = (1 - abs(up - row)) * (1 - abs(left - column))
                            weight = constant(near, x[n, 0, 0, 0])
                            for c in range(channels):
                                y[n, i, j, c] += weight * x[n, row, column, c]


@parallel_kernel
def cut_window(x, first, mirrored, y):
    """Cut a window as large as the image.

    Its first row and column are `first`, int of shape (batch, 2), which may be negative. Outside
    the image are mirrored pixels, without repetition of the edge, or zeros.
    """
    height, width, channels = x.shape[1:]
    for n in prange(len(x)):
        for i in range(height):
            for j in range(width):
                row = first[n, 0] + i
                column = first[n, 1] + j
                inside = 0 <= row < height and 0 <= column < width
                if mirrored:
                    row = mirror(row, height)
                    column = mirror(column, width)
                for c in range(channels):
                    pixel = constant(0, x[n, 0, 0, 0])
                    if inside or mirrored:
                        pixel = x[n, row, column, c]
                    y[n, i, j, c] = pixel


@inlined
def mirror(index, length):
    """Return where a pixel up to one length outside comes from."""
    if index < 0:
        return -index
    return 2 * (length - 1) - index if index >= length else index


@parallel_kernel
def flip(x, draws, y):
    """Mirror left and right where 1 was drawn, shape (batch,)."""
    width = x.shape[2]
    for n in prange(len(x)):
        for i in range(x.shape[1]):
            for j in range(width):
                source = width - 1 - j if draws[n] == 1 else j
                for c in range(x.shape[3]):
                    y[n, i, j, c] = x[n, i, source, c]


@parallel_kernel
def cutout(x, first, side, y):
    """Set a square to zero; its first row and column are `first`, int of shape (batch, 2)."""
    for n in prange(len(x)):
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                in_rows = first[n, 0] <= i < first[n, 0] + side
                in_square = in_rows and first[n, 1] <= j < first[n, 1] + side
                for c in range(x.shape[3]):
                    y[n, i, j, c] = constant(0, x[0, 0, 0, 0]) if in_square else x[n, i, j, c]
