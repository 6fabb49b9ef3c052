"""Records the calls of one forward pass, and forces layers to given values."""

import functools
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ...observation import Array, Arrays, Call, Settings, part_name
from ..adapter import ModelError
from ..draws import Draw, Draws
from ..namespaces import replaced_entry
from ..numpy_draws import NumpyDraws
from .changed_functions import activate, call_changed
from .functional_layers import FunctionLayerCall, LooseWeights
from .functions import (
    DROPOUTS,
    FOLLOWED,
    MOVES,
    NOISE,
    UNIFORM,
    FunctionCall,
    describe,
    function_call,
    layout_into,
    set_layouts,
    shown_name,
)
from .layer_call import AttentionCall, LayerCall, RecurrentCall, layer_of_stack, states_of
from .layout import CHANNELS_FIRST, TIME_FIRST, Layouts, tensors_in, to_array, to_tensor
from .model import PlacedLayer, UserModel, namespaces_of
from .operations import operation_of, spatial_axes
from .separated import SeparatedCall, projection
from .weights import computes_as_its_base

# Layers that work along the last axis, whatever it holds.
ALONG_LAST_AXIS = frozenset(
    {"dense", "embedding", "layer_norm", "rms_norm", "rnn", "lstm", "gru", "attention"}
)


# What makes a tensor of an array of NumPy; the first is not seen as other functions are.
FROM_NUMPY = "from_numpy"
OF_ARRAYS = frozenset({"tensor", "as_tensor", "asarray"})
_from_numpy = torch.from_numpy

# Of one call of a layer of the user's.
MOST_FUNCTIONS = 200

# Their calls are not recorded: they only look at a tensor in another way, or draw a mask.
NOT_RECORDED = MOVES | UNIFORM | {"bernoulli"}

FunctionChanges = dict[int, tuple[str, Settings]]


@dataclass(frozen=True)
class Options:
    """What a recording does.

    Attributes
    ----------
    arrays : bool
        Whether arrays are recorded, and not only calls.
    gradients : bool
        Whether a backward pass follows.
    dropout : bool
        Whether dropout and noise are drawn.
    forced : dict of str to ndarray
        What layers are fed and what they hand on; see `triptych.doctor.frameworks.adapter.Adapter`.
    changes : dict of int to tuple
        By the number of a call the short name of its function, and canonical settings in place of
        the user's.
    activations : dict of int to dict
        The same of modules, by the id of the module.
    """

    arrays: bool = True
    gradients: bool = False
    dropout: bool = False
    forced: Arrays = field(default_factory=dict[str, Any])
    changes: FunctionChanges = field(default_factory=dict[int, tuple[str, Settings]])
    activations: dict[int, Settings] = field(default_factory=dict[int, Settings])


class Recorder(TorchFunctionMode):
    """Wraps the leaves of a model, and sees the functions that it calls between them.

    Attributes
    ----------
    calls : list of Call
        The calls until now.
    arrays : dict of str to ndarray
        What was recorded.
    terms : list of Tensor
        What is added to the loss so that every layer gets the gradient that it is forced to.
    layouts : Layouts
        What is known of the tensors' layouts.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.calls: list[Call] = []
        self.arrays: Arrays = {}
        self.terms: list[torch.Tensor] = []
        self.layouts = Layouts()
        self._forced_numbers = {int(name.partition("/")[0]) for name in options.forced}
        # Layers that are functions, by the ids of their weights.
        self._functional: dict[int, PlacedLayer] = {}
        self._loose = LooseWeights({})
        # Products that contain the bias already, which the model is about to add.
        self._with_bias: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._inside = False  # of a layer, where nothing is recorded
        self._within: int | None = None  # the number of the call of the user's own layer
        self._waiting: list[tuple[str, torch.Tensor, torch.Tensor]] = []
        self._draws = Draws(_is_tensor, torch.is_floating_point, _filled, self._record_draw)
        self._numpy = NumpyDraws(self._record_draw)

    @contextmanager
    def watching(self, model: UserModel) -> Generator[None]:
        """Record the calls of the model's layers, and of functions."""
        functional = [layer for layer in model.layers if layer.functional]
        self._functional = {id(layer.module.weight): layer for layer in functional}
        self._loose = LooseWeights({weight: each.path for weight, each in self._functional.items()})
        by_module: dict[int, list[PlacedLayer]] = {}
        for layer in model.layers:
            if layer.leaf:
                by_module.setdefault(id(layer.module), []).append(layer)
        before: list[tuple[nn.Module, Any]] = []
        try:
            for layers in by_module.values():
                module = layers[0].module
                before.append((module, module.__dict__.get("forward")))
                module.forward = functools.partial(self._call_layer, layers, module.forward)
            with ExitStack() as contexts:
                if not self.options.dropout:
                    contexts.enter_context(self._numpy.followed(namespaces_of(model)))
                    contexts.enter_context(replaced_entry(vars(torch), FROM_NUMPY, self._of_numpy))
                contexts.enter_context(self)
                yield
            self._settle()
        finally:
            for module, forward in before:
                del module.forward
                if forward is not None:
                    module.forward = forward

    def _settle(self) -> None:
        """Convert what waits until the layouts are known."""
        for name, copy, original in self._waiting:
            self.arrays[name] = to_array(copy, self.layouts.get(original))
        self._waiting.clear()

    def _begin(
        self,
        path: str,
        name: str,
        kind: str,
        settings: Settings,
        *,
        anchor: bool = False,
        inputs: int = 1,
    ) -> int:
        number = len(self.calls)
        call = Call(number, path, name, kind, settings, anchor, inputs, self._within)
        self.calls.append(call)
        return number

    @property
    def _is_full(self) -> bool:
        """Whether so many functions of a layer were recorded that no more are."""
        return self._within is not None and len(self.calls) - self._within > MOST_FUNCTIONS

    def _keep_output(self, number: int, result: Any) -> None:
        if self.options.arrays and isinstance(result, torch.Tensor):
            # A copy, because the model may change it in place.
            self._waiting.append((f"{number}/output", result.detach().clone(), result))

    # Functions

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call a function of PyTorch and record it."""
        kwargs = kwargs or {}
        call = function_call(func, args, kwargs)
        followed = FOLLOWED.get(call.name, "")
        if not self.options.dropout:
            given = self._draws.arguments(followed, args)
            if given is not args:
                args = given
                call = function_call(func, args, kwargs)
        if self._functional and not self._inside and self._within is None:
            made = self._function_layer(call, func)
            if made is not None:
                return made
        result = self._result(call, func)
        if not self.options.dropout:
            result = self._draws_followed(call, func, args, result)
        if self._inside or not tensors_in(result):
            return result
        set_layouts(call, func, result, self.layouts)
        self._loose.note_transposition(call, result)
        if call.name in NOT_RECORDED or not (call.floating or call.name in NOISE):
            return result
        if any(tensor.is_floating_point() for tensor in tensors_in(result)):
            if call.name in NOISE and not self.options.dropout:
                _set_to_mean(result, call)
            return self._record_function(call, shown_name(func), result)
        return result

    def _result(self, call: FunctionCall, func: Any) -> Any:
        name, change = self.options.changes.get(len(self.calls), ("", {}))
        if call.name in DROPOUTS and not self.options.dropout:
            if self._inside:  # of a layer of the user's
                self._record_function(call, shown_name(func), call.first)
            return call.first
        # Other functions, of which no call is recorded, may be called in between.
        if name == call.name and not self._inside and not self._is_full:
            return call_changed(call, func, change, layout_into(call, self.layouts))
        if not self.options.dropout:
            blended = self._draws.blended(FOLLOWED.get(call.name, ""), call.args)
            if blended is not None:
                return blended
        if call.raw.get("dropout_p") and not self.options.dropout:
            return func(call.first, **(call.raw | {"dropout_p": 0.0}))
        return func(*call.args, **call.kwargs)

    def _draws_followed(
        self, call: FunctionCall, func: Any, args: tuple[Any, ...], result: Any
    ) -> Any:
        """Note what a function has made of draws; return what takes the place of it."""
        if call.name in OF_ARRAYS and args:
            result = self._taken(args[0], result)
        result = self._draws.result(FOLLOWED.get(call.name, ""), args, result)
        self._note_draw(call, func, result)
        return result

    def _note_draw(self, call: FunctionCall, func: Any, result: Any) -> None:
        """Note that a function has drawn random numbers; those of a mask become their mean."""
        if call.name in UNIFORM:
            self._draws.drawn(shown_name(func), result, *_range_of(call, result))
        elif call.name == "bernoulli":
            shares = _shares_of(call, result)
            with torch.no_grad():
                result.copy_(shares.expand_as(result))
            self._draws.told(shown_name(func), shares.double().mean().item())

    def _of_numpy(self, array: Any) -> torch.Tensor:
        """Return a tensor of an array of NumPy, which may be drawn at random."""
        return self._taken(array, _from_numpy(array))

    def _taken(self, array: Any, made: torch.Tensor) -> torch.Tensor:
        draw = self._numpy.draws.of(array)
        return made if draw is None else self._draws.taken(draw, made)

    def _record_draw(self, draw: Draw) -> None:
        self._begin("", draw.source, "dropout", draw.settings)

    def _record_function(self, call: FunctionCall, name: str, result: Any) -> Any:
        """Record a call; return what it hands on."""
        described = None if self._is_full else describe(call, result, self.layouts)
        if described:
            kind, settings = described
            number = self._begin("", name, kind, settings, inputs=len(call.tensors))
            self._keep_output(number, result)
            forced = self.options.forced.get(f"{number}/output")
            if forced is not None and isinstance(result, torch.Tensor):
                return _forced(result, forced, self.layouts.get(result), name)
        return result

    def _function_layer(self, call: FunctionCall, func: Any) -> Any:
        """Return the result of a function that is a layer, or adds its bias; otherwise None."""
        if call.name == "add" and len(call.tensors) == 2:
            for product, bias in (call.tensors, call.tensors[::-1]):
                known = self._with_bias.get(id(product))
                if known and known[1] is bias:
                    return product
            return None
        use = self._loose.use(call)
        layer = self._functional.get(id(use.holder.weight)) if use else None
        if use is None or layer is None:
            return None
        bias = getattr(layer.module, "bias", None)
        added = use.holder.bias is None and bias is not None

        def forward(*args: Any, **kwargs: Any) -> Any:
            made = func(*args, **kwargs)
            return made + bias if added else made

        self._inside = True
        try:
            one = FunctionLayerCall(use, forward, call.args, call.kwargs)
            result = self._call_anchor(layer, one)
        finally:
            self._inside = False
        if added:
            self._with_bias[id(result)] = (result, bias)
        return result

    # Layers without weights

    def _call_layer(
        self, layers: list[PlacedLayer], forward: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        if self._inside:
            return forward(*args, **kwargs)
        self._inside = True
        try:
            return self._handle_layer(layers, forward, args, kwargs)
        finally:
            self._inside = False

    def _handle_layer(
        self,
        layers: list[PlacedLayer],
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        layer = layers[0]
        module = layer.module
        usual = layer.kind != "other" and computes_as_its_base(module)
        if isinstance(module, nn.RNNBase) and usual:
            return self._call_recurrent(layers, forward, args, kwargs)
        if isinstance(module, nn.MultiheadAttention) and layer.kind == "dense":
            return self._call_separated(layers, args, kwargs)
        if isinstance(module, nn.MultiheadAttention) and not self.options.dropout:
            forward = functools.partial(_without_dropout, module, forward)
        if isinstance(module, nn.MultiheadAttention) and usual:
            return self._call_anchor(layer, AttentionCall(module, forward, args, kwargs))
        if layer.roles:
            return self._call_anchor(layer, LayerCall(module, forward, args, kwargs))
        call = self._call_of_module(layer, args, kwargs)
        if layer.kind == "dropout" and not self.options.dropout:
            result: Any = call.tensors[0]
        elif id(module) in self.options.activations:
            change = self.options.activations[id(module)]
            result = activate(call, change, layout_into(call, self.layouts))
        else:
            result = forward(*args, **kwargs)
        self._record_module(layer, call, result)
        return result

    def _call_of_module(
        self, layer: PlacedLayer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> FunctionCall:
        """Return the call of the function that a module without weights computes."""
        module = layer.module
        known = operation_of(module)
        call = FunctionCall("", args, {}, kwargs)
        if known is None or not call.tensors:
            return call
        raw = {name: getattr(module, name, None) for name in known[1].arguments}
        if known[0] == "pad":
            raw = {"pad": module.padding, "mode": "constant", "value": 0.0}
            self._mark_padded(call.tensors[0], module)
        return FunctionCall(known[0], args, raw, kwargs)

    def _record_module(self, layer: PlacedLayer, call: FunctionCall, result: Any) -> None:
        described: tuple[str, Settings] | None = layer.kind, {}
        if call.name:
            set_layouts(call, None, result, self.layouts)
            described = describe(call, result, self.layouts)
        elif call.tensors:
            self.layouts.hand_on(call.tensors, result)
        if described:
            kind, settings = described
            inputs = len(call.tensors)
            number = self._begin(layer.path, layer.type, kind, settings, inputs=inputs)
            self._keep_output(number, result)

    def _mark_padded(self, tensor: torch.Tensor, module: nn.Module) -> None:
        """Note that a padding layer gets images or signals."""
        if tensor.ndim == spatial_axes(type(module).__name__) + 2:
            self.layouts.set(tensor, CHANNELS_FIRST)

    # Layers with weights

    def _call_recurrent(
        self,
        layers: list[PlacedLayer],
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        module = layers[0].module
        whole = RecurrentCall(module, forward, args, kwargs)
        if len(layers) == 1:
            return self._call_anchor(layers[0], whole)
        sequence = whole.sequence
        last: list[list[torch.Tensor]] = []
        for layer in layers:
            if layer.index and module.dropout:
                sequence = self._dropout_between(layer, sequence)
            one = layer_of_stack(module, layer.index)
            given = (sequence, *states_of(whole, layer.index))
            sequence, states = self._call_anchor(layer, RecurrentCall(module, one, given, {}))
            last.append(tensors_in(states))
        joined = tuple(torch.cat(states) for states in zip(*last, strict=True))
        return sequence, (joined if module.mode == "LSTM" else joined[0])

    def _call_separated(
        self, layers: list[PlacedLayer], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call the projections of an attention layer, and the attention between them."""
        module = layers[0].module
        whole = SeparatedCall(module, args, kwargs)
        made = [
            self._call_anchor(layer, LayerCall(None, projection(layer), (tensor,), {}))
            for layer, tensor in zip(layers, whole.inputs, strict=False)
        ]
        attended, weights = whole.attend(made, dropout=self.options.dropout)
        self.layouts.set(attended, self.layouts.get(made[0]))
        path = layers[0].path.rpartition(".")[0]
        settings = {"rate": module.dropout, "active": bool(module.training and module.dropout > 0)}
        number = self._begin(path, type(module).__name__, "function", settings)
        self._keep_output(number, attended)
        last = layers[-1]
        return self._call_anchor(last, LayerCall(None, projection(last), (attended,), {})), weights

    def _dropout_between(self, layer: PlacedLayer, sequence: Any) -> Any:
        module = layer.module
        settings = {"rate": module.dropout, "active": bool(module.training)}
        if self.options.dropout and isinstance(sequence, torch.Tensor):
            sequence = nn.functional.dropout(sequence, module.dropout, module.training)
        number = self._begin(layer.path, type(module).__name__, "dropout", settings)
        self._keep_output(number, sequence)
        return sequence

    def _call_anchor(self, layer: PlacedLayer, call: LayerCall) -> Any:
        settings, _ = layer.described()
        if layer.kind == "attention":
            settings["active"] = bool(layer.module.training and settings["rate"] > 0)
        if isinstance(call, RecurrentCall) and call.is_packed:
            settings["packed"] = True
        number = self._begin(
            layer.path,
            layer.type,
            layer.kind,
            settings,
            anchor=True,
            inputs=len(call.inputs),
        )
        if not self.options.arrays:
            made = self._run(layer, number, call, call.inputs)
            return call.result(made, detach=False)
        local = number in self._forced_numbers
        layout = self._layout_into(layer, call.inputs)
        fed = [
            self._feed(
                part_name(number, "input", place), tensor, "" if place else layout, layer.path
            )
            for place, tensor in enumerate(call.inputs)
        ]
        for tensor in fed[:1]:
            self.layouts.set(tensor, layout)
        made = self._run(layer, number, call, fed)
        handed: list[torch.Tensor] = []
        for place, tensor in enumerate(made):
            out = layout if place == 0 and _keeps_axes(layer, call, tensor) else ""
            handed.append(
                self._hand_on(part_name(number, "output", place), tensor, out, local=local)
            )
        places = range(len(made))
        given = {
            each for each in places if part_name(number, "output", each) in self.options.forced
        }
        return call.result(call.completed(handed, given), detach=local)

    def _run(
        self, layer: PlacedLayer, number: int, call: LayerCall, fed: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        """Call a layer; record the functions that it calls, if it is the user's own."""
        if not layer.is_own:
            return call.run(fed)
        self._inside = False
        self._within = number
        try:
            return call.run(fed)
        finally:
            self._inside = True
            self._within = None

    def _layout_into(self, layer: PlacedLayer, inputs: list[torch.Tensor]) -> str:
        """Return the layout in which a layer with weights takes its input."""
        if not inputs:
            return ""
        if takes_channels_first(layer, inputs[0].ndim):
            return CHANNELS_FIRST
        known = self.layouts.get(inputs[0])
        if known == CHANNELS_FIRST and layer.kind in ALONG_LAST_AXIS:
            return ""
        if known == TIME_FIRST and getattr(layer.module, "batch_first", False):
            return ""
        return known

    def _feed(self, name: str, arrived: torch.Tensor, layout: str, path: str) -> torch.Tensor:
        """Record what arrives at a layer; return what it gets."""
        self.arrays[name] = to_array(arrived, layout)
        forced = self.options.forced
        local = int(name.partition("/")[0]) in self._forced_numbers
        gradients = self.options.gradients and arrived.is_floating_point()
        fed = arrived
        if name in forced:
            fed = _forced(arrived, forced[name], layout, path)
        elif gradients and (local or not arrived.requires_grad):
            fed = arrived.detach().clone()
        elif gradients:
            fed = arrived.clone()
        if gradients:
            self._pull(name, arrived, layout)
            if not fed.requires_grad:
                fed.requires_grad_()
            self._keep_gradient(name, fed, layout)
        return fed

    def _hand_on(self, name: str, made: torch.Tensor, layout: str, *, local: bool) -> torch.Tensor:
        """Record what a layer has made; return what it hands on."""
        self.arrays[name] = to_array(made, layout)
        forced = self.options.forced
        leaf = made
        if local:
            self._pull(name, made, layout)
            leaf = made.detach().clone()
            if name in forced:
                leaf = _forced(made, forced[name], layout, name)
            leaf.requires_grad_(self.options.gradients)
        if self.options.gradients and leaf.requires_grad:
            self._keep_gradient(name, leaf, layout)
        # A copy, because the model may change it in place.
        handed = leaf.clone()
        self.layouts.set(handed, layout)
        return handed

    def _pull(self, name: str, tensor: torch.Tensor, layout: str) -> None:
        """Add a term whose gradient at a tensor is the one that is forced."""
        pulled = self.options.forced.get(f"{name}_gradient")
        if not self.options.gradients or pulled is None or not tensor.requires_grad:
            return
        gradient = to_tensor(pulled, layout).to(tensor.dtype)
        if gradient.shape == tensor.shape:
            self.terms.append((tensor * gradient).sum())

    def _keep_gradient(self, name: str, tensor: torch.Tensor, layout: str) -> None:
        # Zeros, if the loss does not depend on the tensor: then the hook is never called.
        self.arrays[f"{name}_gradient"] = to_array(torch.zeros_like(tensor), layout)

        def keep(gradient: torch.Tensor) -> None:
            self.arrays[f"{name}_gradient"] = to_array(gradient, layout)

        tensor.register_hook(keep)


def takes_channels_first(layer: PlacedLayer, dimensions: int) -> bool:
    """Return whether a layer with weights takes an input of so many axes with channels first."""
    if layer.kind in ("conv", "depthwise_conv", "conv_transpose"):
        return dimensions == layer.module.weight.ndim
    if layer.kind in ("batch_norm", "instance_norm", "group_norm"):
        return dimensions >= 3
    if layer.kind == "prelu":
        return dimensions >= 3 and layer.module.num_parameters > 1
    if isinstance(layer.module, nn.LayerNorm):
        return len(layer.module.normalized_shape) == 3 and dimensions == 4
    return False


def _without_dropout(module: Any, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call an attention layer without the dropout of its weights."""
    rate = module.dropout
    module.dropout = 0.0
    try:
        return forward(*args, **kwargs)
    finally:
        module.dropout = rate


def _keeps_axes(layer: PlacedLayer, call: LayerCall, result: torch.Tensor) -> bool:
    """Return whether a result has the axes of the first input, so that its layout holds for it."""
    added = 1 if layer.kind == "embedding" else 0
    return bool(call.inputs) and result.ndim == call.inputs[0].ndim + added


def _forced(tensor: torch.Tensor, array: Array, layout: str, where: str) -> torch.Tensor:
    """Return what takes the place of a tensor: only its features must be as many.

    The other axes may differ, because another padding or order of axes may be the fault.
    """
    made = to_tensor(array, layout).to(tensor.dtype)
    features = 1 if layout == CHANNELS_FIRST else -1
    if made.ndim != tensor.ndim or (tensor.ndim and made.shape[features] != tensor.shape[features]):
        raise ModelError(
            f"{where}: has an array of shape {list(tensor.shape)} and cannot take one of shape "
            f"{list(made.shape)}"
        )
    return made


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _filled(tensor: torch.Tensor, value: float, like: torch.Tensor | None) -> torch.Tensor:
    """Return a tensor with one number everywhere; a floating one is changed itself."""
    if tensor.is_floating_point():
        with torch.no_grad():
            return tensor.fill_(value)
    return torch.full(tensor.shape, value, dtype=None if like is None else like.dtype)


def _range_of(call: FunctionCall, drawn: torch.Tensor) -> tuple[float, float]:
    """Return between which numbers a function draws."""
    if call.name != "uniform":
        return 0.0, 1.0
    given = dict(zip(("from", "to"), call.args[1:], strict=False)) | call.kwargs
    return given.get("from", 0.0), given.get("to", 1.0)


def _shares_of(call: FunctionCall, drawn: torch.Tensor) -> torch.Tensor:
    """Return the probabilities with which a function draws ones."""
    given = call.kwargs.get("p", call.args[1] if call.args[1:] else None)
    if given is None:
        # The function has the probabilities as its tensor, the method changes its own.
        given = 0.5 if call.first is drawn else call.first
    return torch.as_tensor(given, dtype=drawn.dtype)


def _set_to_mean(drawn: torch.Tensor, call: FunctionCall) -> None:
    """Replace noise by its mean."""
    mean: Any = 0.0
    if call.name == "normal":
        # The method has the tensor as its first argument, the function the mean.
        method = call.args and call.args[0] is drawn
        mean = call.kwargs.get("mean", call.args[int(method)] if call.args[int(method) :] else 0.0)
    with torch.no_grad():
        drawn.copy_(torch.as_tensor(mean).expand_as(drawn))
