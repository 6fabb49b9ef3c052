"""The activations: each function returns the value and the derivative at one number.

`activate` adds a bias, applies one of them and a dropout mask, in one sweep over an array. It keeps
the derivative where the input was, so that the backward pass is a single product, whatever the
activation is.
"""

from functools import cache
from math import erf, exp, pi, sqrt, tanh

import numpy as np
from numba import carray, from_dtype, prange, types

from ..compilation import address, inlined, parallel_kernel
from .calls import call, pointer
from .constants import constant
from .shares import share_bounds

# The activations by their codes.
IDENTITY, RELU, LEAKY_RELU, TANH, SIGMOID, SILU, GELU, GELU_TANH = range(8)
CHUNK = 2048  # numbers that one sweep copies and then changes while they are in the first cache


@inlined
def identity(x, slope):
    """Return x; its derivative is 1."""
    one = constant(1, x)
    return x, one


@inlined
def relu(x, slope):
    """Return max(x, 0), NaN for NaN; the derivative at 0 is 0."""
    zero = constant(0, x)
    one = constant(1, x)
    y = zero if x <= zero else x
    return y, (one if x > zero else zero)


@inlined
def leaky_relu(x, slope):
    """Return x where x > 0, slope·x elsewhere; the derivative at 0 is the slope."""
    one = constant(1, x)
    factor = one if x > constant(0, x) else slope
    return x * factor, factor


@inlined
def hyperbolic_tangent(x, slope):
    """Return tanh x; its derivative is 1 - tanh² x."""
    t = tanh(x)
    return t, constant(1, x) - t * t


@inlined
def sigmoid(x, slope):
    """Return σ = 1/(1 + exp(-x)), through tanh, which cannot overflow, and σ·(1 - σ)."""
    half = constant(0.5, x)
    s = half * (constant(1, x) + tanh(half * x))
    return s, s * (constant(1, x) - s)


@inlined
def silu(x, slope):
    """Return x·σ(x) and σ·(1 + x·(1 - σ))."""
    one = constant(1, x)
    s, _ = sigmoid(x, slope)
    return x * s, s * (one + x * (one - s))


@inlined
def gelu(x, slope):
    """Return x·Φ(x) and Φ + x·φ, with Φ and φ of the standard normal distribution."""
    half = constant(0.5, x)
    phi = half * (constant(1, x) + erf(x * constant(sqrt(0.5), x)))
    density = exp(-half * x * x) * constant(1 / sqrt(2 * pi), x)
    return x * phi, phi + x * density


@inlined
def gelu_tanh(x, slope):
    """Return ½x·(1 + t) with t = tanh(√(2/π)·(x + 0.044715·x³)), and its derivative."""
    half = constant(0.5, x)
    one = constant(1, x)
    scale = constant(sqrt(2 / pi), x)
    cubic = constant(0.044715, x)
    t = tanh(scale * (x + cubic * x * x * x))
    du = scale * (one + constant(3 * 0.044715, x) * x * x)
    return half * x * (one + t), half * (one + t + x * (one - t * t) * du)


FUNCTIONS = {
    IDENTITY: identity,
    RELU: relu,
    LEAKY_RELU: leaky_relu,
    TANH: hyperbolic_tangent,
    SIGMOID: sigmoid,
    SILU: silu,
    GELU: gelu,
    GELU_TANH: gelu_tanh,
}


@cache
def sweep_address(code: int, dtype: str) -> int:
    """Compile the sweep of an activation over the rows of an array; return its address.

    Parameters
    ----------
    code : int
        Which activation.
    dtype : str
        ``float32`` or ``float64``.
    """
    function = FUNCTIONS[code]
    number = from_dtype(np.dtype(dtype))
    numbers = types.CPointer(number)

    def sweep(rows, columns, slope, biases, bias_at, z_at, y_at):
        bias = carray(bias_at, biases)
        z = carray(z_at, (rows, columns))
        y = carray(y_at, (rows, columns))
        for i in range(rows):
            inputs = z[i]
            outputs = y[i]
            for j in range(biases):
                inputs[j] += bias[j]
            for j in range(columns):
                value, derivative = function(inputs[j], slope)
                outputs[j] = value
                inputs[j] = derivative

    signature = types.void(types.intp, types.intp, number, types.intp, numbers, numbers, numbers)
    return address(sweep, f"sweep_{function.__name__}", signature)


@inlined
def activate(sweep, slope, bias, z, y):
    """Write f(z + bias) into `y`, and its derivative into `z`.

    Parameters
    ----------
    sweep : int
        The address of the sweep of f.
    slope : float
        Of the leaky ReLU.
    bias : ndarray, shape (features,) or (0,)
        Empty for none.
    z, y : ndarray, shape (rows, features)
    """
    rows, columns = z.shape
    call(sweep, (rows, columns, slope, bias.size, pointer(bias), pointer(z), pointer(y)))


@inlined
def drop(mask, scale, factor, y):
    """Multiply value and derivative by `scale` where the mask is true, and by 0 elsewhere.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, features)
    scale : float
        1/(1 - rate), in the dtype of the other arrays.
    factor, y : ndarray, shape (rows, features)
        Changed in place.
    """
    for i in range(y.shape[0]):
        keep = mask[i]
        values = y[i]
        factors = factor[i]
        for j in range(values.size):
            kept = scale if keep[j] else constant(0, scale)
            values[j] *= kept
            factors[j] *= kept


@parallel_kernel
def activate_parts(sweep, slope, x, mask, scale, y, factor, shares):
    """Write an activation of `x`, and a dropout of it, into `y`, and the derivative into `factor`.

    Parameters
    ----------
    sweep, slope : int, float
        As in `activate`.
    x : ndarray, shape (count,)
    mask : ndarray of bool, shape (count,) or (0,)
        What the dropout keeps; empty if there is none.
    scale : float
        As in `drop`.
    y, factor : ndarray, shape (count,)
    shares : int
        How many parts are computed at the same time.
    """
    for share in prange(shares):
        bias = x[:0]
        first, last = share_bounds(share, shares, x.size)
        for start in range(first, last, CHUNK):
            stop = min(start + CHUNK, last)
            row = (1, stop - start)
            z = factor[start:stop].reshape(row)
            source = x[start:stop]
            copy = factor[start:stop]
            for i in range(copy.size):
                copy[i] = source[i]
            out = y[start:stop].reshape(row)
            activate(sweep, slope, bias, z, out)
            if mask.size:
                drop(mask[start:stop].reshape(row), scale, z, out)


@inlined
def multiply(x, y, product):
    """Write x·y into `product`, all of shape (count,)."""
    for i in range(x.size):
        product[i] = x[i] * y[i]


@parallel_kernel
def multiply_parts(dy, factor, dx, shares):
    """Write dy·factor into `dx`, all of shape (count,): the backward pass of all the above."""
    for share in prange(shares):
        start, stop = share_bounds(share, shares, dy.size)
        multiply(dy[start:stop], factor[start:stop], dx[start:stop])
