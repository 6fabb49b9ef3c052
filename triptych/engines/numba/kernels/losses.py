"""The losses: each function writes the gradient of a batch and returns its loss."""

from math import exp, log

from ..compilation import inlined, kernel
from .constants import constant

# What the integer `code` of the kernels means.
CROSS_ENTROPY, SQUARED_ERROR = range(2)


@inlined
def cross_entropy(z, labels, targets, divisor, dz):
    """Write the gradient of the softmax cross-entropy of some rows; return their loss.

    With targets t and divisor D: loss = Σ t·(log Σ exp(z) - z) / D, and
    ∂loss/∂z = (softmax(z)·Σ_c t_c - t) / D.

    Parameters
    ----------
    z, dz : ndarray, shape (rows, classes)
        The logits, and where the gradient is written.
    labels : ndarray of int32, shape (rows,)
    targets : ndarray, shape (classes, classes)
        Row y has the targets of a sample with label y.
    divisor : float
        D, of the batch that the rows are a part of.

    Returns
    -------
    float
        In float64, so that the sum over many samples is exact.
    """
    classes = z.shape[1]
    total_loss = 0.0
    for i in range(z.shape[0]):
        target = targets[labels[i]]
        largest = z[i, 0]
        for c in range(1, classes):
            if z[i, c] > largest or z[i, c] != z[i, c]:
                largest = z[i, c]
        total = constant(0, largest)
        weight = constant(0, largest)
        aligned = constant(0, largest)
        for c in range(classes):
            shifted = z[i, c] - largest  # softmax does not change, and exp cannot overflow
            power = exp(shifted)
            dz[i, c] = power
            total += power
            weight += target[c]
            aligned += target[c] * shifted
        total_loss += weight * log(total) - aligned
        share = weight / total
        for c in range(classes):
            dz[i, c] = (dz[i, c] * share - target[c]) / divisor
    return total_loss / divisor


@inlined
def squared_error(z, labels, divisor, dz):
    """Write the gradient of Σ (z - one_hot(label))² / (D·classes); return the sum of the rows.

    The parameters are those of `cross_entropy`.
    """
    classes = z.shape[1]
    count = divisor * classes
    total_loss = 0.0
    for i in range(z.shape[0]):
        for c in range(classes):
            difference = z[i, c]
            if c == labels[i]:
                difference -= constant(1, difference)
            total_loss += difference * difference
            dz[i, c] = constant(2, difference) * difference / constant(count, difference)
    return total_loss / count


@inlined
def loss_of_rows(code, z, labels, targets, divisor, dz):
    """Return the loss of some rows by its code; the parameters are those of `cross_entropy`."""
    if code == CROSS_ENTROPY:
        return cross_entropy(z, labels, targets, constant(divisor, z[0, 0]), dz)
    return squared_error(z, labels, divisor, dz)


@kernel
def loss_of_batch(code, z, labels, targets, divisor, dz):
    """Return the loss of a batch by its code; the parameters are those of `cross_entropy`."""
    return loss_of_rows(code, z, labels, targets, divisor, dz)
