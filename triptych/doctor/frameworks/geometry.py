"""What "same" and "valid" mean as numbers of rows that are added before and after."""

from collections.abc import Sequence

Padding = list[list[int]]


def resolve(
    padding: str,
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int] | None = None,
) -> Padding:
    """Return [before, after] for each spatial axis, by TensorFlow's rule.

    Parameters
    ----------
    padding : str
        ``same`` pads so that the output has ceil(size / stride) rows, the odd one after;
        ``causal`` pads before; ``valid`` does not pad.
    sizes : sequence of int
        Of the input's spatial axes.
    window, strides, dilation : sequence of int
        Of the kernel or pool, for each spatial axis.
    """
    dilation = dilation or [1] * len(sizes)
    resolved: Padding = []
    for size, width, stride, step in zip(sizes, window, strides, dilation, strict=True):
        extent = (width - 1) * step + 1
        if padding == "same":
            outputs = -(-size // stride)
            total = max((outputs - 1) * stride + extent - size, 0)
            resolved.append([total // 2, total - total // 2])
        elif padding == "causal":
            resolved.append([extent - 1, 0])
        else:
            resolved.append([0, 0])
    return resolved


def resolve_transposed(
    padding: str,
    sizes: Sequence[int],
    outputs: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> Padding:
    """Return how many rows of a transposed convolution's whole output are cut at either end.

    The whole output has (size - 1) · stride + extent rows. A negative number is added after.
    PyTorch's ``padding`` p and ``output_padding`` q are [p, p - q].
    """
    cut: Padding = []
    axes = zip(sizes, outputs, window, strides, dilation, strict=True)
    for size, output, width, stride, step in axes:
        total = (size - 1) * stride + (width - 1) * step + 1 - output
        before = max(total, 0) // 2 if padding == "same" else 0
        cut.append([before, total - before])
    return cut
