"""What the stages share: both sides, how they are aligned, and what was observed of them.

Side A is the reference. It is only observed, so that it may be a recorded trace; everything that is
tried out is tried on side B, which is fed with what A has.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .bounds import Bounds
from .carrying import (
    Carriage,
    Carried,
    InputForm,
    Order,
    carry_to_a,
    carry_to_b,
    in_padded_shape,
    in_shape,
    last_step,
)
from .code_lines import side_names
from .findings import Acquittal, Finding
from .frameworks.adapter import ModelError
from .observation import (
    CONVOLUTIONS,
    RECURRENT,
    Arrays,
    Change,
    Description,
    Layer,
    Observation,
    Updates,
    array_names,
)


class Side(Protocol):
    """What the reference must answer; see `triptych.doctor.frameworks.adapter.Adapter`.

    Attributes
    ----------
    name : str
        ``A`` or ``B``.
    is_recorded : bool
        Whether it is a trace, which tells what was recorded and nothing else.
    """

    name: str
    is_recorded: bool

    def description(self, dtype: str = "native") -> Description: ...  # noqa: D102

    def inputs(self, batch: Arrays, dtype: str = "native") -> Arrays: ...  # noqa: D102

    def weights(self, dtype: str = "native") -> Arrays: ...  # noqa: D102

    def load(self, weights: Arrays, dtype: str = "native") -> None: ...  # noqa: D102

    def separate(self, paths: Sequence[str], dtype: str = "native") -> None: ...  # noqa: D102

    def observe(  # noqa: D102
        self,
        inputs: Arrays,
        *,
        training: bool,
        targets: Arrays | None = None,
        forced: Arrays | None = None,
        dropout: bool = False,
        dtype: str = "native",
    ) -> Observation: ...

    def loss(self, outputs: Arrays, targets: Arrays, dtype: str = "native") -> Arrays: ...  # noqa: D102

    def update(self, gradients: Sequence[Arrays], dtype: str = "native") -> Updates: ...  # noqa: D102

    def train(  # noqa: D102
        self, inputs: Arrays, targets: Arrays, steps: int, dtype: str = "native"
    ) -> tuple[Arrays, list[float]]: ...

    def rates(self, updates: int, dtype: str = "native") -> list[float]: ...  # noqa: D102

    def metric(self, outputs: Arrays, targets: Arrays, dtype: str = "native") -> float: ...  # noqa: D102

    def epochs(  # noqa: D102
        self, validation_losses: Iterable[float], dtype: str = "native"
    ) -> dict[str, Any]: ...

    def batches(self, batch: Arrays, dtype: str = "native") -> list[Arrays]: ...  # noqa: D102

    def lost(self, *, training: bool) -> dict[str, float]: ...  # noqa: D102

    def changeable(self) -> "ChangeableSide | None": ...  # noqa: D102


class Recording(Protocol):
    """What a side tells that was recorded and cannot be run again, in place of being run.

    Attributes
    ----------
    other_weights : bool
        Whether it was recorded with other weights than the reference.
    not_told : str
        Why the runs of both sides are not compared to their end; empty if they are.
    """

    other_weights: bool

    @property
    def not_told(self) -> str: ...  # noqa: D102

    def measure(self, reference: Mapping[bool, Mapping[str, float]]) -> None: ...  # noqa: D102

    def is_measured(self, dtype: str) -> bool: ...  # noqa: D102

    def bounds(self, arrays: Iterable[str], dtype: str, *, training: bool) -> Bounds: ...  # noqa: D102

    def own_updates(self, dtype: str) -> tuple[list[Arrays], Updates]: ...  # noqa: D102


class ChangeableSide(Side, Protocol):
    """What the other side must answer besides, because everything is tried out on it."""

    def recording(self) -> Recording | None: ...  # noqa: D102

    def framework_weights(self, dtype: str = "native") -> Arrays: ...  # noqa: D102

    def change(self, changes: Sequence[Change], dtype: str = "native") -> None: ...  # noqa: D102

    def restore(self, dtype: str = "native") -> None: ...  # noqa: D102


def is_double(side: Side, batch: Arrays) -> bool:
    """Return whether a side can be built in double precision."""
    try:
        side.inputs(batch, "float64")  # some models are built by their first call
        return side.description("float64").dtype == "float64"
    except ModelError:
        return False


@dataclass(frozen=True)
class Pair:
    """A layer with weights of A and its counterpart in B.

    Attributes
    ----------
    a, b : Layer
        The layers.
    a_calls, b_calls : tuple of int
        The numbers of their calls, in evaluation mode; as many on both sides.
    note : str
        What differs in the form and is accounted for, for example that B's kernel rows are in
        another order because it flattens channels first; otherwise empty.
    carried : bool
        Whether A's weights fit into B's layer.
    input_order, output_order : tuple of int or None
        Where features are numbered in another way: feature k that B takes or returns is feature
        ``order[k]`` of A.
    """

    a: Layer
    b: Layer
    a_calls: tuple[int, ...]
    b_calls: tuple[int, ...]
    note: str = ""
    carried: bool = True
    input_order: Order | None = None
    output_order: Order | None = None

    @property
    def paths(self) -> dict[str, str | None]:
        """The paths of both layers, as `Finding.layer`."""
        return {"a": self.a.path, "b": self.b.path}

    def order_of(self, part: str) -> Order | None:
        """Return how the features of a part, such as ``output``, are numbered."""
        return self.input_order if part.startswith("input") else self.output_order


@dataclass(frozen=True)
class Alignment:
    """Which layers of the two sides belong together, and how arrays are carried over.

    Attributes
    ----------
    pairs : tuple of Pair
        In the order of execution in A.
    inputs : dict of str to InputForm
        How each model input of A becomes one of B.
    carriages : tuple of Carriage
        How each weight of A becomes one of B.
    b_shapes : dict of str to tuple of int
        The shapes of what B's anchors take and return in evaluation mode, by ``NUMBER/PART``.
    findings : tuple of Finding
        Structural differences: another layer, another width, a missing bias.
    complete : bool
        Whether all parameters of a function have a counterpart, if a side is one.
    outputs : dict of str to str
        By each output of A the one of B that belongs to it, where their order is another one.
    """

    pairs: tuple[Pair, ...]
    inputs: Mapping[str, InputForm]
    carriages: tuple[Carriage, ...]
    b_shapes: Mapping[str, tuple[int, ...]]
    findings: tuple[Finding, ...] = ()
    complete: bool = True
    outputs: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def called(self) -> tuple[Pair, ...]:
        """The pairs of layers that the models call; others only have weights."""
        return tuple(pair for pair in self.pairs if pair.b_calls)

    def inputs_to_b(self, inputs: Arrays) -> Arrays:
        """Return A's model inputs as B's model gets them: axes in B's order."""
        return {
            name: self.inputs[name].to_b(array) if name in self.inputs else array
            for name, array in inputs.items()
        }

    def outputs_to_b(self, outputs: Arrays) -> Arrays:
        """Return A's model outputs with the names of B's."""
        return {self.outputs.get(name, name): array for name, array in outputs.items()}

    def weights_to_b(self, weights: Arrays) -> Arrays:
        """Return A's weights, gradients or slots by ``PATH/ROLE`` with B's names and shapes.

        What has no counterpart is left out.
        """
        return carry_to_b(self.carriages, weights)

    def weights_to_a(self, weights: Arrays) -> Arrays:
        """Return B's weights, gradients or slots with A's names and shapes."""
        return carry_to_a(self.carriages, weights)

    def forced(self, observation: Observation) -> Arrays:
        """Return what B's anchors are forced to.

        Parameters
        ----------
        observation : Observation
            Of A.

        Returns
        -------
        dict of str to ndarray
            ``NUMBER/input`` and ``NUMBER/output``, and their gradients if A has them, with B's
            numbers and in B's form. What cannot be brought into B's form is left out.
        """
        numbers = observation.numbers
        result: Arrays = {}
        for pair in self.pairs:
            calls = zip(numbers.get(pair.a.path, ()), pair.b_calls, strict=False)
            for a_number, b_number in calls if pair.carried else ():
                parts = array_names(observation.arrays, str(a_number))
                padding = observation.calls[a_number].settings.get("padding")
                result |= self._to_b(pair, b_number, parts, padding)
        return result

    def parts_to_b(self, pair: Pair, number: int, parts: Arrays) -> Arrays:
        """Return what a layer of A takes and returns with B's features, in whatever shape.

        Parameters
        ----------
        pair : Pair
            The layer.
        number : int
            Of B's call.
        parts : dict of str to ndarray
            ``input``, ``output``, … of a call of A.
        """
        # Where one side returns the last step of a sequence, the hidden state is the same.
        if pair.b.kind in RECURRENT:
            parts = last_step(parts, self._shapes(number))
        result: Arrays = {}
        for name, array in parts.items():
            order = pair.order_of(name)
            result[name] = array if order is None else np.take(array, order, -1)
        return result

    def _to_b(self, pair: Pair, number: int, parts: Arrays, padding: Any) -> Arrays:
        """Return the parts of one call of A, which pads so, as those of a call of B."""
        shapes = self._shapes(number)
        result: Arrays = {}
        for name, array in self.parts_to_b(pair, number, parts).items():
            part = name.removesuffix("_gradient")
            converted = in_shape(array, shapes[part]) if part in shapes else None
            pads = name == "input" and name in shapes and pair.b.kind in CONVOLUTIONS
            if converted is None and pads:
                b_padding = pair.b.settings.get("padding")
                converted = in_padded_shape(array, shapes[name], padding, b_padding)
            if converted is not None:
                result[f"{number}/{name}"] = converted
        return result

    def _shapes(self, number: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what a call of B takes and returns."""
        start = f"{number}/"
        return {
            name.removeprefix(start): shape
            for name, shape in self.b_shapes.items()
            if name.startswith(start)
        }


@dataclass(frozen=True)
class Result:
    """What a stage has found out.

    Attributes
    ----------
    findings : tuple of Finding
        Differences at this stage.
    acquitted : tuple of Acquittal
        What differs and is not a cause.
    largest : float
        The largest relative difference of what counts as equal at this stage.
    bound : float
        What rounding explains at this stage.
    undecided : str
        What could not be found out, as one line; otherwise empty.
    missing : str
        Why a side has nothing that could be compared, as one line; otherwise empty. It leaves the
        verdict as it is.
    """

    findings: tuple[Finding, ...] = ()
    acquitted: tuple[Acquittal, ...] = ()
    largest: float = 0.0
    bound: float = 0.0
    undecided: str = ""
    missing: str = ""


@dataclass
class Examination:
    """One comparison on its way: each step adds what it has found out.

    Attributes
    ----------
    a : Side
        The reference.
    b : ChangeableSide
        The other side.
    batch : dict of str to ndarray
        The shared batch as it was read.
    dtype : str
        In which dtype both sides are compared: ``float64`` if both allow it, else ``native``.
    a_description, b_description : Description
        In ``native``.
    a_inputs, b_inputs : dict of str to ndarray
        What each model gets, in `dtype`.
    targets : dict of str to ndarray
        ``y``; empty if the batch has no targets.
    a_weights : dict of str to ndarray
        A's weights as built, in ``native``; they are in B, too, after the weights were compared.
    b_weights : dict of str to ndarray
        B's weights as built, in ``native``.
    b_built : Observation
        B in evaluation mode with its inputs, and weights that are not A's.
    alignment : Alignment
        Set before the weights are compared.
    a_evaluation, a_training : Observation
        A with its weights and inputs; in training mode with the gradients if there are a loss and
        targets.
    b_evaluation, b_training : Observation
        B with A's weights, its anchors forced to A's values.
    a_rates, b_rates : list of float
        The learning rate of each update, once `triptych.doctor.rates.rates_of` has asked for them.
    training_bounds : Bounds or None
        What rounding explains in training mode, as soon as it was measured.
    results : dict of str to Result
        By stage, of the stages that are done.
    """

    a: Side
    b: ChangeableSide
    batch: Arrays
    dtype: str
    a_description: Description
    b_description: Description
    a_inputs: Arrays = field(default_factory=dict[str, Any])
    b_inputs: Arrays = field(default_factory=dict[str, Any])
    targets: Arrays = field(default_factory=dict[str, Any])
    a_weights: Arrays = field(default_factory=dict[str, Any])
    b_weights: Arrays = field(default_factory=dict[str, Any])
    b_built: Observation = field(init=False)
    alignment: Alignment = field(init=False)
    a_evaluation: Observation = field(init=False)
    a_training: Observation = field(init=False)
    b_evaluation: Observation = field(init=False)
    b_training: Observation = field(init=False)
    a_rates: list[float] = field(default_factory=list[float])
    b_rates: list[float] = field(default_factory=list[float])
    training_bounds: Bounds | None = None
    results: dict[str, Result] = field(default_factory=dict[str, Result])

    @property
    def descriptions(self) -> tuple[Description, Description]:
        """The descriptions of A and of B."""
        return self.a_description, self.b_description

    @property
    def names(self) -> dict[str, str]:
        """What ``a`` and ``b`` are called in titles."""
        return side_names(self.a_description.framework, self.b_description.framework)

    @property
    def evaluation_only(self) -> str:
        """Why there is no training mode, if a side has none; otherwise empty."""
        return self.a_description.evaluation_only or self.b_description.evaluation_only

    @property
    def whole(self) -> str:
        """Why both sides are compared as one segment, if they are; otherwise empty."""
        return self.a_description.whole or self.b_description.whole

    @property
    def without_gradients(self) -> str:
        """Why there are no gradients, if a side has none; otherwise empty."""
        return self.a_description.without_gradients or self.b_description.without_gradients

    def trained(self) -> dict[str, str]:
        """Return A's names of the trained weights that B trains, too, with B's names."""
        a = array_names(self.a_training.arrays, "gradient")
        b = array_names(self.b_training.arrays, "gradient")
        return {
            carriage.a: carriage.b
            for carriage in self.alignment.carriages
            if isinstance(carriage, Carried) and carriage.a in a and carriage.b in b
        }

    def has(self, key: str) -> bool:
        """Return whether both sides gave something, for example an optimizer."""
        return key in self.a_description.given and key in self.b_description.given
