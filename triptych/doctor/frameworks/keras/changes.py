"""Changes of one side that are tried; see `Changes`."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from keras import layers, ops

from ...observation import Call, Change, Settings
from .. import changes
from ..adapter import Unsupported
from . import loss as losses
from .activations import PARAMETERS, describe_activation, is_linear, make_activation
from .changed_layers import (
    convolve_padded,
    cut_transposed,
    flatten_channels_first,
    in_mode,
    like,
    other_axes,
    pool_padded,
    resize_corners,
    unbiased_variance,
)
from .functions import check_change
from .instrument import mask_operations
from .layers import (
    CONVOLUTIONS,
    DEPTHWISE,
    PADDINGS,
    RECURRENT,
    SEPARABLE,
    TRANSPOSED,
    UPSAMPLINGS,
    Leaf,
)
from .model import UserModel
from .training import Optimization

# By canonical setting and class, the attribute of the layer.
ATTRIBUTES: dict[str, tuple[tuple[Any, str], ...]] = {
    "epsilon": (
        (
            (
                layers.BatchNormalization,
                layers.LayerNormalization,
                layers.GroupNormalization,
                layers.RMSNormalization,
            ),
            "epsilon",
        ),
    ),
    "groups": ((layers.GroupNormalization, "groups"),),
    "strides": (((*CONVOLUTIONS, *DEPTHWISE, *SEPARABLE), "strides"),),
    "dilation": (((*CONVOLUTIONS, *DEPTHWISE, *SEPARABLE), "dilation_rate"),),
    "slope": (((layers.LeakyReLU, layers.ReLU), "negative_slope"),),
    "alpha": ((layers.ELU, "alpha"),),
    "axis": (((layers.Softmax, layers.Concatenate), "axis"),),
    "rate": ((layers.GaussianNoise, "stddev"), (layers.MultiHeadAttention, "_dropout")),
    "scale": ((layers.Rescaling, "scale"),),
    "offset": ((layers.Rescaling, "offset"),),
    "interpolation": (((layers.Resizing, layers.UpSampling2D), "interpolation"),),
    "antialias": ((layers.Resizing, "antialias"),),
    "max_value": ((layers.ReLU, "max_value"),),
    "threshold": ((layers.ReLU, "threshold"),),
}


class Changes(changes.Changes):
    """The changes of a Keras side that are in force; further targets are those of the base class.

    ============  ==================================================================================
    target        settings
    ============  ==================================================================================
    layer         the canonical settings that Keras' layer has as an attribute; ``padding`` as
                  [before, after] for each axis, ``"same"``, ``"valid"``; ``count_padding``; of a
                  layer with an activation, and of an activation, ``function``: a name or a dict
                  with further settings, ``"linear"`` for none, and ``slope``, ``alpha``,
                  ``approximate``, ``axis`` of the one that it has; of a BatchNorm ``momentum`` and
                  ``unbiased_variance``: True; of a flatten ``order``: ``"channels_first"``; of a
                  recurrent or attention layer ``batch_first``: False; of a recurrent layer
                  ``reverse``, and names for ``activation`` and ``recurrent_activation``; of a GRU
                  without biases ``reset_after``; of an embedding ``padding_index``: 0 for a mask;
                  of an upsampling ``align_corners``: True; of any layer ``training``, whether it
                  is in training mode, and ``frozen``
    function      by the number of the call in the last observation: the canonical settings of its
                  arguments, ``function`` and ``order`` as above, ``active``: False for a dropout;
                  ``function``, ``axis`` and ``unbiased`` of a reduction; ``then``, the settings of
                  an activation or a rescaling of what it returns
    optimizer     its parameters, by Keras' names; ``type``, the name of another optimizer of
                  Keras, which gets the parameters that both have
    loss          its parameters; ``type``, the name of another loss class of Keras; ``wrap``, what
                  the output goes through before: ``"softmax"``, ``"log_softmax"``, ``"sigmoid"``,
                  ``"log"``, ``"logit"``, or ``"probabilities"``, which is ``log`` or ``logit`` as
                  the loss needs; ``squeeze``: True gives the output the shape of the targets;
                  ``clip``: limits the output to [value, 1 - value]; ``scale``: a factor
    schedule      its parameters; ``unit``: ``"epoch"`` advances it once per epoch;
                  ``steps_per_epoch``
    metric        its parameters; ``wrap`` and ``squeeze`` as of the loss
    ============  ==================================================================================

    Attributes
    ----------
    functions : dict of int to dict
        Settings of functions by the number of their call; the same object as `Optimization` has.
    """

    def __init__(self, model: UserModel, optimization: Optimization, parts: dict[str, Any]) -> None:
        super().__init__(parts, optimization.callbacks)
        self._model = model
        self._optimization = optimization
        self._pools: dict[str, Settings] = {}
        self.functions = optimization.functions
        self._special: dict[str, Callable[[Leaf, Any], None]] = {
            "momentum": self._momentum,
            "unbiased_variance": self._variance,
            "padding": self._padding,
            "count_padding": self._count_padding,
            "size": self._pool_attribute("pool_size"),
            "function": self._function_of,
            "approximate": self._argument("approximate"),
            "order": self._order,
            "batch_first": self._batch_first,
            "reverse": self._reverse,
            "activation": self._cell_activation("activation"),
            "recurrent_activation": self._cell_activation("recurrent_activation"),
            "reset_after": self._reset_after,
            "padding_index": self._padding_index,
            "align_corners": self._align_corners,
            "training": self._mode,
            "active": self._mode,
            "frozen": self._frozen,
        }

    # Layers. Attributes are set past Keras, which tracks what is assigned.

    def _layer(self, change: Change) -> None:
        leaves = self._model.instrument.leaves
        leaf = next((each for each in leaves if each.described.path == change.path), None)
        if leaf is None or not leaf.called:
            raise Unsupported(f"there is no layer {change.path}")
        name, value = change.setting, change.value
        for classes, attribute in ATTRIBUTES.get(name, ()):
            if isinstance(leaf.layer, classes):
                self._attribute(leaf, attribute, value)
                return
        if name == "rate" and leaf.described.kind == "dropout":
            self._attribute(leaf, "rate", value)
        elif name == "strides" and leaf.described.kind == "pool":
            self._pool_attribute(name)(leaf, value)
        elif name in self._special:
            self._special[name](leaf, value)
        elif name in PARAMETERS.values():
            self._argument(name)(leaf, value)
        else:
            raise _unsupported(leaf, name)

    def _attribute(self, leaf: Leaf, attribute: str, value: Any) -> None:
        if isinstance(value, list):
            value = tuple(value)
        self._set(vars(leaf.layer), attribute, value)

    def _replace_call(self, leaf: Leaf, call: Any) -> None:
        self._set(vars(leaf.layer), "call", call)

    def _momentum(self, leaf: Leaf, value: Any) -> None:
        self._need(leaf, "momentum", layers.BatchNormalization)
        self._attribute(leaf, "momentum", 1 - value)

    def _need(self, leaf: Leaf, setting: str, classes: Any) -> None:
        if not isinstance(leaf.layer, classes):
            raise _unsupported(leaf, setting)

    def _variance(self, leaf: Leaf, value: Any) -> None:
        self._need(leaf, "unbiased_variance", layers.BatchNormalization)
        if value:
            self._replace_call(leaf, unbiased_variance(leaf.layer, leaf.layer.call))

    def _padding(self, leaf: Leaf, value: Any) -> None:
        layer = leaf.layer
        if isinstance(layer, SEPARABLE):
            self._attribute(leaf, "padding", value)
        elif isinstance(layer, (*CONVOLUTIONS, *DEPTHWISE)):
            self._replace_call(leaf, convolve_padded(layer, layer.call, value))
            self._attribute(leaf, "padding", "valid")
        elif isinstance(layer, TRANSPOSED) and not isinstance(value, str):
            self._replace_call(leaf, cut_transposed(layer, layer.call, value))
            self._attribute(leaf, "padding", "valid")
            self._attribute(leaf, "output_padding", None)
        elif leaf.described.kind == "pool" and hasattr(layer, "padding"):
            self._pool(leaf, padding=value)
        elif isinstance(layer, PADDINGS):
            pairs = tuple(tuple(pair) for pair in value)
            one = isinstance(layer, layers.ZeroPadding1D)
            self._attribute(leaf, "padding", pairs[0] if one else pairs)
        else:
            raise _unsupported(leaf, "padding")

    def _count_padding(self, leaf: Leaf, value: Any) -> None:
        if leaf.described.kind != "pool" or getattr(leaf.layer, "pool_mode", "") != "average":
            raise _unsupported(leaf, "count_padding")
        self._pool(leaf, count_padding=bool(value))

    def _pool(self, leaf: Leaf, **changed: Any) -> None:
        layer = leaf.layer
        present = {"padding": layer.padding, "count_padding": False, "call": layer.call}
        settings = present | self._pools.get(leaf.described.path, {}) | changed
        self._set(self._pools, leaf.described.path, settings)
        original = settings.pop("call")
        self._replace_call(leaf, pool_padded(layer, original, **settings))
        settings["call"] = original
        self._attribute(leaf, "padding", "valid")

    def _pool_attribute(self, attribute: str) -> Callable[[Leaf, Any], None]:
        def change(leaf: Leaf, value: Any) -> None:
            if leaf.described.kind != "pool" or not hasattr(leaf.layer, attribute):
                raise _unsupported(leaf, attribute)
            self._attribute(leaf, attribute, value)

        return change

    def _function_of(self, leaf: Leaf, value: Any) -> None:
        function = make_activation(value)
        if "activation" in vars(leaf.layer):
            self._attribute(leaf, "activation", function)
        elif leaf.described.kind in ("activation", "prelu"):
            original = leaf.layer.call
            call = like(original, lambda inputs, *args, **kwargs: function(inputs))
            self._replace_call(leaf, call)
        else:
            raise _unsupported(leaf, "function")

    def _argument(self, setting: str) -> Callable[[Leaf, Any], None]:
        """Return what changes one setting of the activation that a layer has."""

        def change(leaf: Leaf, value: Any) -> None:
            function = vars(leaf.layer).get("activation")
            if function is None or is_linear(function) or isinstance(function, layers.Layer):
                raise _unsupported(leaf, setting)
            _, settings = describe_activation(function)
            self._attribute(leaf, "activation", make_activation(settings | {setting: value}))

        return change

    def _order(self, leaf: Leaf, value: Any) -> None:
        self._need(leaf, "order", layers.Flatten)
        if value != "channels_first":
            raise _unsupported(leaf, "order")
        self._replace_call(leaf, flatten_channels_first(leaf.layer.call))

    def _batch_first(self, leaf: Leaf, value: Any) -> None:
        self._need(leaf, "batch_first", (*RECURRENT, layers.MultiHeadAttention))
        if not value:
            self._replace_call(leaf, other_axes(leaf.layer.call))

    def _reverse(self, leaf: Leaf, value: Any) -> None:
        self._need(leaf, "reverse", layers.RNN)
        self._attribute(leaf, "go_backwards", bool(value))

    def _cell_activation(self, attribute: str) -> Callable[[Leaf, Any], None]:
        def change(leaf: Leaf, value: Any) -> None:
            for cell in self._cells(leaf, attribute):
                self._set(vars(cell), attribute, make_activation(value))

        return change

    def _cells(self, leaf: Leaf, setting: str) -> list[Any]:
        """Return the cells of a recurrent layer, which must have a setting as an attribute."""
        self._need(leaf, setting, RECURRENT)
        parts = [leaf.layer]
        if isinstance(leaf.layer, layers.Bidirectional):
            parts = [leaf.layer.forward_layer, leaf.layer.backward_layer]
        cells = [part.cell for part in parts]
        if not all(setting in vars(cell) for cell in cells):
            raise _unsupported(leaf, setting)
        return cells

    def _reset_after(self, leaf: Leaf, value: Any) -> None:
        for cell in self._cells(leaf, "reset_after"):
            if cell.use_bias:
                raise _unsupported(leaf, "reset_after")  # its biases have another shape then
            self._set(vars(cell), "reset_after", bool(value))

    def _padding_index(self, leaf: Leaf, value: Any) -> None:
        self._need(leaf, "padding_index", layers.Embedding)
        if value not in (0, None):
            raise _unsupported(leaf, "padding_index")
        self._attribute(leaf, "mask_zero", value == 0)
        self._attribute(leaf, "_supports_masking", value == 0)
        if value is not None:
            return
        # A functional model computes the mask apart from the layer.
        for operation in mask_operations(leaf.layer):
            self._set(vars(operation), "call", _all_shown(operation.call))

    def _align_corners(self, leaf: Leaf, value: Any) -> None:
        self._need(leaf, "align_corners", UPSAMPLINGS)
        if value:
            self._replace_call(leaf, resize_corners(leaf.layer, leaf.layer.call))

    def _mode(self, leaf: Leaf, value: Any) -> None:
        if "training" not in inspect.signature(leaf.layer.call).parameters:
            raise _unsupported(leaf, "training")
        self._replace_call(leaf, in_mode(leaf.layer.call, bool(value)))

    def _frozen(self, leaf: Leaf, value: Any) -> None:
        layer = leaf.layer
        before = layer.trainable
        layer.trainable = not value
        self._undo.append(lambda: setattr(layer, "trainable", before))

    # Functions

    def _function(self, call: Call, change: Change) -> None:
        check_change(call, change.setting)
        before = self.functions.get(call.number, {})
        settings: Settings = {change.setting: change.value}
        if call.kind in ("rescaling", "reduction") and change.setting != "then":
            settings = {call.kind: call.settings | before.get(call.kind, {}) | settings}
        elif change.setting == "function":
            make_activation(change.value)
        self._set(self.functions, call.number, before | settings)

    # Optimizer, schedule and callbacks

    def _optimizer(self, change: Change) -> None:
        optimization = self._optimization
        if optimization.optimizer is None:
            raise Unsupported("build() returns no optimizer")
        optimization.check_setting(change.setting, change.value)
        self._set(optimization.optimizer_settings, change.setting, change.value)

    def _schedule(self, change: Change) -> None:
        optimization = self._optimization
        schedule = optimization.schedule
        if schedule is None:
            raise Unsupported("build() returns no schedule")
        known = change.setting in ("unit", "steps_per_epoch")
        if not known and not losses.has_parameter(schedule, change.setting):
            raise Unsupported(f"{type(schedule).__name__} has no parameter {change.setting}")
        self._set(optimization.schedule_settings, change.setting, change.value)

    def _attributes_of(self, callback: Any) -> dict[str, Any]:
        return vars(callback)

    # Loss and metric

    def _loss(self, change: Change) -> None:
        settings = self._optimization.loss_settings
        self._change_component("loss", losses.LOSS_SETTINGS, settings, change)

    def _metric(self, change: Change) -> None:
        self._change_component("metric", losses.METRIC_SETTINGS, self.metric, change)

    def _change_component(
        self, key: str, special: Sequence[str], settings: Settings, change: Change
    ) -> None:
        component = self._parts.get(key)
        if component is None:
            raise Unsupported(f"build() returns no {key}")
        name, value = change.setting, change.value
        if name in special:
            losses.check_setting(name, value)
            self._set(settings, name, value)
        elif losses.has_parameter(component, name):
            self._set(settings.setdefault("arguments", {}), name, value)
        else:
            raise Unsupported(f"the {key} has no parameter {name}")


def _all_shown(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return what makes a mask that hides nothing."""
    return like(original, lambda *args: ops.ones_like(original(*args)))


def _unsupported(leaf: Leaf, setting: str) -> Unsupported:
    described = leaf.described
    return Unsupported(
        f"the setting {setting} of {described.path} ({described.type}) cannot be changed"
    )
