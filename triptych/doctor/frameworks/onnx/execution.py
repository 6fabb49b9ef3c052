"""One node of an ONNX model at a time, in ONNX Runtime."""

from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime
import psutil
from onnx import helper, numpy_helper, shape_inference

from ....core.onnx_session import processor_session
from ....errors import one_line
from ...observation import Array
from ..adapter import ModelError

LARGEST_ARRAY = 2**30  # bytes that one node may return
LARGEST_NUMBER = 8  # bytes
# Inputs of at most so many elements may be shapes; the result's shape is then known beforehand.
LONGEST_SHAPE = 64

Proto = Any


class Executor:
    """Runs nodes; the sessions are kept for arrays of the same shapes.

    Parameters
    ----------
    proto : ModelProto
        The model; its version and its sets of operators are used.
    where : str
        The file, for messages.
    """

    def __init__(self, proto: Proto, where: str) -> None:
        self._proto = proto
        self._where = where
        self._options = session_options()
        self._sessions: dict[Any, Any] = {}

    def run(self, node: Proto, inputs: Sequence[Array | None]) -> list[Array]:
        """Return the outputs of a node.

        Parameters
        ----------
        node : NodeProto
            The node.
        inputs : sequence of ndarray or None
            One for each of its inputs; None for those that are left out.

        Raises
        ------
        ModelError
            If it cannot be computed, or would return too large an array.
        """
        given = {
            name: array
            for name, array in zip(node.input, inputs, strict=True)
            if name and array is not None
        }
        try:
            session = self._session(node, given)
            made = session.run(list(_outputs(node)), given)
        except ModelError:
            raise
        except Exception as error:  # ONNX Runtime has many, without a common base
            raise ModelError(self._about(node, _reason(error))) from None
        for array in made:
            if not isinstance(array, np.ndarray):
                raise ModelError(self._about(node, "returns something else than arrays"))
            self._check_shape(node, array.shape)
        return made

    def _about(self, node: Proto, text: str) -> str:
        return one_line(f"{self._where}: {node.op_type} ({one_line(node.name, 60)}) {text}")

    def _check_shape(self, node: Proto, shape: Sequence[int]) -> None:
        """Raise an error if a result of this shape is too large; 0 is a size that is not known."""
        if shape and prod(shape) * LARGEST_NUMBER > LARGEST_ARRAY:
            text = f"would return an array of shape {tuple(shape)}, which is too large"
            raise ModelError(self._about(node, text))

    def _session(self, node: Proto, given: dict[str, Array]) -> Any:
        shapes = tuple((name, array.shape, array.dtype.str) for name, array in given.items())
        small = tuple(array.tobytes() for array in given.values() if _may_be_shape(array))
        key = (id(node), shapes, small)
        if key not in self._sessions:
            self._check_size(node, given)
            graph = helper.make_graph(
                [node],
                "node",
                [_value(name, array) for name, array in given.items()],
                [onnx.ValueInfoProto(name=name) for name in _outputs(node)],
            )
            content = self._model(graph).SerializeToString()
            self._sessions[key] = processor_session(content, self._options)
        return self._sessions[key]

    def _model(self, graph: Proto) -> Proto:
        return helper.make_model(
            graph,
            ir_version=self._proto.ir_version,
            opset_imports=list(self._proto.opset_import),
        )

    def _check_size(self, node: Proto, given: dict[str, Array]) -> None:
        """Raise an error if the shape of a result, as far as it is known, is too large."""
        shapes = [
            numpy_helper.from_array(array, name)
            for name, array in given.items()
            if _may_be_shape(array)
        ]
        graph = helper.make_graph(
            [node],
            "node",
            [_value(name, array) for name, array in given.items() if not _may_be_shape(array)],
            [onnx.ValueInfoProto(name=name) for name in _outputs(node)],
            shapes,
        )
        inferred = shape_inference.infer_shapes(self._model(graph), data_prop=True)
        for output in inferred.graph.output:
            kind = output.type.tensor_type
            self._check_shape(node, [dimension.dim_value for dimension in kind.shape.dim])


def session_options() -> Any:
    """Return options of a session: one thread, errors only as exceptions, bounded memory."""
    _bound_memory()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return options


@cache
def _bound_memory() -> None:
    """Let what all nodes in this process return and need take half of the memory at most.

    The shape of a result may depend on the numbers that a node is given.
    """
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    limits = {
        "max_mem": psutil.virtual_memory().total // 2,
        "arena_extend_strategy": 1,  # by as much as is needed, not by powers of two
        "initial_chunk_size_bytes": -1,
        "max_dead_bytes_per_chunk": -1,
    }
    arena = onnxruntime.OrtArenaCfg(limits)
    onnxruntime.create_and_register_allocator(memory, arena)


def _reason(error: Exception) -> str:
    """Return the first line of an error of ONNX Runtime."""
    text = str(error).strip()
    if "bfc_arena" in text or "bad allocation" in text or "bad_alloc" in text:
        return "needs more memory than half of this machine's"
    return f"cannot be computed: {text.splitlines()[0] if text else type(error).__name__}"


def _outputs(node: Proto) -> list[str]:
    return [name for name in node.output if name]


def _may_be_shape(array: Array) -> bool:
    return array.dtype == np.int64 and array.size <= LONGEST_SHAPE


def _value(name: str, array: Array) -> Proto:
    """Return the type of an array."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, kind, list(array.shape))
