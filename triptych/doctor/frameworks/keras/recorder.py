"""Records the calls of layers and functions while a model runs, and forces what they get.

Every layer's ``call`` is replaced while a recording is active. Functions between layers are
replaced, too; see `triptych.doctor.frameworks.keras.functions`.
"""

import functools
import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
from keras import layers
from keras.src.backend import get_keras_mask, set_keras_mask
from keras.src.utils.naming import to_snake_case

from ...observation import Array, Arrays, Call, Settings, part_name
from ..draws import Draw, Draws
from ..namespaces import replaced_entry
from ..numpy_draws import NumpyDraws
from . import backend
from .activations import arguments_of, describe_activation, is_linear
from .arguments import Inputs, features_axis, in_shape, join_outputs, split_outputs
from .changed_layers import padded
from .functions import (
    BINOMIAL,
    COMPARISONS,
    CONVERSIONS,
    NORMAL,
    UNIFORM,
    Watch,
    call_changed,
    count_tensors,
    describe_call,
    first_tensor,
    followed_name,
    short_name,
)
from .instrument import (
    Instrument,
    attributes_of,
    call_operation,
    joined_call,
    needs_transposing,
    replaced,
)
from .layers import RECURRENT, Leaf
from .resolved import reshaping, resolved

# Layers whose activation is a call of its own.
SPLIT_KINDS = ("dense", "conv", "depthwise_conv", "conv_transpose")

WATCH = Watch()

MOST_FUNCTIONS = 200  # of one call of a layer of the user's


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
        self._within: int | None = None  # the number of the call of the user's own layer
        self._draws = Draws(backend.is_tensor, backend.is_floating, _filled, self._record_draw)
        self._numpy = NumpyDraws(self._record_draw)

    @contextmanager
    def active(self) -> Generator[None]:
        """Replace layers and functions."""
        with backend.eagerly(), ExitStack() as stack:
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
            yield from instrument.without_noise()
            yield self._numpy.followed(instrument.namespaces)
        for leaf in instrument.called:
            if id(leaf) not in instrument.halves:
                yield replaced(leaf.layer, "call", self._layer_call(leaf))
            if leaf.distributor is not None:
                yield replaced(leaf.distributor, "call", joined_call(leaf.distributor))
        for operation in instrument.operations:
            yield replaced(operation, "call", self._operation_call(operation))
        for namespace in instrument.namespaces:
            for name, value in list(namespace.items()):
                wrapper = WATCH.wrapper_of(value)
                if wrapper is not None:
                    yield replaced_entry(namespace, name, wrapper)

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
    def _opened(self, leaf: Leaf, number: int) -> Generator[None]:
        """Record the functions that a layer calls if it is the user's own; else nothing."""
        before = self._suspended, self._within
        if leaf.is_own:
            self._suspended, self._within = 0, number
        else:
            self._suspended += 1
        try:
            yield
        finally:
            self._suspended, self._within = before

    @property
    def _is_full(self) -> bool:
        """Whether so many functions of a layer were recorded that no more are."""
        return self._within is not None and self._numbers - self._within > MOST_FUNCTIONS

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
            if needs_transposing(leaf):
                return self._transposed(leaf, call, bound)
            if leaf.pointwise:
                return self._separable(leaf, bound)
            if leaf.anchor:
                return self._anchor(leaf, original, bound)
            return self._plain_layer(leaf, original, bound)

        return call

    def _transposed(self, leaf: Leaf, call: Any, bound: inspect.BoundArguments) -> Any:
        """Run a layer with channels first where only channels last are implemented."""
        name = next(iter(bound.arguments))
        bound.arguments[name] = keras.ops.moveaxis(bound.arguments[name], 1, -1)
        with replaced(leaf.layer, "data_format", "channels_last"):
            result = call(*bound.args, **bound.kwargs)
        return keras.ops.moveaxis(result, -1, 1)

    def _plain_layer(self, leaf: Leaf, original: Any, bound: inspect.BoundArguments) -> Any:
        number = self._take_number()
        with self._inside():
            result = original(*bound.args, **bound.kwargs)
        inputs = Inputs(bound).tensors
        settings = self._settings(leaf, bound, inputs, result)
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

    def _anchor(
        self, leaf: Leaf, original: Any, bound: inspect.BoundArguments, *, split: bool = True
    ) -> Any:
        number = self._take_number()
        axis = features_axis(leaf.layer)
        if axis is not None:
            self.axes[number] = axis
        inputs = Inputs(bound, leaf.described.kind)
        fed = [
            self._feed(part_name(number, "input", position), tensor, axis)
            for position, tensor in enumerate(inputs.tensors)
        ]
        inputs.put(fed)
        # Its place among the calls is before that of its activation.
        place = len(self.calls)
        result = self._run_anchor(leaf, number, original, bound, split=split)
        for tensor, given in zip(inputs.tensors, fed, strict=True):
            # MultiHeadAttention takes the mask off the tensors that it gets.
            set_keras_mask(tensor, get_keras_mask(given))
        call = Call(
            number,
            leaf.described.path,
            leaf.described.type,
            leaf.described.kind,
            self._settings(leaf, bound, inputs.tensors, result),
            anchor=True,
            inputs=len(fed),
        )
        self.calls.insert(place, call)
        return result

    def _run_anchor(
        self,
        leaf: Leaf,
        number: int,
        original: Any,
        bound: inspect.BoundArguments,
        *,
        split: bool,
    ) -> Any:
        layer = leaf.layer
        activation = getattr(layer, "activation", None)
        if not split or leaf.described.kind not in SPLIT_KINDS or is_linear(activation):
            with self._opened(leaf, number):
                result = original(*bound.args, **bound.kwargs)
            return self._hand_on_all(layer, number, result)

        def activate(tensor: Any, *args: Any, **kwargs: Any) -> Any:
            tensor = self._hand_on(part_name(number, "output"), tensor)
            if isinstance(activation, layers.Layer):
                with self._outside():
                    return activation(tensor, *args, **kwargs)
            result = activation(tensor, *args, **kwargs)
            name, settings = describe_activation(activation, len(tensor.shape))
            call = Call(self._take_number(), leaf.described.path, name, "activation", settings)
            self._add(call, result, self.axes.get(number))
            return result

        with self._opened(leaf, number), replaced(layer, "activation", activate):
            return original(*bound.args, **bound.kwargs)

    def _separable(self, leaf: Leaf, bound: inspect.BoundArguments) -> Any:
        """Run a separable convolution as the two that it consists of."""
        layer = leaf.layer
        assert leaf.pointwise
        (name,) = bound.arguments

        def depthwise(inputs: Any) -> Any:
            padding = layer.padding
            if not isinstance(padding, str):
                inputs = padded(inputs, padding, layer.data_format == "channels_first")
                padding = "valid"
            return keras.ops.depthwise_conv(
                inputs,
                layer.depthwise_kernel,
                layer.strides,
                padding,
                layer.data_format,
                layer.dilation_rate,
            )

        def pointwise(inputs: Any) -> Any:
            outputs = keras.ops.conv(inputs, layer.pointwise_kernel, 1, "valid", layer.data_format)
            if layer.bias is not None:
                outputs = outputs + in_shape(layer.bias, outputs, features_axis(layer))
            return outputs if layer.activation is None else layer.activation(outputs)

        signature = inspect.signature(depthwise)
        outputs = self._anchor(leaf, depthwise, signature.bind(bound.arguments[name]), split=False)
        return self._anchor(leaf.pointwise, pointwise, signature.bind(outputs))

    def _feed(self, name: str, tensor: Any, axis: int | None) -> Any:
        """Return what an anchor gets in place of what has arrived."""
        self.arrived[name] = tensor
        if name in self.forced:
            fed = self._leaf_tensor(self.forced[name], tensor, axis)
        elif backend.is_floating(tensor):
            # Of its own, so that its gradient is that of this call alone.
            fed = self.tape.watch(backend.new_tensor(tensor))
            set_keras_mask(fed, get_keras_mask(tensor))
        else:
            fed = tensor
        self.fed[name] = fed
        return fed

    def _leaf_tensor(self, array: Any, like: Any, axis: int | None) -> Any:
        if axis is not None:
            array = np.moveaxis(array, -1, axis)
        tensor = backend.to_tensor(np.asarray(array, order="C"))
        tensor = keras.ops.cast(tensor, backend.dtype_of(like))
        set_keras_mask(tensor, get_keras_mask(like))
        return self.tape.watch(tensor) if backend.is_floating(tensor) else tensor

    def _hand_on(self, name: str, tensor: Any) -> Any:
        """Return what those after an anchor get in place of what it has made."""
        self.made[name] = tensor
        number = int(name.partition("/")[0])
        if name in self.forced:
            tensor = self._leaf_tensor(self.forced[name], tensor, self.axes.get(number))
        elif part_name(number, "output") in self.forced:
            tensor = keras.ops.stop_gradient(tensor)
        self.handed_on[name] = tensor
        return tensor

    def _hand_on_all(self, layer: Any, number: int, result: Any) -> Any:
        """Hand on every tensor of a result."""
        recurrent = isinstance(layer, RECURRENT)
        parts = join_outputs(layer, result) if recurrent else keras.tree.flatten(result)
        handed_on = [
            self._hand_on(part_name(number, "output", position), tensor)
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
        """Call a function for the user and record it."""
        called = function
        if not self.dropout:
            followed = followed_name(name, function)
            args = tuple(map(self._of_numpy, args))
            args = self._draws.arguments(followed, args)
            blended = self._draws.blended(followed, args)
            if blended is not None:
                return blended
            called = self._with_means(name, followed, function)
        if name in COMPARISONS or _draws_numbers(name) or short_name(name) in CONVERSIONS:
            return called(*args, **kwargs)
        return self._recorded_function(name, function, called, args, kwargs)

    def _of_numpy(self, value: Any) -> Any:
        """Return an argument; random numbers of NumPy as a tensor of which this is known."""
        draw = self._numpy.draws.of(value)
        if draw is None:
            return value
        return self._draws.taken(draw, backend.to_tensor(np.array(value)))

    def _with_means(self, name: str, followed: str, function: Any) -> Any:
        """Return a function that returns the mean of what it draws, or of what it is given."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            made = self._draws.result(followed, args, function(*args, **kwargs))
            if not _draws_numbers(name) or not backend.is_floating(made):
                return made
            return self._drawn(name, arguments_of(function, args, kwargs), made)

        return call

    def _drawn(self, name: str, arguments: dict[str, Any], made: Any) -> Any:
        """Note that a function has drawn numbers; return their mean where it takes their place."""
        last = short_name(name)
        if last in UNIFORM:
            high = arguments.get("maxval")
            low = float(arguments.get("minval", 0.0))
            self._draws.drawn(name, made, low, 1.0 if high is None else float(high))
            return made
        if last in NORMAL:
            self._draws.told(name)
            return _filled(made, float(arguments.get("mean", 0.0)), None)
        share = arguments.get("probabilities", arguments.get("probs"))
        if np.size(share) > 1 or float(np.asarray(arguments.get("counts"))) != 1:
            return made
        self._draws.told(name, float(np.asarray(share)))
        return _filled(made, float(np.asarray(share)), None)

    def _record_draw(self, draw: Draw) -> None:
        number = self._take_number()
        call = Call(number, "", draw.source, "dropout", draw.settings, within=self._within)
        self.calls.append(call)

    def _recorded_function(
        self,
        name: str,
        function: Any,
        called: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Call `called` in place of a function of the user's, and record the function."""
        tensors = count_tensors(args, kwargs)
        if not tensors:
            return called(*args, **kwargs)
        if "dropout" in name and not self.dropout:
            return self._no_dropout(name, function, args, kwargs)
        if self._suspended or self._is_full:
            return called(*args, **kwargs)
        number = self._take_number()
        with self._inside():
            result = call_changed(called, args, kwargs, self.changes.get(number, {}))
        if not _has_tensor(result):
            self._numbers -= 1
            return result
        kind, settings = describe_call(name, function, args, kwargs, tensors)
        if kind == "reshape":
            kind, settings = self._reshaping(first_tensor(args, kwargs), result)
        if kind == "dropout":
            settings["active"] = True
        call = Call(number, "", name, kind, settings, inputs=tensors, within=self._within)
        self._add(call, result, None)
        return self._forced_result(number, result)

    def _forced_result(self, number: int, result: Any) -> Any:
        """Return what a function hands on: its result, or what it is forced to."""
        forced = self.forced.get(f"{number}/output")
        if forced is None or not backend.is_tensor(result):
            return result
        return self._leaf_tensor(forced, result, None)

    def _no_dropout(
        self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Return the input of a dropout function. It is active whenever it is called."""
        tensor = first_tensor(args, kwargs)
        kind, settings = describe_call(name, function, args, kwargs, 1)
        settings |= {"active": True}
        call = Call(self._take_number(), "", name, kind, settings, within=self._within)
        self._add(call, tensor, None)
        return tensor

    def _operation_call(self, operation: Any) -> Callable[..., Any]:
        original = operation.call
        name = f"ops.{to_snake_case(type(operation).__name__)}"

        def call(*args: Any, **kwargs: Any) -> Any:
            tensors = count_tensors(args, kwargs)
            if self._suspended or not tensors:
                return original(*args, **kwargs)
            number = self._take_number()
            with self._inside():
                changes = self.changes.get(number, {})
                result = call_operation(operation, original, args, kwargs, changes)
            attributes = attributes_of(operation, changes)
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
        return backend.inner_product(tensor, backend.to_tensor(np.asarray(array, order="C")), dtype)

    def _reshaping(self, tensor: Any, result: Any) -> tuple[str, Settings]:
        first = self.instrument.channels_first
        order = "channels_first" if first else "channels_last"
        return reshaping(tensor.shape, result.shape, order, channels_first=first)

    def _settings(
        self, leaf: Leaf, bound: inspect.BoundArguments, inputs: list[Any], result: Any
    ) -> Settings:
        return resolved(
            leaf,
            bound.arguments,
            inputs,
            first_tensor((result,), {}),
            training=self.training,
            channels_first=self.instrument.channels_first,
        )


def _draws_numbers(name: str) -> bool:
    """Return whether a function draws random numbers that are followed or have a mean."""
    return (
        name.startswith(("keras.random.", "tf.random.", "torch."))
        and short_name(name) in UNIFORM | NORMAL | BINOMIAL
    )


def _filled(tensor: Any, value: float, like: Any) -> Any:
    """Return a tensor of the same shape with one number everywhere."""
    dtype = next((each.dtype for each in (tensor, like) if _is_floating(each)), None)
    return keras.ops.full(tuple(tensor.shape), value, dtype=dtype)


def _is_floating(tensor: Any) -> bool:
    return tensor is not None and backend.is_floating(tensor)


def _has_tensor(result: Any) -> bool:
    return any(backend.is_tensor(each) for each in keras.tree.flatten(result))
