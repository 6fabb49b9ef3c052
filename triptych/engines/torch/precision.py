"""How float32 products are computed: by PyTorch's kernels, oneDNN's, or in bfloat16."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch

# A float32 product has a smaller relative error than this; the error of a bfloat16 product is 1e-3.
LARGEST_FLOAT32_ERROR = 1e-5


def forward(backend: str, device: str) -> AbstractContextManager[None]:
    """Return the context of a forward pass: autocast in backend ``bf16``.

    Autocast does not touch float64, so the formulas of this backend are proved, too.
    """
    if backend == "bf16":
        return torch.autocast(device, torch.bfloat16)
    return nullcontext()


def step(backend: str) -> AbstractContextManager[None]:
    """Return the context of whole steps: oneDNN's products where they are exact enough."""
    if backend == "onednn" and exact():
        return onednn()
    return nullcontext()


@contextmanager
def onednn() -> Generator[None]:
    """Compute float32 products with oneDNN's kernels inside this context.

    PyTorch's name of the setting is bf16. Without AMX the arithmetic stays float32 and only the
    kernels change; with AMX the products are computed in bfloat16.
    """
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


@cache
def exact() -> bool:
    """Return whether oneDNN's products have float32's precision on this CPU, by computing one."""
    a = torch.arange(64.0**2).sin().view(64, 64)
    product = a.double() @ a.double()
    with onednn():
        error = (a @ a - product).abs().max()
    return bool(error < LARGEST_FLOAT32_ERROR * product.abs().max())
