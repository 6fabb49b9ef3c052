"""The nodes of an ONNX model as nodes of `triptych.doctor.frameworks.graph`."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....errors import one_line
from ...observation import Array, Arrays, Layer
from ..graph import Node, Pullback, Values
from .operators import UNSEEN, attributes_of, kind_and_settings
from .weights import Role, Weighted, weighted

Proto = Any
# Takes the proto of a node and its inputs, None for those that are left out.
Run = Callable[[Proto, Sequence[Array | None]], list[Array]]

# They take and return their channels as the second axis.
CHANNELS_FIRST = frozenset(
    {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"}
    | {"BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "PRelu"}
    | {"DepthToSpace", "SpaceToDepth", "LpPool", "GlobalLpPool", "MaxUnpool"}
)
# After them it is not known where the channels are.
MIXING = frozenset({"Transpose", "Reshape", "Flatten", "MatMul", "Gemm", "Gather", "Einsum"})
BIASED = ("dense", "conv", "depthwise_conv", "conv_transpose")


@dataclass(frozen=True)
class Placed:
    """A layer of the model.

    Attributes
    ----------
    layer : Layer
        As plain values.
    roles : tuple of Role
        Its weights.
    """

    layer: Layer
    roles: tuple[Role, ...]


class Builder:
    """Makes the nodes of a model whose values were computed once.

    Parameters
    ----------
    protos : sequence of NodeProto
        The nodes that depend on the inputs, in the order of execution.
    constants : dict of str to ndarray
        All other arrays; the operations read them when they run.
    values : dict of str to ndarray
        All values of an example.
    inputs, outputs : sequence of str
        The names of the model's inputs and outputs.
    run : callable
        Computes one node.
    """

    def __init__(
        self,
        protos: Sequence[Proto],
        constants: Arrays,
        values: Arrays,
        inputs: Sequence[str],
        outputs: Sequence[str],
        run: Run,
    ) -> None:
        self._protos = protos
        self._constants = constants
        self._values = values
        self._run = run
        self._outputs = set(outputs)
        self._uses = Counter(name for proto in protos for name in proto.input)
        self._first = self._channels_first(inputs)
        self._paths: Counter[str] = Counter()
        self.layers: list[Placed] = []
        self.nodes = list(self._nodes())

    def channels_first(self, name: str) -> bool:
        """Return whether a value has its channels as the second axis."""
        return self._first.get(name, False)

    def _nodes(self) -> Iterable[Node]:
        joined: set[int] = set()
        for place, proto in enumerate(self._protos):
            if place in joined:
                continue
            found = weighted(proto, self._constants)
            steps = [proto]
            if found is not None and found.kind in BIASED:
                bias = self._bias_after(place, found)
                if bias is not None:
                    joined.add(bias[0])
                    steps.append(self._protos[bias[0]])
                    found = replace(found, roles=(*found.roles, bias[1]))
            yield self._anchor(steps, found) if found else self._other(proto)

    def _bias_after(self, place: int, found: Weighted) -> tuple[int, Role] | None:
        """Return the place of the addition of a bias to what a node makes, and its role."""
        result = self._protos[place].output[0]
        known = {role.name for role in found.roles}
        if "bias" in known or self._uses[result] != 1 or result in self._outputs:
            return None
        user = next(n for n, proto in enumerate(self._protos) if result in proto.input)
        proto = self._protos[user]
        other = next((name for name in proto.input if name != result), "")
        bias = self._constants.get(other)
        if proto.op_type != "Add" or bias is None:
            return None
        axis = -1 if found.kind == "dense" else 1 - self._values[result].ndim
        features = self._values[result].shape[axis]
        shape = np.ones(max(bias.ndim, -axis), int)
        shape[axis] = features
        if bias.size != features or tuple(shape[-bias.ndim :]) != bias.shape:
            return None
        return user, Role("bias", other, (), (features,))

    def _anchor(self, steps: list[Proto], found: Weighted) -> Node:
        first = steps[0]
        path = self._path(first, found)
        roles = tuple(role.name for role in found.roles)
        layer = Layer(path, first.op_type, found.kind, dict(found.settings), {}, roles)
        self.layers.append(Placed(layer, found.roles))
        node = self._node(steps, path, found.kind)
        spatial = found.kind not in ("dense", "embedding", "layer_norm", "rms_norm")
        return replace(node, settings=found.settings, anchor=True, channels_first=spatial)

    def _other(self, proto: Proto) -> Node:
        """Return a node without weights."""
        dynamic = self._dynamic([proto])
        shapes = [self._values[name].shape for name in dynamic]
        result = self._values[proto.output[0]]
        first = bool(dynamic) and self.channels_first(dynamic[0])
        kind, settings = kind_and_settings(proto, shapes, result.shape, first)
        node = self._node([proto], "", kind)
        floating = np.issubdtype(result.dtype, np.floating)
        return replace(node, settings=settings, seen=floating and proto.op_type not in UNSEEN)

    def _node(self, steps: list[Proto], path: str, kind: str) -> Node:
        outputs = tuple(name for name in steps[-1].output if name in self._values)
        dynamic = self._dynamic(steps)

        def operation(inputs: Values) -> tuple[Values, Pullback | None]:
            known = dict(zip(dynamic, inputs, strict=True))
            for proto in steps:
                given = [known.get(name, self._constants.get(name)) for name in proto.input]
                named = [name for name in proto.output if name]
                known |= dict(zip(named, self._run(proto, given), strict=True))
            return [known[name] for name in outputs], None

        return Node(
            layer=path,
            name=steps[0].op_type,
            kind=kind,
            inputs=dynamic,
            outputs=outputs,
            operation=operation,
            channels_first=self.channels_first(outputs[0]),
        )

    def _dynamic(self, steps: Sequence[Proto]) -> tuple[str, ...]:
        """Return the inputs that are no constants, each once."""
        made = {name for proto in steps for name in proto.output}
        names = [name for proto in steps for name in proto.input]
        dynamic = [
            name for name in names if name and name not in self._constants and name not in made
        ]
        return tuple(dict.fromkeys(dynamic))

    def _path(self, proto: Proto, found: Weighted) -> str:
        """Return a name of a layer: what the names of its weights begin with, or its node's."""
        name = found.roles[0].constant
        separator = max(name.rfind("."), name.rfind("/"))
        if separator > 0 and "::" not in name:
            path = name[:separator]
        else:
            parts = [part for part in proto.name.split("/") if part]
            path = ".".join(parts[:-1] or parts) or proto.op_type
        path = one_line(path)
        self._paths[path] += 1
        return path if self._paths[path] == 1 else f"{path}_{self._paths[path]}"

    def _channels_first(self, inputs: Sequence[str]) -> dict[str, bool]:
        first = {name: self._leads_to_channels_first(name) for name in inputs}
        for proto in self._protos:
            before = any(first.get(name, False) for name in proto.input)
            after = self._after(proto, before)
            first |= {name: after and self._rank(name) > 2 for name in proto.output if name}
        return first

    def _after(self, proto: Proto, before: bool) -> bool:
        """Return whether what a node makes has its channels first."""
        if proto.op_type in CHANNELS_FIRST:
            return True
        if proto.op_type == "Transpose":
            rank = self._rank(proto.output[0])
            order = attributes_of(proto).get("perm", list(range(rank))[::-1])
            return rank > 2 and order[1] == (1 if before else rank - 1)
        if proto.op_type == "Reshape":
            shapes = [self._values[name].shape for name in (proto.input[0], proto.output[0])]
            return before and shapes[0][:2] == shapes[1][:2]
        return before and proto.op_type not in MIXING

    def _rank(self, name: str) -> int:
        return self._values[name].ndim if name in self._values else 0

    def _leads_to_channels_first(self, name: str) -> bool:
        """Return whether an input reaches a convolution or pool with its axes as they are."""
        waiting = [name]
        seen: set[str] = set()
        while waiting:
            value = waiting.pop()
            seen.add(value)
            for proto in self._protos:
                if value not in proto.input:
                    continue
                if proto.op_type in CHANNELS_FIRST:
                    return True
                if proto.op_type not in MIXING:
                    waiting += [each for each in proto.output if each not in seen]
        return False
