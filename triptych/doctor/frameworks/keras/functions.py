"""The functions and operators between layers: where they are called, and what they mean."""

import functools
import inspect
import sys
from collections.abc import Callable, Container
from typing import Any

import keras
import numpy as np

from ...observation import Call, Settings
from ..adapter import Unsupported
from . import backend
from .activations import (
    ACTIVATIONS,
    PARAMETERS,
    arguments_of,
    canonical_name,
    from_end,
    make_activation,
    settings_of,
)

# Calls of these packages' functions by the packages themselves are no part of the user's model.
LIBRARIES = (*backend.BACKENDS, "keras", "triptych", "tree", "optree")

# It calls functions in place of the user's code that it has rewritten.
REWRITER = "tensorflow.python.autograph"

# They take functions, make no arrays of numbers, or are no part of a computation.
LEFT_OUT = frozenset(
    ("cond", "switch", "while_loop", "map", "map_fn", "scan", "fori_loop", "vectorized_map")
    + ("associative_scan", "custom_gradient", "function", "py_function", "numpy_function")
    + ("recompute_grad", "grad_pass_through", "init_scope", "name_scope", "device", "group")
    + ("convert_to_numpy", "is_tensor", "get_static_value", "dtype")
    + ("shape", "rank", "size", "ndim", "tuple", "no_op", "ensure_shape", "identity")
    + ("stop_gradient", "saturate_cast", "Assert")
)

MERGES = {
    "add": "add",
    "+": "add",
    "subtract": "subtract",
    "-": "subtract",
    "multiply": "multiply",
    "*": "multiply",
    "maximum": "maximum",
    "minimum": "minimum",
    "concatenate": "concatenate",
    "concat": "concatenate",
}
# By their short names the functions through which random numbers are followed, see
# `triptych.doctor.frameworks.draws`.
FOLLOWED = (
    {">": "gt", "greater": "gt", ">=": "ge", "greater_equal": "ge"}
    | {"<": "lt", "less": "lt", "<=": "le", "less_equal": "le"}
    | {"+": "add", "add": "add", "-": "sub", "subtract": "sub", "*": "mul", "multiply": "mul"}
    | {"/": "div", "divide": "div", "floor": "floor", "where": "where"}
    | {"~": "not", "logical_not": "not", "cast": "move", "reshape": "move", "expand_dims": "move"}
    | {"broadcast_to": "move", "squeeze": "move", "tile": "move"}
    | {"convert_to_tensor": "move", "constant": "move", "array": "move"}
)
CONVERSIONS = frozenset({"convert_to_tensor", "constant", "array"})  # are not recorded
ARITHMETIC = frozenset({"add", "sub", "rsub", "mul", "div", "rdiv"})
COMPARISONS = frozenset({">", ">=", "<", "<=", "~"})  # operators that are not recorded
UNIFORM = frozenset({"uniform", "stateless_uniform"})
NORMAL = frozenset({"normal", "stateless_normal", "truncated_normal", "stateless_truncated_normal"})
BINOMIAL = frozenset({"binomial", "stateless_binomial"})
# By their short names, what makes one number of many along some axes.
REDUCTIONS = (
    {name: name for name in ("mean", "sum", "max", "min", "logsumexp")}
    | {"amax": "max", "amin": "min", "var": "variance", "std": "deviation"}
    | {f"reduce_{name}": name for name in ("mean", "sum", "max", "min", "logsumexp", "variance")}
    | {"reduce_std": "deviation"}
)
BIASED = ("variance", "deviation")  # which divide by n
# By canonical name, what takes the place of another reduction.
CHANGED_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "mean": keras.ops.mean,
    "sum": keras.ops.sum,
    "max": keras.ops.max,
    "min": keras.ops.min,
    "variance": keras.ops.var,
    "deviation": keras.ops.std,
    "logsumexp": keras.ops.logsumexp,
}
POOLS = {"max_pool": "max", "average_pool": "average", "avg_pool": "average"}


class Watch:
    """Reports the calls that user code makes of a framework's functions.

    Attributes
    ----------
    report : callable or None
        Takes the name, the function, and the arguments, and makes the call; None if nothing is
        watched.
    """

    def __init__(self) -> None:
        self.report: Callable[[str, Any, tuple[Any, ...], dict[str, Any]], Any] | None = None
        self._replaced: list[tuple[Any, str, Any]] = []
        self._wrappers: dict[int, Any] = {}

    def install(self) -> None:
        """Put a wrapper in place of each function."""
        if not self._wrappers:
            self._make_wrappers()
        for owner, name, wrapper in self._replaced:
            setattr(owner, name, wrapper)

    def remove(self) -> None:
        """Put the functions back."""
        for owner, name, wrapper in self._replaced:
            setattr(owner, name, wrapper.__wrapped__)

    def wrapper_of(self, function: Any) -> Any:
        """Return what stands for a function that the user's code holds itself, or None."""
        try:
            return self._wrappers.get(id(function))
        except TypeError:
            return None

    def _make_wrappers(self) -> None:
        for prefix, module in backend.namespaces().items():
            for name in dir(module):
                function = getattr(module, name, None)
                if name.startswith("_") or name in LEFT_OUT or not _is_function(function):
                    continue
                wrapper = self._wrappers.get(id(function))
                if wrapper is None:
                    wrapper = self._wrap(f"{prefix}.{name}", function)
                    self._wrappers[id(function)] = wrapper
                self._replaced.append((module, name, wrapper))
        for owner in (backend.TENSOR, keras.Variable):
            for method, sign in backend.OPERATORS.items():
                operator = getattr(owner, method, None)
                if operator is not None:
                    self._replaced.append((owner, method, self._wrap(sign, operator)))

    def _wrap(self, name: str, function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            report = self.report
            if report is None or not _from_user(sys._getframe(1)):
                return function(*args, **kwargs)
            return report(name, function, args, kwargs)

        wrapper.__wrapped__ = function
        return wrapper


def _is_function(function: Any) -> bool:
    return isinstance(function, backend.FUNCTION_TYPES)


def _from_user(frame: Any) -> bool:
    module = frame.f_globals.get("__name__", "")
    while module.startswith(REWRITER):
        frame = frame.f_back
        module = frame.f_globals.get("__name__", "")
    return module.partition(".")[0] not in LIBRARIES


def kind_of(name: str, tensors: int) -> str:
    """Return the kind of a function.

    Parameters
    ----------
    name : str
        As users write it: ``ops.gelu``, ``+``.
    tensors : int
        The number of tensors among its arguments.
    """
    last = short_name(name)
    if canonical_name(last) in ACTIVATIONS and tensors == 1:
        return "activation"
    if last in MERGES and tensors > 1:
        return "merge"
    if last.rstrip("123d") in POOLS:
        return "pool"
    if last in REDUCTIONS and tensors == 1:
        return "reduction"
    if last == "reshape":
        return "reshape"
    if "dropout" in last:
        return "dropout"
    if last == "pad":
        return "padding"
    if name in ("ops.image.resize", "tf.image.resize"):
        return "resize"
    return "function"


def short_name(name: str) -> str:
    """Return the name without the modules before it."""
    return name if name in MERGES else name.rpartition(".")[2] or name


def followed_name(name: str, function: Any) -> str:
    """Return what a function does to random numbers; empty if they are not followed through it."""
    followed = FOLLOWED.get(name if name in FOLLOWED else short_name(name), "")
    return f"r{followed}" if function in backend.REFLECTED else followed


def describe_call(
    name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: int
) -> tuple[str, Settings]:
    """Return the kind and the settings of a call of a function."""
    rescaling = rescaling_of(name, function, args, kwargs)
    if rescaling is not None:
        return "rescaling", rescaling
    kind = kind_of(name, tensors)
    arguments = arguments_of(function, args, kwargs)
    rank = next((len(value.shape) for value in _flat(args) if backend.is_tensor(value)), None)
    last = short_name(name)
    if kind == "activation":
        return kind, settings_of(canonical_name(last), arguments, rank)
    if kind == "merge":
        settings: Settings = {"function": MERGES[last]}
        if MERGES[last] == "concatenate":
            settings["axis"] = from_end(arguments.get("axis", -1), rank)
        return kind, settings
    if kind == "pool":
        return kind, {"pooling": POOLS[last.rstrip("123d")]} | plain(arguments)
    if kind == "reduction":
        return kind, _reduction(REDUCTIONS[last], arguments, rank or 0)
    if kind == "dropout":
        return kind, {"rate": _number(arguments.get("rate", 0.0))}
    if kind == "resize":
        method = arguments.get("interpolation", arguments.get("method", "bilinear"))
        settings = {"interpolation": str(method), "align_corners": False}
        return kind, settings | {"antialias": bool(arguments.get("antialias", False))}
    return kind, plain(arguments)


def _reduction(function: str, arguments: dict[str, Any], rank: int) -> Settings:
    """Return the canonical settings of a reduction of an array with so many axes."""
    axes = arguments.get("axis")
    if axes is None:
        axes = range(rank)
    axes = [axes] if isinstance(axes, int) else list(axes)
    settings: Settings = {"function": function, "axis": sorted(from_end(axes, rank))}
    if function in BIASED:
        settings["unbiased"] = False
    return settings | {"keepdims": bool(arguments.get("keepdims"))}


def rescaling_of(
    name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Settings | None:
    """Return the canonical settings of arithmetic of a tensor with one number; None if it is none.

    A number may be in a tensor without axes.
    """
    operation = followed_name(name, function)
    given = [*args, *kwargs.values()][:2]
    if operation not in ARITHMETIC or len(given) != 2:
        return None
    numbers = [_as_number(each) for each in given]
    if (numbers[0] is None) == (numbers[1] is None):
        return None
    (number,) = [each for each in numbers if each is not None]
    comes_first = operation.startswith("r") or numbers[0] is not None
    if operation == "add":
        return {"scale": 1.0, "offset": number}
    if operation == "mul":
        return {"scale": number, "offset": 0.0}
    if operation in ("sub", "rsub"):
        return {"scale": -1.0 if comes_first else 1.0, "offset": number if comes_first else -number}
    return None if comes_first or not number else {"scale": 1 / number, "offset": 0.0}


def _as_number(value: Any) -> float | None:
    if backend.is_tensor(value) and len(value.shape) == 0 and backend.is_floating(value):
        return _number(backend.to_numpy(value))
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    return float(value) if is_number and not isinstance(value, bool) else None


def _number(value: Any) -> float:
    return float(np.asarray(value))


def _flat(values: Any) -> list[Any]:
    if isinstance(values, (list, tuple)):
        return [each for value in values for each in _flat(value)]
    return [values]


def count_tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return how many tensors and variables there are among the arguments of a call."""
    return sum(map(_has_numbers, _flat([list(args), list(kwargs.values())])))


def _has_numbers(value: Any) -> bool:
    return backend.is_tensor(value) or backend.is_variable(value)


def plain(arguments: dict[str, Any]) -> Settings:
    """Return those arguments that JSON can hold."""
    settings: Settings = {}
    for name, value in arguments.items():
        value = _plain_value(value)
        if value is not None and name not in ("name", "self"):
            settings[name] = value
    return settings


def _plain_value(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.integer, np.floating)):
        return value.item()
    if isinstance(value, slice):
        parts = [_plain_value(part) for part in (value.start, value.stop, value.step)]
        return ":".join("" if part is None else str(part) for part in parts)
    if value is Ellipsis:
        return "..."
    if isinstance(value, (list, tuple)):
        parts = [_plain_value(each) for each in value]
        if all(part is not None for part in parts):
            return parts
    return None


def check_change(call: Call, setting: str) -> None:
    """Raise `Unsupported` if a setting of a function's call cannot be changed."""
    special = {
        "function": ("activation", "reduction"),
        "active": "dropout",
        "order": ("flatten", "reshape"),
    }
    possible = setting in (*call.settings, *PARAMETERS.values(), "then")
    if setting in special:
        possible = call.kind in special[setting]
    if not possible:
        raise Unsupported(f"the setting {setting} of {call.name} cannot be changed")


def call_changed(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], changes: Settings
) -> Any:
    """Call a function with changed settings.

    Parameters
    ----------
    function : callable
        The function.
    args, kwargs : tuple, dict
        The arguments of the user.
    changes : dict
        Canonical settings, or arguments by their name; of a rescaling or a reduction all its
        settings, by its kind; ``then``, the settings of an activation or a rescaling afterwards.
    """
    changes = dict(changes)
    then = changes.pop("then", None)
    made = _changed(function, args, kwargs, changes)
    return made if then is None else _applied(made, then)


def _applied(tensor: Any, settings: Settings) -> Any:
    """Return what an activation or a rescaling with canonical settings makes of a tensor."""
    if "function" in settings:
        return make_activation(settings)(tensor)
    return tensor * settings["scale"] + settings["offset"]


def _reduced(tensor: Any, settings: Settings) -> Any:
    """Return a reduction with canonical settings."""
    axes = settings["axis"] if isinstance(settings["axis"], list) else [settings["axis"]]
    function = CHANGED_REDUCTIONS[settings["function"]]
    made = function(tensor, axis=tuple(axes), keepdims=settings["keepdims"])
    if settings["function"] in BIASED and settings.get("unbiased"):
        count = np.prod([tensor.shape[axis] for axis in axes])
        factor = count / (count - 1)
        made = made * (factor if settings["function"] == "variance" else factor**0.5)
    return made


def _changed(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], changes: Settings
) -> Any:
    """Call a function with changed settings, which `call_changed` describes."""
    tensor = first_tensor(args, kwargs)
    if "rescaling" in changes:
        return _applied(tensor, changes["rescaling"])
    if "reduction" in changes:
        return _reduced(tensor, changes["reduction"])
    if changes.pop("active", True) is False:
        return tensor
    if "function" in changes:
        return make_activation(changes)(tensor)
    if changes.pop("order", "channels_last") == "channels_first":
        rank = len(tensor.shape)
        moved = keras.ops.transpose(tensor, (0, rank - 1, *range(1, rank - 1)))
        args = tuple(moved if each is tensor else each for each in args)
    return _with_arguments(function, args, kwargs, changes)


def _with_arguments(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], changes: Settings
) -> Any:
    if not changes:
        return function(*args, **kwargs)
    bound = inspect.signature(function).bind(*args, **kwargs)
    parameters = inspect.signature(function).parameters
    for setting, value in changes.items():
        bound.arguments[parameter_of(setting, parameters)] = value
    return function(*bound.args, **bound.kwargs)


def parameter_of(setting: str, parameters: Container[str]) -> str:
    """Return what a function calls a canonical setting."""
    # TensorFlow's leaky_relu calls the slope alpha.
    names = [name for name, each in PARAMETERS.items() if each == setting]
    for name in (*names, setting, "alpha"):
        if name in parameters:
            return name
    raise Unsupported(f"the function has no parameter {setting}")


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the first tensor or variable among the arguments of a call, or None."""
    values = keras.tree.flatten([list(args), list(kwargs.values())])
    return next(filter(_has_numbers, values), None)
