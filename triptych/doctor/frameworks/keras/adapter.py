"""One side whose model is a Keras 3 model; see `triptych.doctor.frameworks.adapter`."""

from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src import dtype_policies
from keras.src.backend.common import dtypes, global_state

from ....errors import one_line
from ...observation import (
    Array,
    Arrays,
    Call,
    Change,
    Description,
    Observation,
    Updates,
    inputs_of,
    name_at,
)
from ..adapter import ModelError, Unsupported, UserCalls
from ..numpy_draws import seeded
from . import backend, training
from .changes import Changes
from .model import UserModel, parts_of
from .recorder import Recorder
from .user_calls import user_calls
from .weights import Weight

BUFFERS = {"mean", "variance"}
NAMES = "object_name_uids"
FLOATS = ("float16", "bfloat16", "float32", "float64")

# How many objects of each class Keras had named when the first model of this process was built.
_names_before: dict[str, int] = {}


def accepts(model: object) -> bool:
    """Return whether a model is one of Keras, or a callable that refers to one."""
    if isinstance(model, keras.layers.Layer):
        return True
    if not callable(model):
        return False
    roots, loose = parts_of(model)
    return bool(roots or loose)


@contextmanager
def double_precision() -> Generator[None]:
    """Make new weights and arrays in float64, also where the user's code names another policy."""
    floatx = keras.config.floatx()
    policy = keras.config.dtype_policy()
    get_policy = dtype_policies.get

    def get_double(identifier: Any) -> Any:
        named = get_policy(identifier)
        is_floating = named.variable_dtype in FLOATS and type(named) is keras.DTypePolicy
        return get_policy("float64") if is_floating else named

    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    dtype_policies.get = get_double
    # A loss that was made before casts what it gets to its own dtype.
    dtype_of_loss = keras.losses.Loss.dtype
    keras.losses.Loss.dtype = property(lambda loss: "float64")
    # On PyTorch and JAX Keras computes float64 in float32 where it promotes dtypes itself.
    promoted = dtypes.BIT64_TO_BIT32_DTYPE["float64"]
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    try:
        with backend.double_precision():
            yield
    finally:
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = promoted
        keras.losses.Loss.dtype = dtype_of_loss
        dtype_policies.get = get_policy
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


@contextmanager
def building() -> Generator[None]:
    """Give the layers of every model that is built the names that those of the first one got."""
    names = global_state.get_global_attribute(NAMES, defaultdict(int), set_to_default=True)
    if not _names_before:
        _names_before.update(names, _=0)
    global_state.set_global_attribute(NAMES, defaultdict(int, _names_before))
    try:
        yield
    finally:
        for name, number in global_state.get_global_attribute(NAMES).items():
            names[name] = max(names[name], number)
        global_state.set_global_attribute(NAMES, names)


@dataclass(frozen=True)
class _Computed:
    """Numbers of a forward pass: the loss, what gradients are taken of, and Keras' penalties."""

    loss: Any
    total: Any
    penalty: Any


class Adapter:
    """A Keras model with its loss, optimizer and the rest.

    Parameters
    ----------
    parts : dict
        What ``build()`` returned. What a model was compiled with need not be given.
    dtype : str
        ``native`` or ``float64``.
    """

    def __init__(self, parts: dict[str, Any], dtype: str) -> None:
        self.parts = training.compiled_parts(parts["model"]) | parts
        self.model = UserModel(parts["model"], double=dtype == "float64")
        self.optimization = training.Optimization(self.model, self.parts)
        self._changes = Changes(self.model, self.optimization, self.parts)
        self._calls: tuple[Call, ...] = ()
        self._seed = 0
        self._structure: Any = None  # of what the model has returned the last time

    def description(self) -> Description:
        """Return what this side consists of."""
        return training.describe(self.model, self.parts)

    def inputs(self, batch: Arrays) -> Arrays:
        """Return what the model gets, and build the model with it."""
        arrays = [self.model.cast(batch[name]) for name in inputs_of(batch)]
        preprocess = self.parts.get("preprocess")
        if preprocess is not None:
            result = preprocess(*arrays)
            self.model.structure = keras.tree.map_structure(lambda each: 0, result)
            flat = keras.tree.flatten(result)
            arrays = [self.model.cast(backend.to_numpy(each)) for each in flat]
        inputs = {name_at("input", number): array for number, array in enumerate(arrays)}
        self.model.build(inputs)
        return self._changes.inputs.applied(inputs)

    def weights(self) -> Arrays:
        """Return all weights and buffers."""
        return self.model.weights()

    def framework_weights(self) -> Arrays:
        """Return the variables of the model by their paths."""
        model = self.model.call
        if not isinstance(model, keras.layers.Layer):
            raise Unsupported("the model is a function and has no weights to load")
        return {weight.path: backend.to_numpy(weight) for weight in model.weights}

    def load(self, weights: Arrays) -> None:
        """Set weights and buffers."""
        known = {name: weight for weight in self.model.all_weights for name in weight.names}
        unknown = [name for name in weights if name not in known]
        if unknown:
            raise ModelError(one_line(f"the model has no weight {unknown[0]}"))
        changed = {id(known[name]): known[name] for name in weights}
        for weight in changed.values():
            present = weight.split(backend.to_numpy(weight.variable))
            weight.variable.assign(weight.join(present | weights))

    def separate(self, paths: Sequence[str]) -> None:
        """Show attention layers as the dense layers that they consist of."""
        self.model.separate(paths)

    def observe(
        self,
        inputs: Arrays,
        *,
        training: bool,
        targets: Arrays | None = None,
        forced: Arrays | None = None,
        dropout: bool = False,
    ) -> Observation:
        """Run the model once."""
        with self.model.preserved(), seeded(self._seed):
            with backend.Tape() as tape:
                recorder = Recorder(
                    self.model.instrument,
                    tape,
                    training=training,
                    dropout=dropout,
                    forced=forced,
                    changes=self._changes.functions,
                )
                with recorder.active():
                    result = self.model.run(inputs, training=training)
                self._structure = keras.tree.map_structure(lambda _: 0, result)
                computed = self._computed(recorder, result, targets) if targets else None
            arrays = self._forward_arrays(recorder, keras.tree.flatten(result))
            if training:
                arrays |= self._buffers()
            if computed:
                arrays |= self._backward_arrays(tape, recorder, result, computed)
        self._calls = tuple(sorted(recorder.calls, key=lambda call: call.number))
        return Observation(self._calls, arrays)

    def repeat(self, inputs: Arrays) -> Observation:
        """Run the model in evaluation mode with other random numbers."""
        self._seed = 1  # of NumPy; Keras draws on from where it is
        try:
            return self.observe(inputs, training=False)
        finally:
            self._seed = 0

    def _forward_arrays(self, recorder: Recorder, outputs: list[Any]) -> Arrays:
        arrays = {
            name: recorder.canonical(name, backend.to_numpy(tensor))
            for name, tensor in (recorder.arrived | recorder.made).items()
        }
        for number, output in enumerate(outputs):
            array = backend.to_numpy(output)
            if self.model.double and array.dtype in (np.float16, np.float32):
                raise ModelError(
                    f"the model returns {array.dtype} also where its weights are float64"
                )
            arrays[name_at("output", number)] = array
        return arrays

    def _buffers(self) -> Arrays:
        """Return the running statistics of each BatchNorm."""
        arrays: Arrays = {}
        for leaf in self.model.instrument.leaves:
            for weight in leaf.weights:
                if leaf.described.kind == "batch_norm" and set(weight.roles) <= BUFFERS:
                    values = weight.split(backend.to_numpy(weight.variable).copy())
                    arrays |= {f"buffer/{name}": array for name, array in values.items()}
        return arrays

    def _computed(self, recorder: Recorder, result: Any, targets: Arrays) -> "_Computed":
        """Return the loss, and the number whose gradient is wanted.

        Where anchors are forced nothing propagates from one to the next. One gradient of a sum of
        inner products gives what each layer hands back of its forced gradient.
        """
        loss = self.optimization.loss_of(result, targets)
        total = loss
        for name, tensor in (recorder.made | recorder.arrived).items():
            gradient = recorder.forced.get(f"{name}_gradient")
            if gradient is not None and backend.is_floating(tensor):
                total = total + recorder.product(tensor, name, gradient, loss.dtype)
        penalties = list(self.model.losses)
        return _Computed(loss, total, sum(penalties) if penalties else None)

    def _backward_arrays(
        self, tape: backend.Tape, recorder: Recorder, result: Any, computed: "_Computed"
    ) -> Arrays:
        trained = self.model.trained
        variables = [weight.variable for weight in trained]
        places = {
            name: tensor
            for name, tensor in (recorder.fed | recorder.handed_on).items()
            if backend.is_floating(tensor)
        }
        gradients = tape.gradients(computed.total, variables + list(places.values()))
        penalty = computed.penalty
        arrays: Arrays = {
            "loss": backend.to_numpy(computed.loss),
            "penalty": backend.to_numpy(0.0 if penalty is None else penalty),
        }
        arrays |= _weight_gradients("gradient", trained, gradients[: len(trained)])
        for (name, tensor), gradient in zip(places.items(), gradients[len(trained) :], strict=True):
            arrays[f"{name}_gradient"] = recorder.canonical(name, _dense(gradient, tensor))
        outputs = self._at_outputs(tape, result, computed.loss)
        for number, (output, gradient) in enumerate(outputs):
            arrays[f"{name_at('output', number)}_gradient"] = _dense(gradient, output)
        if penalty is not None:
            gradients = tape.gradients(penalty, variables)
            arrays |= _weight_gradients("penalty_gradient", trained, gradients)
        return arrays

    def _at_outputs(self, tape: backend.Tape, result: Any, loss: Any) -> list[tuple[Any, Any]]:
        """Return each output of the model with its gradient.

        Keras computes a cross-entropy from what goes into a softmax if it knows it; then the
        gradient passes by the model's output, and none is returned for it.
        """
        outputs = keras.tree.flatten(result)
        gradients = tape.gradients(loss, outputs)
        if any(hasattr(output, "_keras_logits") for output in outputs) and any(
            gradient is None for gradient in gradients
        ):
            return []
        return list(zip(outputs, gradients, strict=True))

    def loss(self, outputs: Arrays, targets: Arrays) -> Arrays:
        """Return the user's loss of given outputs, and its gradient."""
        tensors = [backend.to_tensor(self.model.cast(array)) for array in outputs.values()]
        with backend.Tape() as tape:
            tensors = [tape.watch(tensor) for tensor in tensors]
            loss = self.optimization.loss_of(self._packed(tensors), targets)
        gradients = tape.gradients(loss, tensors)
        arrays: Arrays = {"loss": backend.to_numpy(loss)}
        for number, (tensor, gradient) in enumerate(zip(tensors, gradients, strict=True)):
            arrays[f"{name_at('output', number)}_gradient"] = _dense(gradient, tensor)
        return arrays

    def _packed(self, tensors: list[Any]) -> Any:
        """Return tensors as the model has returned its outputs the last time."""
        if len(keras.tree.flatten(self._structure)) == len(tensors) > 1:
            return keras.tree.pack_sequence_as(self._structure, tensors)
        return tensors[0] if len(tensors) == 1 else tensors

    def update(self, gradients: Sequence[Arrays]) -> Updates:
        """Apply gradients one by one with a new optimizer."""
        return self.optimization.update(gradients)

    def train(self, inputs: Arrays, targets: Arrays, steps: int) -> tuple[Arrays, list[float]]:
        """Make training steps without dropout; return weights and losses without penalties."""
        with seeded(self._seed):
            return self.optimization.train(inputs, targets, steps)

    def rates(self, updates: int) -> list[float]:
        """Return the learning rate of each of so many updates."""
        return self.optimization.rates(updates)

    def metric(self, outputs: Arrays, targets: Arrays) -> float:
        """Return the user's metric of given outputs."""
        settings = self._changes.metric
        given, size = self.parts.get("metric"), self.parts.get("batch_size")
        results = [backend.to_tensor(self.model.cast(array)) for array in outputs.values()]
        output = self._packed(results)
        return training.metric(self.model, given, output, targets, settings, size)

    def epochs(self, validation_losses: Sequence[float]) -> dict[str, Any]:
        """Simulate epochs with these validation losses."""
        return self.optimization.epochs(validation_losses)

    def batches(self, batch: Arrays) -> list[Arrays]:
        """Return the batches of one epoch."""
        return training.batches(self.parts, batch)

    def user_calls(self, inputs: Arrays, targets: Arrays | None) -> UserCalls:
        """Return what a user runs again and again."""
        return user_calls(self.optimization, inputs, targets)

    def change(self, changes: Sequence[Change]) -> None:
        """Apply changes until `restore`."""
        self._changes.apply(changes, self._calls)

    def restore(self) -> None:
        """Undo all changes."""
        self._changes.restore()


def _dense(gradient: Any, tensor: Any) -> Array:
    """Return a gradient as an array; zeros where the result does not depend on the tensor."""
    if gradient is None:
        return np.zeros_like(backend.to_numpy(tensor))
    return backend.to_numpy(gradient)


def _weight_gradients(prefix: str, weights: list[Weight], gradients: list[Any]) -> Arrays:
    arrays: Arrays = {}
    for weight, gradient in zip(weights, gradients, strict=True):
        parts = weight.split(_dense(gradient, weight.variable))
        arrays |= {f"{prefix}/{name}": part for name, part in parts.items()}
    return arrays
