"""A dense layer: y = x·W + b; with dy = ∂loss/∂y: ∂W = xᵀ·dy, ∂b = Σ dy, ∂x = dy·Wᵀ."""

from numba import prange

from ..compilation import parallel_kernel
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


@parallel_kernel
def dense_gradients(x, dy, kernel_gradient, bias_gradient, shares):
    """Write the gradients of kernel and bias.

    Parameters
    ----------
    x, dy : ndarray, shape (samples, inputs) and (samples, outputs)
    kernel_gradient : ndarray, shape (inputs, outputs)
    bias_gradient : ndarray, shape (outputs,) or (0,)
    shares : int
        How many parts of the inputs are computed at the same time. Each has rows of the kernel of
        its own, so that nothing is left to be added.
    """
    for share in prange(shares):
        start, stop = share_bounds(share, shares, x.shape[1])
        multiply_transposed(x[:, start:stop], dy, False, kernel_gradient[start:stop])
        start, stop = share_bounds(share, shares, bias_gradient.size)
        sum_rows(dy[:, start:stop], bias_gradient[start:stop])


@parallel_kernel
def dense_input_gradient(dy, kernel, dx, shares):
    """Write ∂loss/∂x; the parameters are those of `dense_forward`."""
    for share in prange(shares):
        start, stop = share_bounds(share, shares, len(dy))
        multiply_by_transposed(dy[start:stop], kernel, dx[start:stop])
