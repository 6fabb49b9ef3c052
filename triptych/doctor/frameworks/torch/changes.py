"""Changes of one side that are tried; see `Changes`."""

import functools
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ...observation import Call, Change, Settings
from .. import changes
from ..adapter import Unsupported
from .changed_functions import (
    ACTIVATION_SETTINGS,
    activation,
    check_function_change,
    pad_list,
    raw_names,
    reordered,
)
from .changed_layers import biased_variance, convolve_padded, cut, in_mode, pool
from .functions import shortened
from .layout import CHANNELS_FIRST
from .loss import check_setting, takes_argument
from .model import PlacedLayer, UserModel
from .operations import ATTRIBUTES, SETTINGS, operation_of
from .recorder import FunctionChanges
from .training import Training
from .weights import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED

CLIPPING = ("clip_norm", "clip_norm_each", "clip_value")
# Settings that say how weights are arranged, and cannot differ without other weights.
OF_THE_WEIGHTS = ("bidirectional", "groups")
LOSS_SETTINGS = ("wrap", "squeeze", "clip", "scale", "weights_by_count", "type")
METRIC_SETTINGS = ("wrap", "squeeze")


class Changes(changes.Changes):
    """The changes of a PyTorch side that are in force; further targets are those of the base class.

    ============  ==================================================================================
    target        settings
    ============  ==================================================================================
    layer         the canonical settings that PyTorch's layer has as an attribute; ``padding`` as
                  [before, after] for each axis, ``"same"`` as in TensorFlow, ``"valid"``; of an
                  activation ``function``, ``"linear"`` for none, with ``slope``, ``alpha``, …; of
                  a BatchNorm ``unbiased_variance``; of a flatten ``order``: ``"channels_last"``;
                  of any layer ``training``: whether it is in training mode, and ``frozen``
    function      by the number of the call in the last observation: the canonical settings of its
                  arguments, ``function``, ``order`` and ``active`` as above, ``scale`` and
                  ``offset`` of a rescaling, ``function``, ``axis`` and ``unbiased`` of a reduction;
                  ``then``, the settings of an activation or a rescaling of what it returns
    optimizer     the entries of its ``param_groups``; ``initial_accumulator_value``; ``type``, the
                  name of another optimizer of `torch.optim`, which gets the parameters that both
                  have; ``clip_norm``, ``clip_norm_each`` and ``clip_value``, a limit of all
                  gradients together, of each one, of each number; ``hooks``: False without the
                  hooks that the user has registered
    loss          attributes of the module or arguments of the function; ``type``, the name of
                  another loss of `torch.nn`; ``wrap``, what the output goes through before:
                  ``"softmax"``, ``"log_softmax"``, ``"sigmoid"``, ``"log"``, ``"logit"``, or
                  ``"probabilities"``, which is ``log`` or ``logit`` as the loss needs;
                  ``squeeze``: True gives the output the shape of the targets; ``clip``: limits
                  the output to [value, 1 - value]; ``weights_by_count``: True divides by the number
                  of targets and not by the sum of their weights; ``scale``: a factor
    schedule      attributes of the scheduler; ``unit``; ``steps_per_epoch``
    metric        attributes of an object; ``wrap`` and ``squeeze`` as of the loss
    ============  ==================================================================================

    Attributes
    ----------
    functions : dict of int to tuple
        By the number of a call the short name of its function, and its settings.
    activations : dict of int to dict
        Settings of activations that are modules, by the id of the module.
    loss : dict
        Settings of the loss that are not attributes.
    """

    def __init__(self, model: UserModel, training: Training, parts: dict[str, Any]) -> None:
        super().__init__(parts, training.callbacks)
        self._model = model
        self._training = training
        self.functions: FunctionChanges = {}
        self.activations: dict[int, Settings] = {}
        self.loss: Settings = {}

    def _set_attribute(self, holder: Any, name: str, value: Any) -> None:
        before = getattr(holder, name)
        setattr(holder, name, value)
        self._undo.append(lambda: setattr(holder, name, before))

    def _wrap_forward(self, module: Any, wrapper: Callable[..., Any]) -> None:
        """Let a function take the place of a module's forward pass, which it gets first."""
        before = module.__dict__.get("forward")

        def undo() -> None:
            del module.forward
            if before is not None:
                module.forward = before

        module.forward = functools.partial(wrapper, module.forward)
        self._undo.append(undo)

    # Layers

    def _layer(self, change: Change) -> None:
        layer = next((each for each in self._model.layers if each.path == change.path), None)
        if layer is None or not isinstance(layer.module, nn.Module):
            raise Unsupported(f"there is no layer {change.path}")
        special: dict[str, Callable[[PlacedLayer, Any], None]] = {
            "padding": self._padding,
            "unbiased_variance": self._variance,
            "order": self._order,
            "training": self._mode,
            "active": self._mode,
            "frozen": self._frozen,
            "heads": self._heads,
        }
        if layer.kind == "activation" and change.setting in ACTIVATION_SETTINGS:
            self._activation(layer, change.setting, change.value)
        elif change.setting in special:
            special[change.setting](layer, change.value)
        else:
            self._attribute(layer, change.setting, change.value)

    def _attribute(self, layer: PlacedLayer, setting: str, value: Any) -> None:
        known = operation_of(layer.module)
        if known:
            names = raw_names(known[1])
        else:
            possible = ATTRIBUTES.get(layer.kind, ())
            names = {SETTINGS[name].name: name for name in possible if name in SETTINGS}
        name = names.get(setting)
        fixed = setting in OF_THE_WEIGHTS and not isinstance(layer.module, nn.GroupNorm)
        if name is None or fixed or not hasattr(layer.module, name):
            raise _unsupported(layer, setting)
        value = SETTINGS[name].write(value)
        self._set_attribute(layer.module, name, tuple(value) if isinstance(value, list) else value)

    def _padding(self, layer: PlacedLayer, value: Any) -> None:
        module = layer.module
        known = operation_of(module)
        if isinstance(module, CONVOLUTIONS) and module.padding_mode == "zeros":
            axes = len(module.kernel_size)
            self._wrap_forward(module, functools.partial(convolve_padded, module, value))
            self._set_attribute(module, "padding", (0,) * axes)
        elif isinstance(module, TRANSPOSED) and not isinstance(value, str):
            axes = len(module.kernel_size)
            self._wrap_forward(module, functools.partial(cut, value))
            self._set_attribute(module, "padding", (0,) * axes)
            added = tuple(max(0, -after) for _, after in value)
            self._set_attribute(module, "output_padding", added)
        elif known and known[1].kind == "pool" and hasattr(module, "padding"):
            self._wrap_forward(module, functools.partial(pool, module, value, known[1].function))
        elif known and known[1].kind == "padding":
            pad = tuple(pad_list(value, len(value) + 2, CHANNELS_FIRST))
            self._set_attribute(module, "padding", pad)
        else:
            raise _unsupported(layer, "padding")

    def _activation(self, layer: PlacedLayer, setting: str, value: Any) -> None:
        if setting == "function":
            activation({"function": value})
        key = id(layer.module)
        settings = {**self.activations.get(key, {}), setting: value}
        self._set(self.activations, key, settings)

    def _variance(self, layer: PlacedLayer, value: Any) -> None:
        if not isinstance(layer.module, BATCH_NORMS) or layer.module.running_var is None:
            raise _unsupported(layer, "unbiased_variance")
        if not value:
            self._wrap_forward(layer.module, functools.partial(biased_variance, layer.module))

    def _order(self, layer: PlacedLayer, value: Any) -> None:
        if layer.kind != "flatten":
            raise _unsupported(layer, "order")
        self._wrap_forward(layer.module, lambda inner, tensor: inner(reordered(tensor, value)))

    def _mode(self, layer: PlacedLayer, value: Any) -> None:
        self._wrap_forward(layer.module, functools.partial(in_mode, layer.module, bool(value)))

    def _frozen(self, layer: PlacedLayer, value: Any) -> None:
        for parameter in layer.module.parameters():
            self._set_attribute(parameter, "requires_grad", not value)

    def _heads(self, layer: PlacedLayer, value: Any) -> None:
        module = layer.module
        if layer.kind != "attention" or module.embed_dim % value:
            raise _unsupported(layer, "heads")
        self._set_attribute(module, "num_heads", value)
        self._set_attribute(module, "head_dim", module.embed_dim // value)

    # Functions

    def _function(self, call: Call, change: Change) -> None:
        name = shortened(call.name)
        check_function_change(name, call.kind, change.setting)
        if change.setting == "function" and call.kind == "activation":
            activation({"function": change.value})
        _, settings = self.functions.get(call.number, (name, {}))
        settings = {**settings, change.setting: change.value}
        self._set(self.functions, call.number, (name, settings))

    # Optimizer and schedule

    def _optimizer(self, change: Change) -> None:
        training = self._training
        if training.optimizer is None:
            raise Unsupported("build() returns no optimizer")
        special: dict[str, Callable[[Any], None]] = {
            "type": self._other_optimizer,
            "lr": self._rate,
            "hooks": self._hooks,
            "initial_accumulator_value": self._accumulators,
        }
        name, value = change.setting, change.value
        if name in special:
            special[name](value)
        elif name in CLIPPING:
            self._set(training.clipping, name, float(value))
        else:
            for group in training.groups:
                if name not in group:
                    kind = type(training.optimizer).__name__
                    raise Unsupported(f"{kind} has no parameter {name}")
                self._set(group, name, tuple(value) if isinstance(value, list) else value)

    def _hooks(self, value: Any) -> None:
        for kind in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
            if not value:
                self._set_attribute(self._training.optimizer, kind, OrderedDict())

    def _rate(self, value: Any) -> None:
        """Change the first rate, from which the schedule computes the others."""
        for group in self._training.groups:
            first = float(group.get("initial_lr", group["lr"]))
            # A warm-up has already made the first rate smaller.
            rate = float(group["lr"]) * value / first if first else value
            self._set(group, "lr", rate)
            if "initial_lr" in group:
                self._set(group, "initial_lr", value)
        attributes = self._training.attributes_of(self._training.schedule)
        if "base_lrs" in attributes:
            self._set(attributes, "base_lrs", [value] * len(self._training.groups))
            self._set(attributes, "_last_lr", [float(g["lr"]) for g in self._training.groups])

    def _accumulators(self, value: Any) -> None:
        if not isinstance(self._training.optimizer, torch.optim.Adagrad):
            raise Unsupported("only Adagrad has initial_accumulator_value")
        for slots in self._training.slots.values():
            self._set(slots, "sum", torch.full_like(slots["sum"], float(value)))

    def _other_optimizer(self, name: Any) -> None:
        kind = getattr(torch.optim, str(name), None)
        if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
            raise Unsupported(f"torch.optim has no optimizer {name}")
        undo = self._training.exchange_optimizer(kind)
        self._undo.append(undo)

    def _schedule(self, change: Change) -> None:
        training = self._training
        if training.schedule is None:
            raise Unsupported("build() returns no schedule")
        name, value = change.setting, change.value
        if name in ("unit", "steps_per_epoch"):
            self._set_attribute(training, name, value)
            return
        attributes = training.attributes_of(training.schedule)
        if "_schedulers" in attributes:
            raise Unsupported("a schedule of several cannot be changed")
        if name == "min_lr" and "min_lrs" in attributes:
            name, value = "min_lrs", [value] * len(training.groups)
        elif name == "milestones":
            value = Counter(value)
        if name not in attributes or name.startswith("_"):
            kind = type(training.schedule).__name__
            raise Unsupported(f"{kind} has no attribute {name}")
        self._set(attributes, name, value)
        self._undo.append(training.restart_schedule())

    def _attributes_of(self, callback: Any) -> dict[str, Any]:
        return self._training.attributes_of(callback)

    # Loss and metric

    def _loss(self, change: Change) -> None:
        self._change_component("loss", LOSS_SETTINGS, self.loss, change)

    def _metric(self, change: Change) -> None:
        self._change_component("metric", METRIC_SETTINGS, self.metric, change)

    def _change_component(
        self, key: str, special: Sequence[str], settings: Settings, change: Change
    ) -> None:
        component = self._parts.get(key)
        if component is None:
            raise Unsupported(f"build() returns no {key}")
        name, value = change.setting, change.value
        if name in special:
            check_setting(name, value)
            self._set(settings, name, value)
        elif isinstance(component, nn.Module) and name in component._buffers:
            like = component._buffers[name]
            dtype = torch.get_default_dtype() if like is None else like.dtype
            tensor = None if value is None else torch.tensor(value, dtype=dtype)
            self._set(component._buffers, name, tensor)
        elif hasattr(component, name) and not callable(getattr(component, name)):
            self._set_attribute(component, name, value)
        elif takes_argument(component, name):
            self._set(settings.setdefault("arguments", {}), name, value)
        else:
            raise Unsupported(f"the {key} has no parameter {name}")


def _unsupported(layer: PlacedLayer, setting: str) -> Unsupported:
    kind = type(layer.module).__name__
    return Unsupported(f"the setting {setting} of {layer.path} ({kind}) cannot be changed")
