"""Reading an ONNX file that may come from anybody."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import inliner, numpy_helper

from ....core import files
from ....errors import TriptychError
from ...observation import Array

MOST_NODES = 20_000
# Of the operators that ONNX and ONNX Runtime define; others would need foreign code.
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})

Proto = Any  # a message of the protocol buffers, whose fields have no static types


@dataclass(frozen=True)
class OnnxModel:
    """A model that was read.

    Attributes
    ----------
    path : Path
        The file.
    proto : ModelProto
        The checked model; functions that it defines itself are inlined.
    constants : dict of str to ndarray
        Its initializers by name.
    """

    path: Path
    proto: Proto
    constants: dict[str, Array]

    @property
    def inputs(self) -> list[Proto]:
        """What the model must be given, without the initializers."""
        return [each for each in self.proto.graph.input if each.name not in self.constants]


def read(path: Path) -> OnnxModel:
    """Read a file.

    Raises
    ------
    TriptychError
        If it is damaged or too large, keeps weights in other files, has control flow, or needs
        operators that are not ONNX's.
    """
    with files.refusing(path, "an ONNX model"):
        proto: Proto = onnx.load_model_from_string(files.read_bytes(path))
        if not proto.graph.node:
            raise TriptychError("it has no nodes")
        _check_graph(proto.graph)
        for function in proto.functions:
            _check_graph(function)
        _check_domains(proto)
        onnx.checker.check_model(proto)
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
            _check_graph(proto.graph)
        constants = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    return OnnxModel(path, proto, constants)


def _check_graph(graph: Proto) -> None:
    """Raise an error for what is not read, before anything is checked that may follow a path."""
    if len(graph.node) > MOST_NODES:
        raise TriptychError(f"it has {len(graph.node):,} nodes, more than {MOST_NODES:,}")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise TriptychError(
                    f"its node {node.op_type} runs a graph of its own; control flow cannot be "
                    "observed"
                )
    for tensor in _tensors(graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise TriptychError(
                "its weights are in other files, which are not read; save it as one file: "
                "onnx.save(onnx.load(path), 'whole.onnx')"
            )
    if getattr(graph, "sparse_initializer", ()):
        raise TriptychError("it has sparse weights")


def _tensors(graph: Proto) -> Iterator[Proto]:
    yield from getattr(graph, "initializer", ())
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_domains(proto: Proto) -> None:
    nodes = [*proto.graph.node, *(node for each in proto.functions for node in each.node)]
    own = {function.domain for function in proto.functions}
    foreign = sorted({node.domain for node in nodes} - DOMAINS - own)
    if foreign:
        raise TriptychError(
            f"it needs operators of {foreign[0]!r}, which ONNX Runtime does not have itself"
        )
