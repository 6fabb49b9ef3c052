"""What is replaced in a user's model while it runs."""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import keras
from keras import layers
from keras.src.backend import get_keras_mask

from ...observation import Settings
from ..namespaces import replaced_entry
from . import backend
from .functions import LIBRARIES, call_changed, parameter_of
from .layers import AUGMENTATIONS, NOISE_LAYERS, Leaf, is_built_in

# Changes of a call that are no attributes of an operation.
OF_CALLS = ("order", "then", "rescaling", "reduction")


def replaced(owner: Any, name: str, value: Any) -> Any:
    """Return a context in which an object has another attribute, without Keras' tracking."""
    return replaced_entry(vars(owner), name, value)


class Instrument:
    """What is replaced in one model while it runs.

    Parameters
    ----------
    roots : sequence of Layer
        The model, or the layers that a function calls.
    leaves : sequence of Leaf
        Its layers.
    functions : sequence of function
        The user's functions that call the model.
    """

    def __init__(
        self, roots: Sequence[Any], leaves: Sequence[Leaf], functions: Sequence[Any] = ()
    ) -> None:
        self.leaves = leaves
        self.called = [leaf for leaf in leaves if leaf.called]
        self.halves = {id(leaf.pointwise) for leaf in leaves if leaf.pointwise}
        everything = _unique(each for root in roots for each in _walk(root))
        random = (*NOISE_LAYERS, *AUGMENTATIONS)
        cells = (layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell)
        self.noise = [each for each in everything if isinstance(each, random)]
        self.cells = [each for each in everything if isinstance(each, cells)]
        self.operations = _operations(everything)
        self.namespaces = _namespaces(everything, leaves, functions)
        self.channels_first = any(
            getattr(leaf.layer, "data_format", "") == "channels_first" for leaf in leaves
        )

    def without_noise(self) -> Iterator[Any]:
        """Return contexts in which nothing is drawn at random."""
        for cell in self.cells:
            yield replaced(cell, "dropout", 0.0)
            yield replaced(cell, "recurrent_dropout", 0.0)
        for layer in self.noise:
            yield replaced(layer, "call", identity(layer))


def _unique(values: Iterable[Any]) -> list[Any]:
    return list({id(value): value for value in values}.values())


def _walk(layer: Any) -> Iterator[Any]:
    yield layer
    yield from layer._flatten_layers(include_self=False)


def _namespaces(
    everything: list[Any], leaves: Sequence[Leaf], functions: Sequence[Any]
) -> list[dict[str, Any]]:
    """Return where the user's code may hold functions: its objects and its modules.

    For example ``self.activation = keras.activations.gelu`` or ``from keras.ops import gelu``.
    """
    # What a layer of the user's refers to is seen where it takes no part of Keras' own layers.
    ours = {
        id(leaf.layer)
        for leaf in leaves
        if leaf.called and not (leaf.is_own and leaf.described.kind == "other")
    }
    own = [each for each in everything if not is_built_in(each)]
    users = [each for each in own if id(each) not in ours]
    names = {type(each).__module__ for each in own}
    names |= {getattr(function, "__module__", "") for function in functions}
    modules = [
        sys.modules[name]
        for name in names
        if name in sys.modules and name.partition(".")[0] not in LIBRARIES
    ]
    return [vars(each) for each in [*users, *modules]]


def _operations(everything: list[Any]) -> list[Any]:
    """Return the operations of functional models that are no layers: ``ops.gelu(x)``."""
    found: dict[int, Any] = {}
    for container in everything:
        operations = getattr(container, "operations", ())
        masks = {id(mask) for each in operations for mask in mask_operations(each)}
        for operation in operations:
            if not isinstance(operation, layers.Layer) and id(operation) not in masks:
                found[id(operation)] = operation
    return list(found.values())


def mask_operations(operation: Any) -> list[Any]:
    """Return the operations of functional models that make the mask of a layer.

    A Sequential model has a new graph, with another operation, for each layer that was added.
    """
    masks = [get_keras_mask(output) for node in operation._inbound_nodes for output in node.outputs]
    histories = [getattr(mask, "_keras_history", None) for mask in masks]
    made = [history.operation for history in histories if history is not None]
    return list({id(each): each for each in made}.values())


def needs_transposing(leaf: Leaf) -> bool:
    """Return whether a layer's channels are first and this is not implemented here."""
    if getattr(leaf.layer, "data_format", None) != "channels_first":
        return False
    kinds = ("conv", "depthwise_conv", "conv_transpose", "pool", "resize")
    return leaf.described.kind in kinds and backend.needs_channels_last()


def identity(layer: Any) -> Callable[..., Any]:
    """Return what stands for the call of a layer that does nothing."""

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return inputs

    call.__signature__ = inspect.signature(layer.call)  # type: ignore[attr-defined]
    return call


def joined_call(distributor: Any) -> Callable[..., Any]:
    """Return a call that applies a TimeDistributed's layer to all steps at once."""
    inner = distributor.layer
    # They act on the last axis alone, so that the steps may stay an axis.
    flat = not isinstance(inner, (layers.Dense, layers.Embedding, layers.LayerNormalization))

    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        kwargs = {"training": training} if inner._call_has_training_arg else {}
        if not flat:
            return inner(inputs, **kwargs)
        joined = keras.ops.reshape(inputs, (-1, *inputs.shape[2:]))
        outputs = inner(joined, **kwargs)
        return keras.ops.reshape(outputs, (*inputs.shape[:2], *outputs.shape[1:]))

    return call


def call_operation(
    operation: Any, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any], changes: Settings
) -> Any:
    """Call an operation of a functional model, whose settings are its attributes."""
    if "function" in changes:
        return call_changed(original, args, kwargs, changes)
    with ExitStack() as stack:
        for setting, value in changes.items():
            if setting not in OF_CALLS:
                attribute = parameter_of(setting, vars(operation))
                stack.enter_context(replaced(operation, attribute, value))
        rest = {name: value for name, value in changes.items() if name in OF_CALLS}
        return call_changed(original, args, kwargs, rest)


def attributes_of(operation: Any, changes: Settings) -> dict[str, Any]:
    """Return the settings of an operation by its own names, with changes."""
    attributes = {
        name: value
        for name, value in vars(operation).items()
        if not name.startswith("_") and name not in ("name", "call")
    }
    for setting, value in changes.items():
        if setting not in ("function", *OF_CALLS):
            attributes[parameter_of(setting, attributes)] = value
    return attributes
