"""Matrix products, by the BLAS library of SciPy. All matrices are stored row by row.

Numba's ``np.dot`` calls the same library, but it cannot add to a matrix (``C += A·B``). The call
below can, and takes 28 ns where ``np.dot`` takes 55 (a product of 1 × 10 and 10 × 10 numbers).
"""

import numpy as np
from numba import types
from numba.extending import overload
from numba.np.linalg import _BLAS, ensure_blas

from ..compilation import inlined

ensure_blas()
NORMAL = ord("n")
TRANSPOSED = ord("t")
BLAS_FUNCTIONS = {
    types.float32: (_BLAS.numba_xxgemm(types.float32), ord("s"), np.array([0, 1], np.float32)),
    types.float64: (_BLAS.numba_xxgemm(types.float64), ord("d"), np.array([0, 1], np.float64)),
}


def gemm(a_order, b_order, rows, inner, columns, a, a_width, b, b_width, accumulate, c):
    """Write the product of two matrices into `c`, or add it to `c`.

    Parameters
    ----------
    a_order, b_order : int
        NORMAL or TRANSPOSED, for each factor.
    rows, inner, columns : int
        The factors, transposed if wanted, have the shapes (rows, inner) and (inner, columns).
    a, b : ndarray
        Where the factors begin.
    a_width, b_width : int
        How many numbers a row of each has in memory.
    accumulate : bool
        Whether the product is added.
    c : ndarray, shape (rows, columns)
    """
    first = a.reshape(-1, a_width)
    second = b.reshape(-1, b_width)
    product = (first.T if a_order == TRANSPOSED else first) @ (
        second.T if b_order == TRANSPOSED else second
    )
    c[...] = c + product if accumulate else product


@overload(gemm)
def _compiled_gemm(a_order, b_order, rows, inner, columns, a, a_width, b, b_width, accumulate, c):
    call, kind, factors = BLAS_FUNCTIONS[a.dtype]

    def compiled(a_order, b_order, rows, inner, columns, a, a_width, b, b_width, accumulate, c):
        # BLAS stores matrices column by column, so that it sees all three transposed:
        # cᵀ = bᵀ·aᵀ.
        one = factors[1:].ctypes
        beta = factors[int(accumulate) :].ctypes
        call(
            kind,
            b_order,
            a_order,
            columns,
            rows,
            inner,
            one,
            b.ctypes,
            b_width,
            a.ctypes,
            a_width,
            beta,
            c.ctypes,
            columns,
        )

    return compiled


@inlined
def multiply(x, w, y):
    """Write x·w into `y`: shapes (n, i), (i, o) and (n, o)."""
    n, i = x.shape
    o = w.shape[1]
    gemm(NORMAL, NORMAL, n, i, o, x, i, w, o, False, y)


@inlined
def multiply_by_transposed(dy, w, dx):
    """Write dy·wᵀ into `dx`: shapes (n, o), (i, o) and (n, i)."""
    n, o = dy.shape
    i = w.shape[0]
    gemm(NORMAL, TRANSPOSED, n, o, i, dy, o, w, o, False, dx)


@inlined
def multiply_transposed(x, dy, accumulate, gradient):
    """Write xᵀ·dy into `gradient`, or add it: shapes (n, i), (n, o) and (i, o)."""
    n, i = x.shape
    o = dy.shape[1]
    gemm(TRANSPOSED, NORMAL, i, n, o, x, i, dy, o, accumulate, gradient)


@inlined
def sum_rows(dy, accumulate, total):
    """Write the sum of the rows of `dy`, shape (n, o), into `total`, shape (o,), or add it."""
    if not accumulate:
        for j in range(total.size):
            total[j] = 0
    for i in range(dy.shape[0]):
        row = dy[i]
        for j in range(total.size):
            total[j] += row[j]
