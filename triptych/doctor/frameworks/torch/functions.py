"""The functions that a user's model calls between its layers: names, layouts and settings."""

from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import torch
from torch.overrides import resolve_name

from ...observation import Settings
from .layout import (
    CHANNELS_FIRST,
    TIME_FIRST,
    Layouts,
    after_moving,
    canonical_axis,
    canonical_shape,
    tensors_in,
)
from .operations import (
    OPERATIONS,
    REDUCTIONS,
    Operation,
    Raw,
    canonical_settings,
    plain,
    spatial_axes,
)

# Functions by their short names: without a module, underscores, and with one name for aliases.
ALIASES = {
    "multiply": "mul",
    "rmul": "mul",
    "imul": "mul",
    "subtract": "sub",
    "isub": "sub",
    "radd": "add",
    "iadd": "add",
    "divide": "div",
    "true_divide": "div",
    "truediv": "div",
    "itruediv": "div",
    "concat": "cat",
    "concatenate": "cat",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "moveaxis": "movedim",
}
TRANSPOSITIONS = frozenset({"transpose", "permute", "movedim", "t", "T", "mT", "adjoint", "H"})
COPIES = frozenset(
    {"contiguous", "clone", "detach", "to", "float", "double", "half", "bfloat16", "type"}
    | {"type_as", "cpu", "data", "alias", "requires_grad", "positive", "real"}
)
PARTS = frozenset({"chunk", "split", "tensor_split", "narrow"})
AXES_ADDED = frozenset({"squeeze", "unsqueeze", "expand", "expand_as", "broadcast_to", "unbind"})
# These only look at a tensor in another way, and are not recorded.
MOVES = TRANSPOSITIONS | COPIES | PARTS | AXES_ADDED
RESHAPES = frozenset({"view", "reshape", "flatten", "ravel", "unflatten", "view_as", "reshape_as"})
# What they return has other axes than what they take.
MIXTURES = frozenset(
    {"matmul", "bmm", "mm", "einsum", "tensordot", "addmm", "baddbmm", "outer", "cdist", "stack"}
    | {"scaled_dot_product_attention", "embedding", "tril", "triu", "diag", "bilinear"}
)
IMAGE_FUNCTIONS = frozenset(
    {"interpolate", "batch_norm", "instance_norm", "group_norm", "pixel_shuffle"}
    | {"pixel_unshuffle", "local_response_norm", "grid_sample"}
)
ARITHMETIC = frozenset({"add", "sub", "rsub", "mul", "div"})
DROPOUTS = frozenset(name for name, each in OPERATIONS.items() if each.kind == "dropout")
# By their short names the functions through which random numbers are followed, see
# `triptych.doctor.frameworks.draws`.
FOLLOWED = (
    {"gt": "gt", "greater": "gt", "ge": "ge", "greater_equal": "ge"}
    | {"lt": "lt", "less": "lt", "le": "le", "less_equal": "le"}
    | {"add": "add", "sub": "sub", "rsub": "rsub", "mul": "mul", "div": "div", "rdiv": "rdiv"}
    | {"rtruediv": "rdiv", "floor": "floor", "where": "where", "masked_fill": "masked_fill"}
    | {"logical_not": "not", "bitwise_not": "not", "invert": "not"}
    | dict.fromkeys(MOVES | RESHAPES, "move")
)
UNIFORM = frozenset({"rand", "rand_like", "uniform"})
# Draws whose mean replaces them if nothing shall be drawn.
NOISE = frozenset({"randn", "randn_like", "normal"})


@dataclass(frozen=True)
class FunctionCall:
    """A call of a function, or of a module without weights.

    Attributes
    ----------
    name : str
        The short name of the function; empty if it is not known.
    args : tuple
        The arguments.
    raw : dict
        The known arguments after the first tensor, by PyTorch's names.
    kwargs : dict
        Further arguments.
    """

    name: str
    args: tuple[Any, ...]
    raw: Raw = field(default_factory=dict[str, Any])
    kwargs: Raw = field(default_factory=dict[str, Any])

    @cached_property
    def tensors(self) -> list[torch.Tensor]:
        """The tensors among the arguments."""
        return tensors_in((self.args, self.kwargs))

    @property
    def first(self) -> Any:
        """The first argument: a tensor, or a list of tensors."""
        return self.args[0] if self.args else next(iter(self.kwargs.values()))

    @property
    def floating(self) -> bool:
        """Whether one of them is floating."""
        return any(tensor.is_floating_point() for tensor in self.tensors)

    @property
    def operation(self) -> Operation | None:
        """What is known of the function."""
        return OPERATIONS.get(self.name)


def function_call(func: Any, args: tuple[Any, ...], kwargs: Raw) -> FunctionCall:
    """Return the description of a call that PyTorch dispatches."""
    name = short_name(func)
    operation = OPERATIONS.get(name)
    return FunctionCall(name, args, operation.bind(args, kwargs) if operation else {}, kwargs)


@cache
def _resolved(func: Any) -> str:
    return resolve_name(func) or getattr(func, "__name__", "")


@cache
def short_name(func: Any) -> str:
    """Return the short name of a function, a method or a property of a tensor."""
    return shortened(_resolved(func))


def shortened(name: str) -> str:
    """Return the short name of a function with its full name or with the name that is shown."""
    parts = name.split(".")
    name = parts[-2] if parts[-1] == "__get__" else parts[-1]
    name = name.strip("_")
    return ALIASES.get(name, name)


def shown_name(func: Any) -> str:
    """Return the name of a function as users write it: ``F.relu``, ``torch.tanh``."""
    name = _resolved(func)
    for module, shown in (("torch.nn.functional.", "F."), ("torch.Tensor.", "Tensor.")):
        name = name.replace(module, shown)
    return name


def layout_into(call: FunctionCall, layouts: Layouts) -> str:
    """Return the layout in which a function takes its first tensor."""
    if not call.tensors:
        return ""
    source = call.tensors[0]
    if _is_for_images(call.name, source.ndim):
        return CHANNELS_FIRST
    return layouts.get(source)


def _is_for_images(name: str, dimensions: int) -> bool:
    if name in IMAGE_FUNCTIONS:
        return dimensions >= 3
    spatial = spatial_axes(name)
    return "dropout" not in name and spatial > 0 and dimensions == spatial + 2


def set_layouts(call: FunctionCall, func: Any, result: Any, layouts: Layouts) -> None:
    """Note the layouts of what a function has returned."""
    if not call.tensors:
        return
    source = call.tensors[0]
    layout = layout_into(call, layouts)
    name = call.name
    for tensor in tensors_in(result):
        if tensor is source and name not in TRANSPOSITIONS:
            continue
        if name in TRANSPOSITIONS:
            layouts.set(tensor, _after_transposition(call, func, layout))
        elif name in RESHAPES or name in AXES_ADDED or name == "getitem":
            layouts.set(tensor, _after_reshape(call, source, tensor, layout))
        elif name in REDUCTIONS:
            layouts.set(tensor, _after_reduction(call, source, tensor, layout))
        elif name in MIXTURES or (name == "linear" and layout == CHANNELS_FIRST):
            layouts.set(tensor, "")
        elif layout == CHANNELS_FIRST and _is_for_images(name, source.ndim):
            layouts.set(tensor, layout)
        else:
            layouts.hand_on(call.tensors, tensor)


def _after_transposition(call: FunctionCall, func: Any, layout: str) -> str:
    source = call.tensors[0]
    # An empty tensor with a different size of each axis shows where the axes go.
    sizes = range(1, source.ndim + 1)
    shape = torch.empty(tuple(sizes), device="meta")
    with torch._C.DisableTorchFunction():
        moved = func(shape, *call.args[1:], **call.kwargs)
    order = [size - 1 for size in moved.shape]
    return after_moving(order, layout, integers=not source.is_floating_point())


def _after_reshape(
    call: FunctionCall, source: torch.Tensor, result: torch.Tensor, layout: str
) -> str:
    if call.name == "getitem":
        index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
        moved = any(each is not Ellipsis and not isinstance(each, slice) for each in index)
        return "" if moved else layout
    if result.ndim < 3 or result.shape[:2] != source.shape[:2]:
        return ""
    if layout == TIME_FIRST and result.ndim != source.ndim:
        return ""
    return layout


def _after_reduction(
    call: FunctionCall, source: torch.Tensor, result: torch.Tensor, layout: str
) -> str:
    if result.ndim == source.ndim:
        return layout
    axes = reduced_axes(call, source)
    kept = not axes & ({1} if layout == CHANNELS_FIRST else {0, 1})
    return layout if kept and result.ndim >= 3 else ""


def reduced_axes(call: FunctionCall, source: torch.Tensor) -> set[int]:
    """Return the axes over which a function reduces."""
    axes = call.raw.get("dim")
    if axes is None or isinstance(axes, bool):  # var(False) is biased
        return set(range(source.ndim))
    axes = axes if isinstance(axes, (list, tuple)) else [axes]
    return {axis % source.ndim for axis in axes}


def describe(call: FunctionCall, result: Any, layouts: Layouts) -> tuple[str, Settings] | None:
    """Return the canonical kind and settings of a call; None if it has changed nothing."""
    if call.name in NOISE:
        return "dropout", {"active": True}
    source = call.tensors[0]
    layout = layout_into(call, layouts)
    if call.name in RESHAPES:
        if result.shape == source.shape:
            return None
        kind = "flatten" if result.ndim < source.ndim else "reshape"
        return kind, shapes(source, layout, result, layouts)
    if call.name == "getitem":
        return "function", {"index": _index_text(call.args[1])}
    if call.name in REDUCTIONS and len(call.tensors) == 1:
        return describe_reduction(call, source, layout)
    operation = call.operation
    if operation is None:
        return "function", _arguments(call)
    if call.name in ARITHMETIC:
        factor = _number(call.raw.get("other"))
        if factor is not None:
            return "rescaling", _rescaling(call.name, factor * call.raw.get("alpha", 1))
    return operation.kind, settings_of(call, source, layout)


def _number(value: Any) -> float | None:
    """Return a number, also one in a tensor without axes that is not trained; else None."""
    if isinstance(value, torch.Tensor) and value.ndim == 0 and not value.requires_grad:
        value = value.item()
    return value if isinstance(value, (int, float)) else None


def settings_of(call: FunctionCall, source: torch.Tensor, layout: str) -> Settings:
    """Return the canonical settings of a call of a known function."""
    operation = call.operation
    assert operation
    raw = dict(call.raw)
    if call.name in ("softmax", "log_softmax", "softmin") and raw["dim"] is None:
        # What PyTorch chooses, with a warning.
        raw["dim"] = 0 if source.ndim in (0, 1, 3) else 1
    spatial = spatial_axes(call.name)
    return canonical_settings(operation, raw, spatial, source.ndim, layout)[0]


def shapes(source: torch.Tensor, layout: str, result: torch.Tensor, layouts: Layouts) -> Settings:
    """Return the settings of a flatten or reshape."""
    return {
        "from": canonical_shape(source, layout),
        "to": canonical_shape(result, layouts.get(result)),
        "order": layout or "channels_last",
    }


def _rescaling(name: str, factor: float) -> Settings:
    if name == "mul":
        return {"scale": factor, "offset": 0.0}
    if name == "div":
        return {"scale": 1 / factor if factor else float("inf"), "offset": 0.0}
    if name == "rsub":
        return {"scale": -1.0, "offset": factor}
    return {"scale": 1.0, "offset": -factor if name == "sub" else factor}


def describe_reduction(
    call: FunctionCall, source: torch.Tensor, layout: str
) -> tuple[str, Settings]:
    """Return the canonical kind and settings of a reduction."""
    axes = reduced_axes(call, source)
    spatial = set(range(2, source.ndim))
    pools = {"mean": "average", "amax": "max"}
    if layout == CHANNELS_FIRST and axes == spatial and call.name in pools:
        return "pool", {"pooling": pools[call.name], "size": "global"}
    canonical = sorted(canonical_axis(axis, source.ndim, layout) for axis in axes)
    settings: Settings = {"function": REDUCTIONS[call.name], "axis": canonical}
    if "unbiased" in call.raw:
        settings["unbiased"] = _is_unbiased(call.raw)
    return "reduction", settings | {"keepdims": bool(call.raw.get("keepdim"))}


def _is_unbiased(raw: Raw) -> bool:
    """Return whether a variance or deviation divides by n - 1."""
    if raw["correction"] is not None:
        return bool(raw["correction"])
    return bool(raw["dim"] if isinstance(raw["dim"], bool) else raw["unbiased"])


def _arguments(call: FunctionCall) -> Settings:
    given = [plain(each) for each in call.args if not tensors_in(each)]
    settings: Settings = {"arguments": given} if given else {}
    settings.update(
        {name: plain(value) for name, value in call.kwargs.items() if not tensors_in(value)}
    )
    return settings


def _index_text(index: Any) -> str:
    parts = index if isinstance(index, tuple) else (index,)
    return ", ".join(_index_part(part) for part in parts)


def _index_part(part: Any) -> str:
    if part is Ellipsis:
        return "..."
    if isinstance(part, slice):
        ends = ("" if part.start is None else part.start, "" if part.stop is None else part.stop)
        step = "" if part.step is None else f":{part.step}"
        return f"{ends[0]}:{ends[1]}{step}"
    return f"tensor {list(part.shape)}" if isinstance(part, torch.Tensor) else str(part)
