"""Forward passes of layers with other settings than the user's."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .. import geometry
from .changed_functions import for_each_axis, pad_list, pool_padded
from .layout import CHANNELS_FIRST
from .operations import operation_of


def convolve_padded(
    module: Any, padding: Any, inner: Callable[..., Any], tensor: torch.Tensor
) -> torch.Tensor:
    """Return a convolution whose padding may differ before and after."""
    if isinstance(padding, str):
        sizes = tensor.shape[-len(module.kernel_size) :]
        padding = geometry.resolve(
            padding, sizes, module.kernel_size, module.stride, module.dilation
        )
    return inner(functional.pad(tensor, pad_list(padding, tensor.ndim, CHANNELS_FIRST)))


def cut(padding: Any, inner: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
    """Cut a transposed convolution at both ends; negative numbers add zeros before."""
    full = inner(*args, **kwargs)
    cut = [[-before, -max(after, 0)] for before, after in padding]
    return functional.pad(full, pad_list(cut, full.ndim, CHANNELS_FIRST))


def pool(
    module: Any, padding: Any, pooling: str, inner: Callable[..., Any], tensor: torch.Tensor
) -> Any:
    """Return a pooling whose padding may differ before and after."""
    known = operation_of(module)
    assert known
    names = [name for name in known[1].arguments if hasattr(module, name)]
    raw = {name: getattr(module, name) for name in names}
    raw["stride"] = for_each_axis(raw["stride"] or raw["kernel_size"], tensor.ndim - 2)
    return pool_padded(tensor, padding, pooling, raw, getattr(functional, known[0]))


def biased_variance(module: Any, inner: Callable[..., Any], tensor: torch.Tensor) -> torch.Tensor:
    """Let the running variance divide by n."""
    if not module.training:
        return inner(tensor)
    before = module.running_var.clone()
    result = inner(tensor)
    momentum = module.momentum
    if momentum is None:
        momentum = 1 / float(module.num_batches_tracked)
    count = tensor.numel() / tensor.shape[1]
    kept = before * (1 - momentum)
    # Not as a function of autograd, which may have kept the variance.
    added = (module.running_var.data - kept) * (count - 1) / count
    module.running_var.data.copy_(kept + added)
    return result


def in_mode(
    module: nn.Module, training: bool, inner: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Call a layer in training or evaluation mode."""
    before = module.training
    module.training = training
    try:
        return inner(*args, **kwargs)
    finally:
        module.training = before
