"""The weights of ONNX nodes by their roles in the canonical layout."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...observation import Array, Settings
from .operators import Attributes, attributes_of, windows

Proto = Any
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Role:
    """One weight of a node.

    Attributes
    ----------
    name : str
        The role.
    constant : str
        The name of the array in the model.
    axes : tuple of int
        How its axes are arranged in the canonical layout; empty if they are.
    shape : tuple of int
        Of the canonical array; empty for that of the arranged one.
    """

    name: str
    constant: str
    axes: tuple[int, ...] = ()
    shape: Shape = ()

    def read(self, array: Array) -> Array:
        """Return an array of the model in the canonical layout."""
        arranged = array.transpose(self.axes) if self.axes else array
        return np.array(arranged.reshape(self.shape or arranged.shape), order="C")

    def write(self, canonical: Array, like: Array) -> Array:
        """Return a canonical array as the model has it, in the shape and dtype of another."""
        arranged = canonical
        if self.axes:
            shape = [like.shape[axis] for axis in self.axes]
            arranged = canonical.reshape(shape).transpose(np.argsort(self.axes))
        return np.array(arranged.reshape(like.shape), like.dtype, order="C")


@dataclass(frozen=True)
class Weighted:
    """A node with weights.

    Attributes
    ----------
    kind : str
        The canonical kind.
    roles : tuple of Role
        Its weights.
    settings : dict
        Canonical settings.
    """

    kind: str
    roles: tuple[Role, ...]
    settings: Settings = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class _Given:
    """A node and its constants.

    Attributes
    ----------
    inputs : list of str
        The names of its inputs, empty where one is left out.
    attributes : dict
        Its attributes.
    constants : dict of str to ndarray
        All constants of the model.
    """

    inputs: list[str]
    attributes: Attributes
    constants: Mapping[str, Array]

    def constant(self, place: int) -> Array | None:
        """Return the input at a place if it is a constant."""
        name = self.inputs[place] if place < len(self.inputs) else ""
        return self.constants.get(name) if name else None

    def role(self, name: str, place: int, axes: tuple[int, ...] = (), shape: Shape = ()) -> Role:
        """Return the role of the input at a place."""
        return Role(name, self.inputs[place], axes, shape)

    def bias(self, place: int) -> tuple[Role, ...]:
        """Return the role of a bias, if there is one."""
        return () if self.constant(place) is None else (self.role("bias", place),)


def weighted(node: Proto, constants: Mapping[str, Array]) -> Weighted | None:
    """Return the weights of a node, None if it has none.

    Parameters
    ----------
    node : NodeProto
        The node.
    constants : mapping of str to ndarray
        All arrays that do not depend on the model's inputs.
    """
    describe = _OPERATORS.get(node.op_type)
    if describe is None:
        return None
    return describe(_Given(list(node.input), attributes_of(node), constants))


def _gemm(given: _Given) -> Weighted | None:
    kernel = given.constant(1)
    attributes = given.attributes
    plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
    if kernel is None or kernel.ndim != 2 or attributes.get("transA") or not plain:
        return None
    axes = (1, 0) if attributes.get("transB") else ()
    return Weighted("dense", (given.role("kernel", 1, axes), *_vector_bias(given, 2)))


def _vector_bias(given: _Given, place: int) -> tuple[Role, ...]:
    bias = given.constant(place)
    return given.bias(place) if bias is not None and bias.ndim == 1 else ()


def _matmul(given: _Given) -> Weighted | None:
    kernel = given.constant(1)
    if kernel is None or kernel.ndim != 2:
        return None
    return Weighted("dense", (given.role("kernel", 1),))


def _convolution(given: _Given) -> Weighted | None:
    kernel = given.constant(1)
    if kernel is None:
        return None
    groups = given.attributes.get("group", 1)
    axes = range(2, kernel.ndim)
    settings = _of_windows(given, kernel) | {"groups": groups}
    if groups > 1 and kernel.shape[1] == 1:
        shape = (*kernel.shape[2:], groups, kernel.shape[0] // groups)
        role = given.role("kernel", 1, (*axes, 0, 1), shape)
        return Weighted("depthwise_conv", (role, *given.bias(2)), settings)
    role = given.role("kernel", 1, (*axes, 1, 0))
    return Weighted("conv", (role, *given.bias(2)), settings)


def _of_windows(given: _Given, kernel: Array) -> Settings:
    axes = kernel.ndim - 2
    dilation = list(given.attributes.get("dilations", [1] * axes))
    return windows(given.attributes, axes) | {"dilation": dilation}


def _transposed(given: _Given) -> Weighted | None:
    kernel = given.constant(1)
    if kernel is None:
        return None
    axes = (*range(2, kernel.ndim), 0, 1)
    settings = _of_windows(given, kernel) | {"groups": given.attributes.get("group", 1)}
    return Weighted("conv_transpose", (given.role("kernel", 1, axes), *given.bias(2)), settings)


def _batch_norm(given: _Given) -> Weighted | None:
    names = ("scale", "offset", "mean", "variance")
    if any(given.constant(place) is None for place in range(1, 5)):
        return None
    roles = tuple(given.role(name, place) for place, name in enumerate(names, 1))
    epsilon = float(f"{given.attributes.get('epsilon', 1e-5):.6g}")  # it was kept in float32
    momentum = float(f"{1 - given.attributes.get('momentum', 0.9):.6g}")
    return Weighted("batch_norm", roles, {"epsilon": epsilon, "momentum": momentum})


def _layer_norm(given: _Given) -> Weighted | None:
    if given.constant(1) is None:
        return None
    roles = [given.role("scale", 1)]
    if given.constant(2) is not None:
        roles.append(given.role("offset", 2))
    epsilon = float(f"{given.attributes.get('epsilon', 1e-5):.6g}")
    return Weighted("layer_norm", tuple(roles), {"epsilon": epsilon})


def _rms_norm(given: _Given) -> Weighted | None:
    found = _layer_norm(given)
    return None if found is None else Weighted("rms_norm", found.roles[:1], found.settings)


def _group_norm(given: _Given) -> Weighted | None:
    found = _layer_norm(given)
    if found is None:
        return None
    groups = {"groups": given.attributes["num_groups"]}
    return Weighted("group_norm", found.roles, found.settings | groups)


def _embedding(given: _Given) -> Weighted | None:
    table = given.constant(0)
    if table is None or table.ndim != 2 or given.attributes.get("axis", 0) != 0:
        return None
    return Weighted("embedding", (given.role("embeddings", 0),))


def _prelu(given: _Given) -> Weighted | None:
    slope = given.constant(1)
    if slope is None:
        return None
    return Weighted("prelu", (given.role("slope", 1, (), (slope.size,)),))


_OPERATORS: Mapping[str, Callable[[_Given], Weighted | None]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "GroupNormalization": _group_norm,
    "Gather": _embedding,
    "PRelu": _prelu,
}
