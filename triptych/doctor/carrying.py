"""How arrays of one side are brought into the form of the other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np

from .observation import Array, Arrays
from .padding import padded

Order = tuple[int, ...]


def inverse(order: Sequence[int]) -> Order:
    """Return the permutation that undoes another one."""
    return tuple(int(position) for position in np.argsort(order))


@dataclass(frozen=True)
class Carried:
    """One weight that both sides have.

    Attributes
    ----------
    a, b : str
        Its names, ``PATH/ROLE``.
    a_shape, b_shape : tuple of int
        Its shapes.
    axes : tuple of int or None
        Axis k of B's array is axis ``axes[k]`` of A's.
    orders : dict of int to tuple of int
        By axes of A's array: entry k of B is entry ``order[k]`` of A.
    """

    a: str
    b: str
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    axes: Order | None = None
    orders: Mapping[int, Order] = field(default_factory=dict[int, Order])

    def to_b(self, arrays: Arrays) -> Arrays:
        """Return A's array, if it is given, by B's name and in B's form."""
        if self.a not in arrays:
            return {}
        array = arrays[self.a]
        for axis, order in self.orders.items():
            array = np.take(array, order, axis)
        if self.axes:
            array = np.transpose(array, self.axes)
        return {self.b: array.reshape(self.b_shape)}

    def to_a(self, arrays: Arrays) -> Arrays:
        """Return B's array, if it is given, by A's name and in A's form."""
        if self.b not in arrays:
            return {}
        array = arrays[self.b]
        if self.axes:
            moved_shape = tuple(self.a_shape[axis] for axis in self.axes)
            array = np.transpose(array.reshape(moved_shape), inverse(self.axes))
        array = array.reshape(self.a_shape)
        for axis, order in self.orders.items():
            array = np.take(array, inverse(order), axis)
        return {self.a: array}


@dataclass(frozen=True)
class JoinedBias:
    """A bias that one side has in two parts, which it adds, and the other side in one.

    Attributes
    ----------
    parts : tuple of str
        The names of the two parts.
    joined : str
        The name of the single bias.
    a_is_split : bool
        Whether A has the two parts.
    """

    parts: tuple[str, str]
    joined: str
    a_is_split: bool

    def to_b(self, arrays: Arrays) -> Arrays:
        """Return A's bias by B's names."""
        return self._sum(arrays) if self.a_is_split else self._split(arrays)

    def to_a(self, arrays: Arrays) -> Arrays:
        """Return B's bias by A's names."""
        return self._split(arrays) if self.a_is_split else self._sum(arrays)

    def _sum(self, arrays: Arrays) -> Arrays:
        given = [arrays[name] for name in self.parts if name in arrays]
        return {self.joined: np.sum(given, axis=0)} if given else {}

    def _split(self, arrays: Arrays) -> Arrays:
        if self.joined not in arrays:
            return {}
        whole = arrays[self.joined]
        return {self.parts[0]: whole, self.parts[1]: np.zeros_like(whole)}


@dataclass(frozen=True)
class MissingBias:
    """A bias that only one side has: it is zero on the other.

    Attributes
    ----------
    name : str
        Its name.
    shape : tuple of int
        Its shape.
    with_it : str
        The name on the other side of the kernel that it belongs to: the bias is set where the
        kernel is.
    b_has_it : bool
        Whether it is B's.
    """

    name: str
    shape: tuple[int, ...]
    with_it: str
    b_has_it: bool

    def to_b(self, arrays: Arrays) -> Arrays:
        """Return zeros if B has the bias."""
        return self._zeros(arrays) if self.b_has_it else {}

    def to_a(self, arrays: Arrays) -> Arrays:
        """Return zeros if A has the bias."""
        return {} if self.b_has_it else self._zeros(arrays)

    def _zeros(self, arrays: Arrays) -> Arrays:
        if self.with_it not in arrays:
            return {}
        return {self.name: np.zeros(self.shape, arrays[self.with_it].dtype)}


@dataclass(frozen=True)
class Spread:
    """A weight that one side has once, and the other for several features or positions.

    Attributes
    ----------
    a, b : str
        Its names, ``PATH/ROLE``.
    a_shape, b_shape : tuple of int
        Its shapes.
    """

    a: str
    b: str
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]

    def to_b(self, arrays: Arrays) -> Arrays:
        """Return A's array by B's name, repeated if B's is larger."""
        return {self.b: _spread(arrays[self.a], self.b_shape)} if self.a in arrays else {}

    def to_a(self, arrays: Arrays) -> Arrays:
        """Return B's array by A's name, repeated if A's is larger."""
        return {self.a: _spread(arrays[self.b], self.a_shape)} if self.b in arrays else {}


def _spread(array: Array, shape: tuple[int, ...]) -> Array:
    """Return an array repeated to a larger shape, or the mean of all its values."""
    if array.size > np.prod(shape):
        return np.full(shape, array.mean(), array.dtype)
    return np.array(np.broadcast_to(array, shape))


Carriage = Carried | JoinedBias | MissingBias | Spread


def carry_to_b(carriages: Iterable[Carriage], arrays: Arrays) -> Arrays:
    """Return all weights of A that have a counterpart, with B's names and in B's form."""
    result: Arrays = {}
    for carriage in carriages:
        result.update(carriage.to_b(arrays))
    return result


def carry_to_a(carriages: Iterable[Carriage], arrays: Arrays) -> Arrays:
    """Return all weights of B that have a counterpart, with A's names and in A's form."""
    result: Arrays = {}
    for carriage in carriages:
        result.update(carriage.to_a(arrays))
    return result


@dataclass(frozen=True)
class InputForm:
    """How a model input of A becomes one of B.

    Attributes
    ----------
    axes : tuple of int
        Axis k of the result is axis ``axes[k]`` of A's array.
    shape : tuple of int
        B's shape.
    given : ndarray or None
        B's own input, where the models themselves make up for what differs between the inputs.
    """

    axes: Order
    shape: tuple[int, ...]
    given: Array | None = None

    @property
    def exchanged(self) -> bool:
        """Whether the shapes show that height and width are exchanged."""
        return _exchanges(self.axes) == 1

    def to_b(self, array: Array) -> Array:
        """Return A's input in B's form."""
        if self.given is not None:
            floating = np.issubdtype(array.dtype, np.floating)
            return self.given.astype(array.dtype) if floating else self.given
        moved_array = np.transpose(array, self.axes) if len(self.axes) == array.ndim else array
        if moved_array.shape == self.shape or moved_array.size != np.prod(self.shape):
            return moved_array
        return moved_array.reshape(self.shape)


def input_forms(a_inputs: Arrays, b_inputs: Arrays) -> dict[str, InputForm]:
    """Return, for each model input that both sides have, how A's becomes B's.

    Axes of length 1 may be missing on one side. Among the orders of axes that fit, those that keep
    the batch first and height before width are preferred; the values decide among equals.
    """
    return {
        name: _input_form(np.asarray(a_inputs[name]), np.asarray(b_inputs[name]))
        for name in a_inputs
        if name in b_inputs
    }


def _input_form(a: Array, b: Array) -> InputForm:
    fitting = [axes for axes in permutations(range(a.ndim)) if _fits(a, b, axes)]
    if not fitting:
        return InputForm(_channels_last(a) if a.size == b.size else tuple(range(a.ndim)), b.shape)
    fewest = min(_exchanges(axes) for axes in fitting)
    usual = [axes for axes in fitting if _exchanges(axes) == fewest]
    return InputForm(min(usual, key=lambda axes: _distance(a, b, axes)), b.shape)


def _fits(a: Array, b: Array, axes: Order) -> bool:
    moved_shape = tuple(a.shape[axis] for axis in axes)
    return _without_ones(moved_shape) == _without_ones(b.shape)


def _without_ones(shape: Iterable[int]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)


def _exchanges(axes: Order) -> int:
    """Return how unusual an order of axes is: 0 if it only moves the channels."""
    if axes == tuple(range(len(axes))):
        return 0
    rest = list(axes)
    # Channels are axis 1 of a PyTorch array and the last one of a Keras array.
    if rest[0] == 0 and (rest[-1] == 1 or rest[1] == len(axes) - 1):
        channels = rest[-1] if rest[-1] == 1 else rest[1]
        rest.remove(channels)
        return 0 if rest == sorted(rest) else 1
    # Time before the batch.
    return 0 if axes == (1, 0, *range(2, len(axes))) else 2


def _distance(a: Array, b: Array, axes: Order) -> float:
    """Return 1 minus the correlation of A's values, moved so, with B's."""
    first = np.transpose(a, axes).ravel().astype(np.float64)
    second = b.ravel().astype(np.float64)
    first = first - first.mean()
    second = second - second.mean()
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return 1 - float(first @ second / norm) if norm else 1.0


def _channels_last(array: Array) -> Order:
    if array.ndim < 3:
        return tuple(range(array.ndim))
    return (0, *range(2, array.ndim), 1)


def in_shape(array: Array, shape: tuple[int, ...]) -> Array | None:
    """Return an array with the other side's shape; None if it has other sizes.

    The first two axes may be exchanged, as in a sequence with the time before the batch, and axes
    of length 1 may be missing.
    """
    if array.shape == shape:
        return array
    if array.ndim >= 2 and np.swapaxes(array, 0, 1).shape == shape:
        return np.swapaxes(array, 0, 1)
    if array.size != np.prod(shape):
        return None
    return array.reshape(shape)


def in_padded_shape(
    array: Array, shape: tuple[int, ...], a_padding: Any, b_padding: Any
) -> Array | None:
    """Return what A's convolution takes as B's takes it, where a layer before one of them pads.

    Parameters
    ----------
    array : ndarray
        What A's convolution takes: (batch, …, features).
    shape : tuple of int
        The shape of what B's takes.
    a_padding, b_padding : list or str
        What both convolutions pad themselves: [before, after] of each spatial axis, ``valid``,
        ``causal``, all of which is before, or ``same``, of which the smaller half is.

    Returns
    -------
    ndarray or None
        A's array with zeros around it, or without those that are around it; None if both
        convolutions do not see the same numbers then.
    """
    axes = range(1, array.ndim - 1)
    if array.ndim != len(shape) or not isinstance(a_padding, list) or len(a_padding) != len(axes):
        return None
    result = array
    for axis, (before, after) in zip(axes, a_padding, strict=True):
        more = shape[axis] - array.shape[axis]
        if isinstance(b_padding, list):
            b_before, b_after = b_padding[axis - 1]
        else:
            total = 0 if b_padding == "valid" else before + after - more
            b_before = total if b_padding == "causal" else total // 2
            b_after = total - b_before
        ends = (before - b_before, after - b_after)
        if sum(ends) != more:
            return None
        around = [(0, 0)] * array.ndim
        around[axis] = (max(ends[0], 0), max(ends[1], 0))
        wider = padded(result, around)
        if wider is None:
            return None
        result = wider
        removed = slice(max(-ends[0], 0), result.shape[axis] - max(-ends[1], 0))
        kept = result[(slice(None),) * axis + (removed,)]
        if np.count_nonzero(kept) != np.count_nonzero(result):
            return None
        result = kept
    return result if result.shape == shape else None


def last_step(parts: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Return what a recurrent layer of A has returned as B's layer returns it.

    Parameters
    ----------
    parts : dict of str to ndarray
        Of a call of A: ``output`` is a sequence or its last step, ``output1`` the hidden state.
    shapes : mapping of str to tuple of int
        The shapes of B's parts.
    """
    result = with_one_gradient(parts)
    if "output" not in shapes or "output" not in parts:
        return result
    axes = parts["output"].ndim - len(shapes["output"])
    if axes == 1:
        del result["output"]
        result.pop("output_gradient", None)
        directions = shapes["output"][-1] // _units(parts)
        time_first = _has_time_first(parts)

        def last(sequence: Array) -> Array:
            batch_first = np.swapaxes(sequence, 0, 1) if time_first else sequence
            return last_of_sequence(batch_first, directions)

        states = [_joined(parts["output1"])] if "output1" in parts else []
        result["output"] = states[0] if states else last(parts["output"])
        # A gradient arrives at the last step, at the state, or at both.
        arriving: list[Array] = []
        elsewhere = False
        if "output_gradient" in parts:
            of_sequence = parts["output_gradient"]
            arriving.append(last(of_sequence))
            elsewhere = np.count_nonzero(of_sequence) > np.count_nonzero(arriving[0])
        if "output1_gradient" in parts:
            arriving.append(_joined(parts["output1_gradient"]))
        # One that arrives at other steps, too, cannot be given to B.
        if arriving and not elsewhere:
            result["output_gradient"] = np.sum(arriving, axis=0)
    elif axes == -1:
        for suffix in ("", "_gradient"):
            output = result.pop(f"output{suffix}", None)
            if output is not None and "output1" in shapes and "output1" not in parts:
                units = shapes["output1"][-1]
                directions_of_state = np.split(output, output.shape[-1] // units, -1)
                state = np.stack(directions_of_state)
                # Where B takes the batch for the time, its state is of another batch.
                fits = state.size == np.prod(shapes["output1"])
                result[f"output1{suffix}"] = state.reshape(shapes["output1"]) if fits else output
    return result


def with_one_gradient(parts: Arrays) -> Arrays:
    """Return the parts of a recurrent call with the gradient of its last state at its last step.

    The last hidden state is the last step of the sequence once more: a model that uses one of
    them computes the same as a model that uses the other.

    Parameters
    ----------
    parts : dict of str to ndarray
        Of a call: ``output`` is a sequence or its last step, ``output1`` the hidden state.

    Returns
    -------
    dict of str to ndarray
        With a gradient of zeros at the state; the same parts if the state is not the last step,
        as in a packed sequence.
    """
    result = dict(parts)
    if not {"output", "output1", "output1_gradient"} <= parts.keys():
        return result
    time_first = _has_time_first(parts)
    if not _ends_in_state(parts, time_first=time_first):
        return result
    arriving = _joined(parts["output1_gradient"])
    total = np.array(parts.get("output_gradient", np.zeros_like(parts["output"])))
    for place, features in _last_steps(parts, time_first=time_first):
        total[place] += arriving[:, features]
    result["output_gradient"] = total
    result["output1_gradient"] = np.zeros_like(parts["output1_gradient"])
    return result


def _has_time_first(parts: Arrays) -> bool:
    """Return whether a sequence has the time before the batch, as its last state tells.

    The setting of the layer does not tell it: where the recorder can follow what the axes mean, it
    puts the batch first.
    """
    if "output1" not in parts or parts["output"].ndim != 3:
        return False
    batch_first = _ends_in_state(parts, time_first=False)
    return not batch_first and _ends_in_state(parts, time_first=True)


def _ends_in_state(parts: Arrays, *, time_first: bool) -> bool:
    """Return whether the last steps of a sequence are its last state."""
    state = _joined(parts["output1"])
    return all(
        _same_values(parts["output"][place], state[:, features])
        for place, features in _last_steps(parts, time_first=time_first)
    )


def _last_steps(parts: Arrays, *, time_first: bool) -> Iterator[tuple[Any, slice]]:
    """Yield where the last step of each direction is in the output, and its features."""
    output = parts["output"]
    units = _units(parts)
    for direction in range(output.shape[-1] // units):
        features = slice(direction * units, (direction + 1) * units)
        if output.ndim == 2:
            yield (slice(None), features), features
            continue
        step = 0 if direction else -1
        row = (step, slice(None)) if time_first else (slice(None), step)
        yield (*row, features), features


def _same_values(first: Array, second: Array) -> bool:
    return first.shape == second.shape and bool(np.allclose(first, second, rtol=1e-6, atol=1e-9))


def _units(parts: Arrays) -> int:
    """Return the number of units of one direction."""
    return parts["output1" if "output1" in parts else "output"].shape[-1]


def last_of_sequence(sequence: Array, directions: int) -> Array:
    """Return the last step of a sequence; of the second direction, the one that it computes last.

    Parameters
    ----------
    sequence : ndarray
        Shape (batch, time, directions · units).
    directions : int
        1 or 2.
    """
    if directions < 2:
        return sequence[:, -1]
    forward, backward = np.split(sequence, 2, -1)
    return np.concatenate([forward[:, -1], backward[:, 0]], -1)


def _joined(state: Array) -> Array:
    """Return a state (batch, units), or (directions, batch, units), as one array of features."""
    return np.concatenate(list(state), -1) if state.ndim == 3 else state
