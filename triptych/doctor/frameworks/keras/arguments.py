"""What an anchor gets and returns: its arrays in the canonical order."""

import inspect
from typing import Any

import keras
from keras import layers

from . import backend

# Arguments of a call that are no inputs of the layer.
NO_INPUTS = ("mask", "query_mask", "value_mask", "key_mask", "attention_mask", "training")


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


def in_shape(bias: Any, outputs: Any, axis: int | None) -> Any:
    """Return a bias in a shape that is added to outputs with the features on this axis."""
    shape = [1] * len(outputs.shape)
    shape[-1 if axis is None else axis] = -1
    return keras.ops.reshape(bias, shape)
