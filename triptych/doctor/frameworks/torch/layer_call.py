"""One call of a layer with weights: which arrays go in, and which come out."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import _VF, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from .layout import tensors_in

Tensors = list[torch.Tensor]


class LayerCall:
    """A call of any layer.

    Parameters
    ----------
    module : Module or None
        The layer; None if it is a function.
    forward : callable
        Its forward pass.
    args, kwargs : tuple, dict
        What the user's model passes.

    Attributes
    ----------
    inputs : list of Tensor
        The floating and integer tensors among the arguments, each once.
    """

    def __init__(
        self,
        module: nn.Module | None,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.module = module
        self._forward = forward
        self._args = args
        self._kwargs = kwargs
        self._result: Any = None
        self.inputs = distinct(self._arguments())

    def _arguments(self) -> Any:
        return self._args, self._kwargs

    def run(self, fed: Tensors) -> Tensors:
        """Call the layer with these tensors in place of its inputs; return its floating results."""
        replacement = dict(zip(map(id, self.inputs), fed, strict=True))
        args = replaced(self._args, replacement)
        kwargs = replaced(self._kwargs, replacement)
        self._result = self._forward(*args, **kwargs)
        return self._outputs()

    def _outputs(self) -> Tensors:
        return [tensor for tensor in tensors_in(self._result) if tensor.is_floating_point()]

    def completed(self, handed: Tensors, given: set[int]) -> Tensors:
        """Return what is handed on, where a part that was not given follows from a given one.

        Parameters
        ----------
        handed : list of Tensor
            As many as `run` has returned.
        given : set of int
            The places of those that are forced.
        """
        return handed

    def result(self, handed: Tensors, *, detach: bool) -> Any:
        """Return what the user's model gets, with these tensors in place of the results.

        Parameters
        ----------
        handed : list of Tensor
            As many as `run` has returned.
        detach : bool
            Whether no gradient may pass through what else the layer returns.
        """
        replacement = dict(zip(map(id, self._outputs()), handed, strict=True))
        if detach:
            for tensor in tensors_in(self._result):
                replacement.setdefault(id(tensor), tensor.detach())
        return replaced(self._result, replacement)


class AttentionCall(LayerCall):
    """A call of `MultiheadAttention`: masks are no inputs, and attention weights no results."""

    def _arguments(self) -> Any:
        signature = inspect.signature(nn.MultiheadAttention.forward)
        bound = signature.bind(self.module, *self._args, **self._kwargs).arguments
        return [bound[name] for name in ("query", "key", "value")]

    def _outputs(self) -> Tensors:
        return [self._result[0]]


class RecurrentCall(LayerCall):
    """A call of one layer of `RNN`, `LSTM` or `GRU`; states are without the axis of layers.

    A packed sequence is recorded with its padding, batch first.

    Attributes
    ----------
    sequence : Tensor or PackedSequence
        What the user's model passes.
    states : list of Tensor
        The states that it passes, none if it passes none.
    """

    def __init__(
        self,
        module: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        bound = inspect.signature(nn.LSTM.forward).bind(module, *args, **kwargs).arguments
        self.sequence = bound.get("input", args[0] if args else None)
        states = bound.get("hx")
        self._pair = isinstance(states, tuple)
        self.states = tensors_in(states)
        super().__init__(module, forward, args, kwargs)

    @property
    def is_packed(self) -> bool:
        """Whether it gets a packed sequence."""
        return isinstance(self.sequence, PackedSequence)

    def _arguments(self) -> Any:
        sequence = self.sequence
        if isinstance(sequence, PackedSequence):
            sequence = pad_packed_sequence(sequence, batch_first=True)[0]
        return [sequence, *[self._without_layers(state) for state in self.states]]

    def run(self, fed: Tensors) -> Tensors:
        """Call the layer; return sequence and states."""
        sequence, *states = fed
        if isinstance(self.sequence, PackedSequence):
            sequence = _packed(sequence, self.sequence)
        given: list[Any] = [self._with_layers(state) for state in states]
        if given:
            given = [tuple(given) if self._pair else given[0]]
        self._result = self._forward(sequence, *given)
        return self._outputs()

    def _outputs(self) -> Tensors:
        sequence, states = self._result
        if isinstance(sequence, PackedSequence):
            sequence = pad_packed_sequence(sequence, batch_first=True)[0]
        return [sequence, *[self._without_layers(state) for state in tensors_in(states)]]

    def completed(self, handed: Tensors, given: set[int]) -> Tensors:
        """Take the last step for the last state, or the last state for the last step."""
        module: Any = self.module
        if module.bidirectional or isinstance(self.sequence, PackedSequence):
            return handed
        time = 1 if module.batch_first and handed[0].ndim == 3 else 0
        sequence, state, *others = handed
        if given >= {0, 1}:
            return handed
        if 0 in given:
            state = sequence.select(time, -1)
        elif 1 in given and sequence.select(time, -1).shape == state.shape:
            steps = sequence.narrow(time, 0, sequence.shape[time] - 1)
            sequence = torch.cat((steps, state.unsqueeze(time)), time)
        return [sequence, state, *others]

    def result(self, handed: Tensors, *, detach: bool) -> Any:
        """Return sequence and states as the user's model gets them."""
        before, states_before = self._result
        sequence: Any = handed[0]
        if isinstance(before, PackedSequence):
            sequence = _packed(sequence, before)
        states = tuple(self._with_layers(state) for state in handed[1:])
        return sequence, (states if isinstance(states_before, tuple) else states[0])

    def _without_layers(self, state: torch.Tensor) -> torch.Tensor:
        return state if getattr(self.module, "bidirectional", False) else state.squeeze(0)

    def _with_layers(self, state: torch.Tensor) -> torch.Tensor:
        return state if getattr(self.module, "bidirectional", False) else state.unsqueeze(0)


def _packed(padded: torch.Tensor, like: PackedSequence) -> PackedSequence:
    lengths = pad_packed_sequence(like, batch_first=True)[1]
    ordered = like.sorted_indices is None
    return pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=ordered)


def layer_of_stack(module: Any, index: int) -> Callable[..., Any]:
    """Return the forward pass of one layer of a recurrent module with several.

    Parameters
    ----------
    module : Module
        An `RNN`, `LSTM` or `GRU`.
    index : int
        The layer.
    """
    kinds = {"LSTM": _VF.lstm, "GRU": _VF.gru, "RNN_TANH": _VF.rnn_tanh, "RNN_RELU": _VF.rnn_relu}
    function = kinds[module.mode]
    directions = 2 if module.bidirectional else 1
    names = module._all_weights[index * directions : (index + 1) * directions]
    weights = [getattr(module, name) for group in names for name in group]
    further = (weights, module.bias, 1, 0.0, module.training, module.bidirectional)
    is_lstm = module.mode == "LSTM"

    def forward(sequence: Any, states: Any = None) -> Any:
        if states is None:
            states = _zero_states(module, sequence, directions)
        if isinstance(sequence, PackedSequence):
            data, sizes, *indices = sequence
            data, *results = function(data, sizes, states, *further)
            result: Any = PackedSequence(data, sizes, *indices)
        else:
            result, *results = function(sequence, states, *further, module.batch_first)
        return result, (tuple(results) if is_lstm else results[0])

    return forward


def _zero_states(module: Any, sequence: Any, directions: int) -> Any:
    packed = isinstance(sequence, PackedSequence)
    tensor = sequence.data if packed else sequence
    batch = int(sequence.batch_sizes[0]) if packed else tensor.shape[0 if module.batch_first else 1]
    hidden = tensor.new_zeros(directions, batch, module.proj_size or module.hidden_size)
    if module.mode != "LSTM":
        return hidden
    return hidden, tensor.new_zeros(directions, batch, module.hidden_size)


def states_of(call: RecurrentCall, index: int) -> tuple[Any, ...]:
    """Return the states that one layer of a stack gets, as further arguments; none if not given."""
    directions = 2 if call.module.bidirectional else 1
    rows = slice(index * directions, (index + 1) * directions)
    states = tuple(state[rows] for state in call.states)
    if not states:
        return ()
    return (states,) if len(states) > 1 else states


def distinct(value: Any) -> Tensors:
    """Return the floating and integer tensors in a value, each once."""
    found: dict[int, torch.Tensor] = {}
    for tensor in tensors_in(value):
        if tensor.dtype != torch.bool and not tensor.is_complex():
            found.setdefault(id(tensor), tensor)
    return list(found.values())


def replaced(value: Any, replacement: dict[int, torch.Tensor]) -> Any:
    """Return a value with some of its tensors replaced, by their ids."""
    if isinstance(value, torch.Tensor):
        return replacement.get(id(value), value)
    if isinstance(value, dict):
        return type(value)({key: replaced(each, replacement) for key, each in value.items()})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[replaced(each, replacement) for each in value])
    if isinstance(value, (list, tuple)):
        return type(value)([replaced(each, replacement) for each in value])
    return value
