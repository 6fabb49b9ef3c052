"""A dense layer: y = x·W + b; with dy = ∂loss/∂y: ∂W = xᵀ·dy, ∂b = Σ dy, ∂x = dy·Wᵀ."""

from numba import prange

from ..compilation import inlined, parallel_kernel
from .products import multiply, multiply_by_transposed, multiply_transposed, sum_rows
from .shares import share_bounds


@parallel_kernel
def dense_forward(x, kernel, bias, y, shares):
    """Write the output for some samples.

    Parameters
    ----------
    x : ndarray, shape (samples, inputs)
    kernel : ndarray, shape (inputs, outputs)
    bias : ndarray, shape (outputs,) or (0,)
        Empty for a layer without bias.
    y : ndarray, shape (samples, outputs)
    shares : int
        How many parts of the samples are computed at the same time.
    """
    for share in prange(shares):
        start, stop = share_bounds(share, shares, len(x))
        part = y[start:stop]
        multiply(x[start:stop], kernel, part)
        for i in range(len(part)):
            row = part[i]
            for j in range(bias.size):
                row[j] += bias[j]


@inlined
def add(x, total):
    """Add `x` to `total`, both of shape (count,)."""
    for i in range(total.size):
        total[i] += x[i]


@parallel_kernel
def dense_gradients(x, dy, kernel_gradients, bias_gradients, shares):
    """Write the gradients of kernel and bias for each share of the samples.

    Parameters
    ----------
    x, dy : ndarray, shape (samples, inputs) and (samples, outputs)
    kernel_gradients : ndarray, shape (shares, inputs, outputs)
    bias_gradients : ndarray, shape (shares, outputs) or (shares, 0)
        The sums of all shares are in the first one afterwards.
    shares : int
        As in `dense_forward`.
    """
    for share in prange(shares):
        start, stop = share_bounds(share, shares, len(x))
        multiply_transposed(x[start:stop], dy[start:stop], False, kernel_gradients[share])
        if bias_gradients.shape[1]:
            sum_rows(dy[start:stop], False, bias_gradients[share])
    for share in range(1, shares):  # always in this order, so that the rounding is the same
        add(kernel_gradients[share].reshape(-1), kernel_gradients[0].reshape(-1))
        add(bias_gradients[share], bias_gradients[0])


@parallel_kernel
def dense_input_gradient(dy, kernel, dx, shares):
    """Write ∂loss/∂x; the parameters are those of `dense_forward`."""
    for share in prange(shares):
        start, stop = share_bounds(share, shares, len(dy))
        multiply_by_transposed(dy[start:stop], kernel, dx[start:stop])
