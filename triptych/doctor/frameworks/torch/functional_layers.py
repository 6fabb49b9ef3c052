"""Layers that a user writes as functions of weights that no layer of PyTorch holds.

A model such as ``lambda x: torch.relu(x @ w1 + b1) @ w2 + b2`` has the layers ``w1`` and ``w2``.
Which they are is seen when the model runs for the first time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ...observation import Settings
from .functions import TRANSPOSITIONS, FunctionCall, function_call
from .layer_call import LayerCall
from .model import PlacedLayer
from .operations import ATTRIBUTES, translated
from .weights import Role, convolution_roles, scale_and_offset

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")


@dataclass
class Use:
    """A call that computes a layer.

    Attributes
    ----------
    kind : str
        The canonical kind.
    source : Tensor
        What goes in.
    holder : SimpleNamespace
        The weights, as attributes ``weight`` and ``bias``.
    roles : tuple of Role
        Their roles.
    settings : dict
        Canonical settings.
    """

    kind: str
    source: torch.Tensor
    holder: SimpleNamespace
    roles: tuple[Role, ...]
    settings: Settings = field(default_factory=dict[str, Any])


class LooseWeights:
    """The weights that no layer of PyTorch holds, and the calls that compute layers of them.

    Parameters
    ----------
    names : dict of int to str
        The path of each weight by the id of its tensor.
    """

    def __init__(self, names: dict[int, str]) -> None:
        self.names = names
        # Transposed weights are held, so that no other tensor gets their id.
        self._transposed: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def note_transposition(self, call: FunctionCall, result: Any) -> None:
        """Remember that a tensor is a weight with its two axes exchanged."""
        if call.name in TRANSPOSITIONS and call.tensors and isinstance(result, torch.Tensor):
            source = call.tensors[0]
            if id(source) in self.names and source.ndim == 2 and result.shape == source.T.shape:
                self._transposed[id(result)] = (result, source)

    def use(self, call: FunctionCall) -> Use | None:
        """Return which layer a call computes; None if it is another function."""
        if not self.names or not call.tensors:
            return None
        if call.name in ("matmul", "mm", "linear", "addmm"):
            return self._dense(call)
        if call.name in CONVOLUTIONS:
            return self._convolution(call)
        if call.name in ("embedding", "getitem"):
            return self._embedding(call)
        if call.name in ("layer_norm", "batch_norm"):
            return self._normalisation(call)
        return None

    def _weight(self, value: Any) -> torch.Tensor | None:
        return value if id(value) in self.names else None

    def _dense(self, call: FunctionCall) -> Use | None:
        args = list(call.args)
        bias = None
        if call.name == "addmm":
            bias = self._weight(args.pop(0))
        if len(args) < 2 or not isinstance(args[1], torch.Tensor):
            return None
        transposed = self._transposed.get(id(args[1]))
        weight = transposed[1] if transposed else self._weight(args[1])
        if weight is None or weight.ndim != 2 or (call.name == "addmm" and bias is None):
            return None
        if call.name == "linear":
            bias = args[2] if len(args) > 2 else call.kwargs.get("bias")
        # F.linear transposes its weight; a transposed weight is as `Linear` has it.
        axes = (1, 0) if bool(transposed) != (call.name == "linear") else ()
        holder = SimpleNamespace(weight=weight, bias=bias)
        return Use("dense", args[0], holder, (Role("kernel", "weight", axes=axes), *_bias(bias)))

    def _convolution(self, call: FunctionCall) -> Use | None:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = dict(zip(names, call.args, strict=False)) | call.kwargs
        weight = self._weight(given.get("weight"))
        if weight is None:
            return None
        groups = given.get("groups", 1)
        holder = SimpleNamespace(
            weight=weight,
            bias=given.get("bias"),
            groups=groups,
            in_channels=weight.shape[1] * groups,
            out_channels=weight.shape[0],
        )
        kind, roles = convolution_roles(holder, 0)
        raw = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | given
        raw = {name: raw[name] for name in ATTRIBUTES["conv"] if name in raw}
        settings, _ = translated(raw, weight.ndim - 2)
        return Use(kind, given["input"], holder, roles, settings)

    def _embedding(self, call: FunctionCall) -> Use | None:
        ids, weight = call.args[:2] if call.name == "embedding" else call.args[1::-1]
        weight = self._weight(weight)
        if weight is None or not isinstance(ids, torch.Tensor) or ids.dtype == torch.bool:
            return None
        if ids.is_floating_point():
            return None
        holder = SimpleNamespace(weight=weight, bias=None)
        return Use("embedding", ids, holder, (Role("embeddings", "weight"),))

    def _normalisation(self, call: FunctionCall) -> Use | None:
        weight = self._weight(call.raw.get("weight"))
        if weight is None:
            return None
        holder = SimpleNamespace(weight=weight, bias=self._weight(call.raw.get("bias")))
        settings = {"epsilon": call.raw["eps"]}
        return Use(call.name, call.args[0], holder, scale_and_offset(holder), settings)


def _bias(bias: Any) -> tuple[Role, ...]:
    return () if bias is None else (Role("bias", "bias"),)


def path_of(layer: PlacedLayer, role: Role) -> str:
    """Return the path of a weight that no layer holds."""
    if role.attribute == "value":
        return layer.path
    return role.attribute if layer.is_root else f"{layer.path}.{role.attribute}"


class FunctionLayerCall(LayerCall):
    """A call of a function that computes a layer: only what goes in is an input.

    Parameters
    ----------
    use : Use
        The call.
    forward : callable
        The function.
    args, kwargs : tuple, dict
        Its arguments.
    """

    def __init__(
        self,
        use: Use,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._source = use.source
        super().__init__(None, forward, args, kwargs)

    def _arguments(self) -> Any:
        return [self._source]


class Discoverer(TorchFunctionMode):
    """Finds out which functions of loose weights are layers, while the model runs.

    Parameters
    ----------
    layers : list of PlacedLayer
        All layers of the model.
    """

    def __init__(self, layers: list[PlacedLayer]) -> None:
        super().__init__()
        self._layers = layers
        names = {
            id(role.tensor(layer.module)): path_of(layer, role)
            for layer in layers
            for role in layer.roles
            if not layer.leaf
        }
        self._loose = LooseWeights(names)
        self._uses: dict[int, Use] = {}
        # The results of products, to which a bias may be added.
        self._products: dict[int, tuple[Any, Use]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call a function and note the layer that it computes."""
        call = function_call(func, args, kwargs or {})
        result = func(*args, **call.kwargs)
        self._loose.note_transposition(call, result)
        use = self._loose.use(call)
        if use:
            use = self._uses.setdefault(id(use.holder.weight), use)
            if use.kind == "dense" and use.holder.bias is None:
                self._products[id(result)] = (result, use)
        elif call.name == "add" and len(call.tensors) == 2:
            self._note_bias(*call.tensors)
        return result

    def _note_bias(self, product: torch.Tensor, bias: torch.Tensor) -> None:
        if id(bias) in self._products:
            product, bias = bias, product
        known = self._products.get(id(product))
        if known and id(bias) in self._loose.names and bias.shape == product.shape[-1:]:
            use = known[1]
            use.holder.bias = bias
            use.roles = (*use.roles, Role("bias", "bias"))

    def layers(self) -> list[PlacedLayer]:
        """Return all layers: those with roles that are left, and those that were found."""
        found = [
            PlacedLayer(
                self._loose.names[weight],
                use.holder,
                use.kind,
                use.roles,
                leaf=False,
                functional=True,
                settings=use.settings,
            )
            for weight, use in self._uses.items()
        ]
        taken = {id(role.tensor(layer.module)) for layer in found for role in layer.roles}
        left: list[PlacedLayer] = []
        for layer in self._layers:
            roles = tuple(
                role
                for role in layer.roles
                if layer.leaf or id(role.tensor(layer.module)) not in taken
            )
            if roles or not layer.roles:
                left.append(layer.with_roles(roles))
        return [*found, *left]
