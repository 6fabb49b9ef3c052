"""One node of an ONNX model at a time, in ONNX Runtime."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper, shape_inference

from ....errors import one_line
from ...observation import Array
from ..adapter import ModelError

LARGEST_ARRAY = 2**30  # bytes that one node may return
# Inputs of at most so many elements may be shapes; the result's shape is then known beforehand.
LONGEST_SHAPE = 64
PROVIDERS = ["CPUExecutionProvider"]

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
            return session.run(list(_outputs(node)), given)
        except ModelError:
            raise
        except Exception as error:  # ONNX Runtime has many, without a common base
            text = str(error).strip().splitlines()
            raise ModelError(
                one_line(f"{self._where}: {node.op_type} ({node.name}): {text[0] if text else ''}")
            ) from None

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
            self._sessions[key] = onnxruntime.InferenceSession(
                content, self._options, providers=PROVIDERS
            )
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
            sizes = [dimension.dim_value for dimension in kind.shape.dim]
            # A size of 0 is either empty or not known.
            if sizes and prod(sizes) * 8 > LARGEST_ARRAY:
                raise ModelError(
                    f"{self._where}: {node.op_type} ({node.name}) would return an array of shape "
                    f"{tuple(sizes)}, which is too large"
                )


def session_options() -> Any:
    """Return options of a session: one thread, errors only as exceptions."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return options


def _outputs(node: Proto) -> list[str]:
    return [name for name in node.output if name]


def _may_be_shape(array: Array) -> bool:
    return array.dtype == np.int64 and array.size <= LONGEST_SHAPE


def _value(name: str, array: Array) -> Proto:
    """Return the type of an array."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, kind, list(array.shape))
