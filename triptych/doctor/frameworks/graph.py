"""A model as a list of nodes, each of which computes arrays from arrays.

It serves where no framework's own hooks are needed: the layers of a Triptych network, the nodes of
an ONNX file, the operations of a function.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..observation import Array, Arrays, Call, Observation, Settings, part_name

Values = list[Array]

# Takes the gradient at each output of a node; returns that at each input, None where there is
# none, and those of the weights by ``PATH/ROLE``.
Pullback = Callable[[Values], tuple[list[Array | None], Arrays]]


class Operation(Protocol):
    """What a node computes."""

    def __call__(self, inputs: Values) -> tuple[Values, Pullback | None]:
        """Return the outputs, and what the gradients are computed with; None without gradients."""
        ...


@dataclass(frozen=True)
class Node:
    """A layer or a function.

    Attributes
    ----------
    layer, name, kind, settings, anchor
        As of a `triptych.doctor.observation.Call`.
    inputs, outputs : tuple of str
        The names of the values that it takes and makes.
    operation : callable
        What it computes.
    channels_first : bool
        Whether the values have their channels as the second axis; they are recorded with these as
        the last one.
    seen : bool
        Whether it is one of the recorded calls.
    """

    layer: str
    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operation: Operation
    settings: Settings = field(default_factory=dict[str, Any])
    anchor: bool = False
    channels_first: bool = False
    seen: bool = True

    def call(self, number: int) -> Call:
        """Return the node as the call with a number."""
        inputs = len(self.inputs)
        return Call(number, self.layer, self.name, self.kind, self.settings, self.anchor, inputs)

    def canonical(self, array: Array) -> Array:
        """Return an array that the node takes or makes with its features as the last axis."""
        return np.moveaxis(array, 1, -1) if self.channels_first and array.ndim > 2 else array

    def native(self, array: Array) -> Array:
        """Return a canonical array as the node takes it."""
        return np.moveaxis(array, -1, 1) if self.channels_first and array.ndim > 2 else array


class GraphRun:
    """One forward pass through a list of nodes, and the backward pass if it is wanted.

    Parameters
    ----------
    nodes : sequence of Node
        In the order of execution.
    forced : dict of str to ndarray, optional
        See `triptych.doctor.frameworks.adapter.Adapter.observe`.

    Attributes
    ----------
    arrays : dict of str to ndarray
        What is observed; see `triptych.doctor.observation.Observation`.
    values : dict of str to ndarray
        All values by their names.
    """

    def __init__(self, nodes: Sequence[Node], forced: Arrays | None = None) -> None:
        self._nodes = nodes
        self._forced = forced or {}
        self._numbers: list[int | None] = []
        count = 0
        for node in nodes:
            self._numbers.append(count if node.seen else None)
            count += node.seen
        self._pullbacks: list[Pullback | None] = []
        self.arrays: Arrays = {}
        self.values: Arrays = {}

    @property
    def calls(self) -> tuple[Call, ...]:
        """The nodes that are seen, as calls."""
        pairs = zip(self._nodes, self._numbers, strict=True)
        return tuple(node.call(number) for node, number in pairs if number is not None)

    def forward(self, values: Arrays) -> None:
        """Compute all nodes.

        Parameters
        ----------
        values : dict of str to ndarray
            The model's inputs by the names that the nodes have for them.
        """
        self.values = dict(values)
        for node, number in zip(self._nodes, self._numbers, strict=True):
            fed = [self.values[name] for name in node.inputs]
            if number is not None and node.anchor:
                fed = self._exchanged(node, number, "input", fed)
            made, pullback = node.operation(fed)
            if number is not None:
                made = self._exchanged(node, number, "output", made)
            self._pullbacks.append(pullback)
            self.values.update(zip(node.outputs, made, strict=True))

    def _exchanged(self, node: Node, number: int, part: str, arrays: Values) -> Values:
        """Record what a node takes or makes; return what is forced in place of it."""
        result: Values = []
        for place, array in enumerate(arrays):
            name = part_name(number, part, place)
            self.arrays[name] = node.canonical(array)
            forced = self._forced.get(name)
            result.append(array if forced is None else self._as(node, forced, array))
        return result

    def _as(self, node: Node, forced: Array, like: Array) -> Array:
        return np.array(node.native(forced), like.dtype, order="C")

    def backward(self, gradients: Arrays) -> Arrays:
        """Compute the gradients; return those of the weights.

        Parameters
        ----------
        gradients : dict of str to ndarray
            Of the loss, at the model's outputs, by the names of these values.
        """
        arrived = dict(gradients)
        weights: Arrays = {}
        steps = list(zip(self._nodes, self._numbers, self._pullbacks, strict=True))
        for node, number, pullback in reversed(steps):
            at_outputs = [
                arrived.get(name, np.zeros_like(self.values[name])) for name in node.outputs
            ]
            if number is not None and node.anchor:
                at_outputs = self._exchanged_gradients(node, number, "output", at_outputs)
            if pullback is None:
                continue
            at_inputs, of_weights = pullback(at_outputs)
            for name, gradient in of_weights.items():
                weights[name] = weights.get(name, 0) + gradient
            self._hand_back(node, number, at_inputs, arrived)
        return weights

    def _hand_back(
        self, node: Node, number: int | None, gradients: list[Array | None], arrived: Arrays
    ) -> None:
        """Add the gradients at the inputs of a node to what arrives at their values."""
        known = [
            np.zeros_like(self.values[name]) if gradient is None else gradient
            for name, gradient in zip(node.inputs, gradients, strict=True)
        ]
        if number is not None and node.anchor:
            known = self._exchanged_gradients(node, number, "input", known)
        for name, gradient in zip(node.inputs, known, strict=True):
            # A forced array may have other axes than the value that it replaces.
            if gradient.shape == self.values[name].shape:
                arrived[name] = arrived.get(name, 0) + gradient

    def _exchanged_gradients(self, node: Node, number: int, part: str, gradients: Values) -> Values:
        """Record gradients at a node; return what is forced in place of them."""
        result: Values = []
        for place, gradient in enumerate(gradients):
            name = part_name(number, part, place)
            self.arrays[f"{name}_gradient"] = node.canonical(gradient)
            if name in self._forced:
                forced = self._forced.get(f"{name}_gradient")
                gradient = (
                    np.zeros_like(gradient) if forced is None else self._as(node, forced, gradient)
                )
            result.append(gradient)
        return result

    def observation(self, outputs: Arrays) -> Observation:
        """Return what was observed, with further arrays, for example the model's outputs."""
        return Observation(self.calls, self.arrays | outputs)
