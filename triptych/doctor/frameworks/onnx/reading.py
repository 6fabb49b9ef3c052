"""Reading an ONNX file that may come from anybody."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import inliner, numpy_helper

from ....core import files
from ....errors import TriptychError, one_line
from ...observation import Array

MOST_NODES = 20_000
MOST_CALLERS = 50  # of functions that the file defines, one in another
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
        proto.ClearField("training_info")  # graphs that are not run
        if not proto.graph.node:
            raise TriptychError("it has no nodes")
        for each in (proto.graph, *proto.functions):
            _check_graph(each)
        _check_domains(proto)
        _check_length(proto)
        onnx.checker.check_model(proto)
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
            _check_graph(proto.graph)
        constants = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
        model = OnnxModel(path, proto, constants)
        for each in model.inputs:
            _check_input(each)
    return model


def _check_input(declared: Proto) -> None:
    """Raise an error unless an input is a tensor of numbers."""
    kind = declared.type.tensor_type.elem_type  # 0 if it is no tensor
    known = kind in onnx.helper.get_all_tensor_dtypes()
    if not known or onnx.helper.tensor_dtype_to_np_dtype(kind).kind not in "fiub":
        raise TriptychError(f"its input {one_line(declared.name, 60)} is no array of numbers")


def _check_graph(graph: Proto) -> None:
    """Raise an error for what is not read, before anything is checked that may follow a path."""
    if len(graph.node) > MOST_NODES:
        raise TriptychError(f"it has {len(graph.node):,} nodes, more than {MOST_NODES:,}")
    if any(isinstance(name, bytes) for name in _names(graph)):  # protobuf could not decode it
        raise TriptychError("a name in it is not UTF-8")
    for node, attribute in _attributes(graph):
        if attribute.HasField("g") or attribute.graphs:
            raise TriptychError(
                f"its node {one_line(node, 60)} runs a graph of its own; control flow cannot be "
                "observed"
            )
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            raise TriptychError(f"its node {one_line(node, 60)} has sparse constants")
    for tensor in _tensors(graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise TriptychError(
                "its weights are in other files, which are not read; save it as one file: "
                "onnx.save(onnx.load(path), 'whole.onnx')"
            )
    if getattr(graph, "sparse_initializer", ()):
        raise TriptychError("it has sparse weights")


def _names(graph: Proto) -> Iterator[str | bytes]:
    """Yield the names of a graph's or function's nodes, and of what goes in and out of them."""
    for tensor in getattr(graph, "initializer", ()):
        yield tensor.name
    for node in graph.node:
        yield node.name
        yield from node.input
        yield from node.output


def _attributes(graph: Proto) -> Iterator[tuple[str, Proto]]:
    """Yield the attributes of a graph or function, each with the operator of its node."""
    for node in graph.node:
        for attribute in node.attribute:
            yield node.op_type, attribute
    for attribute in getattr(graph, "attribute_proto", ()):  # what a function takes by default
        yield graph.name, attribute


def _tensors(graph: Proto) -> Iterator[Proto]:
    yield from getattr(graph, "initializer", ())
    for _, attribute in _attributes(graph):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors


def _check_length(proto: Proto) -> None:
    """Raise an error if there are too many nodes after functions are put in place of their calls.

    Each of a few functions that call the next one twice doubles the number.
    """
    functions = {_key(each): each for each in proto.functions}
    lengths: dict[tuple[str, ...], int] = {}

    def length(nodes: Iterable[Proto], callers: tuple[tuple[str, ...], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type, node.overload)
            if key in callers:
                raise TriptychError(f"its function {one_line(node.op_type, 60)} calls itself")
            if key in functions and key not in lengths:
                if len(callers) >= MOST_CALLERS:
                    raise TriptychError(f"more than {MOST_CALLERS} functions call one another")
                lengths[key] = length(functions[key].node, (*callers, key))
            total += lengths.get(key, 1)
        return total

    nodes = length(proto.graph.node, ())
    if nodes > MOST_NODES:
        raise TriptychError(f"it has {nodes:,} nodes with its functions, more than {MOST_NODES:,}")


def _key(function: Proto) -> tuple[str, ...]:
    return function.domain, function.name, function.overload


def _check_domains(proto: Proto) -> None:
    nodes = [*proto.graph.node, *(node for each in proto.functions for node in each.node)]
    own = {function.domain for function in proto.functions}
    foreign = sorted({node.domain for node in nodes} - DOMAINS - own)
    if foreign:
        raise TriptychError(
            f"it needs operators of {one_line(foreign[0], 60)!r}, which ONNX Runtime does not have "
            "itself"
        )
