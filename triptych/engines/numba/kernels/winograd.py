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

from ..compilation import inlined, kernel, parallel_kernel
from .constants import constant
from .convolution import pool_lines, sum_rows, take_lines
from .shares import share_bounds


@inlined
def lay_lines(source, mask, winner, relu, pooled, top, left, lines):
    """Copy some lines of an image with zeros around it, (lines, width, c).

    The image is what `lay_gradient` writes: source itself, or where the mask is above 0, or where
    2×2 max-pooling took it from.
    """
    zero = constant(0, lines[0, 0, 0])
    h, w, c = source.shape
    if pooled:
        h, w = 2 * h, 2 * w
    for i in range(lines.shape[0]):
        line = top + i
        for j in range(lines.shape[1]):
            column = left + j
            if line < 0 or line >= h or column < 0 or column >= w:
                for o in range(c):
                    lines[i, j, o] = zero
            elif pooled:
                k = line % 2 * 2 + column % 2
                for o in range(c):
                    value = source[line // 2, column // 2, o]
                    lines[i, j, o] = value if winner[line // 2, column // 2, o] == k else zero
            elif relu:
                for o in range(c):
                    value = source[line, column, o]
                    lines[i, j, o] = value if mask[line, column, o] > zero else zero
            else:
                for o in range(c):
                    lines[i, j, o] = source[line, column, o]


@inlined
def transform_patches(lines, half, first, tiles, patches):
    """Write Bᵀ d B of one row of tiles to patches (16, tiles, c), by way of half = Bᵀ d."""
    _, width, c = lines.shape
    numbers = width * c
    line0 = lines[0].reshape(numbers)
    line1 = lines[1].reshape(numbers)
    line2 = lines[2].reshape(numbers)
    line3 = lines[3].reshape(numbers)
    # A column belongs to two tiles; here it is transformed once.
    for e in range(numbers):
        half[0, e] = line0[e] - line2[e]
        half[1, e] = line1[e] + line2[e]
        half[2, e] = line2[e] - line1[e]
        half[3, e] = line1[e] - line3[e]
    for q in range(tiles):
        at = 2 * q * c
        for i in range(4):
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
def transform_row(
    source, mask, winner, relu, pooled, padding, row, lines, half, first, tiles, patches
):
    """Write the transformed patches of one row of tiles of an image."""
    top = 2 * row - padding
    plain = not (relu or pooled or padding > 0)
    if plain and top + 4 <= source.shape[0] and 2 * tiles + 2 <= source.shape[1]:
        transform_patches(source[top : top + 4], half, first, tiles, patches)
    else:
        lay_lines(source, mask, winner, relu, pooled, top, -padding, lines)
        transform_patches(lines, half, first, tiles, patches)


@inlined
def transform_products(products, first, tiles, z):
    """Write Aᵀ m A of one row of tiles to two rows of outputs z (2, 2·tiles, f)."""
    for q in range(tiles):
        t = first + q
        for o in range(z.shape[2]):
            above0 = products[0, t, o] + products[4, t, o] + products[8, t, o]
            above1 = products[1, t, o] + products[5, t, o] + products[9, t, o]
            above2 = products[2, t, o] + products[6, t, o] + products[10, t, o]
            above3 = products[3, t, o] + products[7, t, o] + products[11, t, o]
            z[0, 2 * q, o] = above0 + above1 + above2
            z[0, 2 * q + 1, o] = above1 - above2 - above3
        for o in range(z.shape[2]):
            below0 = products[4, t, o] - products[8, t, o] - products[12, t, o]
            below1 = products[5, t, o] - products[9, t, o] - products[13, t, o]
            below2 = products[6, t, o] - products[10, t, o] - products[14, t, o]
            below3 = products[7, t, o] - products[11, t, o] - products[15, t, o]
            z[1, 2 * q, o] = below0 + below1 + below2
            z[1, 2 * q + 1, o] = below1 - below2 - below3


@kernel
def transform_kernel(weights, transformed):
    """Write G g Gᵀ of a kernel (3, 3, c, f) to (16, c, f)."""
    _, _, inputs, outputs = weights.shape
    half = constant(0.5, weights[0, 0, 0, 0])
    rows = np.empty((4, 3, outputs), weights.dtype)
    for i in range(inputs):
        for j in range(3):
            for o in range(outputs):
                a = weights[0, j, i, o]
                b = weights[1, j, i, o]
                c = weights[2, j, i, o]
                rows[0, j, o] = a
                rows[1, j, o] = half * (a + b + c)
                rows[2, j, o] = half * (a - b + c)
                rows[3, j, o] = c
        for k in range(4):
            for o in range(outputs):
                a = rows[k, 0, o]
                b = rows[k, 1, o]
                c = rows[k, 2, o]
                transformed[4 * k, i, o] = a
                transformed[4 * k + 1, i, o] = half * (a + b + c)
                transformed[4 * k + 2, i, o] = half * (a - b + c)
                transformed[4 * k + 3, i, o] = c


@inlined
def transform_kernel_gradient(total, gradient):
    """Write Gᵀ m G of (16, c, f) to the gradient of the kernel, (3, 3, c, f)."""
    half = constant(0.5, total[0, 0, 0])
    _, inputs, outputs = total.shape
    rows = np.empty((3, 4, outputs), total.dtype)
    for i in range(inputs):
        for k in range(4):
            for o in range(outputs):
                between = half * (total[4 + k, i, o] + total[8 + k, i, o])
                rows[0, k, o] = total[k, i, o] + between
                rows[1, k, o] = half * (total[4 + k, i, o] - total[8 + k, i, o])
                rows[2, k, o] = between + total[12 + k, i, o]
        for j in range(3):
            for o in range(outputs):
                between = half * (rows[j, 1, o] + rows[j, 2, o])
                gradient[j, 0, i, o] = rows[j, 0, o] + between
                gradient[j, 1, i, o] = half * (rows[j, 1, o] - rows[j, 2, o])
                gradient[j, 2, i, o] = between + rows[j, 3, o]


@parallel_kernel
def convolve(
    source,
    mask,
    source_winner,
    masked,
    unpool,
    transformed,
    bias,
    relu,
    pooled,
    padding,
    y,
    winner,
    lines,
    half,
    z,
    patches,
    products,
):
    """Write y = pool(relu(convolution of the source + bias)).

    Parameters
    ----------
    source, mask, source_winner : ndarray
        The images (n, h, w, c), or what `lay_lines` makes images of.
    masked, unpool : bool
        Whether the images are to be multiplied by mask > 0, or put where pooling took them from.
    transformed : ndarray, shape (16, c, f)
        What `transform_kernel` wrote.
    bias : ndarray, shape (f,)
        Zeros if the layer has none.
    relu, pooled : bool
        Whether ReLU and 2×2 max-pooling follow.
    padding : int
        Rows and columns of zeros before the image; those after it are given by the shape of y.
    y : ndarray, shape (n, rows, columns, f), or (n, pooled rows, pooled columns, f)
        The output.
    winner : ndarray of uint8, shape of y if pooled
        Which pixel of its window each output comes from.
    lines, half : ndarray, shapes (shares, 4, width, c), (shares, 4, width·c)
        Memory of each share; the width is at least that of an image.
    z : ndarray, shape (shares, 2, 2·tiles of a row, f)
        Memory of each share.
    patches, products : ndarray, shapes (shares, 16, tiles, c), (shares, 16, tiles, f)
        Memory of each share.
    """
    shares, _, block, _ = patches.shape
    n = source.shape[0]
    rows_of_tiles = y.shape[1] if pooled else (y.shape[1] + 1) // 2
    tiles = y.shape[2] if pooled else (y.shape[2] + 1) // 2
    units = n * rows_of_tiles
    units_of_block = block // tiles
    for share in prange(shares):
        first, last = share_bounds(share, shares, units)
        for start in range(first, last, units_of_block):
            stop = min(start + units_of_block, last)
            for u in range(start, stop):
                image = u // rows_of_tiles
                transform_row(
                    source[image],
                    mask[image if masked else 0],
                    source_winner[image if unpool else 0],
                    masked,
                    unpool,
                    padding,
                    u % rows_of_tiles,
                    lines[share],
                    half[share],
                    (u - start) * tiles,
                    tiles,
                    patches[share],
                )
            count = (stop - start) * tiles
            for k in range(16):
                np.dot(patches[share, k, :count], transformed[k], products[share, k, :count])
            for u in range(start, stop):
                image = u // rows_of_tiles
                row = u % rows_of_tiles
                at = (u - start) * tiles
                transform_products(products[share], at, tiles, z[share])
                if pooled:
                    pool_lines(z[share], bias, relu, y[image, row], winner[image, row])
                else:
                    take_lines(z[share], bias, relu, 2 * row, y[image])


@inlined
def transform_gradients(dz, first, tiles, gradients):
    """Write A ∂tile Aᵀ of one row of tiles, dz (2, 2·tiles, f), to gradients (16, tiles, f)."""
    for q in range(tiles):
        t = first + q
        for o in range(dz.shape[2]):
            a = dz[0, 2 * q, o]
            b = dz[0, 2 * q + 1, o]
            c = dz[1, 2 * q, o]
            d = dz[1, 2 * q + 1, o]
            gradients[0, t, o] = a
            gradients[1, t, o] = a + b
            gradients[2, t, o] = a - b
            gradients[3, t, o] = -b
            gradients[12, t, o] = -c
            gradients[13, t, o] = -(c + d)
            gradients[14, t, o] = d - c
            gradients[15, t, o] = d
        for o in range(dz.shape[2]):
            left = dz[0, 2 * q, o] + dz[1, 2 * q, o]
            right = dz[0, 2 * q + 1, o] + dz[1, 2 * q + 1, o]
            gradients[4, t, o] = left
            gradients[5, t, o] = left + right
            gradients[6, t, o] = left - right
            gradients[7, t, o] = -right
        for o in range(dz.shape[2]):
            left = dz[0, 2 * q, o] - dz[1, 2 * q, o]
            right = dz[0, 2 * q + 1, o] - dz[1, 2 * q + 1, o]
            gradients[8, t, o] = left
            gradients[9, t, o] = left + right
            gradients[10, t, o] = left - right
            gradients[11, t, o] = -right


@parallel_kernel
def convolve_weight_gradient(
    x,
    dy,
    y,
    winner,
    relu,
    pooled,
    padding,
    gradient,
    bias_sums,
    sums,
    product,
    lines,
    half,
    dz,
    patches,
    gradients,
):
    """Write the gradient of the kernel, and each share's sum of ∂y.

    Parameters
    ----------
    x : ndarray, shape (n, h, w, c)
        The images.
    dy, y : ndarray, shape (n, rows, columns, f), or (n, pooled rows, pooled columns, f)
        The gradient with respect to the output, and the output.
    winner : ndarray of uint8, shape of y if pooled
        Which pixel of its window each output comes from.
    relu, pooled, padding
        As in `convolve`.
    gradient : ndarray, shape (3, 3, c, f)
        The gradient of the kernel.
    bias_sums : ndarray, shape (shares, 2, f)
        The sums for the bias, and memory.
    sums, product : ndarray, shapes (shares, 16, c, f), (shares, c, f)
        Memory of each share.
    lines, half, dz, patches, gradients : ndarray
        Memory of each share, as in `convolve`; dz is as z, gradients as products.
    """
    shares, _, block, inputs = patches.shape
    outputs = dy.shape[3]
    n = x.shape[0]
    rows_of_tiles = dy.shape[1] if pooled else (dy.shape[1] + 1) // 2
    tiles = dy.shape[2] if pooled else (dy.shape[2] + 1) // 2
    units = n * rows_of_tiles
    units_of_block = block // tiles
    zero = constant(0, sums[0, 0, 0, 0])
    for share in prange(shares):
        sums[share] = zero
        bias_sums[share] = zero
        first, last = share_bounds(share, shares, units)
        for start in range(first, last, units_of_block):
            stop = min(start + units_of_block, last)
            count = (stop - start) * tiles
            for u in range(start, stop):
                image = u // rows_of_tiles
                row = u % rows_of_tiles
                at = (u - start) * tiles
                transform_row(
                    x[image],
                    y[0],
                    winner[image if pooled else 0],
                    False,
                    False,
                    padding,
                    row,
                    lines[share],
                    half[share],
                    at,
                    tiles,
                    patches[share],
                )
                lay_lines(
                    dy[image],
                    y[image],
                    winner[image if pooled else 0],
                    relu,
                    pooled,
                    2 * row,
                    0,
                    dz[share],
                )
                transform_gradients(dz[share], at, tiles, gradients[share])
            # Of the 16 numbers of a tile, the one at (1, 1) is the sum of the tile.
            sum_rows(gradients[share, 5, :count], bias_sums[share, 1], bias_sums[share, 0])
            for k in range(16):
                np.dot(patches[share, k, :count].T, gradients[share, k, :count], product[share])
                for i in range(inputs):
                    for o in range(outputs):
                        sums[share, k, i, o] += product[share, i, o]
    for share in range(1, shares):
        for k in range(16):
            for i in range(inputs):
                for o in range(outputs):
                    sums[0, k, i, o] += sums[share, k, i, o]
    transform_kernel_gradient(sums[0], gradient)
