"""Convolutions with 3×3 windows by Winograd's algorithm F(2×2, 3×3).

Lavin & Gray 2016, section 4.1. The output is divided into tiles of 2×2. With the 4×4 patch d of the
input that a tile depends on, and the 3×3 kernel g,

    tile = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A

    Bᵀ = 1  0 -1  0     G = 1    0    0      Aᵀ = 1  1  1  0
         0  1  1  0         1/2  1/2  1/2         0  1 -1 -1
         0 -1  1  0         1/2 -1/2  1/2
         0  1  0 -1         0    0    1

which takes 16 multiplications where the windows take 36. Summed over channels, each of the 16 is a
matrix product, (tiles, c)·(c, f). The gradient of the kernel is the same backwards:

    ∂g = Gᵀ [(A ∂tile Aᵀ) ⊙ (Bᵀ d B)] G

and that of the input is a convolution of ∂y with the kernel turned around.

A unit is one row of tiles. Units are counted through all images, and a share of them belongs to one
thread. An infinite input makes all of its tiles NaN: here inf - inf appears where the windows would
keep inf.
"""

import numpy as np
from numba import prange

from ..compilation import inlined, parallel_kernel
from .constants import constant
from .convolution import add_bias, pool
from .shares import share_bounds


@inlined
def lay_lines(x, shape, image, top, left, width, lines):
    """Copy some lines of an image to lines (count, width·c), with zeros around the image.

    Parameters
    ----------
    x : ndarray, shape (n·h·w·c,)
        The images.
    shape : tuple of int
        n, h, w, c.
    image, top, left, width : int
        Which lines, from which column on, and how many columns; outside of the image are zeros.
    lines : ndarray, shape (count, width·c)
        The copy.
    """
    _, h, w, c = shape
    zero = constant(0, lines[0, 0])
    before = min(width, max(0, -left)) * c
    inside = min(width, max(0, w - left)) * c
    for i in range(lines.shape[0]):
        line = top + i
        start = before
        stop = inside
        if line < 0 or line >= h:
            start = stop = 0
        source = ((image * h + line) * w + left) * c
        for k in range(start):
            lines[i, k] = zero
        for k in range(start, stop):
            lines[i, k] = x[source + k]
        for k in range(stop, width * c):
            lines[i, k] = zero


@inlined
def transform_patches(lines, half, first, tiles, patches):
    """Write Bᵀ d B of one row of tiles to patches (16, tiles, c), by way of half = Bᵀ d."""
    c = patches.shape[2]
    # A column belongs to two tiles; here it is transformed once.
    for k in range((2 * tiles + 2) * c):
        half[0, k] = lines[0, k] - lines[2, k]
        half[1, k] = lines[1, k] + lines[2, k]
        half[2, k] = lines[2, k] - lines[1, k]
        half[3, k] = lines[1, k] - lines[3, k]
    for i in range(4):
        for q in range(tiles):
            at = 2 * q * c
            for o in range(c):
                p0 = half[i, at + o]
                p1 = half[i, at + c + o]
                p2 = half[i, at + 2 * c + o]
                p3 = half[i, at + 3 * c + o]
                patches[4 * i, first + q, o] = p0 - p2
                patches[4 * i + 1, first + q, o] = p1 + p2
                patches[4 * i + 2, first + q, o] = p2 - p1
                patches[4 * i + 3, first + q, o] = p1 - p3


@inlined
def transform_products(products, first, tiles, z):
    """Write Aᵀ m A of one row of tiles to two lines of outputs, z (2·(2·tiles), f).

    m is (4, 4), of products (16, tiles, f).
    """
    one = constant(1, z[0, 0])
    for i in range(2):
        # The second row of Aᵀ is the first one, moved, with other signs.
        sign = one - i * (one + one)
        for q in range(tiles):
            t = first + q
            at = 2 * (i * tiles + q)
            k = 4 * i
            for o in range(z.shape[1]):
                p0 = products[k, t, o] + sign * (products[k + 4, t, o] + products[k + 8, t, o])
                p1 = products[k + 1, t, o] + sign * (products[k + 5, t, o] + products[k + 9, t, o])
                p2 = products[k + 2, t, o] + sign * (products[k + 6, t, o] + products[k + 10, t, o])
                p3 = products[k + 3, t, o] + sign * (products[k + 7, t, o] + products[k + 11, t, o])
                z[at, o] = p0 + (p1 + p2)
                z[at + 1, o] = p1 - (p2 + p3)


@inlined
def transform_gradients(lines, first, tiles, gradients):
    """Write A ∂tile Aᵀ of one row of tiles, two lines (2, 2·tiles·f), to gradients (16, tiles, f)."""
    outputs = gradients.shape[2]
    one = constant(1, lines[0, 0])
    zero = constant(0, lines[0, 0])
    for i in range(4):
        # Row i of A is (upper, lower).
        upper = zero if i == 3 else one
        lower = zero if i == 0 else one if i == 1 else -one
        for q in range(tiles):
            at = 2 * q * outputs
            for o in range(outputs):
                left = upper * lines[0, at + o] + lower * lines[1, at + o]
                right = upper * lines[0, at + outputs + o] + lower * lines[1, at + outputs + o]
                gradients[4 * i, first + q, o] = left
                gradients[4 * i + 1, first + q, o] = left + right
                gradients[4 * i + 2, first + q, o] = left - right
                gradients[4 * i + 3, first + q, o] = -right


@parallel_kernel
def convolve(
    x,
    shape,
    padding,
    transformed,
    bias,
    relu,
    pooled,
    size_of_output,
    y,
    winner,
    lines,
    half,
    patches,
    products,
    z,
):
    """Write y = pool(relu(convolution of x + bias)).

    Parameters
    ----------
    x : ndarray, shape (n·h·w·c,)
        The images.
    shape : tuple of int
        n, h, w, c.
    padding : int
        Rows and columns of zeros before an image.
    transformed : ndarray, shape (16, c, f)
        G g Gᵀ of the kernel.
    bias : ndarray, shape (f,)
        Zeros if the layer has none.
    relu, pooled : bool
        Whether ReLU and 2×2 max-pooling follow.
    size_of_output : tuple of int
        The rows and columns of the convolution's output.
    y : ndarray, shape (n·rows·columns, f), or (n·pooled rows·pooled columns, f)
        The output.
    winner : ndarray of uint8, shape of y if pooled
        Which pixel of its window each output comes from.
    lines, half, patches, products, z : ndarray
        Memory of each share: (shares, 4, width·c), twice, (shares, 16, tiles, c), (shares, 16,
        tiles, f), (shares, 2·width, f), where width is that of a row of tiles and its margin.
    """
    rows, columns = size_of_output
    rows_of_tiles = rows // 2 if pooled else (rows + 1) // 2
    tiles = columns // 2 if pooled else (columns + 1) // 2
    shares, _, block, _ = patches.shape
    units_of_block = block // tiles
    for share in prange(shares):
        begin, end = share_bounds(share, shares, shape[0] * rows_of_tiles)
        for start in range(begin, end, units_of_block):
            stop = min(start + units_of_block, end)
            for u in range(start, stop):
                top = u % rows_of_tiles * 2 - padding
                image = u // rows_of_tiles
                lay_lines(x, shape, image, top, -padding, 2 * tiles + 2, lines[share])
                transform_patches(
                    lines[share], half[share], (u - start) * tiles, tiles, patches[share]
                )
            count = (stop - start) * tiles
            for k in range(16):
                np.dot(patches[share, k, :count], transformed[k], products[share, k, :count])
            for u in range(start, stop):
                transform_products(products[share], (u - start) * tiles, tiles, z[share])
                if pooled:
                    pool(z[share], 0, 2 * tiles, bias, relu, u * tiles, tiles, y, winner)
                else:
                    row = u % rows_of_tiles * 2
                    target = (u // rows_of_tiles * rows + row) * columns
                    for i in range(min(2, rows - row)):
                        source = 2 * tiles * i
                        add_bias(z[share], source, columns, bias, relu, target, y)
                        target += columns


@parallel_kernel
def convolve_weight_gradient(
    x, shape, padding, dz, shape_of_output, sums, product, lines, half, patches, dz_lines, gradients
):
    """Add each share's sum of (A ∂tile Aᵀ) ⊙ (Bᵀ d B).

    Parameters
    ----------
    x, shape, padding
        As in `convolve`.
    dz : ndarray, shape (n·rows·columns·f,)
        The gradient with respect to the convolution's output.
    shape_of_output : tuple of int
        n, rows, columns, f.
    sums : ndarray, shape (shares, 16, c, f)
        What is added to.
    product : ndarray, shape (shares, c, f)
        Memory of each share.
    lines, half, patches, dz_lines, gradients : ndarray
        Memory of each share, as in `convolve`; dz_lines is (shares, 2, 2·tiles of a row·f),
        gradients is (shares, 16, tiles, f).
    """
    _, rows, columns, outputs = shape_of_output
    rows_of_tiles = (rows + 1) // 2
    tiles = (columns + 1) // 2
    shares, _, block, inputs = patches.shape
    units_of_block = block // tiles
    for share in prange(shares):
        begin, end = share_bounds(share, shares, shape[0] * rows_of_tiles)
        for start in range(begin, end, units_of_block):
            stop = min(start + units_of_block, end)
            for u in range(start, stop):
                row = u % rows_of_tiles * 2
                image = u // rows_of_tiles
                first = (u - start) * tiles
                lay_lines(x, shape, image, row - padding, -padding, 2 * tiles + 2, lines[share])
                transform_patches(lines[share], half[share], first, tiles, patches[share])
                lay_lines(dz, shape_of_output, image, row, 0, 2 * tiles, dz_lines[share])
                transform_gradients(dz_lines[share], first, tiles, gradients[share])
            count = (stop - start) * tiles
            for k in range(16):
                np.dot(patches[share, k, :count].T, gradients[share, k, :count], product[share])
                for i in range(inputs):
                    for o in range(outputs):
                        sums[share, k, i, o] += product[share, i, o]
