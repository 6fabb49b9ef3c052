"""Convolutions as matrix products of windows (im2col), a few rows of windows at a time.

A kernel gets images (n, h, w, c) as one axis, or with a pixel in each row, and their sizes as
integers: views inside compiled code take long to compile. A unit is one row of windows, or two rows if 2×2
max-pooling follows. Units are counted through all images, and a share of them belongs to one
thread. A block of units is laid out as rows of a matrix, multiplied, and finished (bias, ReLU,
pooling) while it is in the cache.

The windows of group g are (windows, size²·c/groups); the kernel is (groups, size²·c/groups,
f/groups).
"""

import numpy as np
from numba import prange

from ..compilation import inlined, parallel_kernel
from .constants import constant
from .shares import share_bounds

# A product with so few inputs is computed by loops: BLAS would take longer to copy its arguments.
SHORT = 32

# `winner` counts the pixels of a pooling window in row-major order; DEAD if ReLU returned 0.
DEAD = 4


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
    for q in range(columns):
        left = q * stride - padding
        for i in range(size):
            line = row * stride - padding + i
            source = ((image * h + line) * w + left) * c + group * channels
            target = i * size * channels
            inside = 0 <= line and line < h
            if inside and groups == 1 and 0 <= left and left + size <= w:
                for k in range(size * c):
                    windows[first + q, target + k] = x[source + k]
            else:
                for j in range(size):
                    if inside and 0 <= left + j and left + j < w:
                        for k in range(channels):
                            windows[first + q, target + k] = x[source + k]
                    else:
                        for k in range(channels):
                            windows[first + q, target + k] = zero
                    source += c
                    target += channels


@inlined
def add_windows(windows, first, columns, geometry, image, row, group, dx):
    """Add one row of windows to the pixels that `lay_windows` copies it from."""
    h, w, c, groups, size, stride, padding = geometry
    channels = c // groups
    for q in range(columns):
        left = q * stride - padding
        for i in range(size):
            line = row * stride - padding + i
            if 0 <= line and line < h:
                start = max(0, -left)
                stop = min(size, w - left)
                for j in range(start, stop):
                    target = ((image * h + line) * w + left + j) * c + group * channels
                    source = (i * size + j) * channels
                    for k in range(channels):
                        dx[target + k] += windows[first + q, source + k]


@inlined
def multiply_short(windows, count, weights, first, products):
    """Write windows·weights for a few inputs to the rows from `first` on of `products`."""
    inputs, outputs = weights.shape
    zero = constant(0, weights[0, 0])
    for p in range(count):
        for o in range(outputs):
            products[first + p, o] = zero
        quads = inputs - inputs % 4
        for k in range(0, quads, 4):
            a = windows[p, k]
            b = windows[p, k + 1]
            c = windows[p, k + 2]
            d = windows[p, k + 3]
            for o in range(outputs):
                products[first + p, o] += (
                    a * weights[k, o]
                    + b * weights[k + 1, o]
                    + c * weights[k + 2, o]
                    + d * weights[k + 3, o]
                )
        for k in range(quads, inputs):
            a = windows[p, k]
            for o in range(outputs):
                products[first + p, o] += a * weights[k, o]


@inlined
def cross_multiply_short(windows, count, dz, first, product):
    """Write windowsᵀ·dz for a few inputs, four windows at a time."""
    inputs, outputs = product.shape
    zero = constant(0, product[0, 0])
    for k in range(inputs):
        for o in range(outputs):
            product[k, o] = zero
    quads = count - count % 4
    for p in range(0, quads, 4):
        z = first + p
        for k in range(inputs):
            a = windows[p, k]
            b = windows[p + 1, k]
            c = windows[p + 2, k]
            d = windows[p + 3, k]
            for o in range(outputs):
                product[k, o] += (
                    a * dz[z, o] + b * dz[z + 1, o] + c * dz[z + 2, o] + d * dz[z + 3, o]
                )
    for p in range(quads, count):
        for k in range(inputs):
            a = windows[p, k]
            for o in range(outputs):
                product[k, o] += a * dz[first + p, o]


@inlined
def add_bias(z, source, count, bias, relu, target, y):
    """Write z + bias, after ReLU if `relu`, for some rows; z and y may be the same.

    Parameters
    ----------
    z, y : ndarray, shapes (rows, f)
        From the rows `source` and `target` on, `count` rows are read and written. NaN stays NaN.
    """
    zero = constant(0, bias[0])
    for p in range(count):
        for o in range(bias.size):
            y[target + p, o] = z[source + p, o] + bias[o]
        if relu:
            for o in range(bias.size):
                value = y[target + p, o]
                y[target + p, o] = zero if value <= zero else value


@inlined
def pool(z, source, width, bias, relu, target, columns, y, winner):
    """Add the bias, pool 2×2 windows of two lines, and apply ReLU.

    Of equal values the first wins; NaN wins. The bias is added before values are compared, because
    rounding may make two of them equal.

    Parameters
    ----------
    z : ndarray, shape (rows, f)
        From row `source` on, `width` rows for the upper line, then `width` for the lower one.
    target, columns : int
        The outputs are written to the rows from `target` on.
    y, winner : ndarray, shape (rows, f)
        The outputs, and which pixel of its window each of them comes from.
    """
    zero = constant(0, bias[0])
    for q in range(columns):
        above = source + 2 * q
        below = above + width
        for o in range(bias.size):
            best = z[above, o] + bias[o]
            number = np.uint8(0)
            value = z[above + 1, o] + bias[o]
            if value > best or value != value:
                best = value
                number = np.uint8(1)
            value = z[below, o] + bias[o]
            if value > best or value != value:
                best = value
                number = np.uint8(2)
            value = z[below + 1, o] + bias[o]
            if value > best or value != value:
                best = value
                number = np.uint8(3)
            y[target + q, o] = best
            winner[target + q, o] = number
        if relu:
            for o in range(bias.size):
                best = y[target + q, o]
                winner[target + q, o] = winner[target + q, o] if best > zero else np.uint8(DEAD)
                y[target + q, o] = zero if best <= zero else best


@inlined
def take_group(z, first, count, group, part):
    """Copy the channels of one group of some rows of z (rows, f) to part (count, f/groups)."""
    outputs = part.shape[1]
    for p in range(count):
        for o in range(outputs):
            part[p, o] = z[first + p, group * outputs + o]


@inlined
def put_group(part, count, group, first, z):
    """Copy the channels of one group back."""
    outputs = part.shape[1]
    for p in range(count):
        for o in range(outputs):
            z[first + p, group * outputs + o] = part[p, o]


@parallel_kernel
def convolve(x, geometry, shape, weights, bias, relu, pooled, y, winner, windows, z, part):
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
    y : ndarray, shape (n·rows·columns, f), or (n·pooled rows·pooled columns, f)
        The output.
    winner : ndarray of uint8, shape of y if pooled
        Which pixel of its window each output comes from.
    windows, z, part : ndarray
        Memory of each share: (shares, windows, size²·c/groups); (shares, windows, f) if pooled;
        (shares, windows, f/groups) if there are groups.
    """
    n, rows, columns = shape
    shares, block, inputs = windows.shape
    groups = weights.shape[0]
    lines = 2 if pooled else 1
    units_of_image = rows // lines
    units = n * units_of_image
    units_of_block = block // (lines * columns)
    for share in prange(shares):
        begin, end = share_bounds(share, shares, units)
        for start in range(begin, end, units_of_block):
            stop = min(start + units_of_block, end)
            count = (stop - start) * lines * columns
            out = z[share] if pooled else y
            base = 0 if pooled else start * columns
            for group in range(groups):
                for line in range(start * lines, stop * lines):
                    lay_windows(
                        x,
                        geometry,
                        line // (units_of_image * lines),
                        line % (units_of_image * lines),
                        group,
                        (line - start * lines) * columns,
                        columns,
                        windows[share],
                    )
                product = out if groups == 1 else part[share]
                first = base if groups == 1 else 0
                if inputs <= SHORT:
                    multiply_short(windows[share], count, weights[group], first, product)
                else:
                    np.dot(windows[share, :count], weights[group], product[first : first + count])
                if groups > 1:
                    put_group(product, count, group, base, out)
            if pooled:
                for u in range(start, stop):
                    source = (u - start) * 2 * columns
                    target = u * (columns // 2)
                    pool(out, source, columns, bias, relu, target, columns // 2, y, winner)
            else:
                add_bias(out, base, count, bias, relu, base, y)


@parallel_kernel
def spread_gradient(dy, y, winner, relu, pooled, dz, bias_sums):
    """Write the gradient with respect to the convolution's output: backwards through what follows.

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
        Each share's sum of dz over images, rows and columns, and memory.
    """
    n, rows, columns, outputs = dz.shape
    shares = bias_sums.shape[0]
    zero = constant(0, bias_sums[0, 0, 0])
    for share in prange(shares):
        first, last = share_bounds(share, shares, n)
        for o in range(outputs):
            bias_sums[share, 0, o] = zero
        for image in range(first, last):
            # A sum of its own for each image: float32 sums of many numbers are inaccurate.
            for o in range(outputs):
                bias_sums[share, 1, o] = zero
            for r in range(rows):
                for q in range(columns):
                    if pooled:
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
                    elif relu:
                        for o in range(outputs):
                            alive = y[image, r, q, o] > zero
                            dz[image, r, q, o] = dy[image, r, q, o] if alive else zero
                    for o in range(outputs):
                        bias_sums[share, 1, o] += dz[image, r, q, o]
            for o in range(outputs):
                bias_sums[share, 0, o] += bias_sums[share, 1, o]


@parallel_kernel
def convolve_weight_gradient(x, geometry, shape, dz, sums, windows, part, product):
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
    product : ndarray, shape (shares, size²·c/groups, f/groups)
        Memory of each share.
    """
    n, rows, columns = shape
    shares, block, inputs = windows.shape
    _, groups, _, outputs = sums.shape
    rows_of_block = block // columns
    for share in prange(shares):
        begin, end = share_bounds(share, shares, n * rows)
        for start in range(begin, end, rows_of_block):
            stop = min(start + rows_of_block, end)
            count = (stop - start) * columns
            for group in range(groups):
                for row in range(start, stop):
                    first = (row - start) * columns
                    lay_windows(
                        x, geometry, row // rows, row % rows, group, first, columns, windows[share]
                    )
                down = dz
                first = start * columns
                if groups > 1:
                    down = part[share]
                    take_group(dz, first, count, group, down)
                    first = 0
                if inputs <= SHORT:
                    cross_multiply_short(windows[share], count, down, first, product[share])
                else:
                    np.dot(windows[share, :count].T, down[first : first + count], product[share])
                for k in range(inputs):
                    for o in range(outputs):
                        sums[share, group, k, o] += product[share, k, o]


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
                np.dot(down[first : first + count], weights[group], windows[share, :count])
                for row in range(start, stop):
                    first = (row - start) * columns
                    add_windows(
                        windows[share], first, columns, geometry, row // rows, row % rows, group, dx
                    )
