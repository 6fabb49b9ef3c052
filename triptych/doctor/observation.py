r"""What is observed of one side: plain data and NumPy arrays, the same for every framework.

**Names.** A weight is called ``PATH/ROLE``, for example ``block.norm1/scale``: the path of its
layer in the user's model, and its role. Arrays that a call has produced are called ``NUMBER/PART``,
for example ``3/output``: the number of the call in the order of execution, and the part.

**Canonical layout.** Features are the last axis of every array that a layer takes or returns,
except that the model's inputs are as the model gets them. Weights have these roles and shapes:

=================  ================================================================================
kind               roles
=================  ================================================================================
dense              kernel (in, out), bias (out,)
conv               kernel (\*spatial, in / groups, out), bias (out,)
depthwise_conv     kernel (\*spatial, in, multiplier), bias (in · multiplier,)
conv_transpose     kernel (\*spatial, in, out), bias (out,)
embedding          embeddings (words, features)
batch_norm         scale, offset, mean, variance, each (features,)
layer_norm         scale, offset (also group_norm; rms_norm without offset)
rnn                kernel (in, units), recurrent_kernel (units, units), bias, recurrent_bias
lstm               the same with 4 · units columns; order of the gates: input, forget, cell, output
gru                the same with 3 · units columns; order of the gates: update (z), reset (r), new
attention          query_kernel, key_kernel, value_kernel (in, heads · size), output_kernel
                   (heads · size, out); query_bias, key_bias, value_bias, output_bias
prelu              slope
other              each parameter by its name, as it is
=================  ================================================================================

A recurrent layer in both directions has the roles of the second one with the prefix ``reverse_``. A
layer without some of them lacks these roles: Keras' LSTM has no ``recurrent_bias``. A stack of
recurrent layers in one module is as many layers, ``PATH.0``, ``PATH.1``, …, with a call each.

**Inputs and outputs of an anchor.** An array that a layer gets several times, as in the attention
of a sequence to itself, is one input. The inputs of attention are in the order query, key, value;
of a recurrent layer sequence, first states. The outputs of a recurrent layer are the sequence (or
the last step, where the layer returns only that) and the last states, where the layer returns them:
``output1`` is the hidden state, ``output2`` the cell state of an LSTM; each is (batch, units), in
both directions (2, batch, units).

**Kinds without weights** are ``activation``, ``pool``, ``dropout``, ``flatten``, ``reshape``,
``merge`` (addition, concatenation), ``padding``, ``resize``, ``rescaling`` (arithmetic with one
number), ``reduction`` and ``function``.

**Settings** have one name and one meaning for all frameworks:

=======================  ==========================================================================
setting                  meaning
=======================  ==========================================================================
epsilon                  of a normalisation
momentum                 of a BatchNorm: the weight of the new value, as in PyTorch
unbiased_variance        of a BatchNorm: whether the running variance divides by n - 1
strides, dilation        a list with an entry for each spatial axis
size                     of a pooling window, the same; ``"global"``
padding                  a list of [before, after] for each spatial axis; ``"same"``, ``"valid"``
groups                   of a convolution
pooling                  ``"max"`` or ``"average"``
count_padding            whether an average divides by the padding, too
function                 of an activation: ``"relu"``, ``"gelu"``, ``"leaky_relu"``, …; of a
                         reduction: ``"mean"``, ``"sum"``, ``"variance"``, ``"deviation"``, …
unbiased                 of a variance or deviation: whether it divides by n - 1
slope, alpha             of an activation
approximate              of GELU: true for the form with tanh
axis                     of a softmax, concatenation or reduction, counted from the end: -1
from, to, order          of a flatten or reshape: the shapes with the batch axis, features last, and
                         ``"channels_first"`` or ``"channels_last"``, the order that it reads
rate, active             of a dropout: the share that is dropped, and whether it was active
random                   of a draw: true if it stays random, because its mean has no meaning
batch_first              of a recurrent or attention layer
packed                   of a recurrent layer: its sequence is packed, with zeros in padded steps
bidirectional, heads     of a recurrent, of an attention layer
padding_index            of an embedding; for Keras 0 if ``mask_zero`` is set
scale, offset            of a rescaling
interpolation            of a resizing: ``"nearest"``, ``"bilinear"``, …
align_corners, antialias the same
=======================  ==========================================================================
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = dict[str, Array]
Settings = dict[str, Any]  # of types that JSON can hold

# Kinds whose weights are the scale and offset of features, and kinds with a state.
NORMALIZATIONS = ("batch_norm", "layer_norm", "group_norm", "rms_norm")
RECURRENT = ("rnn", "lstm", "gru")
CONVOLUTIONS = ("conv", "depthwise_conv")  # which pad what they take

COMPILED = "compiled"  # what is before the names of what compiled code computes

DTYPES = ("native", "float64")  # as written; or in double precision, where the model allows it


@dataclass(frozen=True)
class Layer:
    """A layer of the user's model.

    Attributes
    ----------
    path : str
        Its name in a fresh process: the path of a PyTorch module, the name of a Keras layer (with
        the names of the models that contain it before it, and dots between them).
    type : str
        The class, as the framework calls it: ``LayerNorm``, ``LayerNormalization``.
    kind : str
        See the top of this file.
    settings : dict
        Canonical settings.
    written : dict of str to str
        For each canonical setting, how the user writes it: ``{"epsilon": "eps=1e-05"}``.
    roles : tuple of str
        The roles of its weights.
    frozen : bool
        Whether its weights are not trained.
    """

    path: str
    type: str
    kind: str
    settings: Settings = field(default_factory=dict[str, Any])
    written: dict[str, str] = field(default_factory=dict[str, str])
    roles: tuple[str, ...] = ()
    frozen: bool = False

    @classmethod
    def from_json(cls, values: Settings) -> "Layer":
        """Return the layer that these plain values describe."""
        layer = cls(**values)
        return replace(layer, roles=tuple(layer.roles))


@dataclass(frozen=True)
class Component:
    """An optimizer, loss, schedule, metric or callback.

    Attributes
    ----------
    type : str
        The class or function, as the framework calls it: ``RMSprop``, ``CrossEntropyLoss``.
    settings : dict
        All its parameters by the framework's own names, as far as JSON can hold them.
    unit : str
        Of a schedule: ``batch`` or ``epoch``; otherwise empty.
    source : str
        The source code of a function that the user wrote; otherwise empty.
    momenta : list of float
        Of a schedule that changes the momentum of the optimizer, too (Adam's first beta): its value
        after each of the first steps of the schedule, from the value before them on; otherwise
        empty.
    """

    type: str
    settings: Settings = field(default_factory=dict[str, Any])
    unit: str = ""
    source: str = ""
    momenta: list[float] = field(default_factory=list[float])


@dataclass(frozen=True)
class Description:
    """What one side consists of.

    Attributes
    ----------
    framework : str
        ``torch``, ``keras``, …
    version : str
        Of the framework, for example ``keras 3.15.1 (tensorflow 2.21.0)``.
    model : str
        The class of the model.
    dtype : str
        Of its weights.
    layers : tuple of Layer
        Every layer, in the order in which the model defines them.
    optimizer, loss, schedule, metric : Component or None
        None if the user gave none.
    callbacks : tuple of Component
        The callbacks.
    steps_per_epoch, batch_size : int or None
        As the user gave them.
    given : tuple of str
        The keys of what ``build()`` returned.
    precision : str
        A policy that lowers the precision, for example ``mixed_float16``; otherwise empty.
    compiled : bool
        Whether the model runs as compiled code, in which its layers cannot be seen.
    evaluation_only : str
        Why the side has no training mode, as a sentence without a full stop; otherwise empty.
    whole : str
        Why the layers of the side cannot be seen, the same; otherwise empty.
    without_gradients : str
        Why the side has no gradients, the same; otherwise empty.
    """

    framework: str
    version: str
    model: str
    dtype: str
    layers: tuple[Layer, ...]
    optimizer: Component | None = None
    loss: Component | None = None
    schedule: Component | None = None
    metric: Component | None = None
    callbacks: tuple[Component, ...] = ()
    steps_per_epoch: int | None = None
    batch_size: int | None = None
    given: tuple[str, ...] = ()
    precision: str = ""
    compiled: bool = False
    evaluation_only: str = ""
    whole: str = ""
    without_gradients: str = ""

    @property
    def momenta(self) -> list[float]:
        """The momenta of a schedule that changes them; otherwise empty."""
        return self.schedule.momenta if self.schedule else []

    def to_json(self) -> Settings:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Settings) -> "Description":
        """Return the description that `to_json` was made of."""
        parts: Settings = dict(values)
        parts["layers"] = tuple(Layer.from_json(layer) for layer in values["layers"])
        for name in ("optimizer", "loss", "schedule", "metric"):
            parts[name] = Component(**values[name]) if values[name] else None
        parts["callbacks"] = tuple(Component(**each) for each in values["callbacks"])
        parts["given"] = tuple(values["given"])
        return cls(**parts)


@dataclass(frozen=True)
class Call:
    """One call of a layer or function, in the order of execution.

    The calls of layers with weights are the anchors, by which two sides are aligned. The other
    calls tell what happens between two anchors. An activation inside a layer is a call of its own:
    the output of the anchor ``Dense(…, activation=…)`` is what goes into the activation. What a
    layer with weights calls is not seen, unless the user wrote that layer.

    Attributes
    ----------
    number : int
        Its position among all calls.
    layer : str
        The path of the layer; of an activation inside a layer, the path of that layer; of a
        function, empty.
    name : str
        The class of the layer, or the name of the function: ``LeakyReLU``, ``F.dropout``.
    kind : str
        See the top of this file.
    settings : dict
        Canonical settings, or a function's arguments.
    anchor : bool
        Whether it is the call of a layer with weights.
    inputs : int
        The number of its inputs, ``NUMBER/input``, ``NUMBER/input1``, …: of an anchor all floating
        or integer arrays; of other calls none may be recorded.
    within : int or None
        Of a function that a layer with weights calls which the user wrote, the number of that
        layer's call; otherwise None.
    """

    number: int
    layer: str
    name: str
    kind: str
    settings: Settings = field(default_factory=dict[str, Any])
    anchor: bool = False
    inputs: int = 1
    within: int | None = None


@dataclass(frozen=True)
class Observation:
    """One forward pass, and the backward pass if it was wanted.

    Attributes
    ----------
    calls : tuple of Call
        All calls.
    arrays : dict of str to ndarray
        ``NUMBER/input``, ``NUMBER/output`` of each anchor; ``NUMBER/output`` of other calls where
        it is an array; ``output``, ``output1``, … of the model. With targets: ``loss`` (the user's
        loss without penalties), ``penalty`` (Keras' ``model.losses``, summed), ``output_gradient``
        (of the loss, at the model's output; missing where Keras computes a cross-entropy from the
        logits behind a softmax, past the output), ``NUMBER/input_gradient``,
        ``NUMBER/output_gradient`` of each anchor (of further inputs and outputs
        ``NUMBER/input1_gradient``, …), and
        ``gradient/PATH/ROLE`` of each trained weight: all of the loss without penalties;
        ``penalty_gradient/PATH/ROLE``: of the penalties, for the weights that have one. In training
        mode ``buffer/PATH/ROLE``: the mean and the variance of each BatchNorm after the pass, with
        forced inputs those of these. Of a compiled model all these are what its layers compute, one
        by one; without forced inputs, ``compiled/output``, ``compiled/loss`` and
        ``compiled/gradient/PATH/ROLE`` are those of the compiled code.
    """

    calls: tuple[Call, ...]
    arrays: Arrays

    @property
    def anchors(self) -> tuple[Call, ...]:
        """The calls of layers with weights."""
        return tuple(call for call in self.calls if call.anchor)

    @property
    def numbers(self) -> dict[str, list[int]]:
        """The numbers of the anchors' calls, by the path of the layer."""
        result: dict[str, list[int]] = {}
        for call in self.anchors:
            result.setdefault(call.layer, []).append(call.number)
        return result


@dataclass(frozen=True)
class Updates:
    """What an optimizer makes of given gradients.

    Attributes
    ----------
    weights : tuple of dict
        The trained weights after each update, by ``PATH/ROLE``.
    rates : tuple of float
        The learning rate of each update.
    averages : dict of str to ndarray
        What the side evaluates after the last update in place of the weights, by ``PATH/ROLE``;
        empty if it evaluates the weights.
    shares : tuple of float
        How it averages: for each update, the share of the old average in the new one; empty if it
        does not average, or tells how in its settings.
    per_epoch : bool
        Whether these are the shares after each epoch: a callback averages at its end.
    """

    weights: tuple[Arrays, ...]
    rates: tuple[float, ...]
    averages: Arrays = field(default_factory=dict[str, Array])
    shares: tuple[float, ...] = ()
    per_epoch: bool = False


@dataclass(frozen=True)
class Change:
    """A change of one side that is tried: its numbers are those of a user who wrote this.

    Attributes
    ----------
    target : str
        ``layer``, ``function``, ``optimizer``, ``loss``, ``schedule``, ``metric``, ``preprocess``.
    path : str
        The path of the layer; for a function ``NUMBER`` of its call; otherwise empty.
    setting : str
        A canonical setting of a layer; an argument's or parameter's own name of anything else.
    value : object
        Its new value, of a type that JSON can hold.
    """

    target: str
    path: str
    setting: str
    value: Any

    def to_json(self) -> Settings:
        """Return plain values."""
        return asdict(self)


def name_at(name: str, place: int) -> str:
    """Return the name of an input or output by its place: ``input``, ``input1`` and so on."""
    return f"{name}{place or ''}"


def part_name(number: int, part: str, place: int = 0) -> str:
    """Return the name of what a call takes or returns: ``3/input``, ``3/input1`` and so on."""
    return f"{number}/{name_at(part, place)}"


def array_names(arrays: Arrays, prefix: str) -> Arrays:
    """Return the arrays whose names begin with ``PREFIX/``, without it."""
    start = f"{prefix}/"
    return {
        name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)
    }


def numbers_of(settings: Iterable[Settings], names: Sequence[str]) -> list[float]:
    """Return the numbers among some settings that have one of these names."""
    return [
        float(value)
        for each in settings
        for name, value in each.items()
        if name in names and isinstance(value, (int, float)) and not isinstance(value, bool)
    ]


def outputs_of(arrays: Arrays) -> Arrays:
    """Return the model's outputs among the arrays of an observation."""
    return {
        name: array
        for name, array in arrays.items()
        if name.startswith("output") and "/" not in name and "gradient" not in name
    }


def random_functions(observation: Observation) -> list[str]:
    """Return the functions whose draws stay random, each once."""
    names = [call.name for call in observation.calls if call.settings.get("random")]
    return list(dict.fromkeys(names))


def one_segment(observation: Observation) -> Observation:
    """Return what is observed of a model without its layers."""
    arrays = {
        name: array
        for name, array in observation.arrays.items()
        if not name.partition("/")[0].isdecimal()
    }
    return Observation((), arrays)


def largest(array: Array) -> float:
    """Return the largest absolute value of an array; 0 if it is empty."""
    return float(np.max(np.abs(array))) if array.size else 0.0


def inputs_of(batch: Arrays) -> list[str]:
    """Return the names of the model's inputs in a batch: ``x``, ``x2``, …, in order."""
    return _numbered(batch, "x")


def targets_in(batch: Arrays) -> Arrays:
    """Return the targets of a batch, ``y``, ``y2``, …, in order; nothing if it has no ``y``."""
    return {name: batch[name] for name in _numbered(batch, "y")} if "y" in batch else {}


def _numbered(batch: Arrays, first: str) -> list[str]:
    numbers = [name for name in batch if name.startswith(first) and name[1:].isdigit()]
    return [first, *sorted(numbers, key=lambda name: int(name[1:]))]
