"""A user's Keras model, built, in one dtype."""

import inspect
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from ....errors import one_line
from ...observation import Array, Arrays
from .. import references
from ..adapter import ModelError, Unsupported
from . import backend
from .instrument import Instrument
from .layers import find_leaves
from .weights import Weight


class UserModel:
    """What the user calls the model, and its weights.

    A Keras model is built by its first call.

    Parameters
    ----------
    model : keras.layers.Layer or callable
        The model.
    double : bool
        Whether it is in float64.

    Attributes
    ----------
    call : callable
        The model.
    roots : dict of str to Layer
        The model itself, by the empty name, or the layers that a function calls.
    loose : dict of str to variable
        Variables outside of layers.
    structure : object
        How the model takes its inputs: a list, a dict, or a single entry.
    """

    def __init__(self, model: Any, *, double: bool) -> None:
        self.call = model
        self.roots, self.loose = parts_of(model)
        self.double = double
        self.structure: Any = None
        self._instrument: Instrument | None = None
        self._separated: set[int] = set()  # attention layers, by their ids
        self._called = False

    @property
    def name(self) -> str:
        """The class or function of the model."""
        return getattr(self.call, "__name__", type(self.call).__name__)

    @property
    def is_built(self) -> bool:
        """Whether the model has its weights."""
        return self._called or all(_is_built(root) for root in self.roots.values())

    @property
    def variables(self) -> list[Any]:
        """All variables, also those that only a forward pass or a random generator changes."""
        found = [each for root in self.roots.values() for each in root.variables]
        return list({id(each): each for each in [*found, *self.loose.values()]}.values())

    @property
    def losses(self) -> list[Any]:
        """The penalties of the last forward pass."""
        return [each for root in self.roots.values() for each in root.losses]

    def build(self, inputs: Arrays) -> None:
        """Call the model once if it has no weights before that.

        Raises
        ------
        ModelError
            If it cannot be used in float64.
        """
        if not self.is_built:
            self.run(inputs, training=False)
        _ = self.instrument

    @property
    def instrument(self) -> Instrument:
        """The model's layers."""
        if self._instrument is None:
            if not self.is_built:
                raise ModelError("a Keras model is built by its first call: it needs inputs first")
            leaves = find_leaves(self.roots, self.loose, self._separated)
            self._instrument = Instrument(list(self.roots.values()), leaves, [self.call])
            if self.double:
                self._check_double()
        return self._instrument

    def separate(self, paths: Sequence[str]) -> None:
        """Show attention layers as the dense layers that they consist of.

        Raises
        ------
        Unsupported
            If there is no such layer, or if it has more than these.
        """
        leaves = {leaf.described.path: leaf for leaf in self.instrument.leaves}
        for path in paths:
            leaf = leaves.get(path)
            if leaf is None or leaf.described.kind != "attention":
                raise Unsupported(f"there is no attention layer {path}")
            if getattr(leaf.layer, "_use_gate", False):
                raise Unsupported(f"{path} consists of more than four dense layers")
            self._separated.add(id(leaf.layer))
        self._instrument = None

    @property
    def all_weights(self) -> list[Weight]:
        """The model's weights and buffers, each variable once."""
        seen: set[int] = set()
        weights: list[Weight] = []
        for leaf in self.instrument.leaves:
            for weight in leaf.weights:
                if id(weight.variable) not in seen:
                    seen.add(id(weight.variable))
                    weights.append(weight)
        return weights

    @property
    def trained(self) -> list[Weight]:
        """The weights that are trained, in the order of ``model.trainable_variables``."""
        by_variable = {id(weight.variable): weight for weight in self.all_weights}
        found = [each for root in self.roots.values() for each in root.trainable_variables]
        found += [each for each in self.loose.values() if each.trainable]
        return [by_variable[key] for key in {id(variable): None for variable in found}]

    def _check_double(self) -> None:
        for weight in self.all_weights:
            dtype = backend.dtype_of(weight.variable)
            if "float" in dtype and dtype != "float64":
                raise ModelError(
                    one_line(f"{weight.names[0]} is {dtype} also where Keras' floatx is float64")
                )
        for tensor in getattr(self.call, "inputs", None) or []:
            if "float" in tensor.dtype and tensor.dtype != "float64":
                raise ModelError(
                    one_line(f"the input {tensor.name} is {tensor.dtype} also in float64")
                )

    def cast(self, array: Array) -> Array:
        """Return an array in float64 if it is floating and this side is in float64."""
        array = np.asarray(array)
        if self.double and np.issubdtype(array.dtype, np.floating):
            return array.astype(np.float64)
        return array

    def target(self, targets: Arrays) -> Any:
        """Return the targets as a tensor, or a list of several."""
        tensors = [backend.to_tensor(self.cast(array)) for array in targets.values()]
        return tensors[0] if len(tensors) == 1 else tensors

    def packed(self, inputs: Arrays) -> Any:
        """Return what the model is called with: a tensor, or a list or dict of tensors."""
        tensors = [backend.to_tensor(self.cast(array)) for array in inputs.values()]
        structure = self.structure
        if structure is None:
            structure = tensors if len(tensors) > 1 else tensors[0]
        packed = keras.tree.pack_sequence_as(structure, tensors)
        return list(packed) if isinstance(packed, tuple) else packed

    def run(self, inputs: Arrays, *, training: bool) -> Any:
        """Call the model."""
        return self.call_packed(self.packed(inputs), training=training)

    def call_packed(self, packed: Any, *, training: bool) -> Any:
        """Call the model with what `packed` returned."""
        self._called = True
        if isinstance(self.call, keras.layers.Layer) or _takes_training(self.call):
            return self.call(packed, training=training)
        return self.call(packed)

    @contextmanager
    def preserved(self, variables: Sequence[Any] | None = None) -> Generator[None]:
        """Give variables their values back: if none are named, all that a forward pass changes."""
        chosen = variables
        if chosen is None:
            trained = {id(weight.variable) for weight in self.trained}
            chosen = [each for each in self.variables if id(each) not in trained]
        before = [backend.to_numpy(variable).copy() for variable in chosen]
        try:
            yield
        finally:
            for variable, value in zip(chosen, before, strict=True):
                variable.assign(value)

    def weights(self) -> Arrays:
        """Return all weights and buffers."""
        arrays: Arrays = {}
        for weight in self.all_weights:
            arrays |= weight.split(backend.to_numpy(weight.variable).copy())
        return arrays


def parts_of(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the layers and the other variables of a model, by name.

    A model that is no layer may hold them as attributes, or refer to them by its variables.
    """
    if isinstance(model, keras.layers.Layer):
        return {"": model}, {}
    parts = references.parts_of(model, _is_part)
    roots = [each for each in parts.values() if isinstance(each, keras.layers.Layer)]
    loose = {name: each for name, each in parts.items() if backend.is_variable(each)}
    for part in parts.values():
        if backend.is_module(part):
            loose |= {each.name.partition(":")[0]: each for each in part.variables}
    if len(roots) == 1 and isinstance(roots[0], keras.Model):
        return {"": roots[0]}, loose
    return {root.name: root for root in roots}, loose


def _is_part(value: Any) -> bool:
    return (
        isinstance(value, keras.layers.Layer)
        or backend.is_variable(value)
        or backend.is_module(value)
    )


def _is_built(layer: Any) -> bool:
    if isinstance(layer, keras.Model) and type(layer).__module__.startswith("keras."):
        return bool(layer.built)
    return bool(getattr(layer, "_called", False) and layer.built)


def _takes_training(function: Any) -> bool:
    try:
        return "training" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
