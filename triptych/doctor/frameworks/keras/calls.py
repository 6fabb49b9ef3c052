"""Records the calls of layers and functions while a model runs, and forces what they get.

Every layer's ``call`` is replaced while a recording is active. Functions between layers are
replaced, too; see `triptych.doctor.frameworks.keras.functions`.
"""

import inspect
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
from keras import layers
from keras.src.backend import get_keras_mask, set_keras_mask

from ...observation import Array, Arrays, Call, Settings
from . import backend, geometry
from .activations import describe_activation, from_end, is_linear
from .functions import (
    Watch,
    call_changed,
    count_tensors,
    describe_call,
    first_tensor,
    parameter_of,
)
from .layers import (
    AUGMENTATIONS,
    AVERAGE_POOLS,
    GLOBAL_AVERAGE_POOLS,
    MAX_POOLS,
    NOISE_LAYERS,
    RECURRENT,
    TRANSPOSED,
    Leaf,
)

_MISSING = object()

SPLIT_KINDS = ("dense", "conv", "depthwise_conv", "conv_transpose")

# Arguments of a call that are no inputs of the layer.
NO_INPUTS = ("mask", "query_mask", "value_mask", "key_mask", "attention_mask", "training")


def replaced(owner: Any, name: str, value: Any) -> Any:
    """Return a context in which an object has another attribute, without Keras' tracking."""
    return _replaced(vars(owner), name, value)


@contextmanager
def _replaced(namespace: dict[str, Any], name: str, value: Any) -> Generator[None]:
    before = namespace.get(name, _MISSING)
    namespace[name] = value
    try:
        yield
    finally:
        if before is _MISSING:
            del namespace[name]
        else:
            namespace[name] = before


class Instrument:
    """What is replaced in one model while it runs.

    Parameters
    ----------
    model : object
        The user's model.
    leaves : sequence of Leaf
        Its layers.
    """

    def __init__(self, model: Any, leaves: Sequence[Leaf]) -> None:
        self.leaves = leaves
        self.noise = _noise_layers(leaves)
        self.cells = _cells(leaves)
        self.operations = _operations(model)
        self.containers = _containers(model)
        self.channels_first = any(
            getattr(leaf.layer, "data_format", "") == "channels_first" for leaf in leaves
        )


def _walk(layer: Any) -> Iterator[Any]:
    yield layer
    yield from layer._flatten_layers(include_self=False)


def _noise_layers(leaves: Sequence[Leaf]) -> list[Any]:
    """Return all layers that draw random numbers, also those inside other layers."""
    random = (*NOISE_LAYERS, *AUGMENTATIONS)
    return [each for leaf in leaves for each in _walk(leaf.layer) if isinstance(each, random)]


def _cells(leaves: Sequence[Leaf]) -> list[Any]:
    """Return the cells of recurrent layers that have a dropout of their own."""
    return [
        each
        for leaf in leaves
        for each in _walk(leaf.layer)
        if isinstance(each, (layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell))
    ]


def _containers(model: Any) -> list[Any]:
    """Return the layers that consist of layers, and the model."""
    if isinstance(model, layers.Layer):
        return list(_walk(model))
    return []


def _operations(model: Any) -> list[Any]:
    """Return the operations of functional models that are no layers: ``ops.gelu(x)``."""
    found: dict[int, Any] = {}
    for container in _containers(model):
        operations = getattr(container, "operations", ())
        masks = {id(mask_operation(each)) for each in operations}
        for operation in operations:
            if not isinstance(operation, layers.Layer) and id(operation) not in masks:
                found[id(operation)] = operation
    return list(found.values())


def mask_operation(operation: Any) -> Any:
    """Return the operation of a functional model that makes the mask of a layer, or None."""
    for node in operation._inbound_nodes:
        for output in node.outputs:
            history = getattr(get_keras_mask(output), "_keras_history", None)
            if history is not None:
                return history.operation
    return None


WATCH = Watch()


class Recorder:
    """Records one forward pass.

    Parameters
    ----------
    instrument : Instrument
        What is replaced.
    training : bool
        Training or evaluation mode.
    dropout : bool
        Whether dropout and noise are drawn.
    forced : dict of str to ndarray
        See `triptych.doctor.frameworks.adapter.Adapter.observe`.
    changes : dict of int to dict
        By the number of a function's call, its changed settings.

    Attributes
    ----------
    calls : list of Call
        The calls so far.
    arrived : dict of str to tensor
        ``NUMBER/input``: what arrives at each anchor.
    fed : dict of str to tensor
        The same: what the layer gets.
    made : dict of str to tensor
        ``NUMBER/output``: what each call has made.
    handed_on : dict of str to tensor
        The same of anchors: what those after it get.
    axes : dict of int to int
        By number of a call, which axis has the features, where it is not the last one.
    """

    def __init__(
        self,
        instrument: Instrument,
        tape: backend.Tape,
        *,
        training: bool,
        dropout: bool = False,
        forced: Arrays | None = None,
        changes: dict[int, Settings] | None = None,
    ) -> None:
        self.instrument = instrument
        self.tape = tape
        self.training = training
        self.dropout = dropout
        self.forced = forced or {}
        self.changes = changes or {}
        self.calls: list[Call] = []
        self.arrived: dict[str, Any] = {}
        self.fed: dict[str, Any] = {}
        self.made: dict[str, Any] = {}
        self.handed_on: dict[str, Any] = {}
        self.axes: dict[int, int] = {}
        self._numbers = 0
        self._suspended = 0

    @contextmanager
    def active(self) -> Generator[None]:
        """Replace layers and functions."""
        with ExitStack() as stack:
            WATCH.install()
            stack.callback(WATCH.remove)
            WATCH.report = self._function
            stack.callback(setattr, WATCH, "report", None)
            for context in self._replacements():
                stack.enter_context(context)
            yield

    def _replacements(self) -> Iterator[Any]:
        instrument = self.instrument
        if not self.dropout:
            for cell in instrument.cells:
                yield replaced(cell, "dropout", 0.0)
                yield replaced(cell, "recurrent_dropout", 0.0)
            for layer in instrument.noise:
                yield replaced(layer, "call", _identity(layer))
        for leaf in instrument.leaves:
            if leaf.called:
                yield replaced(leaf.layer, "call", self._layer_call(leaf))
        for operation in instrument.operations:
            yield replaced(operation, "call", self._operation_call(operation))
        for container in instrument.containers:
            # A function that the user's layer keeps: self.activation = keras.activations.gelu.
            for name, value in list(vars(container).items()):
                wrapper = WATCH.wrapper_of(value)
                if wrapper is not None:
                    yield replaced(container, name, wrapper)

    def _take_number(self) -> int:
        self._numbers += 1
        return self._numbers - 1

    @contextmanager
    def _inside(self) -> Generator[None]:
        """Record nothing of what a call consists of."""
        self._suspended += 1
        try:
            yield
        finally:
            self._suspended -= 1

    @contextmanager
    def _outside(self) -> Generator[None]:
        """Record calls inside a call: those of a layer that is another one's activation."""
        before = self._suspended
        self._suspended = 0
        try:
            yield
        finally:
            self._suspended = before

    # Layers

    def _layer_call(self, leaf: Leaf) -> Callable[..., Any]:
        original = leaf.layer.call
        signature = inspect.signature(original)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._suspended or not count_tensors(args, kwargs):
                return original(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            if leaf.anchor:
                return self._anchor(leaf, original, bound)
            return self._plain_layer(leaf, original, bound)

        return call

    def _plain_layer(self, leaf: Leaf, original: Any, bound: inspect.BoundArguments) -> Any:
        number = self._take_number()
        with self._inside():
            result = original(*bound.args, **bound.kwargs)
        inputs = Inputs(bound).tensors
        settings = self._resolved(leaf, bound, inputs, result)
        axis = features_axis(leaf.layer)
        self._add(
            Call(
                number,
                leaf.described.path,
                leaf.described.type,
                leaf.described.kind,
                settings,
                inputs=len(inputs),
            ),
            result,
            axis,
        )
        return result

    def _anchor(self, leaf: Leaf, original: Any, bound: inspect.BoundArguments) -> Any:
        number = self._take_number()
        axis = features_axis(leaf.layer)
        if axis is not None:
            self.axes[number] = axis
        inputs = Inputs(bound, leaf.described.kind)
        fed = [
            self._feed(_part(number, "input", position), tensor, axis)
            for position, tensor in enumerate(inputs.tensors)
        ]
        inputs.put(fed)
        # Its place among the calls is before that of its activation.
        place = len(self.calls)
        result = self._run_anchor(leaf, number, original, bound)
        for tensor, given in zip(inputs.tensors, fed, strict=True):
            # MultiHeadAttention takes the mask off the tensors that it gets.
            set_keras_mask(tensor, get_keras_mask(given))
        call = Call(
            number,
            leaf.described.path,
            leaf.described.type,
            leaf.described.kind,
            self._resolved(leaf, bound, inputs.tensors, result),
            anchor=True,
            inputs=len(fed),
        )
        self.calls.insert(place, call)
        return result

    def _run_anchor(
        self, leaf: Leaf, number: int, original: Any, bound: inspect.BoundArguments
    ) -> Any:
        layer = leaf.layer
        activation = getattr(layer, "activation", None)
        if leaf.described.kind not in SPLIT_KINDS or is_linear(activation):
            with self._inside():
                result = original(*bound.args, **bound.kwargs)
            return self._hand_on_all(layer, number, result)

        def activate(tensor: Any, *args: Any, **kwargs: Any) -> Any:
            tensor = self._hand_on(_part(number, "output"), tensor)
            if isinstance(activation, layers.Layer):
                with self._outside():
                    return activation(tensor, *args, **kwargs)
            result = activation(tensor, *args, **kwargs)
            name, settings = describe_activation(activation, len(tensor.shape))
            call = Call(self._take_number(), leaf.described.path, name, "activation", settings)
            self._add(call, result, self.axes.get(number))
            return result

        with self._inside(), replaced(layer, "activation", activate):
            return original(*bound.args, **bound.kwargs)

    def _feed(self, name: str, tensor: Any, axis: int | None) -> Any:
        """Return what an anchor gets in place of what has arrived."""
        self.arrived[name] = tensor
        if name in self.forced:
            fed = self._leaf_tensor(self.forced[name], tensor, axis)
        elif backend.is_floating(tensor):
            # Of its own, so that its gradient is that of this call alone.
            fed = backend.new_tensor(tensor)
            self.tape.watch(fed)
            set_keras_mask(fed, get_keras_mask(tensor))
        else:
            fed = tensor
        self.fed[name] = fed
        return fed

    def _leaf_tensor(self, array: Any, like: Any, axis: int | None) -> Any:
        if axis is not None:
            array = np.moveaxis(array, -1, axis)
        tensor = backend.cast(backend.to_tensor(np.ascontiguousarray(array)), like)
        set_keras_mask(tensor, get_keras_mask(like))
        if backend.is_floating(tensor):
            self.tape.watch(tensor)
        return tensor

    def _hand_on(self, name: str, tensor: Any) -> Any:
        """Return what those after an anchor get in place of what it has made."""
        self.made[name] = tensor
        number = int(name.partition("/")[0])
        if name in self.forced:
            tensor = self._leaf_tensor(self.forced[name], tensor, self.axes.get(number))
        elif _part(number, "output") in self.forced:
            tensor = backend.detached(tensor)
        self.handed_on[name] = tensor
        return tensor

    def _hand_on_all(self, layer: Any, number: int, result: Any) -> Any:
        """Hand on every tensor of a result."""
        recurrent = isinstance(layer, RECURRENT)
        parts = join_outputs(layer, result) if recurrent else keras.tree.flatten(result)
        handed_on = [
            self._hand_on(_part(number, "output", position), tensor)
            if backend.is_tensor(tensor)
            else tensor
            for position, tensor in enumerate(parts)
        ]
        if recurrent:
            return split_outputs(layer, result, handed_on)
        return keras.tree.pack_sequence_as(result, handed_on)

    # Functions

    def _function(
        self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        tensors = count_tensors(args, kwargs)
        if not tensors:
            return function(*args, **kwargs)
        if "dropout" in name and not self.dropout:
            return self._no_dropout(name, function, args, kwargs)
        if self._suspended:
            return function(*args, **kwargs)
        number = self._take_number()
        with self._inside():
            result = call_changed(function, args, kwargs, self.changes.get(number, {}))
        if not _has_tensor(result):
            self._numbers -= 1
            return result
        kind, settings = describe_call(name, function, args, kwargs, tensors)
        if kind == "reshape":
            kind, settings = self._reshaping(first_tensor(args, kwargs), result)
        if kind == "dropout":
            settings["active"] = True
        self._add(Call(number, "", name, kind, settings, inputs=tensors), result, None)
        return result

    def _no_dropout(
        self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Return the input of a dropout function. It is active whenever it is called."""
        tensor = first_tensor(args, kwargs)
        if not self._suspended:
            kind, settings = describe_call(name, function, args, kwargs, 1)
            call = Call(self._take_number(), "", name, kind, settings | {"active": True})
            self._add(call, tensor, None)
        return tensor

    def _operation_call(self, operation: Any) -> Callable[..., Any]:
        original = operation.call
        name = f"ops.{_snake_case(type(operation).__name__)}"

        def call(*args: Any, **kwargs: Any) -> Any:
            tensors = count_tensors(args, kwargs)
            if self._suspended or not tensors:
                return original(*args, **kwargs)
            number = self._take_number()
            with self._inside():
                changes = self.changes.get(number, {})
                result = _call_operation(operation, original, args, kwargs, changes)
            attributes = _attributes_of(operation, changes)
            kind, settings = describe_call(
                name, lambda **arguments: None, args, kwargs | attributes, tensors
            )
            if kind == "reshape":
                kind, settings = self._reshaping(first_tensor(args, kwargs), result)
            call = Call(number, "", name, kind, settings, inputs=tensors)
            self._add(call, result, None)
            return result

        return call

    # What is recorded

    def _add(self, call: Call, result: Any, axis: int | None) -> None:
        self.calls.append(call)
        tensor = first_tensor((result,), {})
        if tensor is None:
            return
        if axis is not None:
            self.axes[call.number] = axis
        self.made[f"{call.number}/output"] = tensor

    def canonical(self, name: str, array: Array) -> Array:
        """Return an array ``NUMBER/PART`` with its features on the last axis."""
        axis = self.axes.get(int(name.partition("/")[0]))
        if axis is None or array.ndim <= axis:
            return array
        return np.moveaxis(array, axis, -1)

    def product(self, tensor: Any, name: str, array: Array, dtype: Any) -> Any:
        """Return the inner product of a tensor ``NUMBER/PART`` with a canonical array."""
        axis = self.axes.get(int(name.partition("/")[0]))
        if axis is not None:
            array = np.moveaxis(array, -1, axis)
        return backend.inner_product(tensor, backend.to_tensor(np.ascontiguousarray(array)), dtype)

    def _reshaping(self, tensor: Any, result: Any) -> tuple[str, Settings]:
        order = "channels_first" if self.instrument.channels_first else "channels_last"
        return reshaping(tensor.shape, result.shape, order)

    def _resolved(
        self, leaf: Leaf, bound: inspect.BoundArguments, inputs: list[Any], result: Any
    ) -> Settings:
        """Return the settings of a call: "same" as numbers, axes counted from the end."""
        layer = leaf.layer
        kind = leaf.described.kind
        settings = dict(leaf.described.settings)
        output = first_tensor((result,), {})
        if not inputs or output is None:
            return settings
        shape = tuple(inputs[0].shape)
        if kind in ("flatten", "reshape"):
            order = "channels_last"
            if kind == "reshape" and self.instrument.channels_first:
                order = "channels_first"
            return reshaping(shape, output.shape, order)[1]
        if "padding" in settings and isinstance(settings["padding"], str):
            settings["padding"] = resolve_padding(layer, shape, tuple(output.shape))
        if "axis" in settings and settings["axis"] is not None:
            settings["axis"] = from_end(settings["axis"], len(shape))
        if kind == "dropout":
            rate = settings["rate"]
            settings["active"] = bool(bound.arguments.get("training", self.training) and rate)
        if kind == "pool" and isinstance(layer, GLOBAL_AVERAGE_POOLS):
            settings["masked"] = bound.arguments.get("mask") is not None
        return settings


def _identity(layer: Any) -> Callable[..., Any]:
    """Return what stands for the call of a layer that does nothing."""

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return inputs

    call.__signature__ = inspect.signature(layer.call)  # type: ignore[attr-defined]
    return call


def _snake_case(name: str) -> str:
    return keras.src.utils.naming.to_snake_case(name)


def _call_operation(
    operation: Any, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any], changes: Settings
) -> Any:
    """Call an operation of a functional model, whose settings are its attributes."""
    if "function" in changes:
        return call_changed(original, args, kwargs, changes)
    with ExitStack() as stack:
        for setting, value in changes.items():
            if setting != "order":
                attribute = parameter_of(setting, vars(operation))
                stack.enter_context(replaced(operation, attribute, value))
        order = {name: value for name, value in changes.items() if name == "order"}
        return call_changed(original, args, kwargs, order)


def _attributes_of(operation: Any, changes: Settings) -> dict[str, Any]:
    """Return the settings of an operation by its own names, with changes."""
    attributes = {
        name: value
        for name, value in vars(operation).items()
        if not name.startswith("_") and name not in ("name", "call")
    }
    for setting, value in changes.items():
        if setting not in ("function", "order"):
            attributes[parameter_of(setting, attributes)] = value
    return attributes


def _part(number: int, kind: str, position: int = 0) -> str:
    return f"{number}/{kind}{position or ''}"


def _has_tensor(result: Any) -> bool:
    return any(backend.is_tensor(each) for each in keras.tree.flatten(result))


class Inputs:
    """The inputs of a call: every array once, of attention in the order query, key, value.

    Attributes
    ----------
    tensors : list of tensor
        The inputs.
    """

    def __init__(self, bound: inspect.BoundArguments, kind: str = "") -> None:
        self._bound = bound
        self._places: list[tuple[str, int | None, int]] = []
        self.tensors: list[Any] = []
        names = [name for name in bound.arguments if name not in NO_INPUTS]
        if kind == "attention":
            names = [name for name in ("query", "key", "value") if name in names]
        for name in names:
            value = bound.arguments[name]
            if isinstance(value, (list, tuple)):
                for index, each in enumerate(value):
                    self._add(name, index, each)
            else:
                self._add(name, None, value)

    def _add(self, name: str, index: int | None, value: Any) -> None:
        if not backend.is_tensor(value):
            return
        known = [position for position, each in enumerate(self.tensors) if each is value]
        if not known:
            known = [len(self.tensors)]
            self.tensors.append(value)
        self._places.append((name, index, known[0]))

    def put(self, tensors: list[Any]) -> None:
        """Replace the inputs."""
        arguments = self._bound.arguments
        for name, index, position in self._places:
            if index is None:
                arguments[name] = tensors[position]
            else:
                values = list(arguments[name])
                values[index] = tensors[position]
                arguments[name] = values


def join_outputs(layer: Any, result: Any) -> list[Any]:
    """Return what a recurrent layer returns as a sequence or last step, and its last states.

    In both directions, each state has a first axis for the direction.
    """
    parts = list(result) if isinstance(result, (list, tuple)) else [result]
    if not isinstance(layer, layers.Bidirectional):
        return parts
    outputs = parts[:1]
    states = parts[1:]
    if layer.merge_mode is None:
        outputs = [keras.ops.concatenate(parts[:2], axis=-1)]
        states = parts[2:]
    half = len(states) // 2
    pairs = zip(states[:half], states[half:], strict=True)
    return outputs + [keras.ops.stack(pair) for pair in pairs]


def split_outputs(layer: Any, result: Any, parts: list[Any]) -> Any:
    """Undo `join_outputs`: return the parts as the layer returns them."""
    if isinstance(layer, layers.Bidirectional):
        outputs = parts[:1]
        if layer.merge_mode is None:
            outputs = keras.ops.split(parts[0], 2, axis=-1)
        states = parts[1:]
        parts = [*outputs, *(each[0] for each in states), *(each[1] for each in states)]
    if isinstance(result, (list, tuple)):
        return type(result)(parts)
    return parts[0]


def features_axis(layer: Any) -> int | None:
    """Return which axis of a layer's arrays has the features, or None if it is the last one."""
    if getattr(layer, "data_format", None) == "channels_first":
        return 1
    if isinstance(layer, layers.BatchNormalization) and layer.axis not in (-1, None):
        return layer.axis
    return None


def reshaping(before: Sequence[int], after: Sequence[int], order: str) -> tuple[str, Settings]:
    """Return the kind and the settings of a call that gives an array another shape."""
    kind = "reshape"
    if len(after) == 2 and len(before) > 2 and before[0] == after[0]:
        kind = "flatten"
    settings = {"from": [int(size) for size in before], "to": [int(size) for size in after]}
    return kind, settings | {"order": order}


def resolve_padding(layer: Any, shape: Sequence[int], output: Sequence[int]) -> Any:
    """Return a layer's padding as [before, after] for each spatial axis."""
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    spatial = slice(2, None) if first else slice(1, -1)
    sizes = list(shape[spatial])
    if isinstance(layer, (*MAX_POOLS, *AVERAGE_POOLS)):
        return geometry.resolve(layer.padding, sizes, layer.pool_size, layer.strides)
    window = layer.kernel_size
    if isinstance(layer, TRANSPOSED):
        outputs = list(output[spatial])
        return geometry.resolve_transposed(
            layer.padding, sizes, outputs, window, layer.strides, layer.dilation_rate
        )
    return geometry.resolve(layer.padding, sizes, window, layer.strides, layer.dilation_rate)
