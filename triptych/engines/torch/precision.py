"""What float32 products are computed by: PyTorch's kernels, oneDNN's, or in bfloat16 for those who ask."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch

ROUNDING = 1e-5  # more than a float32 product is off; a bfloat16 one is 1e-3


def forward(backend: str, device: str) -> AbstractContextManager[None]:
    """Return what a forward pass runs under. Autocast leaves float64 alone, so that the formulas are proved in this backend, too."""
    return torch.autocast(device, torch.bfloat16) if backend == "bf16" else nullcontext()


def step(backend: str) -> AbstractContextManager[None]:
    """Return what whole steps run under: where oneDNN's products are not float32's, PyTorch's own."""
    return onednn() if backend == "onednn" and exact() else nullcontext()


@contextmanager
def onednn() -> Generator[None]:
    """Route float32 products to oneDNN's kernels meanwhile, and no longer.

    The setting is named bf16. Without AMX the arithmetic stays float32, and only the kernels change; with it, it does not.
    """
    matmul = torch.backends.mkldnn.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


@cache
def exact() -> bool:
    """Return whether oneDNN's products are float32's on this processor, by making one."""
    a = torch.arange(64.0**2).sin().view(64, 64)
    truth = a.double() @ a.double()
    with onednn():
        return bool((a @ a - truth).abs().max() < ROUNDING * truth.abs().max())
