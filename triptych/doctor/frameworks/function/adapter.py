"""One side that is a function ``f(parameters, *inputs)``; see the interface `Adapter`.

Nothing is seen inside of the function: it is one segment, and it has one mode.
"""

import inspect
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn, cast

import numpy as np

from ...observation import (
    Array,
    Arrays,
    Change,
    Component,
    Description,
    Layer,
    Observation,
    Updates,
    inputs_of,
    name_at,
)
from ..adapter import ModelError, Unsupported, UserCalls, check_weights
from ..modules import module_names
from ..preprocessing import InputChanges
from . import backends
from .backends.interface import Backend, Pullback
from .tree import parameters_of, rebuilt

FRAMEWORKS = [name for name in module_names(backends) if name != "interface"]

# By the package in which a class is defined, the framework of its objects.
PACKAGES = {"jaxlib": "jax", "keras": "tensorflow"} | {name: name for name in FRAMEWORKS}

GIVEN = ("model", "parameters", "loss", "metric", "preprocess", "batch_size")

WHOLE = "the layers inside of a function cannot be seen; it is compared as one segment in one mode"


class Adapter:
    """A function with its parameters.

    Parameters
    ----------
    parts : dict
        What ``build()`` returned: ``model``, the function, and ``parameters``, its arrays in dicts,
        lists and tuples.
    dtype : str
        ``native`` or ``float64``.
    """

    def __init__(self, parts: dict[str, Any], dtype: str) -> None:
        self._parts = parts
        if not callable(parts["model"]):
            raise ModelError(
                f"with parameters, the model must be a function f(parameters, *inputs); it is a "
                f"{type(parts['model']).__name__}"
            )
        self._parameters = parameters_of(parts["parameters"])
        self._framework = framework_of(self._parameters[0].value) or "numpy"
        self._double = dtype == "float64"
        self._arrays: Arrays = {}
        for each in self._parameters:
            array = np.array(self._backend.to_array(each.value))
            self._arrays[each.name] = array.astype(np.float64) if self._double else array
        self._inputs = InputChanges()
        self._has_run = False

    @property
    def _backend(self) -> Backend:
        module = import_module(f".backends.{self._framework}", __package__)
        return cast(Backend, module)

    def description(self) -> Description:
        """Return what this side consists of."""
        dtypes = [array.dtype for array in self._arrays.values()]
        given = tuple(key for key in GIVEN if self._parts.get(key) is not None)
        return Description(
            framework=self._framework,
            version=self._backend.VERSION,
            model=_name_of(self._parts["model"]),
            dtype=str(max(dtypes, key=lambda dtype: dtype.itemsize)),
            layers=self._layers(),
            loss=_component(self._parts.get("loss")),
            metric=_component(self._parts.get("metric")),
            batch_size=self._parts.get("batch_size"),
            given=given,
            whole=WHOLE,
            without_gradients=self._backend.WITHOUT_GRADIENTS,
        )

    def _layers(self) -> tuple[Layer, ...]:
        roles: dict[str, list[str]] = {}
        for each in self._parameters:
            roles.setdefault(each.path, []).append(each.keys[-1])
        return tuple(
            Layer(path, "parameters", "other", roles=tuple(names)) for path, names in roles.items()
        )

    def inputs(self, batch: Arrays) -> Arrays:
        """Return what the function gets besides its parameters."""
        arrays: list[Any] = [batch[name] for name in inputs_of(batch)]
        preprocess = self._parts.get("preprocess")
        if preprocess is not None:
            made = preprocess(*arrays)
            arrays = list(made) if isinstance(made, list | tuple) else [made]
        inputs = {
            name_at("input", place): self._cast(self._backend.to_array(array))
            for place, array in enumerate(arrays)
        }
        if not self._has_run:
            self._run_first(inputs)
        return self._inputs.applied(inputs)

    def _run_first(self, inputs: Arrays) -> None:
        """Run the function; one that takes arrays of NumPy may return those of a framework."""
        made = self._called(inputs)[0][0]
        self._has_run = True
        self._framework = framework_of(made) or self._framework

    def _cast(self, array: Array) -> Array:
        array = np.asarray(array)
        if not np.issubdtype(array.dtype, np.floating):
            return array
        return array.astype(np.float64) if self._double else array.astype(self._dtype)

    @property
    def _dtype(self) -> Any:
        """The dtype of the first parameter: what inputs of floating numbers are given in."""
        return self._arrays[self._parameters[0].name].dtype

    def weights(self) -> Arrays:
        """Return all parameters."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def framework_weights(self) -> Arrays:
        """Return the parameters by the user's keys."""
        return {each.user_name: self._arrays[each.name].copy() for each in self._parameters}

    def load(self, weights: Arrays) -> None:
        """Set parameters; those that are not given stay as they are."""
        shapes = {name: array.shape for name, array in self._arrays.items()}
        check_weights(weights, shapes, "the function has no parameter")
        for name, array in weights.items():
            self._arrays[name] = array.astype(self._arrays[name].dtype)

    def _called(self, inputs: Arrays) -> tuple[list[Any], Pullback]:
        """Return the outputs, and what the gradients of the parameters are computed with."""
        backend = self._backend
        with backend.precision(double=self._double):
            tensors = [backend.to_tensor(self._arrays[each.name]) for each in self._parameters]
            given = [backend.to_tensor(array) for array in inputs.values()]

            def function(leaves: Sequence[Any]) -> list[Any]:
                parameters = rebuilt(self._parts["parameters"], leaves)
                return _flat(self._parts["model"](parameters, *given))

            return backend.with_pullback(function, tensors)

    def observe(
        self,
        inputs: Arrays,
        *,
        training: bool,
        targets: Arrays | None = None,
        forced: Arrays | None = None,
        dropout: bool = False,
    ) -> Observation:
        """Run the function once."""
        backend = self._backend
        outputs, pullback = self._called(inputs)
        arrays = self._outputs(outputs)
        self._check_precision(arrays)
        if targets and self._parts.get("loss") is not None:
            with backend.precision(double=self._double):
                loss, slopes = self._loss_of(outputs, targets)
                arrays["loss"] = backend.to_array(loss)
                if not backend.WITHOUT_GRADIENTS:
                    arrays |= self._gradients(outputs, slopes, pullback)
        return Observation((), arrays)

    def _gradients(self, outputs: list[Any], slopes: list[Any], pullback: Pullback) -> Arrays:
        backend = self._backend
        arrays: Arrays = {}
        for place, (output, slope) in enumerate(zip(outputs, slopes, strict=True)):
            name = f"{name_at('output', place)}_gradient"
            arrays[name] = self._gradient(slope, backend.to_array(output))
        present = [
            backend.to_tensor(np.zeros_like(backend.to_array(output))) if slope is None else slope
            for output, slope in zip(outputs, slopes, strict=True)
        ]
        for each, gradient in zip(self._parameters, pullback(present), strict=True):
            arrays[f"gradient/{each.name}"] = self._gradient(gradient, self._arrays[each.name])
        return arrays

    def _gradient(self, gradient: Any, like: Array) -> Array:
        """Return a gradient as an array; zeros where there is none."""
        return np.zeros_like(like) if gradient is None else self._backend.to_array(gradient)

    def _outputs(self, tensors: Sequence[Any]) -> Arrays:
        return {
            name_at("output", place): self._backend.to_array(tensor)
            for place, tensor in enumerate(tensors)
        }

    def _check_precision(self, arrays: Arrays) -> None:
        for array in arrays.values():
            if self._double and array.dtype.kind == "f" and array.dtype != np.float64:
                raise ModelError(
                    f"the function returns {array.dtype} also where its parameters are float64"
                )

    def _loss_of(self, outputs: Sequence[Any], targets: Arrays) -> tuple[Any, list[Any]]:
        """Return the loss as a number, and its gradient at each output."""
        loss = self._parts.get("loss")
        if loss is None:
            raise Unsupported("build() returns no loss")
        target = self._target(targets)
        backend = self._backend

        def function(given: Sequence[Any]) -> list[Any]:
            made = _judged(loss, given, target)
            return [made.mean() if hasattr(made, "mean") else _mean(made)]

        made, pullback = backend.with_pullback(function, list(outputs))
        one = backend.to_tensor(np.ones_like(backend.to_array(made[0])))
        return made[0], pullback([one])

    def _target(self, targets: Arrays) -> Any:
        """Return what the loss gets; whole numbers as PyTorch's losses take them."""
        array = self._cast(targets["y"])
        if self._framework == "torch" and np.issubdtype(array.dtype, np.integer):
            array = array.astype(np.int64)
        return self._backend.to_tensor(array)

    def repeat(self, inputs: Arrays) -> Observation:
        """Run the function again."""
        return self.observe(inputs, training=False)

    def loss(self, outputs: Arrays, targets: Arrays) -> Arrays:
        """Return the user's loss for given outputs, and its gradient."""
        backend = self._backend
        with backend.precision(double=self._double):
            tensors = [backend.to_tensor(self._cast(array)) for array in outputs.values()]
            loss, slopes = self._loss_of(tensors, targets)
        arrays: Arrays = {"loss": backend.to_array(loss)}
        for place, slope in enumerate(slopes):
            if slope is not None:
                arrays[f"{name_at('output', place)}_gradient"] = backend.to_array(slope)
        return arrays

    def metric(self, outputs: Arrays, targets: Arrays) -> float:
        """Return the user's metric for given outputs."""
        metric = self._parts.get("metric")
        if metric is None:
            raise Unsupported("build() returns no metric")
        backend = self._backend
        with backend.precision(double=self._double):
            tensors = [backend.to_tensor(self._cast(array)) for array in outputs.values()]
            return float(backend.to_array(_judged(metric, tensors, self._target(targets))))

    def batches(self, batch: Arrays) -> list[Arrays]:
        """Refuse: what trains the parameters is no part of the side."""
        _refuse()

    def change(self, changes: Sequence[Change]) -> None:
        """Apply changes until `restore`."""
        inputs = self._inputs
        for change in changes:
            if change.target != "preprocess":
                raise Unsupported(f"{change.setting} of a function cannot be changed")
            inputs = inputs.with_change(change)
        self._inputs = inputs

    def restore(self) -> None:
        """Undo all changes."""
        self._inputs = InputChanges()

    def separate(self, paths: Sequence[str]) -> None:
        """Refuse: there is nothing to separate."""
        raise Unsupported("a function has no layers that can be separated")

    def update(self, gradients: Sequence[Arrays]) -> Updates:
        """Refuse: what changes the parameters is no part of the side."""
        _refuse()

    def train(self, inputs: Arrays, targets: Arrays, steps: int) -> tuple[Arrays, list[float]]:
        """Refuse: what changes the parameters is no part of the side."""
        _refuse()

    def rates(self, updates: int) -> list[float]:
        """Refuse: what changes the parameters is no part of the side."""
        _refuse()

    def epochs(self, validation_losses: Sequence[float]) -> dict[str, Any]:
        """Refuse: what changes the parameters is no part of the side."""
        _refuse()

    def user_calls(self, inputs: Arrays, targets: Arrays | None) -> UserCalls:
        """Refuse: a function is not timed."""
        raise Unsupported("a function with parameters is not timed")


def _refuse() -> NoReturn:
    raise Unsupported("the optimizer of a function with parameters is not compared")


def framework_of(value: Any) -> str:
    """Return the framework of an array; empty if it is of none that is known."""
    return PACKAGES.get(type(value).__module__.partition(".")[0], "")


def _flat(made: Any) -> list[Any]:
    """Return the arrays of what a function returns."""
    if isinstance(made, dict):
        made = list(cast("dict[str, Any]", made).values())
    if isinstance(made, list | tuple):
        items = cast("Sequence[Any]", made)
        return [each for item in items for each in _flat(item)]
    if not hasattr(made, "shape"):
        raise ModelError(
            f"the function returns {type(made).__name__}; it must return an array, or a tuple, "
            "list or dict of arrays"
        )
    return [made]


def _judged(function: Any, outputs: Sequence[Any], target: Any) -> Any:
    """Return what a loss or metric makes of the outputs.

    It gets a tuple where the model returns several.
    """
    output = outputs[0] if len(outputs) == 1 else tuple(outputs)
    if _takes_target_first(function):
        return function(target, output)
    return function(output, target)


def _takes_target_first(function: Any) -> bool:
    """Return whether a loss or metric is one of Keras: ``loss(y_true, y_pred)``."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return False
    return names[:1] == ["y_true"]


def _mean(values: Any) -> Any:
    """Return the mean of what has no method for it."""
    if framework_of(values) == "tensorflow":
        return import_module("tensorflow").reduce_mean(values)
    return np.mean(values)


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _component(given: Any) -> Component | None:
    return None if given is None else Component(_name_of(given))
