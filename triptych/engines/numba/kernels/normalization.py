"""Normalisation: sums over rows or over channels, and what is computed from them.

x is (rows, c): every pixel of every image is a row. Rows belong to the threads in shares. Sums are
float64, of float32 numbers, too: a sum of 43,000 float32 numbers would be wrong in its fifth digit.
"""

import numpy as np
from numba import prange

from ..compilation import parallel_kernel
from .constants import constant
from .shares import share_bounds


@parallel_kernel
def channel_sums(x, sums):
    """Write each share's sum of every channel.

    Parameters
    ----------
    x : ndarray, shape (rows, c)
        The numbers.
    sums : ndarray of float64, shape (shares, c)
        The sums.
    """
    rows, channels = x.shape
    shares = sums.shape[0]
    for share in prange(shares):
        first, last = share_bounds(share, shares, rows)
        for o in range(channels):
            sums[share, o] = 0.0
        for r in range(first, last):
            for o in range(channels):
                sums[share, o] += x[r, o]


@parallel_kernel
def channel_squares(x, mean, sums):
    """Write each share's sum of (x - mean)² of every channel.

    Parameters
    ----------
    x : ndarray, shape (rows, c)
        The numbers.
    mean : ndarray, shape (c,)
        The mean of every channel.
    sums : ndarray of float64, shape (shares, c)
        The sums.
    """
    rows, channels = x.shape
    shares = sums.shape[0]
    for share in prange(shares):
        first, last = share_bounds(share, shares, rows)
        for o in range(channels):
            sums[share, o] = 0.0
        for r in range(first, last):
            for o in range(channels):
                centred = x[r, o] - mean[o]
                sums[share, o] += centred * centred


@parallel_kernel
def scale_channels(x, mean, scale, shift, shares, y):
    """Write y = (x - mean)·scale + shift.

    Parameters
    ----------
    x : ndarray, shape (rows, c)
        The numbers.
    mean, scale, shift : ndarray, shape (c,)
        Of every channel.
    shares : int
        How many threads work.
    y : ndarray, shape (rows, c)
        The output.
    """
    rows, channels = x.shape
    for share in prange(shares):
        first, last = share_bounds(share, shares, rows)
        for r in range(first, last):
            for o in range(channels):
                y[r, o] = (x[r, o] - mean[o]) * scale[o] + shift[o]


@parallel_kernel
def channel_gradient_sums(x, dy, mean, sums):
    """Write each share's sums of dy and of dy·(x - mean) of every channel.

    Parameters
    ----------
    x, dy : ndarray, shape (rows, c)
        The input, and the gradient with respect to the output.
    mean : ndarray, shape (c,)
        The mean of every channel.
    sums : ndarray of float64, shape (shares, 2, c)
        The sums.
    """
    rows, channels = x.shape
    shares = sums.shape[0]
    for share in prange(shares):
        first, last = share_bounds(share, shares, rows)
        for o in range(channels):
            sums[share, 0, o] = 0.0
            sums[share, 1, o] = 0.0
        for r in range(first, last):
            for o in range(channels):
                sums[share, 0, o] += dy[r, o]
                sums[share, 1, o] += dy[r, o] * (x[r, o] - mean[o])


@parallel_kernel
def channel_input_gradient(x, dy, mean, level, tilt, scale, shares, dx):
    """Write dx = scale·(dy - level - (x - mean)·tilt).

    Parameters
    ----------
    x, dy : ndarray, shape (rows, c)
        The input, and the gradient with respect to the output.
    mean, level, tilt, scale : ndarray, shape (c,)
        Of every channel.
    shares : int
        How many threads work.
    dx : ndarray, shape (rows, c)
        The gradient with respect to the input.
    """
    rows, channels = x.shape
    for share in prange(shares):
        first, last = share_bounds(share, shares, rows)
        for r in range(first, last):
            for o in range(channels):
                centred = x[r, o] - mean[o]
                dx[r, o] = scale[o] * (dy[r, o] - level[o] - centred * tilt[o])


@parallel_kernel
def normalise_rows(x, epsilon, gamma, beta, shares, normal, inverse, y):
    """Write y = gamma·normal + beta with normal = (x - mean)·inverse, inverse = 1/√(variance + ε).

    Parameters
    ----------
    x : ndarray, shape (rows, c)
        The numbers; mean and variance are those of a row.
    epsilon : float
        Added to the variance.
    gamma, beta : ndarray, shape (c,)
        Of every channel.
    shares : int
        How many threads work.
    normal, y : ndarray, shape (rows, c)
        The normalised numbers, and the output.
    inverse : ndarray, shape (rows,)
        One over the standard deviation.
    """
    rows, channels = x.shape
    for share in prange(shares):
        first, last = share_bounds(share, shares, rows)
        for r in range(first, last):
            total = 0.0
            for o in range(channels):
                total += x[r, o]
            mean = constant(total / channels, x[r, 0])
            squares = 0.0
            for o in range(channels):
                centred = x[r, o] - mean
                squares += centred * centred
            over_deviation = constant(1 / np.sqrt(squares / channels + epsilon), x[r, 0])
            inverse[r] = over_deviation
            for o in range(channels):
                normal[r, o] = (x[r, o] - mean) * over_deviation
                y[r, o] = normal[r, o] * gamma[o] + beta[o]


@parallel_kernel
def row_input_gradient(dy, gamma, shares, normal, inverse, dx):
    """Write dx = inverse·(d - mean(d) - normal·mean(d·normal)) with d = dy·gamma.

    Parameters
    ----------
    dy : ndarray, shape (rows, c)
        The gradient with respect to the output.
    gamma : ndarray, shape (c,)
        Of every channel.
    shares : int
        How many threads work.
    normal, inverse : ndarray, shapes (rows, c), (rows,)
        What `normalise_rows` wrote.
    dx : ndarray, shape (rows, c)
        The gradient with respect to the input.
    """
    rows, channels = dy.shape
    for share in prange(shares):
        first, last = share_bounds(share, shares, rows)
        for r in range(first, last):
            total = 0.0
            product = 0.0
            for o in range(channels):
                d = dy[r, o] * gamma[o]
                total += d
                product += d * normal[r, o]
            level = constant(total / channels, dy[r, 0])
            tilt = constant(product / channels, dy[r, 0])
            for o in range(channels):
                d = dy[r, o] * gamma[o]
                dx[r, o] = inverse[r] * (d - level - normal[r, o] * tilt)
