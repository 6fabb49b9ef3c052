"""Convolutions as matrix products of windows (im2col), a few rows of windows at a time.

A kernel gets images (n, h, w, c) as one axis, or with a pixel in each row, and their sizes as
integers: views inside compiled code take long to compile.

A unit is one row of windows, or two rows if 2×2 max-pooling follows. Units are counted through all
images, and a share of them belongs to one thread. A block of units is laid out as rows of a matrix,
multiplied, and finished (bias, ReLU, pooling) while it is in the cache.

The windows of group g are (windows, size²·c/groups); the kernel is (groups, size²·c/groups,
f/groups).
"""

import numpy as np
from numba import prange

from ..compilation import inlined, parallel_kernel
from .constants import constant
from .products import multiply, multiply_transposed
from .shares import share_bounds

# Fewer numbers in a row of a window are copied one by one: loops over them take longer to start. It
# is worth 0.4 of 1.8 ms for the first convolution of R3.
FEW = 12

# `winner` counts the pixels of a pooling window in row-major order; DEAD if ReLU returned 0.
DEAD = 4


@inlined
def copy(source, at_source, count, target, at):
    """Copy some numbers; an index that is a sum would keep LLVM from vector instructions."""
    numbers = source[at_source : at_source + count]
    result = target[at : at + count]
    for k in range(count):
        result[k] = numbers[k]


@inlined
def lay_small_windows(x, geometry, image, row, group, first, columns, windows):
    """Lay windows with few numbers in a row out, as `lay_windows` does, number by number."""
    h, w, c, groups, size, stride, padding = geometry
    channels = c // groups
    zero = constant(0, windows[0, 0])
    for k in range(windows.shape[1]):
        line = row * stride - padding + k // (channels * size)
        left = k // channels % size - padding
        source = ((image * h + line) * w + left) * c + group * channels + k % channels
        for q in range(columns):
            inside = 0 <= line < h and 0 <= left + q * stride < w
            windows[first + q, k] = x[source + q * stride * c] if inside else zero


@inlined
def lay_windows(x, geometry, image, row, group, first, columns, windows):
    """Lay one row of windows of one group of channels out.

    Parameters
    ----------
    x : ndarray, shape (n·h·w·c,)
        The images.
    geometry : tuple of int
        h, w, c, groups, size, stride, padding.
    image, row, group : int
        Which row of windows.
    first, columns : int
        They become the rows from `first` on of `windows`.
    windows : ndarray, shape (rows, size²·c/groups)
        The matrix.
    """
    h, w, c, groups, size, stride, padding = geometry
    channels = c // groups
    zero = constant(0, windows[0, 0])
    if size * channels < FEW:
        lay_small_windows(x, geometry, image, row, group, first, columns, windows)
        return
    for q in range(columns):
        left = q * stride - padding
        for i in range(size):
            line = row * stride - padding + i
            source = ((image * h + line) * w + left) * c + group * channels
            target = i * size * channels
            inside = 0 <= line < h
            if inside and groups == 1 and left >= 0 and left + size <= w:
                copy(x, source, size * c, windows[first + q], target)
            else:
                for j in range(size):
                    if inside and 0 <= left + j < w:
                        copy(x, source, channels, windows[first + q], target)
                    else:
                        windows[first + q, target : target + channels] = zero
                    source += c
                    target += channels


@inlined
def lay_rows(x, geometry, start, stop, rows_of_image, group, columns, windows):
    """Lay some rows of windows out, counted through all images."""
    for row in range(start, stop):
        image = row // rows_of_image
        first = (row - start) * columns
        lay_windows(x, geometry, image, row % rows_of_image, group, first, columns, windows)


@inlined
def add_windows(windows, first, columns, geometry, image, row, group, dx):
    """Add one row of windows to the pixels that `lay_windows` copies it from."""
    h, w, c, groups, size, stride, padding = geometry
    channels = c // groups
    for q in range(columns):
        left = q * stride - padding
        for i in range(size):
            line = row * stride - padding + i
            if 0 <= line < h:
                start = max(0, -left)
                stop = min(size, w - left)
                for j in range(start, stop):
                    target = ((image * h + line) * w + left + j) * c + group * channels
                    source = (i * size + j) * channels
                    pixel = dx[target : target + channels]
                    part = windows[first + q, source : source + channels]
                    for k in range(channels):
                        pixel[k] += part[k]


@inlined
def add_bias(y, first, count, bias):
    """Add the bias to some rows of y (rows, f), in place."""
    for p in range(first, first + count):
        for o in range(bias.size):
            y[p, o] += bias[o]


@inlined
def rectify(y, first, count):
    """Apply ReLU to some numbers of y (numbers,), in place; NaN stays NaN."""
    zero = constant(0, y[0])
    part = y[first : first + count]
    for k in range(count):
        # Not max(): that of Python returns 0 for NaN.
        part[k] = zero if part[k] <= zero else part[k]


@inlined
def take_larger(values, number, y, winner):
    """Replace the numbers of y that are exceeded, and their winner by `number`; NaN wins."""
    for k in range(y.size):
        value = values[k]
        larger = value > y[k] or value != value
        y[k] = value if larger else y[k]
        winner[k] = number if larger else winner[k]


@inlined
def pool(z, relu, target, count, y, winner):
    """Write the largest of four numbers, after ReLU if `relu`.

    Parameters
    ----------
    z : ndarray, shape (4, count)
        The pixels of some windows, in row-major order. Of equal numbers the first wins; NaN wins.
    relu : bool
        Whether ReLU follows.
    target, count : int
        The outputs are written from `target` on.
    y, winner : ndarray, shape (numbers,)
        The outputs, and which pixel of its window each of them comes from.
    """
    best = y[target : target + count]
    numbers = winner[target : target + count]
    for k in range(count):
        best[k] = z[0, k]
        numbers[k] = 0
    for number in range(1, 4):
        take_larger(z[number], np.uint8(number), best, numbers)
    if relu:
        zero = constant(0, z[0, 0])
        dead = np.uint8(DEAD)
        for k in range(count):
            numbers[k] = numbers[k] if best[k] > zero else dead
        rectify(best, 0, count)


@inlined
def lay_pools(products, source, columns, bias, z):
    """Write two rows of windows, with bias, as the four pixels of pooling windows.

    Parameters
    ----------
    products : ndarray, shape (windows, f)
        From `source` on: the windows of a row, then those of the row below.
    source, columns : int
        Where they are, and how many there are in a row.
    bias : ndarray, shape (f,)
        The bias. It is added before numbers are compared: rounding may make two of them equal.
    z : ndarray, shape (4, pooled columns·f)
        The pixels.
    """
    outputs = bias.size
    for i in range(2):
        for q in range(columns // 2 * 2):
            row = source + i * columns + q
            at = q // 2 * outputs
            pixel = z[2 * i + q % 2, at : at + outputs]
            for o in range(outputs):
                pixel[o] = products[row, o] + bias[o]


@inlined
def take_group(z, first, count, group, part):
    """Copy the channels of one group of some rows of z (rows, f) to part (count, f/groups)."""
    outputs = part.shape[1]
    for p in range(count):
        copy(z[first + p], group * outputs, outputs, part[p], 0)


@inlined
def put_group(part, count, group, first, z):
    """Copy the channels of one group back."""
    outputs = part.shape[1]
    for p in range(count):
        copy(part[p], 0, outputs, z[first + p], group * outputs)


@parallel_kernel
def convolve(
    x,
    geometry,
    shape,
    weights,
    bias,
    relu,
    pooled,
    y,
    flat_y,
    winner,
    windows,
    products,
    z,
    part,
):
    """Write y = pool(relu(windows·weights + bias)).

    Parameters
    ----------
    x : ndarray, shape (n·h·w·c,)
        The images.
    geometry : tuple of int
        h, w, c, groups, size, stride, padding.
    shape : tuple of int
        n, and how many rows and columns of windows an image has.
    weights : ndarray, shape (groups, size²·c/groups, f/groups)
        The kernel of each group.
    bias : ndarray, shape (f,)
        Zeros if the layer has none.
    relu, pooled : bool
        Whether ReLU and 2×2 max-pooling follow.
    y, flat_y : ndarray, shapes (n·rows·columns, f), (n·rows·columns·f,)
        The output, twice; pooling divides rows and columns by 2.
    winner : ndarray of uint8, shape of flat_y if pooled
        Which pixel of its window each output comes from.
    windows, products, z, part : ndarray
        Memory of each share: (shares, windows, size²·c/groups); if pooled, (shares, windows, f)
        and (shares, 4, pooled columns·f); if there are groups, (shares, windows, f/groups).
    """
    n, rows, columns = shape
    shares, block, _ = windows.shape
    groups = weights.shape[0]
    outputs = bias.size
    lines = 2 if pooled else 1
    units = n * (rows // lines)
    used_rows = rows // lines * lines
    units_of_block = block // (lines * columns)
    for share in prange(shares):
        begin, end = share_bounds(share, shares, units)
        for start in range(begin, end, units_of_block):
            stop = min(start + units_of_block, end)
            count = (stop - start) * lines * columns
            out = products[share] if pooled else y
            base = 0 if pooled else start * columns
            for group in range(groups):
                lay_rows(
                    x,
                    geometry,
                    start * lines,
                    stop * lines,
                    used_rows,
                    group,
                    columns,
                    windows[share],
                )
                product = out if groups == 1 else part[share]
                first = base if groups == 1 else 0
                target = product[first : first + count]
                multiply(windows[share, :count], weights[group], target)
                if groups > 1:
                    put_group(product, count, group, base, out)
            if pooled:
                numbers = z.shape[2]
                for u in range(start, stop):
                    lay_pools(out, (u - start) * 2 * columns, columns, bias, z[share])
                    pool(z[share], relu, u * numbers, numbers, flat_y, winner)
            else:
                add_bias(y, base, count, bias)
                if relu:
                    rectify(flat_y, base * outputs, count * outputs)


@inlined
def unpool(dy, winner, image, dz):
    """Write the numbers of dy to the pixels that their outputs came from, and zeros elsewhere."""
    _, rows, columns, outputs = dz.shape
    zero = constant(0, dz[0, 0, 0, 0])
    for r in range(rows):
        for q in range(columns):
            above = r // 2
            left = q // 2
            number = r % 2 * 2 + q % 2
            if above < dy.shape[1] and left < dy.shape[2]:
                for o in range(outputs):
                    taken = winner[image, above, left, o] == number
                    dz[image, r, q, o] = dy[image, above, left, o] if taken else zero
            else:
                for o in range(outputs):
                    dz[image, r, q, o] = zero


@inlined
def mask(dy, y, image, dz):
    """Write the numbers of dy whose outputs are above 0, and zeros elsewhere."""
    _, rows, columns, outputs = dz.shape
    zero = constant(0, dz[0, 0, 0, 0])
    for r in range(rows):
        for q in range(columns):
            for o in range(outputs):
                alive = y[image, r, q, o] > zero
                dz[image, r, q, o] = dy[image, r, q, o] if alive else zero


@inlined
def add_pixels(dz, image, chunk, total):
    """Add an image's sum of every channel, so that float32 sums are short: long ones are wrong."""
    _, rows, columns, outputs = dz.shape
    for o in range(outputs):
        chunk[o] = constant(0, dz[0, 0, 0, 0])
    for r in range(rows):
        for q in range(columns):
            for o in range(outputs):
                chunk[o] += dz[image, r, q, o]
    for o in range(outputs):
        total[o] += chunk[o]


@parallel_kernel
def spread_gradient(dy, y, winner, relu, pooled, dz, bias_sums):
    """Write the gradient with respect to the convolution's output: backwards through what follows.

    It is read twice, for the gradients of the kernel and of the input.

    Parameters
    ----------
    dy, y : ndarray, shape (n, rows, columns, f), or (n, pooled rows, pooled columns, f)
        The gradient with respect to the block's output, and the output.
    winner : ndarray of uint8, shape of y if pooled
        Which pixel of its window each output comes from.
    relu, pooled : bool
        Whether ReLU and 2×2 max-pooling follow.
    dz : ndarray, shape (n, rows, columns, f)
        The gradient. If nothing follows it is dy, and only summed.
    bias_sums : ndarray, shape (shares, 2, f)
        The sum of dz over the images of each share, zeros before, and memory.
    """
    shares = bias_sums.shape[0]
    for share in prange(shares):
        first, last = share_bounds(share, shares, dz.shape[0])
        for image in range(first, last):
            if pooled:
                unpool(dy, winner, image, dz)
            elif relu:
                mask(dy, y, image, dz)
            add_pixels(dz, image, bias_sums[share, 1], bias_sums[share, 0])


@parallel_kernel
def convolve_weight_gradient(x, geometry, shape, dz, sums, windows, part):
    """Add each share's sum of windowsᵀ·dz.

    Parameters
    ----------
    x, geometry, shape
        As in `convolve`.
    dz : ndarray, shape (n·rows·columns, f)
        The gradient with respect to the convolution's output.
    sums : ndarray, shape (shares, groups, size²·c/groups, f/groups)
        What is added to.
    windows, part : ndarray
        Memory of each share, as in `convolve`.
    """
    n, rows, columns = shape
    shares, block, _ = windows.shape
    groups = sums.shape[1]
    rows_of_block = block // columns
    for share in prange(shares):
        begin, end = share_bounds(share, shares, n * rows)
        for start in range(begin, end, rows_of_block):
            stop = min(start + rows_of_block, end)
            count = (stop - start) * columns
            for group in range(groups):
                lay_rows(x, geometry, start, stop, rows, group, columns, windows[share])
                down = dz
                first = start * columns
                if groups > 1:
                    down = part[share]
                    take_group(dz, first, count, group, down)
                    first = 0
                dy = down[first : first + count]
                multiply_transposed(windows[share, :count], dy, True, sums[share, group])


@parallel_kernel
def convolve_input_gradient(dz, geometry, shape, weights, dx, windows, part):
    """Add to dx: each window's dz·weightsᵀ is added to the pixels that the window was copied from.

    Parameters
    ----------
    dz : ndarray, shape (n·rows·columns, f)
        The gradient with respect to the convolution's output.
    geometry, shape
        As in `convolve`.
    weights : ndarray, shape (groups, f/groups, size²·c/groups)
        The transposed kernel of each group.
    dx : ndarray, shape (n·h·w·c,)
        The gradient with respect to the images, zeros before.
    windows, part : ndarray
        Memory of each share, as in `convolve`.
    """
    n, rows, columns = shape
    shares, block, _ = windows.shape
    groups = weights.shape[0]
    rows_of_block = block // columns
    for share in prange(shares):
        # Windows of two rows share pixels, so an image belongs to one thread.
        first_image, last_image = share_bounds(share, shares, n)
        end = last_image * rows
        for start in range(first_image * rows, end, rows_of_block):
            stop = min(start + rows_of_block, end)
            count = (stop - start) * columns
            for group in range(groups):
                down = dz
                first = start * columns
                if groups > 1:
                    down = part[share]
                    take_group(dz, first, count, group, down)
                    first = 0
                dy = down[first : first + count]
                multiply(dy, weights[group], windows[share, :count])
                for row in range(start, stop):
                    first = (row - start) * columns
                    add_windows(
                        windows[share], first, columns, geometry, row // rows, row % rows, group, dx
                    )
