"""What a method may change, and how it is put back."""

import random
import sys
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..numpy_draws import seeded
from ..several_losses import SeveralLosses
from .layout import tensors_in
from .model import UserModel

LOW = (torch.float32, torch.float16, torch.bfloat16)
TO_FLOAT64 = {"float", "half", "bfloat16"}  # methods of a tensor


class DoublePrecision:
    """Holds every tensor of a model in float64, and exchanges them for the user's.

    The user's tensors may also be used by the adapter of the model as written. So they are in
    float64 only while a method runs.

    Parameters
    ----------
    tensors : iterable of Tensor
        Parameters and buffers; integers stay as they are.
    """

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        held = {id(tensor): tensor for tensor in tensors if tensor.is_floating_point()}
        self._tensors = list(held.values())
        self._doubles = [tensor.data.double() for tensor in self._tensors]

    @contextmanager
    def exchanged(self) -> Generator[None]:
        """Put the tensors in float64 in place of the user's."""
        native = [tensor.data for tensor in self._tensors]
        for tensor, double in zip(self._tensors, self._doubles, strict=True):
            tensor.data = double
        try:
            with _InFloat64():
                yield
        finally:
            self._doubles = [tensor.data for tensor in self._tensors]
            for tensor, data in zip(self._tensors, native, strict=True):
                tensor.data = data


class _InFloat64(TorchFunctionMode):
    """Makes functions compute in float64 where user code asks for float32."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in TO_FLOAT64:
            return torch.Tensor.double(args[0])
        args = tuple(_wanted(each) for each in args)
        kwargs = {key: _wanted(each) for key, each in kwargs.items()}
        floating = [each for each in tensors_in((args, kwargs)) if each.is_floating_point()]
        if len({each.dtype for each in floating}) > 1 and not name.endswith("_"):
            args = _raised(args)
            kwargs = _raised(kwargs)
        return func(*args, **kwargs)


def _wanted(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in LOW else value


def _raised(value: Any) -> Any:
    """Return a value with its tensors in float64."""
    if isinstance(value, torch.Tensor):
        return value.double() if value.dtype in LOW else value
    if isinstance(value, dict):
        return {key: _raised(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(_raised(each) for each in value)
    return value


@contextmanager
def default_dtype(dtype: torch.dtype) -> Generator[None]:
    """Make new tensors in a dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def as_before(model: UserModel, *, weights: bool = True, seed: int = 0) -> Generator[None]:
    """Put back weights, buffers, gradients, modes and random numbers afterwards.

    Parameters
    ----------
    model : UserModel
        The model.
    weights : bool
        Whether weights and buffers are put back, too.
    seed : int
        Of the random numbers.
    """
    tensors = list(model.tensors())
    gradients = [tensor.grad for tensor in tensors]
    values = [tensor.detach().clone() for tensor in tensors] if weights else []
    modes = [(module, module.training) for module in model.modules()]
    for tensor in tensors:
        tensor.grad = None
    try:
        with _surroundings(seed):
            yield
    finally:
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=False):
                tensor.copy_(value)
        for module, training in modes:
            module.training = training


@contextmanager
def _surroundings(seed: int) -> Generator[None]:
    """Compute without fused layers or compiled code, and with fixed random numbers."""
    fast = torch.backends.mha.get_fastpath_enabled()
    numbers = random.getstate()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with ExitStack() as contexts:
            contexts.enter_context(torch.random.fork_rng(devices=[]))
            contexts.enter_context(compiled_code("force_eager"))
            contexts.enter_context(torch.enable_grad())
            torch.manual_seed(seed)
            contexts.enter_context(seeded(seed))
            random.seed(seed)
            yield
    finally:
        random.setstate(numbers)
        torch.backends.mha.set_fastpath_enabled(fast)


def compiled_code(stance: str) -> AbstractContextManager[Any]:
    """Return a context in which compiled code runs: ``default``, or ``force_eager`` if not."""
    # Before something is compiled, the compiler is not imported, which takes a second.
    if "torch._dynamo" in sys.modules:
        return torch.compiler.set_stance(stance)
    return nullcontext()


@contextmanager
def as_compiled(model: UserModel) -> Generator[None]:
    """Run compiled code, without the dropout of layers."""
    layers = [layer.module for layer in model.layers if layer.kind == "dropout"]
    rates = [layer.p for layer in layers]
    try:
        for layer in layers:
            layer.p = 0.0
        with compiled_code("default"), torch._C.DisableTorchFunction():
            yield
    finally:
        for layer, rate in zip(layers, rates, strict=True):
            layer.p = rate


def tensors_of_loss(loss: Any) -> list[torch.Tensor]:
    """Return the buffers and parameters of a loss that is a module, such as class weights."""
    if isinstance(loss, SeveralLosses):
        return [tensor for each in loss.losses for tensor in tensors_of_loss(each)]
    if isinstance(loss, nn.Module):
        return [*loss.parameters(), *loss.buffers()]
    return []
