"""Keras on JAX.

JAX differentiates functions, and a recorded model is no function: it is run line by line. So the
`Tape` is a trace of JAX that computes each operation at once and notes it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import jax
import keras
import numpy as np
from jax import numpy as jnp
from jax.extend.core import primitives, set_current_trace, take_current_trace

from ....observation import Array
from ...adapter import Unsupported

VERSION = f"jax {jax.__version__}"

TENSOR = type(jnp.zeros(()))  # not `jax.Array`, which symbols of a graph are, too
VARIABLES = (keras.Variable,)
MODULE = ()
eagerly = nullcontext
FUNCTION_TYPES = (FunctionType, jax.custom_jvp, jnp.ufunc, type(jax.jit(abs)))


def namespaces() -> dict[str, ModuleType]:
    """Return the modules whose functions a user's model calls, by the name that users write."""
    # Not those of jax.lax: JAX compares `lax.max` and others with what it is given.
    return {"jnp": jnp, "jax.nn": jax.nn}


def double_precision() -> AbstractContextManager[None]:
    """Return a context in which arrays may be of 64 bits."""
    return jax.enable_x64(True)


def to_tensor(array: Array) -> Any:
    """Return an array as a tensor of the same dtype; outside of float64, of 32 bits."""
    return jnp.asarray(array)


def to_numpy(tensor: Any) -> Array:
    """Return a tensor of the backend as an array."""
    return np.asarray(tensor)


def is_concrete(tensor: Any) -> bool:
    """Return whether a tensor has numbers and is no symbol of a graph."""
    return True


def new_tensor(tensor: Any) -> Any:
    """Return a tensor with the same numbers and a gradient of its own."""
    return primitives.copy_p.bind(tensor)


def needs_channels_last() -> bool:
    """Return whether convolutions and pools with channels first are not implemented here."""
    return False


def resize_corners(images: Any, height: int, width: int, method: str) -> Any:
    """Return resized images whose corners stay where they are."""
    raise Unsupported("align_corners can be changed on TensorFlow only")


def compiled(function: Callable[[], Any]) -> Callable[[], Any]:
    """Refuse: a function that changes variables cannot be compiled from outside."""
    raise Unsupported("a function that calls Keras layers is not timed on JAX; give a model")


def threads() -> int | None:
    """Return None: the system chooses the number of threads."""
    return None


Pullback = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass
class _Operation:
    """One operation that was computed.

    Attributes
    ----------
    inputs, outputs : list
        The arrays.
    function : callable
        Computes the outputs.
    pullback : callable or None
        Makes gradients at the inputs of those at the outputs; None if it is made when needed.
    """

    inputs: list[Any]
    outputs: list[Any]
    function: Callable[..., list[Any]]
    pullback: Pullback | None = None

    def handed_back(self, arrived: dict[int, Any], reached: set[int]) -> Iterator[tuple[Any, Any]]:
        """Yield each input that has a gradient, with what this operation adds to it.

        Parameters
        ----------
        arrived : dict of int to ndarray
            The gradients so far, by the ids of the arrays.
        reached : set of int
            The ids of the arrays whose gradients are needed.
        """
        at_outputs = [_gradient_at(output, arrived) for output in self.outputs]
        if self.pullback is not None:
            needed = self.inputs
            gradients = self.pullback(at_outputs)
        else:
            # JAX cannot differentiate some operations, such as pooling, at all of their inputs.
            places = [place for place, each in enumerate(self.inputs) if id(each) in reached]
            needed = [self.inputs[place] for place in places]
            _, pullback = jax.vjp(self._of(places), *needed)
            gradients = pullback(at_outputs)
        for array, gradient in zip(needed, gradients, strict=True):
            if gradient.dtype != jax.dtypes.float0:
                yield array, gradient

    def _of(self, places: list[int]) -> Callable[..., list[Any]]:
        """Return the operation as a function of some of its inputs."""

        def function(*arrays: Any) -> list[Any]:
            inputs = list(self.inputs)
            for place, array in zip(places, arrays, strict=True):
                inputs[place] = array
            return self.function(*inputs)

        return function


def _gradient_at(output: Any, arrived: dict[int, Any]) -> Any:
    if not _is_floating(output):
        return np.zeros(np.shape(output), jax.dtypes.float0)
    return arrived[id(output)] if id(output) in arrived else jnp.zeros_like(output)


def _is_floating(array: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(array), jnp.floating)


class _Recording(jax.core.Trace):
    """Computes each operation at once, and notes it.

    Attributes
    ----------
    operations : list of _Operation
        What was computed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[_Operation] = []

    def stage_value(self, val: Any) -> Any:
        """Return a number or NumPy array as an array of JAX."""
        with take_current_trace():
            return jnp.asarray(val)

    def process_primitive(self, primitive: Any, args: Any, params: dict[str, Any], /) -> Any:
        """Compute a primitive operation."""

        def function(*inputs: Any) -> list[Any]:
            made = primitive.bind(*inputs, **params)
            return list(made) if primitive.multiple_results else [made]

        outputs = self._noted(_Operation(list(args), function(*args), function))
        return outputs if primitive.multiple_results else outputs[0]

    def process_custom_jvp_call(
        self, primitive: Any, function: Any, jvp: Any, args: Any, /, **params: Any
    ) -> list[Any]:
        """Compute a function with a derivative of its own."""
        return self._once(primitive, args, (function, jvp), params)

    def process_custom_vjp_call(
        self, primitive: Any, function: Any, fwd: Any, bwd: Any, args: Any, /, **params: Any
    ) -> list[Any]:
        """Compute a function with a gradient of its own."""
        return self._once(primitive, args, (function, fwd, bwd), params)

    def process_call(
        self, primitive: Any, function: Any, args: Any, params: dict[str, Any], /
    ) -> list[Any]:
        """Compute a function that is called as a whole."""
        return self._once(primitive, args, (function,), params)

    def _once(
        self, primitive: Any, args: Any, subfuns: tuple[Any, ...], params: dict[str, Any]
    ) -> list[Any]:
        """Compute functions that must not be called a second time."""

        def function(*inputs: Any) -> list[Any]:
            return list(primitive.bind(*inputs, subfuns=subfuns, **params))

        outputs, pullback = jax.vjp(function, *args)
        return self._noted(_Operation(list(args), outputs, function, pullback))

    def _noted(self, operation: _Operation) -> list[Any]:
        """Note an operation; return its outputs, each an array of its own."""
        known = {id(each) for each in operation.inputs}
        for place, output in enumerate(operation.outputs):
            if id(output) in known:
                operation.outputs[place] = output = jnp.array(output, copy=True)
            known.add(id(output))
        self.operations.append(operation)
        return operation.outputs


class Tape:
    """Gradients of a computation; they may be asked for more than once."""

    def __init__(self) -> None:
        self._recording = _Recording()
        self._active: Any = None

    def __enter__(self) -> "Tape":
        self._active = set_current_trace(self._recording)
        self._active.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._active.__exit__(*error)

    def watch(self, tensor: Any) -> Any:
        """Return a tensor whose gradient may be asked for, though it is no variable."""
        return tensor

    def gradients(self, target: Any, sources: Sequence[Any]) -> list[Any]:
        """Return the gradient of a number at each tensor; None where it has none."""
        reached = {id(source) for source in sources}
        passed: list[_Operation] = []
        for operation in self._recording.operations:
            if any(id(each) in reached for each in operation.inputs):
                passed.append(operation)
                reached |= {id(each) for each in operation.outputs if _is_floating(each)}
        if id(target) not in reached:
            return [None] * len(sources)
        arrived = {id(target): jnp.ones_like(target)}
        for operation in reversed(passed):
            if not any(id(each) in arrived for each in operation.outputs):
                continue
            for array, gradient in operation.handed_back(arrived, reached):
                if id(array) in reached:
                    known = arrived.get(id(array))
                    arrived[id(array)] = gradient if known is None else known + gradient
        return [arrived.get(id(source)) for source in sources]
