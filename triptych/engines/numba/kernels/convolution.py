"""Convolutions as matrix products of windows (im2col), a few rows of windows at a time.

x is (n, h, w, c). A unit is one row of windows, or two rows if 2×2 max-pooling follows. Units are
counted through all images, and a share of them belongs to one thread. A block of units is laid out
as rows of a matrix, multiplied, and finished (bias, ReLU, pooling) while it is in the cache.

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
def lay_windows(image, row, group_channels, group, size, stride, padding, windows):
    """Lay one row of windows of one group of channels out, (columns, size²·group_channels)."""
    h, w, c = image.shape
    zero = constant(0, image[0, 0, 0])
    first = group * group_channels
    for q in range(windows.shape[0]):
        left = q * stride - padding
        for i in range(size):
            line = row * stride - padding + i
            target = i * size * group_channels
            inside = line >= 0 and line < h
            if inside and left >= 0 and left + size <= w and group_channels == c:
                source = image[line, left : left + size].reshape(size * c)
                for k in range(size * c):
                    windows[q, target + k] = source[k]
                continue
            for j in range(size):
                column = left + j
                at = target + j * group_channels
                if inside and column >= 0 and column < w:
                    for k in range(group_channels):
                        windows[q, at + k] = image[line, column, first + k]
                else:
                    for k in range(group_channels):
                        windows[q, at + k] = zero


@inlined
def add_windows(windows, row, group_channels, group, size, stride, padding, image):
    """Add one row of windows to the pixels that they were copied from: `lay_windows` backwards."""
    h, w, _ = image.shape
    first = group * group_channels
    for q in range(windows.shape[0]):
        left = q * stride - padding
        for i in range(size):
            line = row * stride - padding + i
            if line < 0 or line >= h:
                continue
            for j in range(size):
                column = left + j
                if column < 0 or column >= w:
                    continue
                at = (i * size + j) * group_channels
                for k in range(group_channels):
                    image[line, column, first + k] += windows[q, at + k]


@inlined
def multiply_short(windows, weights, products):
    """Write windows·weights for a few inputs: 0.9 ms where BLAS takes 3.2 (64 images of R3)."""
    inputs, outputs = weights.shape
    zero = constant(0, weights[0, 0])
    for p in range(windows.shape[0]):
        for o in range(outputs):
            products[p, o] = zero
        quads = inputs - inputs % 4
        for k in range(0, quads, 4):
            a = windows[p, k]
            b = windows[p, k + 1]
            c = windows[p, k + 2]
            d = windows[p, k + 3]
            for o in range(outputs):
                products[p, o] += (
                    a * weights[k, o]
                    + b * weights[k + 1, o]
                    + c * weights[k + 2, o]
                    + d * weights[k + 3, o]
                )
        for k in range(quads, inputs):
            a = windows[p, k]
            for o in range(outputs):
                products[p, o] += a * weights[k, o]


@inlined
def cross_multiply_short(windows, dz, total):
    """Add windowsᵀ·dz for a few inputs to `total`, four windows at a time."""
    count, inputs = windows.shape
    outputs = dz.shape[1]
    quads = count - count % 4
    for p in range(0, quads, 4):
        for k in range(inputs):
            a = windows[p, k]
            b = windows[p + 1, k]
            c = windows[p + 2, k]
            d = windows[p + 3, k]
            for o in range(outputs):
                total[k, o] += a * dz[p, o] + b * dz[p + 1, o] + c * dz[p + 2, o] + d * dz[p + 3, o]
    for p in range(quads, count):
        for k in range(inputs):
            a = windows[p, k]
            for o in range(outputs):
                total[k, o] += a * dz[p, o]


@inlined
def add_bias(z, bias, relu):
    """Add the bias to z (windows, f) and apply ReLU, in place; NaN stays NaN."""
    zero = constant(0, bias[0])
    if relu:
        for p in range(z.shape[0]):
            for o in range(z.shape[1]):
                value = z[p, o] + bias[o]
                z[p, o] = max(zero, value)
    else:
        for p in range(z.shape[0]):
            for o in range(z.shape[1]):
                z[p, o] += bias[o]


@inlined
def apply_relu(y, winner):
    """Apply ReLU to pooled outputs (columns, f), in place."""
    zero = constant(0, y[0, 0])
    for q in range(y.shape[0]):
        for o in range(y.shape[1]):
            value = y[q, o]
            y[q, o] = max(zero, value)
            winner[q, o] = winner[q, o] if value > zero else np.uint8(DEAD)


@inlined
def pool_lines(z, bias, relu, y, winner):
    """Add the bias, pool 2×2 windows of two lines z (2, columns, f), and apply ReLU.

    Of equal values the first is the winner; NaN wins. The bias is added before values are
    compared, because rounding may make two of them equal.
    """
    for q in range(y.shape[0]):
        for o in range(y.shape[1]):
            best = z[0, 2 * q, o] + bias[o]
            number = np.uint8(0)
            value = z[0, 2 * q + 1, o] + bias[o]
            if value > best or value != value:
                best = value
                number = np.uint8(1)
            value = z[1, 2 * q, o] + bias[o]
            if value > best or value != value:
                best = value
                number = np.uint8(2)
            value = z[1, 2 * q + 1, o] + bias[o]
            if value > best or value != value:
                best = value
                number = np.uint8(3)
            y[q, o] = best
            winner[q, o] = number
    if relu:
        apply_relu(y, winner)


@inlined
def take_lines(z, bias, relu, first, y):
    """Copy lines z (lines, columns, f) to an image from its line `first` on, with bias and ReLU."""
    for i in range(min(z.shape[0], y.shape[0] - first)):
        line = y[first + i]
        for q in range(line.shape[0]):
            for o in range(line.shape[1]):
                line[q, o] = z[i, q, o]
        add_bias(line, bias, relu)


@inlined
def lay_gradient(dy, y, winner, pooled, start, units, columns, dz):
    """Write the gradient with respect to the convolution's output, after ReLU and pooling.

    If `pooled`, dy and winner are (all units, pooled columns, f), otherwise dy and y are (all
    units, columns, f). dz is (rows of windows of some units·columns, f).
    """
    zero = constant(0, dz[0, 0])
    outputs = dz.shape[1]
    if not pooled:
        for u in range(units):
            for q in range(columns):
                for o in range(outputs):
                    value = dy[start + u, q, o]
                    dz[u * columns + q, o] = value if y[start + u, q, o] > zero else zero
        return
    for u in range(units):
        for k in range(4):
            base = (2 * u + k // 2) * columns + k % 2
            for q in range(dy.shape[1]):
                for o in range(outputs):
                    value = dy[start + u, q, o]
                    dz[base + 2 * q, o] = value if winner[start + u, q, o] == k else zero
        if columns % 2:  # the last column is in no pooling window
            for i in range(2):
                last = (2 * u + i + 1) * columns - 1
                for o in range(outputs):
                    dz[last, o] = zero


@inlined
def sum_rows(z, chunk, total):
    """Add the rows of z (rows, f) to `total`, by way of `chunk`, so that float32 sums are short."""
    zero = constant(0, total[0])
    for o in range(total.size):
        chunk[o] = zero
    for p in range(z.shape[0]):
        for o in range(total.size):
            chunk[o] += z[p, o]
    for o in range(total.size):
        total[o] += chunk[o]


@inlined
def take_group(z, group, part):
    """Copy the channels of one group, (rows, f/groups)."""
    first = group * part.shape[1]
    for p in range(z.shape[0]):
        for o in range(part.shape[1]):
            part[p, o] = z[p, first + o]


@inlined
def put_group(part, group, z):
    """Copy the channels of one group back."""
    first = group * part.shape[1]
    for p in range(z.shape[0]):
        for o in range(part.shape[1]):
            z[p, first + o] = part[p, o]


@parallel_kernel
def convolve(x, weights, bias, relu, pooled, size, stride, padding, y, winner, windows, z, part):
    """Write y = pool(relu(windows·weights + bias)).

    Parameters
    ----------
    x : ndarray, shape (n, h, w, c)
        The images.
    weights : ndarray, shape (groups, size²·c/groups, f/groups)
        The kernel of each group.
    bias : ndarray, shape (f,)
        Zeros if the layer has none.
    relu, pooled : bool
        Whether ReLU and 2×2 max-pooling follow.
    size, stride, padding : int
        Of the convolution.
    y : ndarray, shape (n, rows, columns, f), or (n, pooled rows, pooled columns, f)
        The output.
    winner : ndarray of uint8, shape of y if pooled
        Which pixel of its window each output comes from.
    windows, z, part : ndarray
        Memory of each share: (shares, rows, size²·c/groups), (shares, rows, f) if pooled,
        (shares, rows, f/groups) if there are groups.
    """
    shares, block, inputs = windows.shape
    n = x.shape[0]
    groups = weights.shape[0]
    outputs = bias.size
    columns = (x.shape[2] + 2 * padding - size) // stride + 1
    rows_of_unit = 2 if pooled else 1
    units_of_image = y.shape[1]
    units = n * units_of_image
    pixels = y.reshape(units * y.shape[2], outputs)
    pools = y.reshape(units, y.shape[2], outputs)
    winners = winner.reshape(winner.shape[0] * winner.shape[1], winner.shape[2], winner.shape[3])
    units_of_block = block // (rows_of_unit * columns)
    for share in prange(shares):
        first, last = share_bounds(share, shares, units)
        for start in range(first, last, units_of_block):
            stop = min(start + units_of_block, last)
            rows = (stop - start) * rows_of_unit * columns
            if pooled:
                out = z[share, :rows]
            else:
                out = pixels[start * columns : start * columns + rows]
            for group in range(groups):
                for u in range(start, stop):
                    for i in range(rows_of_unit):
                        at = ((u - start) * rows_of_unit + i) * columns
                        lay_windows(
                            x[u // units_of_image],
                            u % units_of_image * rows_of_unit + i,
                            x.shape[3] // groups,
                            group,
                            size,
                            stride,
                            padding,
                            windows[share, at : at + columns],
                        )
                product = out if groups == 1 else part[share, :rows]
                if inputs <= SHORT:
                    multiply_short(windows[share, :rows], weights[group], product)
                else:
                    np.dot(windows[share, :rows], weights[group], product)
                if groups > 1:
                    put_group(product, group, out)
            if pooled:
                for u in range(start, stop):
                    at = (u - start) * 2 * columns
                    lines = out[at : at + 2 * columns].reshape(2, columns, outputs)
                    pool_lines(lines, bias, relu, pools[u], winners[u])
            else:
                add_bias(out, bias, relu)


@parallel_kernel
def convolve_weight_gradient(
    x,
    dy,
    y,
    winner,
    relu,
    pooled,
    size,
    stride,
    padding,
    sums,
    bias_sums,
    windows,
    dz,
    part,
    product,
):
    """Write each share's sum of windowsᵀ·dz, and of dz.

    Parameters
    ----------
    x : ndarray, shape (n, h, w, c)
        The images.
    dy, y, winner : ndarray
        The gradient with respect to the output, the output, and the winners, as in `convolve`.
    relu, pooled, size, stride, padding
        As in `convolve`.
    sums : ndarray, shape (shares, groups, size²·c/groups, f/groups)
        The sums for the kernel.
    bias_sums : ndarray, shape (shares, 2, f)
        The sums for the bias, and memory.
    windows, dz, part : ndarray
        Memory of each share, as in `convolve`; dz (shares, rows, f) if relu or pooled.
    product : ndarray, shape (shares, size²·c/groups, f/groups)
        Memory of each share.
    """
    shares, block, inputs = windows.shape
    groups = sums.shape[1]
    outputs = dy.shape[3]
    columns = (x.shape[2] + 2 * padding - size) // stride + 1
    rows_of_unit = 2 if pooled else 1
    units_of_image = dy.shape[1]
    units = x.shape[0] * units_of_image
    pixels = dy.reshape(units * dy.shape[2], outputs)
    dy_units = dy.reshape(units, dy.shape[2], outputs)
    y_units = y.reshape(y.shape[0] * y.shape[1], y.shape[2], y.shape[3])
    winners = winner.reshape(winner.shape[0] * winner.shape[1], winner.shape[2], winner.shape[3])
    units_of_block = block // (rows_of_unit * columns)
    zero = constant(0, bias_sums[0, 0, 0])
    for share in prange(shares):
        sums[share] = zero
        bias_sums[share] = zero
        first, last = share_bounds(share, shares, units)
        for start in range(first, last, units_of_block):
            stop = min(start + units_of_block, last)
            rows = (stop - start) * rows_of_unit * columns
            if relu or pooled:
                down = dz[share, :rows]
                lay_gradient(dy_units, y_units, winners, pooled, start, stop - start, columns, down)
            else:
                down = pixels[start * columns : start * columns + rows]
            sum_rows(down, bias_sums[share, 1], bias_sums[share, 0])
            for group in range(groups):
                for u in range(start, stop):
                    for i in range(rows_of_unit):
                        at = ((u - start) * rows_of_unit + i) * columns
                        lay_windows(
                            x[u // units_of_image],
                            u % units_of_image * rows_of_unit + i,
                            x.shape[3] // groups,
                            group,
                            size,
                            stride,
                            padding,
                            windows[share, at : at + columns],
                        )
                group_down = down
                if groups > 1:
                    group_down = part[share, :rows]
                    take_group(down, group, group_down)
                if inputs <= SHORT:
                    product[share] = zero
                    cross_multiply_short(windows[share, :rows], group_down, product[share])
                else:
                    np.dot(windows[share, :rows].T, group_down, product[share])
                for k in range(inputs):
                    for o in range(group_down.shape[1]):
                        sums[share, group, k, o] += product[share, k, o]


@parallel_kernel
def convolve_input_gradient(
    dy, y, winner, relu, pooled, weights, size, stride, padding, dx, windows, dz, part
):
    """Write dx: each window's dz·weightsᵀ is added to the pixels that the window was copied from.

    Parameters
    ----------
    dy, y, winner, relu, pooled, size, stride, padding
        As in `convolve_weight_gradient`.
    weights : ndarray, shape (groups, f/groups, size²·c/groups)
        The transposed kernel of each group.
    dx : ndarray, shape (n, h, w, c)
        The gradient with respect to the images.
    windows, dz, part : ndarray
        Memory of each share, as in `convolve_weight_gradient`.
    """
    shares, block, _ = windows.shape
    n = dx.shape[0]
    groups = weights.shape[0]
    outputs = dy.shape[3]
    columns = (dx.shape[2] + 2 * padding - size) // stride + 1
    rows_of_unit = 2 if pooled else 1
    units_of_image = dy.shape[1]
    units = n * units_of_image
    pixels = dy.reshape(units * dy.shape[2], outputs)
    dy_units = dy.reshape(units, dy.shape[2], outputs)
    y_units = y.reshape(y.shape[0] * y.shape[1], y.shape[2], y.shape[3])
    winners = winner.reshape(winner.shape[0] * winner.shape[1], winner.shape[2], winner.shape[3])
    units_of_block = block // (rows_of_unit * columns)
    for share in prange(shares):
        # Windows of two rows share pixels, so an image belongs to one thread.
        first_image, last_image = share_bounds(share, shares, n)
        dx[first_image:last_image] = constant(0, weights[0, 0, 0])
        last = last_image * units_of_image
        for start in range(first_image * units_of_image, last, units_of_block):
            stop = min(start + units_of_block, last)
            rows = (stop - start) * rows_of_unit * columns
            if relu or pooled:
                down = dz[share, :rows]
                lay_gradient(dy_units, y_units, winners, pooled, start, stop - start, columns, down)
            else:
                down = pixels[start * columns : start * columns + rows]
            for group in range(groups):
                group_down = down
                if groups > 1:
                    group_down = part[share, :rows]
                    take_group(down, group, group_down)
                np.dot(group_down, weights[group], windows[share, :rows])
                for u in range(start, stop):
                    for i in range(rows_of_unit):
                        at = ((u - start) * rows_of_unit + i) * columns
                        add_windows(
                            windows[share, at : at + columns],
                            u % units_of_image * rows_of_unit + i,
                            dx.shape[3] // groups,
                            group,
                            size,
                            stride,
                            padding,
                            dx[u // units_of_image],
                        )
