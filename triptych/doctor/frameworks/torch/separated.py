"""An attention layer as the four dense layers that it consists of, and the attention between them.

So it can be compared with a model whose user has written the projections as layers of their own.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..adapter import Unsupported
from .model import PlacedLayer

PROJECTIONS = ("query", "key", "value", "output")


def separated(layers: Sequence[PlacedLayer], path: str) -> list[PlacedLayer]:
    """Return the layers of a model, with the projections of one attention layer in its place.

    Parameters
    ----------
    layers : sequence of PlacedLayer
        All layers.
    path : str
        The path of the attention layer.

    Raises
    ------
    Unsupported
        If there is no such layer, or if it has more than its projections.
    """
    result: list[PlacedLayer] = []
    for layer in layers:
        wanted = layer.path == path and layer.kind == "attention"
        result += _projections(layer) if wanted else [layer]
    if len(result) == len(layers):
        raise Unsupported(f"there is no attention layer {path}")
    return result


def _projections(layer: PlacedLayer) -> list[PlacedLayer]:
    module = layer.module
    if module.bias_k is not None or module.add_zero_attn:
        raise Unsupported(f"{layer.path} consists of more than four dense layers")
    parts: list[PlacedLayer] = []
    for name in PROJECTIONS:
        roles = tuple(
            replace(role, name=role.name.removeprefix(f"{name}_"))
            for role in layer.roles
            if role.name.startswith(f"{name}_")
        )
        parts.append(replace(layer, path=f"{layer.path}.{name}", kind="dense", roles=roles))
    return parts


def projection(layer: PlacedLayer) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function of one of the dense layers."""
    tensors: dict[str, torch.Tensor] = {}
    for role in layer.roles:
        tensor = role.tensor(layer.module)
        tensors[role.name] = tensor[slice(*role.rows)] if role.rows else tensor

    def forward(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, tensors["kernel"], tensors.get("bias"))

    return forward


class SeparatedCall:
    """A call of `MultiheadAttention` (Vaswani et al. 2017), part by part.

    Parameters
    ----------
    module : MultiheadAttention
        The layer.
    args, kwargs : tuple, dict
        What the user's model passes.

    Attributes
    ----------
    inputs : list of Tensor
        Query, key and value.
    """

    def __init__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._module = module
        bound = inspect.signature(nn.MultiheadAttention.forward).bind(module, *args, **kwargs)
        bound.apply_defaults()
        self._arguments = bound.arguments
        self.inputs = [self._arguments[name] for name in ("query", "key", "value")]
        if self.inputs[0].ndim != 3:
            raise Unsupported("attention without an axis of the batch cannot be separated")

    def attend(
        self, projections: Sequence[torch.Tensor], *, dropout: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return what goes into the last projection, and the attention weights if wanted.

        Parameters
        ----------
        projections : sequence of Tensor
            Query, key and value after their projections, in the layout of the inputs.
        dropout : bool
            Whether weights are dropped in training mode.
        """
        module = self._module
        query, key, value = (self._by_head(each) for each in projections)
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        for mask in self._masks(*scores.shape[:2]):
            scores = scores + mask.to(scores.dtype)
        weights = scores.softmax(-1)
        if dropout:
            weights = nn.functional.dropout(weights, module.dropout, module.training)
        made = (weights @ value).transpose(1, 2).flatten(2)
        made = made if module.batch_first else made.transpose(0, 1)
        if not self._arguments["need_weights"]:
            return made, None
        return made, weights.mean(1) if self._arguments["average_attn_weights"] else weights

    def _by_head(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return (batch, heads, time, features of a head)."""
        batch_first = tensor if self._module.batch_first else tensor.transpose(0, 1)
        heads = self._module.num_heads
        return batch_first.unflatten(-1, (heads, -1)).transpose(1, 2)

    def _masks(self, batch: int, heads: int) -> list[torch.Tensor]:
        """Return what is added to the scores."""
        masks: list[torch.Tensor] = []
        padding, mask = self._arguments["key_padding_mask"], self._arguments["attn_mask"]
        if padding is not None:
            masks.append(_added(padding)[:, None, None, :])
        if mask is not None:
            shape = (batch, heads) if mask.ndim == 3 else (1, 1)
            masks.append(_added(mask).reshape(*shape, *mask.shape[-2:]))
        return masks


def _added(mask: torch.Tensor) -> torch.Tensor:
    """Return a mask as numbers that are added; True hides a position."""
    if mask.dtype != torch.bool:
        return mask
    hidden = torch.zeros(mask.shape, device=mask.device)
    return hidden.masked_fill(mask, -torch.inf)
