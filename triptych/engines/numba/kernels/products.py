"""Matrix products, by the BLAS library of SciPy; of one row by loops. All are stored row by row.

Numba's ``np.dot`` calls the same library, but it cannot add to a matrix (``C += A·B``). The call
below can, and takes 28 ns where ``np.dot`` takes 55 (a product of 1 × 10 and 10 × 10 numbers).
``np.dot`` also needs Numba's reference counts, which take long to compile (`compilation.py`).
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


def gemm(a_order, b_order, a, b, accumulate, c):
    """Write the product of two matrices into `c`, or add it to `c`.

    Parameters
    ----------
    a_order, b_order : int
        NORMAL or TRANSPOSED, for each factor.
    a, b : ndarray
        The factors, before they are transposed. The numbers of a row are adjacent.
    accumulate : bool
        Whether the product is added.
    c : ndarray, shape (rows, columns)
        Its rows are adjacent, too.
    """
    product = (a.T if a_order == TRANSPOSED else a) @ (b.T if b_order == TRANSPOSED else b)
    c[...] = c + product if accumulate else product


@overload(gemm)
def _compiled_gemm(a_order, b_order, a, b, accumulate, c):
    call, kind, factors = BLAS_FUNCTIONS[a.dtype]

    def compiled(a_order, b_order, a, b, accumulate, c):
        # BLAS stores matrices column by column, so that it sees all three transposed:
        # cᵀ = bᵀ·aᵀ.
        rows, columns = c.shape
        inner = a.shape[0] if a_order == TRANSPOSED else a.shape[1]
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
            row_length(b),
            a.ctypes,
            row_length(a),
            beta,
            c.ctypes,
            columns,
        )

    return compiled


@inlined
def row_length(matrix):
    """Return how many numbers are between the beginnings of two rows.

    The stride of a single row may be any number, but BLAS wants at least its length.
    """
    return max(matrix.shape[1], matrix.strides[0] // matrix.itemsize)


@inlined
def multiply_row(x, w, y):
    """Write x·w into `y`: shapes (i,), (i, o) and (o,).

    As a product of matrices (OpenBLAS, AVX2) it takes 842 µs for 9,216 × 128 numbers and 74 µs for
    784 × 128, and so 89 and 6. Four rows of w at a time read and write y less often: a quarter less
    time than with one.
    """
    for o in range(y.size):
        y[o] = 0
    in_fours = x.size // 4 * 4
    for i in range(0, in_fours, 4):
        first = w[i]
        second = w[i + 1]
        third = w[i + 2]
        fourth = w[i + 3]
        for o in range(y.size):
            y[o] += (
                x[i] * first[o] + x[i + 1] * second[o] + x[i + 2] * third[o] + x[i + 3] * fourth[o]
            )
    for i in range(in_fours, x.size):
        row = w[i]
        for o in range(y.size):
            y[o] += x[i] * row[o]


@inlined
def multiply(x, w, y):
    """Write x·w into `y`: shapes (n, i), (i, o) and (n, o)."""
    if len(x) == 1:
        multiply_row(x[0], w, y[0])
    else:
        gemm(NORMAL, NORMAL, x, w, False, y)


@inlined
def multiply_by_transposed(dy, w, dx):
    """Write dy·wᵀ into `dx`: shapes (n, o), (i, o) and (n, i)."""
    gemm(NORMAL, TRANSPOSED, dy, w, False, dx)


@inlined
def multiply_transposed(x, dy, accumulate, gradient):
    """Write xᵀ·dy into `gradient`, or add it: shapes (n, i), (n, o) and (i, o)."""
    gemm(TRANSPOSED, NORMAL, x, dy, accumulate, gradient)


@inlined
def sum_rows(dy, total):
    """Write the sum of the rows of `dy`, shape (n, o), into `total`, shape (o,)."""
    for j in range(total.size):
        total[j] = 0
    for i in range(dy.shape[0]):
        row = dy[i]
        for j in range(total.size):
            total[j] += row[j]
