"""The activations: each function returns the value and the derivative at one number.

`activate` adds a bias, applies one of them and a dropout mask, in one sweep over an array. It keeps
the derivative where the input was, so that the backward pass is a single product, whatever the
activation is.
"""

from collections.abc import Callable
from math import erf, exp, pi, sqrt, tanh
from typing import Any

from numba import prange

from ..compilation import inlined, parallel_kernel
from .constants import constant

# What the integer `code` of the kernels means.
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
    return (max(zero, x)), (one if x > zero else zero)


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


def make_sweep(function: Callable[..., Any]) -> Any:
    """Return a compiled loop that applies an activation to the rows of an array."""

    @inlined
    def sweep(slope, bias, z, y):
        for i in range(z.shape[0]):
            for j in range(bias.size):
                z[i, j] += bias[j]
            for j in range(z.shape[1]):
                value, derivative = function(z[i, j], slope)
                y[i, j] = value
                z[i, j] = derivative

    return sweep


SWEEPS = tuple(
    make_sweep(function)
    for function in (
        identity,
        relu,
        leaky_relu,
        hyperbolic_tangent,
        sigmoid,
        silu,
        gelu,
        gelu_tanh,
    )
)
(
    identity_sweep,
    relu_sweep,
    leaky_relu_sweep,
    tanh_sweep,
    sigmoid_sweep,
    silu_sweep,
    gelu_sweep,
    gelu_tanh_sweep,
) = SWEEPS


@inlined
def activate(code, slope, bias, z, y):
    """Write f(z + bias) into `y`, and its derivative into `z`.

    Parameters
    ----------
    code : int
        Which f: one of the codes above.
    slope : float
        Of the leaky ReLU.
    bias : ndarray, shape (features,) or (0,)
        Empty for none.
    z, y : ndarray, shape (rows, features)
    """
    if code == IDENTITY:
        identity_sweep(slope, bias, z, y)
    elif code == RELU:
        relu_sweep(slope, bias, z, y)
    elif code == LEAKY_RELU:
        leaky_relu_sweep(slope, bias, z, y)
    elif code == TANH:
        tanh_sweep(slope, bias, z, y)
    elif code == SIGMOID:
        sigmoid_sweep(slope, bias, z, y)
    elif code == SILU:
        silu_sweep(slope, bias, z, y)
    elif code == GELU:
        gelu_sweep(slope, bias, z, y)
    else:
        gelu_tanh_sweep(slope, bias, z, y)


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
        for j in range(y.shape[1]):
            kept = scale if mask[i, j] else constant(0, scale)
            y[i, j] *= kept
            factor[i, j] *= kept


@parallel_kernel
def activate_parts(code, slope, x, mask, scale, y, factor, shares):
    """Write an activation of `x`, and a dropout of it, into `y`, and the derivative into `factor`.

    Parameters
    ----------
    code, slope : int, float
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
        last = (share + 1) * x.size // shares
        for start in range(share * x.size // shares, last, CHUNK):
            stop = min(start + CHUNK, last)
            row = (1, stop - start)
            z = factor[start:stop].reshape(row)
            part = x[start:stop]
            for i in range(part.size):
                z[0, i] = part[i]
            out = y[start:stop].reshape(row)
            activate(code, slope, bias, z, out)
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
        part = slice(share * dy.size // shares, (share + 1) * dy.size // shares)
        multiply(dy[part], factor[part], dx[part])
