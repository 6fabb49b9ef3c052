"""One side that is an ONNX file; see `triptych.doctor.frameworks.adapter`."""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import onnx
import onnxruntime

from ....core import files
from ....errors import one_line
from ...observation import (
    Array,
    Arrays,
    Change,
    Description,
    Observation,
    Updates,
    inputs_of,
    name_at,
)
from ..adapter import ModelError, Unsupported, UserCalls, check_weights
from ..graph import GraphRun
from ..preprocessing import InputChanges
from .building import Builder
from .execution import Executor
from .reading import OnnxModel

# By the canonical setting, the attribute of a node; what can be changed.
ATTRIBUTES = {"epsilon": "epsilon", "slope": "alpha", "alpha": "alpha"}

Proto = Any


def accepts(model: object) -> bool:
    """Return whether a model is an ONNX file that was read."""
    return isinstance(model, OnnxModel)


class Adapter:
    """An ONNX model: forward in evaluation mode, in the precision of the file.

    Parameters
    ----------
    parts : dict
        ``model``, an `OnnxModel`.
    dtype : str
        ``native``; a file in float32 cannot be had in ``float64``, which the description tells.
    """

    def __init__(self, parts: dict[str, Any], dtype: str) -> None:
        self._model: OnnxModel = parts["model"]
        self._executor = Executor(self._model.proto, str(self._model.path))
        self._constants: Arrays = dict(self._model.constants)
        with files.refusing(self._model.path, "an ONNX model"):
            self._protos = self._fold()
        self._builder: Builder | None = None
        self._inputs = InputChanges()
        self._changed: dict[str, Proto] = {}

    def _fold(self) -> list[Proto]:
        """Compute what does not depend on the inputs; return the other nodes."""
        protos: list[Proto] = []
        given = {each.name for each in self._model.inputs}
        for proto in self._model.proto.graph.node:
            names = [name for name in proto.input if name]
            if any(name in given for name in names):
                protos.append(proto)
                given |= set(proto.output)
                continue
            missing = [name for name in names if name not in self._constants]
            if missing:
                raise ModelError(f"{self._model.path}: no node makes {missing[0]}")
            made = self._executor.run(proto, [self._constants.get(name) for name in proto.input])
            self._constants |= dict(zip([name for name in proto.output if name], made, strict=True))
        return protos

    @property
    def _built(self) -> Builder:
        if self._builder is None:
            raise ModelError(f"{self._model.path}: has no inputs yet")
        return self._builder

    @property
    def _output_names(self) -> list[str]:
        return [each.name for each in self._model.proto.graph.output]

    def description(self) -> Description:
        """Return what this side consists of."""
        kinds = [array.dtype for array in self._constants.values() if array.dtype.kind == "f"]
        dtype = str(max(kinds, key=lambda kind: kind.itemsize)) if kinds else "float32"
        return Description(
            framework="onnx",
            version=f"onnx {onnx.__version__} (onnxruntime {onnxruntime.__version__})",
            model=one_line(self._model.proto.graph.name or self._model.path.name),
            dtype=dtype,
            layers=tuple(each.layer for each in self._built.layers),
            given=("model",),
            evaluation_only="an ONNX file only computes in evaluation mode",
        )

    def inputs(self, batch: Arrays) -> Arrays:
        """Return what the model gets: the arrays of the batch in the dtypes of the file."""
        names = inputs_of(batch)
        declared = self._model.inputs
        if len(names) != len(declared):
            wanted = ", ".join(each.name for each in declared)
            raise ModelError(
                f"{self._model.path}: takes {len(declared)} inputs ({wanted}), the batch has "
                f"{', '.join(names)}"
            )
        arrays = [
            self._as_declared(batch[name], each) for name, each in zip(names, declared, strict=True)
        ]
        inputs = {name_at("input", place): array for place, array in enumerate(arrays)}
        if self._builder is None:
            with files.refusing(self._model.path, "an ONNX model"):
                self._build(inputs)
        return self._inputs.applied(inputs)

    def _as_declared(self, array: Array, declared: Proto) -> Array:
        """Return an array in the dtype and shape of an input.

        Raises
        ------
        ModelError
            If its shape does not fit.
        """
        kind = declared.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        sizes = [each.dim_value or None for each in kind.shape.dim]
        candidates = [array]
        if array.ndim > 2:  # channels last or first
            candidates += [np.moveaxis(array, -1, 1), np.moveaxis(array, 1, -1)]
        for candidate in candidates:
            if _fits(candidate.shape, sizes):
                return np.array(candidate, dtype, order="C")
        text = ", ".join(str(size or "any") for size in sizes)
        advice = ""
        if sizes and sizes[0] and _fits(array.shape[1:], sizes[1:]):
            advice = f"; give a batch of {sizes[0]}, or export it with a batch of any size"
        raise ModelError(
            f"{self._model.path}: its input {declared.name} has the shape ({text}), that of the "
            f"batch is {array.shape}{advice}"
        )

    def _build(self, inputs: Arrays) -> None:
        """Run the model once, and make the nodes with what its values are like."""
        values = self._named(inputs)
        for proto in self._protos:
            given = [values.get(name, self._constants.get(name)) for name in proto.input]
            made = self._executor.run(proto, given)
            values |= dict(zip([name for name in proto.output if name], made, strict=True))
        missing = [name for name in self._output_names if name not in values]
        if missing:
            raise ModelError(f"{self._model.path}: its output {missing[0]} is a constant")
        names = [each.name for each in self._model.inputs]
        self._builder = Builder(
            self._protos, self._constants, values, names, self._output_names, self._run
        )

    def _named(self, inputs: Arrays) -> Arrays:
        """Return inputs by the names that the file has for them."""
        names = [each.name for each in self._model.inputs]
        return dict(zip(names, inputs.values(), strict=True))

    def _run(self, proto: Proto, given: Sequence[Array | None]) -> list[Array]:
        return self._executor.run(self._changed.get(proto.output[0], proto), given)

    def weights(self) -> Arrays:
        """Return all weights and statistics."""
        return {
            f"{each.layer.path}/{role.name}": role.read(self._constants[role.constant])
            for each in self._built.layers
            for role in each.roles
        }

    def framework_weights(self) -> Arrays:
        """Return the initializers by their names in the file."""
        return {name: self._constants[name].copy() for name in self._model.constants}

    def load(self, weights: Arrays) -> None:
        """Set weights, in memory; the file stays as it is."""
        places = {
            f"{each.layer.path}/{role.name}": role
            for each in self._built.layers
            for role in each.roles
        }
        check_weights(weights, {name: array.shape for name, array in self.weights().items()})
        for name, array in weights.items():
            role = places[name]
            self._constants[role.constant] = role.write(array, self._constants[role.constant])

    def observe(
        self,
        inputs: Arrays,
        *,
        training: bool,
        targets: Arrays | None = None,
        forced: Arrays | None = None,
        dropout: bool = False,
    ) -> Observation:
        """Run the model once in evaluation mode."""
        if training:
            self._refuse()
        run = GraphRun(self._built.nodes, forced)
        run.forward(self._named(inputs))
        outputs: Arrays = {}
        for place, name in enumerate(self._output_names):
            array = run.values[name]
            if self._built.channels_first(name) and array.ndim > 2:
                array = np.moveaxis(array, 1, -1)
            outputs[name_at("output", place)] = array
        return run.observation(outputs)

    def change(self, changes: Sequence[Change]) -> None:
        """Apply changes until `restore`."""
        before = (self._inputs, dict(self._changed))
        try:
            for change in changes:
                self._change(change)
        except Unsupported:
            self._inputs, self._changed = before
            raise

    def _change(self, change: Change) -> None:
        if change.target == "preprocess":
            self._inputs = self._inputs.with_change(change)
        elif change.target == "layer" and change.setting in ATTRIBUTES:
            self._change_attribute(change)
        else:
            raise Unsupported(f"{change.setting} of an ONNX file cannot be changed")

    def _change_attribute(self, change: Change) -> None:
        nodes = [node for node in self._built.nodes if node.layer == change.path]
        if not nodes or change.setting not in nodes[0].settings:
            raise Unsupported(f"{change.path} has no setting {change.setting}")
        made = nodes[0].outputs[0]
        proto = next(each for each in self._protos if made in each.output)
        changed = onnx.NodeProto()
        changed.CopyFrom(proto)
        name = ATTRIBUTES[change.setting]
        kept = [each for each in changed.attribute if each.name != name]
        del changed.attribute[:]
        changed.attribute.extend([*kept, onnx.helper.make_attribute(name, float(change.value))])
        self._changed[made] = changed

    def restore(self) -> None:
        """Undo all changes."""
        self._inputs = InputChanges()
        self._changed = {}

    def _refuse(self) -> NoReturn:
        raise Unsupported("an ONNX file only computes in evaluation mode")

    def repeat(self, inputs: Arrays) -> Observation:
        """Run the model in evaluation mode again; nothing in it is random there."""
        return self.observe(inputs, training=False)

    def loss(self, outputs: Arrays, targets: Arrays) -> Arrays:
        """Refuse: a file has no loss."""
        self._refuse()

    def update(self, gradients: Sequence[Arrays]) -> Updates:
        """Refuse: a file has no optimizer."""
        self._refuse()

    def train(self, inputs: Arrays, targets: Arrays, steps: int) -> tuple[Arrays, list[float]]:
        """Refuse: a file is not trained."""
        self._refuse()

    def rates(self, updates: int) -> list[float]:
        """Refuse: a file has no schedule."""
        self._refuse()

    def metric(self, outputs: Arrays, targets: Arrays) -> float:
        """Refuse: a file has no metric."""
        self._refuse()

    def epochs(self, validation_losses: Sequence[float]) -> dict[str, Any]:
        """Refuse: a file has no callbacks."""
        self._refuse()

    def batches(self, batch: Arrays) -> list[Arrays]:
        """Refuse: a file has no batches."""
        self._refuse()

    def separate(self, paths: Sequence[str]) -> None:
        """Refuse: there is nothing to separate."""
        raise Unsupported("an ONNX file has no attention layers that can be separated")

    def user_calls(self, inputs: Arrays, targets: Arrays | None) -> UserCalls:
        """Refuse: it is computed node by node, which takes longer than the whole."""
        raise Unsupported("an ONNX file is not timed")


def _fits(shape: Sequence[int], sizes: Sequence[int | None]) -> bool:
    """Return whether a shape has the sizes that are known."""
    return len(shape) == len(sizes) and all(
        known is None or known == size for size, known in zip(shape, sizes, strict=True)
    )
