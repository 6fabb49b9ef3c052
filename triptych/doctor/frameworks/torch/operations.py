"""PyTorch's functions and modules without weights: their canonical kinds and settings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ...observation import Settings
from .layout import CHANNELS_FIRST, canonical_axis
from .weights import BATCH_NORMS, CONVOLUTIONS, INSTANCE_NORMS, TRANSPOSED

Raw = dict[str, Any]  # arguments or attributes by PyTorch's names

# NumPy's names of arguments, which PyTorch's functions take, too.
OF_NUMPY = {"axis": "dim", "keepdims": "keepdim"}

# What makes one number of many along some axes, by its canonical name.
REDUCTIONS = {
    "mean": "mean",
    "sum": "sum",
    "amax": "max",
    "amin": "min",
    "max": "max",
    "min": "min",
    "std": "deviation",
    "var": "variance",
    "logsumexp": "logsumexp",
}


@dataclass(frozen=True)
class Operation:
    """A function, or a module without weights.

    Attributes
    ----------
    kind : str
        The canonical kind.
    function : str
        Of an activation, pool or merge: its canonical name.
    arguments : dict
        The arguments after the first tensor, in order, with their defaults. Modules have attributes
        of the same names.
    """

    kind: str
    function: str = ""
    arguments: Raw = field(default_factory=dict[str, Any])

    def bind(self, args: tuple[Any, ...], kwargs: Raw) -> Raw:
        """Return all arguments after the first tensor by name."""
        bound = dict(self.arguments)
        bound.update(zip(self.arguments, args[1:], strict=False))
        named = {OF_NUMPY.get(name, name): value for name, value in kwargs.items()}
        bound.update({name: value for name, value in named.items() if name in bound})
        return bound


def _activation(name: str, **arguments: Any) -> Operation:
    return Operation("activation", name, arguments)


def _max_pool() -> Operation:
    arguments = {"kernel_size": None, "stride": None, "padding": 0, "dilation": 1}
    return Operation("pool", "max", arguments | {"ceil_mode": False, "return_indices": False})


def _average_pool() -> Operation:
    arguments = {"kernel_size": None, "stride": None, "padding": 0, "ceil_mode": False}
    return Operation("pool", "average", arguments | {"count_include_pad": True})


def _dropout(rate: float = 0.5) -> Operation:
    return Operation("dropout", "", {"p": rate, "training": True})


OPERATIONS: dict[str, Operation] = {
    "relu": _activation("relu"),
    "relu6": _activation("relu6"),
    "leaky_relu": _activation("leaky_relu", negative_slope=0.01),
    "rrelu": _activation("rrelu", lower=1 / 8, upper=1 / 3),
    "elu": _activation("elu", alpha=1.0),
    "celu": _activation("celu", alpha=1.0),
    "selu": _activation("selu"),
    "gelu": _activation("gelu", approximate="none"),
    "silu": _activation("silu"),
    "mish": _activation("mish"),
    "tanh": _activation("tanh"),
    "sigmoid": _activation("sigmoid"),
    "logsigmoid": _activation("log_sigmoid"),
    "hardtanh": _activation("hard_tanh", min_val=-1.0, max_val=1.0),
    "hardswish": _activation("hard_silu"),
    "hardsigmoid": _activation("hard_sigmoid"),
    "hardshrink": _activation("hard_shrink", lambd=0.5),
    "softshrink": _activation("soft_shrink", lambd=0.5),
    "tanhshrink": _activation("tanh_shrink"),
    "softplus": _activation("softplus", beta=1.0, threshold=20.0),
    "softsign": _activation("softsign"),
    "threshold": _activation("threshold", threshold=None, value=None),
    "glu": _activation("glu", dim=-1),
    "exp": _activation("exponential"),
    "softmax": _activation("softmax", dim=None),
    "log_softmax": _activation("log_softmax", dim=None),
    "softmin": _activation("softmin", dim=None),
    "prelu": _activation("prelu", weight=None),
    "dropout": _dropout(),
    "dropout1d": _dropout(),
    "dropout2d": _dropout(),
    "dropout3d": _dropout(),
    "alpha_dropout": _dropout(),
    "feature_alpha_dropout": _dropout(),
    "interpolate": Operation(
        "resize",
        "",
        {"size": None, "scale_factor": None, "mode": "nearest", "align_corners": None}
        | {"recompute_scale_factor": None, "antialias": False},
    ),
    "pad": Operation("padding", "", {"pad": None, "mode": "constant", "value": None}),
    "flatten": Operation("flatten"),
    "unflatten": Operation("reshape"),
    "cat": Operation("merge", "concatenate", {"dim": 0}),
    "stack": Operation("merge", "stack", {"dim": 0}),
    "add": Operation("merge", "add", {"other": None, "alpha": 1}),
    "sub": Operation("merge", "subtract", {"other": None, "alpha": 1}),
    "rsub": Operation("merge", "subtract", {"other": None}),
    "mul": Operation("merge", "multiply", {"other": None}),
    "div": Operation("merge", "divide", {"other": None, "rounding_mode": None}),
    "maximum": Operation("merge", "maximum", {"other": None}),
    "minimum": Operation("merge", "minimum", {"other": None}),
    "scaled_dot_product_attention": Operation(
        "function",
        "",
        {"key": None, "value": None, "attn_mask": None, "dropout_p": 0.0, "is_causal": False}
        | {"scale": None, "enable_gqa": False},
    ),
    "normalize": Operation("function", "", {"p": 2.0, "dim": 1, "eps": 1e-12}),
    "linear": Operation("function", "", {"weight": None, "bias": None}),
    "layer_norm": Operation(
        "function", "", {"normalized_shape": None, "weight": None, "bias": None, "eps": 1e-05}
    ),
    "batch_norm": Operation(
        "function",
        "",
        {"running_mean": None, "running_var": None, "weight": None, "bias": None}
        | {"training": False, "momentum": 0.1, "eps": 1e-05},
    ),
}
for _spatial in (1, 2, 3):
    OPERATIONS[f"max_pool{_spatial}d"] = _max_pool()
    OPERATIONS[f"avg_pool{_spatial}d"] = _average_pool()
    for _function, _name in (("average", "avg"), ("max", "max")):
        OPERATIONS[f"adaptive_{_name}_pool{_spatial}d"] = Operation(
            "pool", _function, {"output_size": None}
        )
OPERATIONS["norm"] = Operation("function", "", {"dim": None, "keepdim": False})
for _name, _function in REDUCTIONS.items():
    _arguments: Raw = {"dim": None, "keepdim": False}
    if _name in ("std", "var"):
        _arguments = {"dim": None, "unbiased": True, "keepdim": False, "correction": None}
    OPERATIONS[_name] = Operation("reduction", _function, _arguments)

# By the class of a module, the function that it calls; attributes are named as its arguments.
MODULES: dict[type, str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.LeakyReLU: "leaky_relu",
    nn.RReLU: "rrelu",
    nn.ELU: "elu",
    nn.CELU: "celu",
    nn.SELU: "selu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Mish: "mish",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.LogSigmoid: "logsigmoid",
    nn.Hardtanh: "hardtanh",
    nn.Hardswish: "hardswish",
    nn.Hardsigmoid: "hardsigmoid",
    nn.Hardshrink: "hardshrink",
    nn.Softshrink: "softshrink",
    nn.Tanhshrink: "tanhshrink",
    nn.Softplus: "softplus",
    nn.Softsign: "softsign",
    nn.Threshold: "threshold",
    nn.GLU: "glu",
    nn.Softmax: "softmax",
    nn.LogSoftmax: "log_softmax",
    nn.Softmin: "softmin",
    nn.Dropout: "dropout",
    nn.Dropout1d: "dropout1d",
    nn.Dropout2d: "dropout2d",
    nn.Dropout3d: "dropout3d",
    nn.AlphaDropout: "alpha_dropout",
    nn.FeatureAlphaDropout: "feature_alpha_dropout",
    nn.MaxPool1d: "max_pool1d",
    nn.MaxPool2d: "max_pool2d",
    nn.MaxPool3d: "max_pool3d",
    nn.AvgPool1d: "avg_pool1d",
    nn.AvgPool2d: "avg_pool2d",
    nn.AvgPool3d: "avg_pool3d",
    nn.AdaptiveAvgPool1d: "adaptive_avg_pool1d",
    nn.AdaptiveAvgPool2d: "adaptive_avg_pool2d",
    nn.AdaptiveAvgPool3d: "adaptive_avg_pool3d",
    nn.AdaptiveMaxPool1d: "adaptive_max_pool1d",
    nn.AdaptiveMaxPool2d: "adaptive_max_pool2d",
    nn.AdaptiveMaxPool3d: "adaptive_max_pool3d",
    nn.Upsample: "interpolate",
    nn.Flatten: "flatten",
    nn.Unflatten: "unflatten",
}
for _spatial in (1, 2, 3):
    MODULES[getattr(nn, f"ZeroPad{_spatial}d")] = "pad"
    MODULES[getattr(nn, f"ConstantPad{_spatial}d")] = "pad"


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Setting:
    """A canonical setting and the argument or attribute that it is made of.

    Attributes
    ----------
    name : str
        The canonical name.
    read, write : callable
        From PyTorch's value to the canonical one and back.
    """

    name: str
    read: Callable[[Any], Any] = _as_it_is
    write: Callable[[Any], Any] = _as_it_is


SETTINGS: dict[str, Setting] = {
    "eps": Setting("epsilon"),
    "momentum": Setting("momentum"),
    "negative_slope": Setting("slope"),
    "alpha": Setting("alpha"),
    "approximate": Setting(
        "approximate", lambda form: form == "tanh", lambda tanh: "tanh" if tanh else "none"
    ),
    "p": Setting("rate"),
    "dropout": Setting("rate"),
    "dim": Setting("axis"),
    "stride": Setting("strides"),
    "dilation": Setting("dilation"),
    "kernel_size": Setting("size"),
    "padding": Setting("padding"),
    "groups": Setting("groups"),
    "num_groups": Setting("groups"),
    "count_include_pad": Setting("count_padding"),
    "mode": Setting("interpolation"),
    "align_corners": Setting("align_corners", bool),
    "antialias": Setting("antialias"),
    "batch_first": Setting("batch_first"),
    "bidirectional": Setting("bidirectional"),
    "num_heads": Setting("heads"),
    "padding_idx": Setting("padding_index"),
    "nonlinearity": Setting("function"),
}
GATED = (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell)
FOR_EACH_AXIS = ("stride", "dilation", "kernel_size", "padding")

# Attributes of modules with weights that are settings, by kind; absent ones are left out.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "conv": ("stride", "padding", "dilation", "groups", "padding_mode"),
    "batch_norm": ("eps", "momentum", "track_running_stats"),
    "instance_norm": ("eps", "momentum", "track_running_stats"),
    "layer_norm": ("eps",),
    "group_norm": ("eps", "num_groups"),
    "rms_norm": ("eps",),
    "embedding": ("padding_idx", "max_norm", "scale_grad_by_freq"),
    "rnn": ("batch_first", "bidirectional", "nonlinearity"),
    "lstm": ("batch_first", "bidirectional", "proj_size"),
    "gru": ("batch_first", "bidirectional"),
    "attention": ("batch_first", "num_heads", "dropout"),
}
ATTRIBUTES["depthwise_conv"] = ATTRIBUTES["conv"]
ATTRIBUTES["conv_transpose"] = ("stride", "padding", "output_padding", "dilation", "groups")
UNUSUAL_ONLY = {"padding_mode": "zeros", "max_norm": None, "proj_size": 0, "ceil_mode": False}
UNUSUAL_ONLY |= {"track_running_stats": True, "scale_grad_by_freq": False, "output_padding": None}


def operation_of(module: nn.Module) -> tuple[str, Operation] | None:
    """Return the function that a module without weights calls, with its name; None if unknown."""
    for base in type(module).__mro__:
        if base in MODULES:
            return MODULES[base], OPERATIONS[MODULES[base]]
    return None


def module_settings(module: nn.Module, kind: str) -> tuple[Settings, dict[str, str]]:
    """Return the canonical settings of a layer, and how each is written.

    Parameters
    ----------
    module : Module
        A layer with weights or one of `MODULES`.
    kind : str
        Its canonical kind.
    """
    known = operation_of(module)
    if known:
        raw = {name: getattr(module, name) for name in known[1].arguments if hasattr(module, name)}
        raw.pop("training", None)
        if known[0] == "pad":
            raw = {"pad": list(module.padding), "mode": "constant", "value": 0.0}
        settings, written = canonical_settings(known[1], raw, spatial_axes(known[0]))
        if kind == "activation":
            written["function"] = f"nn.{type(module).__name__}()"
        return settings, written
    raw = {
        name: getattr(module, name) for name in ATTRIBUTES.get(kind, ()) if hasattr(module, name)
    }
    spatial = len(module.kernel_size) if isinstance(module, CONVOLUTIONS + TRANSPOSED) else 0
    settings, written = translated(raw, spatial)
    _derive(module, settings, raw)
    return settings, written


def _derive(module: Any, settings: Settings, raw: Raw) -> None:
    """Add what follows from several attributes."""
    if isinstance(module, CONVOLUTIONS) and module.padding == "same":
        settings["padding"] = [
            _same(size, dilation)
            for size, dilation in zip(module.kernel_size, module.dilation, strict=True)
        ]
    elif isinstance(module, TRANSPOSED):
        # What is cut off the full result.
        settings["padding"] = [
            [cut, cut - added]
            for cut, added in zip(module.padding, module.output_padding, strict=True)
        ]
    elif isinstance(module, BATCH_NORMS):
        settings["unbiased_variance"] = True
    elif isinstance(module, INSTANCE_NORMS):
        settings["groups"] = module.num_features
    elif isinstance(module, nn.RMSNorm) and module.eps is None:
        settings["epsilon"] = torch.finfo(torch.get_default_dtype()).eps
    elif isinstance(module, GATED):
        # These cannot be set in PyTorch.
        settings["activation"] = "tanh"
        settings["recurrent_activation"] = "sigmoid"
        if isinstance(module, nn.GRU):
            settings["reset_after"] = True


def _same(size: int, dilation: int) -> list[int]:
    total = dilation * (size - 1)
    return [total // 2, total - total // 2]


def spatial_axes(name: str) -> int:
    """Return the number of spatial axes in the name of a function; 0 if it does not tell."""
    return int(name[-2]) if name[-2:] in ("1d", "2d", "3d") else 0


def canonical_settings(
    operation: Operation, raw: Raw, spatial: int, dimensions: int = 0, layout: str = ""
) -> tuple[Settings, dict[str, str]]:
    """Return the canonical settings of a call, and how each is written.

    Parameters
    ----------
    operation : Operation
        What is called.
    raw : dict
        Its arguments.
    spatial : int
        The number of spatial axes; 0 if it has none.
    dimensions : int
        The axes of its input; 0 if they are not known.
    layout : str
        The layout of its input.
    """
    raw = dict(raw)
    if operation.kind == "pool" and "kernel_size" in raw and raw.get("stride") is None:
        raw["stride"] = raw["kernel_size"]
    if operation.kind == "dropout" and "training" in raw:
        raw["active"] = bool(raw.pop("training")) and raw["p"] > 0
    pad = raw.pop("pad", None)
    settings, written = translated(raw, spatial)
    if operation.kind == "activation":
        settings["function"] = operation.function
    elif operation.kind == "pool":
        settings["pooling"] = operation.function
        output_size = settings.pop("output_size", 0)
        if output_size:
            whole = set(_list(output_size, 1)) == {1}
            settings["size"] = "global" if whole else {"output": output_size}
    elif operation.kind == "merge":
        settings["function"] = operation.function
        settings.pop("alpha", None)
    if "axis" in settings and dimensions:
        settings["axis"] = _axes(settings["axis"], dimensions, layout)
    if pad is not None:
        settings.update(_padding_of(pad, dimensions, layout))
        if settings.pop("interpolation") != "constant":
            settings["mode"] = raw["mode"]
    return settings, written


def translated(raw: Raw, spatial: int) -> tuple[Settings, dict[str, str]]:
    """Return arguments or attributes as canonical settings, and how each is written.

    Parameters
    ----------
    raw : dict
        By PyTorch's names.
    spatial : int
        The number of spatial axes; 0 if there are none.
    """
    settings: Settings = {}
    written: dict[str, str] = {}
    for name, value in raw.items():
        if name in UNUSUAL_ONLY and value == UNUSUAL_ONLY[name]:
            continue
        setting = SETTINGS.get(name)
        if isinstance(value, torch.Tensor) or (setting is None and value is None):
            continue
        key = setting.name if setting else name
        canonical = setting.read(value) if setting else value
        if name in FOR_EACH_AXIS and spatial and not isinstance(value, str):
            canonical = _list(value, spatial)
            if name == "padding":
                canonical = [[each, each] for each in canonical]
        settings[key] = plain(canonical)
        written[key] = f"{name}={_shortest(value)!r}"
    return settings, written


def _list(value: Any, length: int) -> list[Any]:
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    return values * length if len(values) == 1 else values


def _shortest(value: Any) -> Any:
    """Return one number for a tuple of equal ones, as users write it."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if isinstance(value, torch.Tensor):
        return value.tolist() if value.numel() <= 64 else f"tensor {list(value.shape)}"
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    return getattr(value, "__name__", None) or str(value)


def _axes(axes: Any, dimensions: int, layout: str) -> Any:
    if isinstance(axes, (list, tuple)):
        return sorted(canonical_axis(axis, dimensions, layout) for axis in axes)
    return axes if axes is None else canonical_axis(axes, dimensions, layout)


def _padding_of(pad: Any, dimensions: int, layout: str) -> Settings:
    """Return the padding of each spatial axis; PyTorch begins with the last axis."""
    pairs = [list(pad[place : place + 2]) for place in range(0, len(pad), 2)]
    if not dimensions:
        return {"padding": pairs[::-1]}
    by_axis = [[0, 0] for _ in range(dimensions)]
    for place, pair in enumerate(pairs):
        by_axis[dimensions - 1 - place] = pair
    if layout == CHANNELS_FIRST:
        by_axis.append(by_axis.pop(1))
    if any(by_axis[0]) or any(by_axis[-1]):
        return {"pad": list(pad)}
    return {"padding": by_axis[1:-1]}
