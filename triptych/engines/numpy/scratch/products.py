"""Matrix products, in blocks of rows where that is faster.

A BLAS library rearranges (packs) its operands before it multiplies, which pays for large matrices. For small ones OpenBLAS has
kernels for AVX-512 that read them as they lie, so that thousands of rows times a narrow matrix are up to three times as fast in
blocks. `np.matmul` loops over a stack of blocks in C.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SMALL = 10**6  # multiplications: up to here OpenBLAS packs nothing (its gemm_small_matrix_permit)
NARROW = 64  # columns: wider products are about as fast in one piece
FEWEST = 32  # rows: smaller blocks are not worth the trouble
ACROSS = 100  # rows at most where the result lies column by column: above 120 they are slow again


def largest_divisor(count: int, most: int) -> int:
    """Return the largest divisor of `count` up to `most`, and 1 where there is none."""
    return next((d for d in range(min(count, most), 0, -1) if count % d == 0), 1)


def across(x: Array) -> bool:
    """Return whether a matrix lies column by column."""
    return x.strides[0] < x.strides[1]


def block(count: int, inner: int, outer: int, most: int) -> int:
    """Return how many of `count` rows to take at a time: equal blocks, or all where that is best."""
    if outer > NARROW or count <= FEWEST:
        return count
    most = min(most, SMALL // max(1, inner * outer))
    return count if most < FEWEST or count <= most else count // -(-count // most)


def _blocks(x: Array, rows: int) -> Array:
    """View a matrix as a stack of blocks of so many rows."""
    return x.reshape(len(x) // rows, rows, x.shape[1])


def product(x: Array, w: Array, out: Array) -> None:
    """Write x·w into `out`.

    Parameters
    ----------
    x : ndarray, shape (n, i)
    w : ndarray, shape (i, o)
    out : ndarray, shape (n, o)
    """
    rows = block(len(x), x.shape[1], out.shape[1], ACROSS if across(out) else len(x))
    done = len(x) // rows * rows
    if rows == len(x):
        np.matmul(x, w, out=out)
        return
    np.matmul(_blocks(x[:done], rows), w, out=_blocks(out[:done], rows))
    if done < len(x):
        np.matmul(x[done:], w, out=out[done:])


def cross_product(x: Array, dy: Array, out: Array) -> None:
    """Write xᵀ·dy into `out`.

    Parameters
    ----------
    x : ndarray, shape (n, i)
    dy : ndarray, shape (n, o)
    out : ndarray, shape (i, o)
    """
    if across(out):
        x, dy, out = dy, x, out.T  # the same numbers, row by row
    rows = block(len(x), max(out.shape), min(out.shape), len(x))
    done = len(x) // rows * rows
    if rows == len(x):
        np.matmul(x.T, dy, out=out)
        return
    left, right = _blocks(x[:done], rows), _blocks(dy[:done], rows)
    each = (left.swapaxes(1, 2) @ right).reshape(len(left), -1)
    out[...] = (np.ones(len(each), each.dtype) @ each).reshape(out.shape)  # BLAS is faster at it than sum(axis=0)
    if done < len(x):
        out += x[done:].T @ dy[done:]
