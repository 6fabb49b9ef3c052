"""Adapters of PyTorch's models for the tests of the divergence finder."""

from typing import Any

import numpy as np

from triptych.doctor.observation import Arrays, Call, Observation


def side(dtype: str = "float64", **parts: Any) -> Any:
    """Return the adapter of a model and what belongs to it, in float64 unless told."""
    from triptych.doctor.frameworks.torch import adapter

    return adapter.Adapter(parts, dtype)


def randomized(model: Any, seed: int = 0) -> Any:
    """Give a model other weights and statistics than PyTorch's first ones, in place."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                drawn = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
                tensor.copy_(drawn - 0.3)
        for name, tensor in model.named_buffers():
            if name.endswith("running_var"):
                tensor.add_(0.5)
    return model


def random(*shape: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def forced_of(observation: Observation) -> Arrays:
    """Return all arrays of an observation's anchors."""
    numbers = {str(call.number) for call in observation.anchors}
    return {
        name: array
        for name, array in observation.arrays.items()
        if name.partition("/")[0] in numbers
    }


def kinds(observation: Observation) -> list[str]:
    return [call.kind for call in observation.calls]


def call_of(observation: Observation, name: str) -> Call:
    """Return the only call of a function or class of this name."""
    (call,) = [call for call in observation.calls if call.name == name]
    return call
