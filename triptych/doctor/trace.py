"""A recorded side: a folder of JSON and safetensors, which any program can write (docs/traces.md).

``trace.json`` has the description, the calls and everything that is not an array. The arrays are in
``arrays.safetensors``, by these names; ``SECTION`` is empty, or ``float64/`` for the same run in
double precision:

=====================================  ============================================================
name                                   array
=====================================  ============================================================
batch/NAME                             the shared batch: x, y, …
SECTION inputs/input                   what the model gets after preprocessing
SECTION weights/PATH/ROLE              weights and buffers
SECTION evaluation/NUMBER/PART         a forward pass in evaluation mode
SECTION training/NUMBER/PART           one in training mode, without dropout; with the loss and the
                                       gradients if the trace has a loss
SECTION gradients/STEP/PATH/ROLE       the gradients that were given to the optimizer
SECTION updates/STEP/PATH/ROLE         the weights after each of these updates
SECTION trained/PATH/ROLE              the weights after training steps on the batch
batches/NUMBER/NAME                    the batches of an epoch
=====================================  ============================================================
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from ..core import files
from ..errors import TriptychError, one_line
from ..importing.arrays import open_weights
from .batch import KINDS, LARGEST, check_batch
from .bounds import relative_difference
from .examination import Side, is_double
from .frameworks.adapter import ModelError, Unsupported
from .observation import (
    Array,
    Arrays,
    Call,
    Description,
    Observation,
    Updates,
    array_names,
    outputs_of,
    targets_in,
)
from .probes import TRAINING_STEPS, probe_gradients, schedule_updates
from .trace_values import MOST_BATCHES, PASSES, Json, checked, read_values

SCHEMA = 1
SECTIONS = {"native": "", "float64": "float64/"}  # what the names of their arrays begin with
DESCRIPTION = "trace.json"
ARRAYS = "arrays.safetensors"
MOST_ARRAYS = 100_000  # each update that is recorded has two for each trained weight
# What has one number, which some programs write with an axis.
SCALARS = ("training/loss", "training/penalty", "training/compiled/loss")


@dataclass
class Recording:
    """What is known of a side in one dtype.

    Attributes
    ----------
    values : dict
        ``description``; ``evaluation`` and ``training``: the calls; ``update_rates``,
        ``update_shares``, ``shares_per_epoch``, ``rates``, ``losses``, ``metric``, ``epochs``,
        ``batches``. What was not recorded is absent.
    arrays : dict of str to ndarray
        See the top of this file.
    """

    values: Json = field(default_factory=dict[str, Any])
    arrays: Arrays = field(default_factory=dict[str, Array])


def record(side: Side, batch: Arrays) -> dict[str, Recording]:
    """Observe everything of a side that a comparison asks of the reference.

    Parameters
    ----------
    side : Side
        A side that was started.
    batch : dict of str to ndarray
        The shared batch.

    Returns
    -------
    dict of str to Recording
        By the dtype: ``native``, and ``float64`` if the model allows it.
    """
    recordings = {"native": _record(side, batch, "native")}
    if is_double(side, batch):
        side.load(side.weights(), "float64")
        recordings["float64"] = _record(side, batch, "float64")
    return recordings


def _record(side: Side, batch: Arrays, dtype: str) -> Recording:
    inputs = side.inputs(batch, dtype)
    description = side.description(dtype)
    recording = Recording({"description": description.to_json()})
    weights = side.weights(dtype)
    targets = targets_in(batch) if "loss" in description.given else None
    recording.arrays |= _named("inputs", inputs) | _named("weights", weights)
    for training, name in PASSES.items():
        if training and description.evaluation_only:
            continue
        observation = side.observe(
            inputs, training=training, targets=targets if training else None, dtype=dtype
        )
        recording.values[name] = [vars(call) for call in observation.calls]
        recording.arrays |= _named(name, observation.arrays)
    parts = (_record_updates, _record_training, _record_rates, _record_metric, _record_epochs)
    for part in (*parts, *((_record_batches,) if dtype == "native" else ())):
        # What the side lacks, or cannot do, is not recorded, and not compared later.
        with suppress(Unsupported):
            part(side, recording, batch, dtype)
    return recording


def _has(recording: Recording, *keys: str) -> bool:
    """Return whether the side gave all of these."""
    return set(keys) <= set(recording.values["description"]["given"])


def _record_updates(side: Side, recording: Recording, batch: Arrays, dtype: str) -> None:
    gradients = probe_gradients(array_names(recording.arrays, f"{PASSES[True]}/gradient"))
    if not (gradients and gradients[0] and _has(recording, "optimizer")):
        return
    updates = side.update(gradients, dtype)
    recording.values["update_rates"] = list(updates.rates)
    if updates.shares:
        recording.values["update_shares"] = list(updates.shares)
        recording.values["shares_per_epoch"] = updates.per_epoch
    for step, (given, weights) in enumerate(zip(gradients, updates.weights, strict=True)):
        recording.arrays |= _named(f"gradients/{step}", given)
        recording.arrays |= _named(f"updates/{step}", weights)


def _record_training(side: Side, recording: Recording, batch: Arrays, dtype: str) -> None:
    if "y" not in batch or not _has(recording, "loss", "optimizer"):
        return
    inputs = array_names(recording.arrays, "inputs")
    trained, losses = side.train(inputs, {"y": batch["y"]}, TRAINING_STEPS, dtype)
    recording.values["losses"] = losses
    recording.arrays |= _named("trained", trained)


def _record_rates(side: Side, recording: Recording, batch: Arrays, dtype: str) -> None:
    if _has(recording, "optimizer"):
        updates = schedule_updates(Description.from_json(recording.values["description"]))
        recording.values["rates"] = side.rates(updates, dtype)


def _record_metric(side: Side, recording: Recording, batch: Arrays, dtype: str) -> None:
    if "y" in batch and _has(recording, "metric"):
        outputs = outputs_of(array_names(recording.arrays, PASSES[False]))
        recording.values["metric"] = side.metric(outputs, {"y": batch["y"]}, dtype)


def _record_epochs(side: Side, recording: Recording, batch: Arrays, dtype: str) -> None:
    if "val_loss" in batch:
        recording.values["epochs"] = side.epochs(batch["val_loss"].tolist(), dtype)


def _record_batches(side: Side, recording: Recording, batch: Arrays, dtype: str) -> None:
    if not (_has(recording, "batches") or _has(recording, "batch_size")):
        return
    batches = side.batches(batch, dtype)
    recording.values["batches"] = len(batches)
    for number, arrays in enumerate(batches):
        recording.arrays |= _named(f"batches/{number}", arrays)


def _named(prefix: str, arrays: Arrays) -> Arrays:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def write_trace(folder: Path, recordings: dict[str, Recording], batch: Arrays) -> None:
    """Write a trace.

    Parameters
    ----------
    folder : Path
        It is created; a trace that is there is replaced.
    recordings : dict of str to Recording
        What `record` returned.
    batch : dict of str to ndarray
        The shared batch.

    Raises
    ------
    TriptychError
        If something else than a trace is there, or it would be too large to be read.
    """
    if folder.exists() and not is_trace(folder):
        raise TriptychError(f"{folder}: there is something else than a trace; choose another name")
    arrays = _named("batch", batch)
    for dtype, recording in recordings.items():
        arrays |= {f"{SECTIONS[dtype]}{name}": each for name, each in recording.arrays.items()}
    size = sum(array.nbytes for array in arrays.values())
    if size > LARGEST or len(arrays) > MOST_ARRAYS:
        raise TriptychError(
            f"{folder}: would have {len(arrays):,} arrays of {size:,} bytes, where at most "
            f"{MOST_ARRAYS:,} of {LARGEST:,} bytes are read; record a smaller batch, or the model "
            "without its optimizer"
        )
    batches = max((each.values.get("batches", 0) for each in recordings.values()), default=0)
    if batches > MOST_BATCHES:
        raise TriptychError(
            f"{folder}: would have {batches:,} batches, where at most {MOST_BATCHES:,} are read; "
            "record a batch of fewer samples"
        )
    content = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    values = {dtype: recording.values for dtype, recording in recordings.items()}
    text = files.to_json(
        {"schema": SCHEMA, "sha256": sha256(content).hexdigest(), **values}, indent=1
    )
    files.write(folder / ARRAYS, content)
    files.write(folder / DESCRIPTION, text)


def is_trace(path: Path) -> bool:
    """Return whether a path is a folder with a trace in it."""
    return (path / DESCRIPTION).is_file()


def read_trace(folder: Path) -> "RecordedSide":
    """Read a trace, which may come from anybody.

    Raises
    ------
    TriptychError
        If it is damaged, incomplete or too large.
    """
    path = folder / DESCRIPTION
    with files.refusing(path, "a trace"):
        values = read_values(path)
        if values["schema"] != SCHEMA:
            raise TriptychError(
                f"{path}: of format {one_line(values['schema'], 20)}; this version reads {SCHEMA}"
            )
        kept = {dtype: checked(values[dtype]) for dtype in SECTIONS if dtype in values}
    file = open_weights(folder / ARRAYS, LARGEST, kinds=KINDS, most=MOST_ARRAYS)
    if "sha256" in values and values["sha256"] != file.sha256:
        raise TriptychError(f"{path}: does not belong to {ARRAYS}; record the side again")
    with files.refusing(folder / ARRAYS, "the arrays of a trace"):
        arrays = {name: file.read(array) for name, array in file.arrays.items()}
        recordings = {
            dtype: Recording(each, _of(SECTIONS[dtype], arrays)) for dtype, each in kept.items()
        }
        batch = array_names(arrays, "batch")
        check_batch(batch, f"{folder / ARRAYS}: batch")
        return RecordedSide(folder, recordings, batch)


def _of(section: str, arrays: Arrays) -> Arrays:
    """Return the arrays of one dtype."""
    named = {
        name.removeprefix(section): array
        for name, array in arrays.items()
        if name.startswith(section)
    }
    for name in SCALARS:
        if name in named:
            named[name] = named[name].reshape(())
    return named


class RecordedSide:
    """A side that was recorded. It answers what it was asked then, and nothing else.

    Parameters
    ----------
    folder : Path
        The folder, for messages.
    recordings : dict of str to Recording
        By the dtype.
    batch : dict of str to ndarray
        The batch of the recording.

    Attributes
    ----------
    name : str
        ``A`` or ``B``.
    recordings : dict of str to Recording
        By the dtype.
    batch : dict of str to ndarray
        The batch of the recording.
    """

    is_recorded = True

    def __init__(self, folder: Path, recordings: dict[str, Recording], batch: Arrays) -> None:
        self.name = str(folder)
        self.batch = batch
        self.recordings = recordings

    def _recording(self, dtype: str) -> Recording:
        if dtype not in self.recordings:
            raise ModelError(f"{self.name}: was not recorded in {dtype}")
        return self.recordings[dtype]

    def _value(self, name: str, dtype: str) -> Any:
        values = self._recording(dtype).values
        if name not in values:
            raise Unsupported(f"{self.name} has no {name}")
        return values[name]

    def _expect(self, name: str, given: Arrays, recorded: Arrays) -> None:
        """Raise an error unless arrays are those that were recorded."""
        same = given.keys() <= recorded.keys() and all(
            np.array_equal(array, recorded[each]) for each, array in given.items()
        )
        if not same:
            raise Unsupported(f"{self.name} was recorded with other {name}")

    def description(self, dtype: str = "native") -> Description:
        """Return the recorded description."""
        return Description.from_json(self._recording(dtype).values["description"])

    def inputs(self, batch: Arrays, dtype: str = "native") -> Arrays:
        """Return the recorded inputs.

        Raises
        ------
        ModelError
            If the trace was recorded with another batch.
        """
        for name, array in self.batch.items():
            if name in batch and not np.array_equal(batch[name], array):
                raise ModelError(f"{self.name}: was recorded with another batch: {name} differs")
        return array_names(self._recording(dtype).arrays, "inputs")

    def weights(self, dtype: str = "native") -> Arrays:
        """Return the recorded weights."""
        return array_names(self._recording(dtype).arrays, "weights")

    def load(self, weights: Arrays, dtype: str = "native") -> None:
        """Accept the recorded weights only."""
        self._expect("weights", weights, self.weights(dtype))

    def separate(self, paths: Sequence[str], dtype: str = "native") -> None:
        """Refuse: a recorded layer stays what it is."""
        raise Unsupported(f"{self.name} is recorded: its layers cannot be separated")

    def observe(
        self,
        inputs: Arrays,
        *,
        training: bool,
        targets: Arrays | None = None,
        forced: Arrays | None = None,
        dropout: bool = False,
        dtype: str = "native",
    ) -> Observation:
        """Return the recorded pass."""
        if forced or dropout:
            raise Unsupported(f"{self.name} is recorded and cannot be run again")
        self._expect("inputs", inputs, self.inputs({}, dtype))
        name = PASSES[training]
        calls = tuple(Call(**call) for call in self._value(name, dtype))
        arrays = array_names(self._recording(dtype).arrays, name)
        if targets and "loss" not in arrays:
            raise Unsupported(f"{self.name} has no gradients")
        return Observation(calls, arrays)

    def changeable(self) -> None:
        """Return nothing: what was recorded cannot be changed."""
        return

    def lost(self, *, training: bool) -> dict[str, float]:
        """Return how far a pass as written is from the same in double precision.

        Parameters
        ----------
        training : bool
            Which pass.

        Returns
        -------
        dict of str to float
            The relative differences by the names of the arrays; empty if the trace does not hold
            the pass in double precision.
        """
        passes = [
            array_names(self.recordings[dtype].arrays, PASSES[training])
            for dtype in ("native", "float64")
            if dtype in self.recordings
        ]
        if len(passes) < 2:
            return {}
        native, double = passes
        return {
            name: relative_difference(double[name], array)
            for name, array in native.items()
            if name in double
        }

    def loss(self, outputs: Arrays, targets: Arrays, dtype: str = "native") -> Arrays:
        """Return the recorded loss of the recorded outputs."""
        arrays = array_names(self._recording(dtype).arrays, PASSES[True])
        self._expect("outputs", outputs, arrays)
        return {name: arrays[name] for name in ("loss", "output_gradient") if name in arrays}

    def update(self, gradients: Sequence[Arrays], dtype: str = "native") -> Updates:
        """Return the recorded updates of the recorded gradients."""
        rates = self._value("update_rates", dtype)
        arrays = self._recording(dtype).arrays
        if len(gradients) > len(rates):
            raise Unsupported(f"{self.name} has {len(rates)} updates")
        recorded = numbered(arrays, "gradients", len(gradients))
        for given, same in zip(gradients, recorded, strict=True):
            self._expect("gradients", given, same)
        return self.recorded_updates(len(gradients), dtype)

    def recorded_updates(self, count: int, dtype: str) -> Updates:
        """Return the first updates that were recorded.

        Parameters
        ----------
        count : int
            How many; so many were recorded.
        dtype : str
            The recording.
        """
        recording = self._recording(dtype)
        rates = recording.values["update_rates"]
        return Updates(
            tuple(numbered(recording.arrays, "updates", count)),
            tuple(rates[:count]),
            shares=tuple(recording.values.get("update_shares", ())[:count]),
            per_epoch=recording.values.get("shares_per_epoch", False),
        )

    def train(
        self, inputs: Arrays, targets: Arrays, steps: int, dtype: str = "native"
    ) -> tuple[Arrays, list[float]]:
        """Return the recorded training."""
        losses = self._value("losses", dtype)
        if steps != len(losses):
            raise Unsupported(f"{self.name} has {len(losses)} training steps")
        self._expect("inputs", inputs, self.inputs({}, dtype))
        return array_names(self._recording(dtype).arrays, "trained"), losses

    def rates(self, updates: int, dtype: str = "native") -> list[float]:
        """Return the first of the recorded rates."""
        rates = self._value("rates", dtype)
        if updates > len(rates):
            raise Unsupported(f"{self.name} has {len(rates)} rates")
        return rates[:updates]

    def metric(self, outputs: Arrays, targets: Arrays, dtype: str = "native") -> float:
        """Return the recorded metric of the recorded outputs and targets."""
        recorded = array_names(self._recording(dtype).arrays, PASSES[False])
        self._expect("outputs", outputs, recorded)
        self._expect("targets", targets, self.batch)
        return self._value("metric", dtype)

    def epochs(self, validation_losses: Iterable[float], dtype: str = "native") -> Json:
        """Return what was recorded of the epochs."""
        return self._value("epochs", dtype)

    def batches(self, batch: Arrays, dtype: str = "native") -> list[Arrays]:
        """Return the recorded batches."""
        count = self._value("batches", "native")
        return numbered(self._recording("native").arrays, "batches", count)


def numbered(arrays: Arrays, prefix: str, count: int) -> list[Arrays]:
    """Return the arrays ``PREFIX/NUMBER/NAME`` by their names, for each number below `count`."""
    groups: dict[str, Arrays] = {str(number): {} for number in range(count)}
    for name, array in array_names(arrays, prefix).items():
        number, _, rest = name.partition("/")
        if number in groups:
            groups[number][rest] = array
    return list(groups.values())
