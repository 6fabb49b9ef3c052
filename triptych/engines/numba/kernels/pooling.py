"""Pooling of images (n, h, w, c); an image belongs to one thread.

The loops over channels are the inner ones: there memory is contiguous.
"""

import numpy as np
from numba import prange

from ..compilation import parallel_kernel
from .constants import constant
from .shares import share_bounds


@parallel_kernel
def max_pool(x, size, stride, padding, shares, y, winner):
    """Write the largest value of each window, and the pixel of the image that it comes from.

    Parameters
    ----------
    x : ndarray, shape (n, h, w, c)
        The images.
    size, stride, padding : int
        Of the windows. Padding never wins: it is left out.
    shares : int
        How many threads work.
    y : ndarray, shape (n, rows, columns, c)
        The output.
    winner : ndarray of int32, shape of y
        The pixels, h·w of them in row-major order. Of equal values the first wins; NaN wins.
    """
    n, h, w, channels = x.shape
    _, rows, columns, _ = y.shape
    for share in prange(shares):
        first, last = share_bounds(share, shares, n)
        for image in range(first, last):
            for r in range(rows):
                top = max(0, r * stride - padding)
                bottom = min(h, r * stride - padding + size)
                for q in range(columns):
                    left = max(0, q * stride - padding)
                    right = min(w, q * stride - padding + size)
                    for o in range(channels):
                        y[image, r, q, o] = x[image, top, left, o]
                        winner[image, r, q, o] = top * w + left
                    for line in range(top, bottom):
                        for column in range(left, right):
                            pixel = np.int32(line * w + column)
                            for o in range(channels):
                                value = x[image, line, column, o]
                                best = y[image, r, q, o]
                                better = value > best or value != value
                                y[image, r, q, o] = value if better else best
                                old = winner[image, r, q, o]
                                winner[image, r, q, o] = pixel if better else old


@parallel_kernel
def max_pool_gradient(dy, winner, shares, dx):
    """Add each number of dy to the pixel of dx that its output came from.

    Parameters
    ----------
    dy, winner : ndarray, shape (n, rows, columns, c)
        The gradient with respect to the output, and what `max_pool` wrote.
    shares : int
        How many threads work.
    dx : ndarray, shape (n, h, w, c)
        The gradient with respect to the images, zeros before.
    """
    n, _, w, channels = dx.shape
    _, rows, columns, _ = dy.shape
    for share in prange(shares):
        first, last = share_bounds(share, shares, n)
        for image in range(first, last):
            for r in range(rows):
                for q in range(columns):
                    for o in range(channels):
                        pixel = winner[image, r, q, o]
                        dx[image, pixel // w, pixel % w, o] += dy[image, r, q, o]


@parallel_kernel
def average_pool(x, size, stride, padding, shares, y):
    """Write the sum of each window over size²; padding counts as zeros.

    Parameters
    ----------
    x : ndarray, shape (n, h, w, c)
        The images.
    size, stride, padding : int
        Of the windows.
    shares : int
        How many threads work.
    y : ndarray, shape (n, rows, columns, c)
        The output.
    """
    n, h, w, channels = x.shape
    _, rows, columns, _ = y.shape
    zero = constant(0, x[0, 0, 0, 0])
    area = constant(size * size, x[0, 0, 0, 0])
    for share in prange(shares):
        first, last = share_bounds(share, shares, n)
        for image in range(first, last):
            for r in range(rows):
                top = r * stride - padding
                for q in range(columns):
                    left = q * stride - padding
                    for o in range(channels):
                        y[image, r, q, o] = zero
                    for line in range(max(0, top), min(h, top + size)):
                        for column in range(max(0, left), min(w, left + size)):
                            for o in range(channels):
                                y[image, r, q, o] += x[image, line, column, o]
                    for o in range(channels):
                        y[image, r, q, o] /= area


@parallel_kernel
def average_pool_gradient(dy, size, stride, padding, shares, dx):
    """Add dy over size² to every pixel of its window.

    Parameters
    ----------
    dy : ndarray, shape (n, rows, columns, c)
        The gradient with respect to the output.
    size, stride, padding : int
        Of the windows.
    shares : int
        How many threads work.
    dx : ndarray, shape (n, h, w, c)
        The gradient with respect to the images, zeros before.
    """
    n, h, w, channels = dx.shape
    _, rows, columns, _ = dy.shape
    area = constant(size * size, dy[0, 0, 0, 0])
    for share in prange(shares):
        first, last = share_bounds(share, shares, n)
        for image in range(first, last):
            for r in range(rows):
                top = r * stride - padding
                for line in range(max(0, top), min(h, top + size)):
                    for q in range(columns):
                        left = q * stride - padding
                        for column in range(max(0, left), min(w, left + size)):
                            for o in range(channels):
                                dx[image, line, column, o] += dy[image, r, q, o] / area
