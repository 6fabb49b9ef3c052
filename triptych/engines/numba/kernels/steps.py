"""All steps of a plan of a dense network, in one compiled function.

What a network computes is in a small table of its units. A unit is a dense layer with the
activation and the dropout that follow it. So one compiled function serves all dense networks.
"""

from numba import prange

from ..compilation import expanded, inlined, parallel_kernel
from .activations import activate, drop
from .losses import loss_of_rows
from .products import multiply, multiply_by_transposed, multiply_transposed
from .shares import share_bounds
from .updates import add_penalty, clip_gradients, update_range

# The columns of a table of units. Offsets of parameters are in the flat arrays of all weights, the
# others are in the working memory of a share, which holds the numbers of one block of rows.
INPUTS, OUTPUTS, KERNEL, BIAS, HAS_BIAS, SWEEP, HAS_MASK, Z, Y, DY = range(10)

# The columns of the table of their numbers.
SLOPE, SCALE = range(2)


@expanded
def matrix(flat, start, rows, columns):
    """Return a view of a flat array as a matrix, from the number at `start` on."""
    return flat[start : start + rows * columns].reshape((rows, columns))


@inlined
def gather(x, labels, indices, batch, batch_labels):
    """Copy the samples with some indices, shape (rows,), into `batch` and `batch_labels`."""
    for i in range(indices.size):
        batch_labels[i] = labels[indices[i]]
        # Loops over one-dimensional views become vector instructions: 32 µs for 128 rows of 784
        # numbers; with two indices they take 111.
        source = x[indices[i]]
        copy = batch[i]
        for j in range(copy.size):
            copy[j] = source[j]


@inlined
def run_unit(unit, numbers, x, weights, masks, first_mask, work):
    """Compute one unit for a block of samples; y is in the working memory.

    Parameters
    ----------
    unit : ndarray of int, shape (columns,)
        Its row of the table.
    numbers : ndarray, shape (2,)
        Its slope and its scale.
    x : ndarray, shape (rows, inputs)
    weights : ndarray, shape (parameters,)
    masks : ndarray of bool, shape (numbers,)
        The dropout masks of all units and steps; empty in evaluation.
    first_mask : int
        Where the mask of this unit begins for these samples.
    work : ndarray, shape (numbers,)
        The memory of this share.
    """
    rows = len(x)
    outputs = unit[OUTPUTS]
    kernel = matrix(weights, unit[KERNEL], unit[INPUTS], outputs)
    bias = weights[unit[BIAS] : unit[BIAS] + unit[HAS_BIAS] * outputs]
    z = matrix(work, unit[Z], rows, outputs)
    y = matrix(work, unit[Y], rows, outputs)
    multiply(x, kernel, z)
    activate(unit[SWEEP], numbers[SLOPE], bias, z, y)
    if unit[HAS_MASK] and masks.size:
        mask = matrix(masks, first_mask, rows, outputs)
        drop(mask, numbers[SCALE], z, y)


@inlined
def multiply_and_sum(factor, accumulate, dy, total):
    """Multiply `dy` by `factor`, shapes (rows, outputs); write the sum of its rows, or add it."""
    if not accumulate:
        for j in range(total.size):
            total[j] = 0
    for i in range(dy.shape[0]):
        row = dy[i]
        factors = factor[i]
        for j in range(row.size):
            row[j] *= factors[j]
        for j in range(total.size):
            total[j] += row[j]


@inlined
def reverse_unit(unit, x, accumulate, gradient, work):
    """Compute the gradients of one unit, from ∂loss/∂y in the working memory.

    ∂loss/∂z takes its place; the gradients of the parameters are written into `gradient`, shape
    (parameters,), or added. The other parameters are those of `run_unit`.
    """
    rows = len(x)
    outputs = unit[OUTPUTS]
    factor = matrix(work, unit[Z], rows, outputs)
    dz = matrix(work, unit[DY], rows, outputs)
    bias = gradient[unit[BIAS] : unit[BIAS] + unit[HAS_BIAS] * outputs]
    multiply_and_sum(factor, accumulate, dz, bias)
    kernel = matrix(gradient, unit[KERNEL], unit[INPUTS], outputs)
    multiply_transposed(x, dz, accumulate, kernel)


@inlined
def block_gradients(
    x,
    labels,
    accumulate,
    units,
    numbers,
    weights,
    gradient,
    masks,
    first_masks,
    row,
    loss_code,
    targets,
    divisor,
    work,
):
    """Write the gradients of one block of samples, or add them; return its loss.

    Parameters
    ----------
    x, labels : ndarray, shape (rows, inputs) and (rows,)
    accumulate : bool
        Whether the gradients are added.
    units, numbers : ndarray, shape (units, columns) and (units, 2)
        What the network computes.
    weights, gradient : ndarray, shape (parameters,)
    masks, first_masks : ndarray, shape (numbers,) and (units,)
        The dropout masks of all steps, and where those of each unit begin.
    row : int
        The number of the first sample, counted over all steps: where its masks are.
    loss_code, targets, divisor
        As in `loss_of_rows`.
    work : ndarray, shape (numbers,)
        The memory of this share.
    """
    rows = len(x)
    y = x
    for u in range(len(units)):
        unit = units[u]
        first_mask = first_masks[u] + row * unit[OUTPUTS]
        run_unit(unit, numbers[u], y, weights, masks, first_mask, work)
        y = matrix(work, unit[Y], rows, unit[OUTPUTS])
    last = units[len(units) - 1]
    dy = matrix(work, last[DY], rows, last[OUTPUTS])
    loss = loss_of_rows(loss_code, y, labels, targets, divisor, dy)
    for u in range(len(units) - 1, -1, -1):
        unit = units[u]
        fed = x
        if u:
            fed = matrix(work, units[u - 1, Y], rows, unit[INPUTS])
        reverse_unit(unit, fed, accumulate, gradient, work)
        if u:
            dz = matrix(work, unit[DY], rows, unit[OUTPUTS])
            dx = matrix(work, units[u - 1, DY], rows, unit[INPUTS])
            kernel = matrix(weights, unit[KERNEL], unit[INPUTS], unit[OUTPUTS])
            multiply_by_transposed(dz, kernel, dx)
    return loss


@inlined
def share_gradients(
    x,
    labels,
    indices,
    first,
    stop,
    step_row,
    units,
    numbers,
    weights,
    gradient,
    masks,
    first_masks,
    loss_code,
    targets,
    divisor,
    batch,
    batch_labels,
    work,
):
    """Write the gradients of one share of a step, block by block; return its loss.

    Parameters
    ----------
    x, labels : ndarray, shape (samples, inputs) and (samples,)
        The whole split.
    indices : ndarray of int32, shape (B,) or (0,)
        The samples of the step; empty for all samples in their order.
    first, stop : int
        Which samples of the step are those of the share.
    step_row : int
        The number of the step's first sample, counted over all steps.
    units, numbers, weights, gradient, masks, first_masks, loss_code, targets, divisor, work
        As in `block_gradients`.
    batch, batch_labels : ndarray, shape (block, inputs) and (block,)
        Memory for the samples of a block.
    """
    block = len(batch)
    loss = 0.0
    for start in range(first, stop, block):
        end = min(start + block, stop)
        of_block = x[start:end]
        labels_of_block = labels[start:end]
        if indices.size:
            of_block = batch[: end - start]
            labels_of_block = batch_labels[: end - start]
            gather(x, labels, indices[start:end], of_block, labels_of_block)
        loss += block_gradients(
            of_block,
            labels_of_block,
            start > first,
            units,
            numbers,
            weights,
            gradient,
            masks,
            first_masks,
            step_row + start,
            loss_code,
            targets,
            divisor,
            work,
        )
    return loss


@inlined
def add_shares(gradients, start, stop):
    """Add the gradients of all shares to those of the first, from `start` to `stop`.

    They are added in the same order in every run, so that the rounding is the same.
    """
    total = gradients[0, start:stop]
    for other in range(1, len(gradients)):
        gradient = gradients[other, start:stop]
        for i in range(total.size):
            total[i] += gradient[i]


@parallel_kernel
def dense_steps(
    x,
    labels,
    indices,
    masks,
    first_masks,
    units,
    numbers,
    loss_code,
    targets,
    divisors,
    update,
    coefficients,
    kernels,
    l2,
    by_value,
    limit,
    epsilon,
    weights,
    gradients,
    slots,
    batches,
    batch_labels,
    work,
    losses,
):
    """Make K training steps.

    Parameters
    ----------
    x, labels : ndarray, shape (samples, inputs) and (samples,)
    indices : ndarray of int32, shape (K, B) or (K, 0)
        The samples of each step; empty for all samples in their order.
    masks, first_masks, units, numbers, loss_code, targets
        As in `block_gradients`.
    divisors : ndarray of float64, shape (K,)
        Of each step's loss.
    update : int
        As in `update_range`.
    coefficients : ndarray, shape (K, NUMBERS)
        Of each step's update.
    kernels, l2, by_value, limit, epsilon
        As in `prepare_gradients`.
    weights : ndarray, shape (parameters,)
    gradients : ndarray, shape (shares, parameters)
        Of each share of the samples. Each is computed by one thread; their number decides in which
        order sums are computed, so that the same number gives the same result.
    slots : ndarray, shape (slots, parameters)
    batches, batch_labels : ndarray, shape (shares, block, inputs) and (shares, block)
        Memory for the samples of a block.
    work : ndarray, shape (shares, numbers)
        Memory for what the units compute.
    losses : ndarray of float64, shape (K, shares)
        Where the losses of the shares are written.
    """
    shares = len(gradients)
    count = weights.size
    samples = indices.shape[1] or len(x)
    for k in range(len(indices)):
        for share in prange(shares):
            first, stop = share_bounds(share, shares, samples)
            losses[k, share] = share_gradients(
                x,
                labels,
                indices[k],
                first,
                stop,
                k * samples,
                units,
                numbers,
                weights,
                gradients[share],
                masks,
                first_masks,
                loss_code,
                targets,
                divisors[k],
                batches[share],
                batch_labels[share],
                work[share],
            )
        if shares > 1:
            for share in prange(shares):
                start, stop = share_bounds(share, shares, count)
                add_shares(gradients, start, stop)
        add_penalty(l2, kernels, weights, gradients[0])
        clip_gradients(by_value, limit, epsilon, gradients[0])
        for share in prange(shares):
            start, stop = share_bounds(share, shares, count)
            update_range(update, weights, gradients[0], slots, coefficients[k], start, stop)


@inlined
def share_logits(x, first, stop, no_masks, units, numbers, weights, block, work, logits):
    """Write the logits of the samples from `first` to `stop`, block by block."""
    for start in range(first, stop, block):
        y = x[start : min(start + block, stop)]
        for u in range(len(units)):
            unit = units[u]
            run_unit(unit, numbers[u], y, weights, no_masks, 0, work)
            y = matrix(work, unit[Y], len(y), unit[OUTPUTS])
        for i in range(len(y)):
            for c in range(logits.shape[1]):
                logits[start + i, c] = y[i, c]


@parallel_kernel
def dense_logits(x, no_masks, units, numbers, weights, block, work, logits):
    """Write the logits in evaluation mode, shape (samples, classes).

    `no_masks` is an array of bool, shape (0,); the other parameters are those of `dense_steps`.
    """
    shares = len(work)
    for share in prange(shares):
        first, stop = share_bounds(share, shares, len(x))
        share_logits(x, first, stop, no_masks, units, numbers, weights, block, work[share], logits)
