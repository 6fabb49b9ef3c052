"""A user's Keras model, built, in one dtype."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from ....errors import one_line
from ...observation import Array, Arrays
from ..adapter import ModelError
from . import backend
from .calls import Instrument
from .layers import find_leaves
from .weights import Weight


class UserModel:
    """A Keras model and its weights.

    A Keras model is built by its first call.

    Parameters
    ----------
    model : keras.layers.Layer
        The model.
    double : bool
        Whether it is in float64.

    Attributes
    ----------
    keras : keras.layers.Layer
        The model.
    structure : object
        How the model takes its inputs: a list, a dict, or a single entry.
    """

    def __init__(self, model: Any, *, double: bool) -> None:
        self.keras = model
        self.double = double
        self.structure: Any = None
        self._instrument: Instrument | None = None

    @property
    def is_built(self) -> bool:
        """Whether the model has its weights."""
        model = self.keras
        if isinstance(model, keras.Model) and type(model).__module__.startswith("keras."):
            return bool(model.built)
        return bool(getattr(model, "_called", False) and model.built)

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
            self._instrument = Instrument(self.keras, find_leaves({"": self.keras}))
            if self.double:
                self._check_double()
        return self._instrument

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
        return [by_variable[id(variable)] for variable in self.keras.trainable_variables]

    def _check_double(self) -> None:
        for weight in self.all_weights:
            dtype = str(weight.variable.dtype)
            if "float" in dtype and dtype != "float64":
                raise ModelError(
                    one_line(f"{weight.names[0]} is {dtype} also where Keras' floatx is float64")
                )
        for tensor in getattr(self.keras, "inputs", None) or []:
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

    def run(self, inputs: Arrays, *, training: bool) -> Any:
        """Call the model."""
        tensors = [backend.to_tensor(self.cast(array)) for array in inputs.values()]
        structure = self.structure
        if structure is None:
            structure = tensors if len(tensors) > 1 else tensors[0]
        packed = keras.tree.pack_sequence_as(structure, tensors)
        if isinstance(packed, tuple):
            packed = list(packed)
        return self.keras(packed, training=training)

    @contextmanager
    def preserved(self, variables: Sequence[Any] | None = None) -> Generator[None]:
        """Give variables their values back: if none are named, all that a forward pass changes."""
        chosen = self.keras.non_trainable_variables if variables is None else variables
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
