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

The transforms are long loops that write one array and read two or three. LLVM compares the
addresses of each pair of arrays of a loop, and makes no vector instructions of it if there are
more than eight pairs. Neither does it if an index is a sum, which might be negative and so count
from the end; hence the slices. The even columns of a line come first, then the odd ones: tile q
needs columns 2·q to 2·q + 3, which are numbers q and q + 1 of both halves, so one loop serves all
tiles of a row. All this is worth 18 of 48 ms for forward and backward of 64 images of 26×26×32
with 64 filters.
"""

from numba import prange

from ..compilation import inlined, parallel_kernel
from .constants import constant
from .convolution import pool, rectify
from .products import multiply, multiply_transposed
from .shares import share_bounds

# Of each row of Bᵀ the two numbers that are not 0: their columns, the first is 1, the second SIGNS.
FIRST = (0, 1, 2, 1)
SECOND = (2, 2, 1, 3)
SIGNS = (-1, 1, -1, -1)

# The rows of A.
UPPER = (1, 1, 1, 0)
LOWER = (0, 1, -1, -1)


@inlined
def combine(source, row_a, at_a, row_b, at_b, a, b, count, target, row, at):
    """Write a·source[row_a, at_a:] + b·source[row_b, at_b:] to target[row, at:]."""
    first = source[row_a, at_a : at_a + count]
    second = source[row_b, at_b : at_b + count]
    result = target[row, at : at + count]
    for k in range(count):
        result[k] = a * first[k] + b * second[k]


@inlined
def add_three(source, row_a, row_b, row_c, at_source, sign, count, target, row, at):
    """Write source[row_a] + sign·(source[row_b] + source[row_c]), from at_source on."""
    a = source[row_a, at_source : at_source + count]
    b = source[row_b, at_source : at_source + count]
    c = source[row_c, at_source : at_source + count]
    result = target[row, at : at + count]
    for k in range(count):
        result[k] = a[k] + sign * (b[k] + c[k])


@inlined
def lay_lines(x, shape, image, top, left, lines):
    """Copy some lines of an image, even columns first, with zeros around the image.

    Parameters
    ----------
    x : ndarray, shape (n·h·w·c,)
        The images.
    shape : tuple of int
        n, h, w, c.
    image, top, left : int
        Which lines, and from which column on; outside of the image are zeros.
    lines : ndarray, shape (count, 2·pairs·c)
        The copy.
    """
    _, h, w, c = shape
    zero = constant(0, lines[0, 0])
    pairs = lines.shape[1] // (2 * c)
    for i in range(lines.shape[0]):
        line = top + i
        for j in range(2 * pairs):
            column = left + j
            at = (j % 2 * pairs + j // 2) * c
            target = lines[i, at : at + c]
            if 0 <= line < h and 0 <= column < w:
                at = ((image * h + line) * w + column) * c
                source = x[at : at + c]
                for k in range(c):
                    target[k] = source[k]
            else:
                for k in range(c):
                    target[k] = zero


@inlined
def transform_patches(lines, half, first, tiles, patches):
    """Write Bᵀ d B of one row of tiles, by way of half = Bᵀ d.

    Parameters
    ----------
    lines, half : ndarray, shape (4, 2·(tiles + 1)·c)
        The lines of the input, and memory.
    first, tiles : int
        They become the tiles from `first` on of `patches`.
    patches : ndarray, shape (16, tiles of a block·c)
        The transformed patches.
    """
    one = constant(1, lines[0, 0])
    odd = lines.shape[1] // 2
    c = odd // (tiles + 1)
    for i in range(4):
        sign = constant(SIGNS[i], one)
        combine(lines, FIRST[i], 0, SECOND[i], 0, one, sign, 2 * odd, half, i, 0)
    for i in range(4):
        for j in range(4):
            at_a = FIRST[j] % 2 * odd + FIRST[j] // 2 * c
            at_b = SECOND[j] % 2 * odd + SECOND[j] // 2 * c
            sign = constant(SIGNS[j], one)
            combine(half, i, at_a, i, at_b, one, sign, tiles * c, patches, 4 * i + j, first * c)


@inlined
def transform_products(products, bias, first, tiles, half, z):
    """Write Aᵀ m A + bias of one row of tiles, by way of half, a row of Aᵀ m.

    Parameters
    ----------
    products : ndarray, shape (16, tiles of a block·f)
        The matrices m (4, 4), which are changed.
    bias : ndarray, shape (f,)
        The bias.
    first, tiles : int
        Which tiles.
    half : ndarray, shape (4, tiles·f)
        Memory.
    z : ndarray, shape (4, tiles·f)
        The outputs: upper left, upper right, lower left, lower right.
    """
    outputs = bias.size
    at = first * outputs
    count = tiles * outputs
    # The number at (1, 1) is in all four outputs with the sign +.
    for q in range(tiles):
        middle = products[5, at + q * outputs : at + (q + 1) * outputs]
        for o in range(outputs):
            middle[o] += bias[o]
    one = constant(1, bias[0])
    for i in range(2):
        # The second row of Aᵀ is the first one, moved, with other signs.
        sign = one if i == 0 else -one
        for j in range(4):
            k = 4 * i + j
            add_three(products, k, k + 4, k + 8, at, sign, count, half, j, 0)
        add_three(half, 0, 1, 2, 0, one, count, z, 2 * i, 0)
        add_three(half, 1, 2, 3, 0, -one, count, z, 2 * i + 1, 0)


@inlined
def transform_gradients(lines, half, first, tiles, gradients):
    """Write A ∂tile Aᵀ of one row of tiles, by way of half = A ∂tile.

    Parameters
    ----------
    lines, half : ndarray, shapes (2, 2·tiles·f), (4, 2·tiles·f)
        The two lines of the output that the tiles cover, and memory.
    first, tiles : int
        They become the tiles from `first` on of `gradients`.
    gradients : ndarray, shape (16, tiles of a block·f)
        The transformed gradients.
    """
    odd = lines.shape[1] // 2
    at = first * (odd // tiles)
    for i in range(4):
        upper = constant(UPPER[i], lines[0, 0])
        lower = constant(LOWER[i], lines[0, 0])
        combine(lines, 0, 0, 1, 0, upper, lower, 2 * odd, half, i, 0)
    for i in range(4):
        for j in range(4):
            upper = constant(UPPER[j], lines[0, 0])
            lower = constant(LOWER[j], lines[0, 0])
            combine(half, i, 0, i, odd, upper, lower, odd, gradients, 4 * i + j, at)


@inlined
def put_tiles(z, relu, row, target, rows, columns, outputs, y):
    """Copy a row of tiles to two lines of an image, after ReLU if `relu`.

    Parameters
    ----------
    z : ndarray, shape (4, tiles·f)
        What `transform_products` wrote.
    relu : bool
        Whether ReLU follows.
    row, rows, columns, outputs : int
        The upper line, and the shape of the image; what is outside is left out.
    target : int
        Where the upper line begins.
    y : ndarray, shape (n·rows·columns·f,)
        The images.
    """
    for i in range(min(2, rows - row)):
        for q in range(columns):
            at = q // 2 * outputs
            pixel = z[2 * i + q % 2, at : at + outputs]
            result = y[target : target + outputs]
            for o in range(outputs):
                result[o] = pixel[o]
            target += outputs
    if relu:
        count = min(2, rows - row) * columns * outputs
        rectify(y, target - count, count)


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
    flat_patches,
    products,
    flat_products,
    half_z,
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
    y : ndarray, shape (n·rows·columns·f,), or (n·pooled rows·pooled columns·f,)
        The output.
    winner : ndarray of uint8, shape of y if pooled
        Which pixel of its window each output comes from.
    lines, half : ndarray, shape (shares, 4, 2·(tiles + 1)·c)
        Memory of each share; `tiles` is their number in a row.
    patches, flat_patches : ndarray, shapes (shares, 16, block, c), (shares, 16, block·c)
        The same memory of each share, for whole rows of tiles.
    products, flat_products : ndarray, shapes (shares, 16, block, f), (shares, 16, block·f)
        The same memory of each share.
    half_z, z : ndarray, shape (shares, 4, tiles·f)
        Memory of each share.
    """
    rows, columns = size_of_output
    outputs = bias.size
    tiles = z.shape[2] // outputs
    rows_of_tiles = rows // 2 if pooled else (rows + 1) // 2
    shares, _, block, _ = patches.shape
    units_of_block = block // tiles
    for share in prange(shares):
        begin, end = share_bounds(share, shares, shape[0] * rows_of_tiles)
        for start in range(begin, end, units_of_block):
            stop = min(start + units_of_block, end)
            for u in range(start, stop):
                row = u % rows_of_tiles * 2
                lay_lines(x, shape, u // rows_of_tiles, row - padding, -padding, lines[share])
                transform_patches(
                    lines[share], half[share], (u - start) * tiles, tiles, flat_patches[share]
                )
            count = (stop - start) * tiles
            for k in range(16):
                part = patches[share, k, :count]
                multiply(part, transformed[k], products[share, k, :count])
            for u in range(start, stop):
                first = (u - start) * tiles
                transform_products(
                    flat_products[share], bias, first, tiles, half_z[share], z[share]
                )
                if pooled:
                    numbers = tiles * outputs
                    pool(z[share], relu, u * numbers, numbers, y, winner)
                else:
                    row = u % rows_of_tiles * 2
                    target = (u // rows_of_tiles * rows + row) * columns * outputs
                    put_tiles(z[share], relu, row, target, rows, columns, outputs, y)


@parallel_kernel
def convolve_weight_gradient(
    x,
    shape,
    padding,
    dz,
    shape_of_output,
    sums,
    lines,
    half,
    patches,
    flat_patches,
    gradients,
    flat_gradients,
    half_dz,
    dz_lines,
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
    lines, half, patches, flat_patches, gradients, flat_gradients : ndarray
        Memory of each share, as in `convolve`; gradients as products.
    half_dz, dz_lines : ndarray, shapes (shares, 4, 2·tiles·f), (shares, 2, 2·tiles·f)
        Memory of each share.
    """
    _, rows, columns, _ = shape_of_output
    rows_of_tiles = (rows + 1) // 2
    tiles = (columns + 1) // 2
    shares, _, block, _ = patches.shape
    units_of_block = block // tiles
    for share in prange(shares):
        begin, end = share_bounds(share, shares, shape[0] * rows_of_tiles)
        for start in range(begin, end, units_of_block):
            stop = min(start + units_of_block, end)
            for u in range(start, stop):
                row = u % rows_of_tiles * 2
                image = u // rows_of_tiles
                first = (u - start) * tiles
                lay_lines(x, shape, image, row - padding, -padding, lines[share])
                transform_patches(lines[share], half[share], first, tiles, flat_patches[share])
                lay_lines(dz, shape_of_output, image, row, 0, dz_lines[share])
                transform_gradients(
                    dz_lines[share], half_dz[share], first, tiles, flat_gradients[share]
                )
            count = (stop - start) * tiles
            for k in range(16):
                part = patches[share, k, :count]
                multiply_transposed(part, gradients[share, k, :count], True, sums[share, k])
