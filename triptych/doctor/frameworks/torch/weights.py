"""The weights of PyTorch's layers by their canonical roles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import nn

from ...observation import Array
from .layout import to_array

# PyTorch stacks the gates of a GRU as reset, update, new; canonical is update, reset, new.
GRU_BLOCKS = (1, 0, 2)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
STATISTICS = {"running_mean": "mean", "running_var": "variance"}
NORMALISATIONS = {
    nn.LayerNorm: "layer_norm",
    nn.GroupNorm: "group_norm",
    nn.RMSNorm: "rms_norm",
}
RECURRENT = {nn.RNN: "rnn", nn.LSTM: "lstm", nn.GRU: "gru"}
CELLS = {nn.RNNCell: "rnn", nn.LSTMCell: "lstm", nn.GRUCell: "gru"}


@dataclass(frozen=True)
class Role:
    """A weight of a layer and where it is in the module.

    Attributes
    ----------
    name : str
        The canonical role.
    attribute : str
        The parameter or buffer, for example ``out_proj.weight``.
    rows : tuple of int
        The first and the last row (exclusive) that belong to the role; empty for all.
    blocks : tuple of int
        For each canonical gate, its place among PyTorch's; empty if the order is the same.
    axes : tuple of int
        The transposition to the canonical layout; empty for none.
    shape : tuple of int
        The canonical shape, where it is not that of the transposed tensor; empty otherwise.
    """

    name: str
    attribute: str
    rows: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()

    def tensor(self, module: Any) -> torch.Tensor:
        """Return the parameter or buffer that contains the role."""
        return attrgetter(self.attribute)(module)

    def read(self, tensor: torch.Tensor) -> Array:
        """Return the role's part of the parameter, or of its gradient, as a canonical array."""
        array = to_array(tensor)
        if self.rows:
            array = array[slice(*self.rows)]
        if self.blocks:
            parts = np.split(array, len(self.blocks))
            array = np.concatenate([parts[block] for block in self.blocks])
        if self.axes:
            array = array.transpose(self.axes)
        return np.array(array.reshape(self.shape or array.shape), order="C")

    def write(self, tensor: torch.Tensor, array: Array) -> None:
        """Set the role's part of the parameter, or of its gradient, to a canonical array."""
        part = tensor[slice(*self.rows)] if self.rows else tensor
        shape = [part.shape[axis] for axis in self.axes] if self.axes else list(part.shape)
        array = np.asarray(array).reshape(shape)
        if self.axes:
            array = array.transpose(np.argsort(self.axes))
        if self.blocks:
            parts = np.split(array, len(self.blocks))
            array = np.concatenate([parts[place] for place in np.argsort(self.blocks)])
        with torch.no_grad():
            part.copy_(torch.from_numpy(np.array(array, order="C")))


def kind_and_roles(module: nn.Module, index: int = 0) -> tuple[str, tuple[Role, ...]]:
    """Return the canonical kind of a module with weights, and its roles.

    Parameters
    ----------
    module : Module
        Any module; only its own weights count, except for attention.
    index : int
        The layer of a recurrent module with several layers.

    Returns
    -------
    tuple
        The kind, empty if the module has no weights, and the roles.
    """
    kind, roles = _known(module, index)
    names = {name for name, _ in module.named_parameters(recurse=False)}
    expected = {role.attribute for role in roles}
    if isinstance(module, nn.RNNBase) and (module.num_layers == 1 or computes_as_its_base(module)):
        expected |= names  # of the other layers
    if names <= expected and not nn.utils.parametrize.is_parametrized(module):
        return kind, roles
    # Further weights, or weights that are computed of others, as with weight_norm.
    return "other", _by_name(module)


def computes_as_its_base(module: nn.Module) -> bool:
    """Return whether a module has the forward pass of PyTorch's class."""
    return type(module).forward.__module__.startswith("torch.nn.")


def _by_name(module: nn.Module) -> tuple[Role, ...]:
    names = [name for name, _ in module.named_parameters(recurse=False)]
    if nn.utils.parametrize.is_parametrized(module):
        names += [name for name, _ in module.named_parameters() if name not in names]
    if names:
        names += [
            name
            for name, buffer in module.named_buffers(recurse=False)
            if buffer.is_floating_point()
        ]
    return tuple(Role(name.replace("/", "."), name) for name in names)


def _known(module: nn.Module, index: int) -> tuple[str, tuple[Role, ...]]:
    for base in type(module).__mro__:
        if base in _ROLES:
            return _ROLES[base](module, index)
    roles = _by_name(module)
    return ("other" if roles else ""), roles


def _bias(module: Any) -> tuple[Role, ...]:
    return () if module.bias is None else (Role("bias", "bias"),)


def _dense(module: Any, index: int) -> tuple[str, tuple[Role, ...]]:
    return "dense", (Role("kernel", "weight", axes=(1, 0)), *_bias(module))


def convolution_roles(module: Any, index: int) -> tuple[str, tuple[Role, ...]]:
    """Return the kind and the roles of a convolution; the index is not used."""
    spatial = range(2, module.weight.ndim)
    if module.groups == module.in_channels > 1:
        multiplier = module.out_channels // module.in_channels
        kernel = Role(
            "kernel",
            "weight",
            axes=(*spatial, 0, 1),
            shape=(*module.weight.shape[2:], module.in_channels, multiplier),
        )
        return "depthwise_conv", (kernel, *_bias(module))
    return "conv", (Role("kernel", "weight", axes=(*spatial, 1, 0)), *_bias(module))


def _transposed(module: Any, index: int) -> tuple[str, tuple[Role, ...]]:
    spatial = range(2, module.weight.ndim)
    return "conv_transpose", (Role("kernel", "weight", axes=(*spatial, 0, 1)), *_bias(module))


def _embedding(module: Any, index: int) -> tuple[str, tuple[Role, ...]]:
    return "embedding", (Role("embeddings", "weight"),)


def _prelu(module: Any, index: int) -> tuple[str, tuple[Role, ...]]:
    return "prelu", (Role("slope", "weight"),)


def _with_statistics(module: Any, index: int) -> tuple[str, tuple[Role, ...]]:
    kind = "batch_norm" if isinstance(module, BATCH_NORMS) else "instance_norm"
    roles = scale_and_offset(module)
    if isinstance(module, INSTANCE_NORMS) and module.running_mean is None:
        kind = "group_norm"  # with a group for each channel, as it is written in Keras
    if module.running_mean is not None:
        roles += tuple(Role(role, attribute) for attribute, role in STATISTICS.items())
    return kind, roles


def _normalisation(module: Any, index: int) -> tuple[str, tuple[Role, ...]]:
    kind = next(kind for base, kind in NORMALISATIONS.items() if isinstance(module, base))
    return kind, scale_and_offset(module)


def scale_and_offset(module: Any) -> tuple[Role, ...]:
    """Return the roles of the scale and the offset that a normalisation has."""
    axes: tuple[int, ...] = ()
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 3:
        axes = (1, 2, 0)  # of images with channels first
    pairs = (("scale", "weight"), ("offset", "bias"))
    return tuple(
        Role(role, attribute, axes=axes)
        for role, attribute in pairs
        if getattr(module, attribute, None) is not None
    )


def _recurrent(module: Any, index: int) -> tuple[str, tuple[Role, ...]]:
    kind = next(kind for base, kind in RECURRENT.items() if isinstance(module, base))
    roles = _recurrent_roles(module, kind, f"_l{index}")
    if module.bidirectional:
        roles += _recurrent_roles(module, kind, f"_l{index}_reverse", "reverse_")
    return kind, roles


def _cell(module: Any, index: int) -> tuple[str, tuple[Role, ...]]:
    kind = next(kind for base, kind in CELLS.items() if isinstance(module, base))
    return kind, _recurrent_roles(module, kind, "")


def _recurrent_roles(module: Any, kind: str, suffix: str, prefix: str = "") -> tuple[Role, ...]:
    blocks = GRU_BLOCKS if kind == "gru" else ()
    parts: Sequence[tuple[str, str, tuple[int, ...]]] = (
        ("kernel", "weight_ih", (1, 0)),
        ("recurrent_kernel", "weight_hh", (1, 0)),
        ("bias", "bias_ih", ()),
        ("recurrent_bias", "bias_hh", ()),
    )
    roles = [
        Role(prefix + role, attribute + suffix, blocks=blocks, axes=axes)
        for role, attribute, axes in parts
        if getattr(module, attribute + suffix, None) is not None
    ]
    if hasattr(module, f"weight_hr{suffix}"):
        roles.append(Role(f"{prefix}projection_kernel", f"weight_hr{suffix}", axes=(1, 0)))
    return tuple(roles)


def _attention(module: Any, index: int) -> tuple[str, tuple[Role, ...]]:
    size = module.embed_dim
    roles: list[Role] = []
    for place, name in enumerate(("query", "key", "value")):
        rows = (place * size, (place + 1) * size)
        if module.in_proj_weight is None:
            roles.append(Role(f"{name}_kernel", f"{name[0]}_proj_weight", axes=(1, 0)))
        else:
            roles.append(Role(f"{name}_kernel", "in_proj_weight", rows=rows, axes=(1, 0)))
        if module.in_proj_bias is not None:
            roles.append(Role(f"{name}_bias", "in_proj_bias", rows=rows))
    roles.append(Role("output_kernel", "out_proj.weight", axes=(1, 0)))
    if module.out_proj.bias is not None:
        roles.append(Role("output_bias", "out_proj.bias"))
    further = ("bias_k", "bias_v")
    roles += [Role(name, name) for name in further if getattr(module, name) is not None]
    return "attention", tuple(roles)


_ROLES: dict[type, Callable[[Any, int], tuple[str, tuple[Role, ...]]]] = {
    nn.Linear: _dense,
    nn.Embedding: _embedding,
    nn.EmbeddingBag: _embedding,
    nn.PReLU: _prelu,
    nn.MultiheadAttention: _attention,
    **dict.fromkeys(CONVOLUTIONS, convolution_roles),
    **dict.fromkeys(TRANSPOSED, _transposed),
    **dict.fromkeys(BATCH_NORMS + INSTANCE_NORMS, _with_statistics),
    **dict.fromkeys(NORMALISATIONS, _normalisation),
    **dict.fromkeys(RECURRENT, _recurrent),
    **dict.fromkeys(CELLS, _cell),
}
