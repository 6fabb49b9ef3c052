"""The events of a training, a comparison, a verification and a sweep, as frozen dataclasses.

The generators ``iter_train``, ``iter_compare``, ``iter_verify`` and ``iter_sweep`` yield them.
`Event.to_json` returns the object that a run folder's ``events.jsonl`` holds for an event;
docs/results.md describes its keys.

A *row* is an engine with one of its backends; events name it by its key, for example
``tensorflow-xla``. A *block* is a number of steps that an engine makes in one call.
"""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

PROBE_ROWS = 1_000  # training samples on which the signs of ReLU outputs are compared

Json = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """Base of all events."""

    type: ClassVar[str]

    def to_json(self) -> Json:
        """Return the event as JSON with its ``type``, without optional fields that are None."""
        values: Json = {"type": self.type}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is None and entry.metadata.get("optional"):
                continue
            values[entry.metadata.get("key", entry.name)] = value
        return values


def _optional() -> Any:
    """Return a field that is None by default, and is then left out of the JSON object."""
    return field(default=None, metadata={"optional": True})


# ---- Training: one network in one engine --------------------------------------------------------


@dataclass(frozen=True)
class TrainingStarted(Event):
    """A training begins, or goes on after it was interrupted.

    Attributes
    ----------
    step : int
        Steps made before.
    machine : dict
        Processor, system and library versions.
    engine, backend, device : str
        Where it runs.
    threads : int
        Threads of the engine.
    workers : int
        How many processes train together.
    native : bool
        Whether the framework's own data-parallel training adds their gradients.
    """

    type: ClassVar[str] = "begin"
    step: int
    machine: Json
    engine: str
    backend: str
    device: str
    threads: int
    workers: int = 1
    native: bool = False


@dataclass(frozen=True)
class BlockTrained(Event):
    """Some steps of a training were made.

    Attributes
    ----------
    epoch : int
        The epoch of the steps, from 1.
    step : int
        Steps made in all, these included.
    steps : int
        Steps of this block.
    rate : float
        Learning rate of the last step.
    seconds : float
        Wall time of one step, in seconds.
    losses : list of float
        Loss of each step, seven significant digits.
    samples : str or None
        `triptych.core.plan.samples_digest` of the steps; None for full batches.
    """

    type: ClassVar[str] = "block"
    epoch: int
    step: int
    steps: int
    rate: float
    seconds: float
    losses: list[float]
    samples: str | None = _optional()


@dataclass(frozen=True)
class EpochEnded(Event):
    """An epoch is complete and was evaluated on the validation split, if there is one.

    Attributes
    ----------
    epoch : int
        Its number, from 1.
    step : int
        Steps made in all.
    loss : float
        Mean training loss over the epoch's samples.
    rate : float
        Learning rate of its last step.
    base_rate : float
        The rate that the schedule's factors are applied to.
    seconds, cpu_seconds : float
        Wall time and processor time of its training, in seconds.
    validation_loss, validation_accuracy : float or None
        None where nothing is set aside for validation.
    """

    type: ClassVar[str] = "epoch"
    epoch: int
    step: int
    loss: float
    rate: float
    base_rate: float
    seconds: float
    cpu_seconds: float
    validation_loss: float | None = _optional()
    validation_accuracy: float | None = _optional()


@dataclass(frozen=True)
class WorkersRestarted(Event):
    """A worker of several has ended; all are started again and go on from the last checkpoint.

    Attributes
    ----------
    step : int
        Steps of the checkpoint.
    again : int
        How many steps after it are made again, as far as they were reported.
    why : str
        What has ended.
    """

    type: ClassVar[str] = "workers-restarted"
    step: int
    again: int
    why: str


@dataclass(frozen=True)
class RateCut(Event):
    """A callback reduced the learning rate at the end of an epoch; ``base_rate`` is the new one."""

    type: ClassVar[str] = "cut"
    step: int
    epoch: int
    base_rate: float


@dataclass(frozen=True)
class StoppedEarly(Event):
    """A callback ended the training after an epoch; ``why`` is its reason."""

    type: ClassVar[str] = "stop"
    step: int
    epoch: int
    why: str


@dataclass(frozen=True)
class TrainingCompleted(Event):
    """All steps are made. ``best_epoch`` counts from 1; 0 where no epoch was the best."""

    type: ClassVar[str] = "trained"
    step: int
    best_epoch: int


@dataclass(frozen=True)
class TrainingInterrupted(Event):
    """The training was stopped on request; ``best_epoch`` as in `TrainingCompleted`."""

    type: ClassVar[str] = "interrupted"
    step: int
    best_epoch: int


@dataclass(frozen=True)
class ResultReady(Event):
    """The trained network was tested, or the comparison of one seed is complete.

    Attributes
    ----------
    result : dict
        What results.json holds: of a training all of it, of a comparison one entry of ``runs``.
    """

    type: ClassVar[str] = "result"
    result: Json


# ---- Comparison: every row trains the same steps and is timed ------------------------------------


@dataclass(frozen=True)
class SeedStarted(Event):
    """The comparison of one seed begins: the events after it are of this seed. Not in the log.

    Attributes
    ----------
    seed : int
        Seed of the recipe.
    number, seeds : int
        It is the ``number``-th, from 1, of ``seeds``.
    """

    type: ClassVar[str] = "seed"
    seed: int
    number: int
    seeds: int


@dataclass(frozen=True)
class MachineDescribed(Event):
    """On which machine the rows are compared, and with how many threads each."""

    type: ClassVar[str] = "machine"
    machine: Json
    threads: int

    def to_json(self) -> Json:
        """Return one object with ``type``, the entries of ``machine``, and ``threads``."""
        return {"type": self.type} | self.machine | {"threads": self.threads}


@dataclass(frozen=True)
class WorkerImporting(Event):
    """The worker process of a row imports its framework."""

    type: ClassVar[str] = "importing"
    row: str


@dataclass(frozen=True)
class RowBuilding(Event):
    """A row builds the network and copies the data to its device."""

    type: ClassVar[str] = "building"
    row: str


@dataclass(frozen=True)
class RowReady(Event):
    """A row is built; ``seconds`` are those of ``import``, ``build`` and ``transfer``."""

    type: ClassVar[str] = "ready"
    row: str
    device: str
    seconds: dict[str, float]


@dataclass(frozen=True)
class RowFailed(Event):
    """A row cannot run any further, and why."""

    type: ClassVar[str] = "failed"
    row: str
    why: str


@dataclass(frozen=True)
class FirstStepStarted(Event):
    """A row makes its very first step, compilation included."""

    type: ClassVar[str] = "compiling"
    row: str


@dataclass(frozen=True)
class FirstStepTimed(Event):
    """The first step of a row was made; ``seconds`` is how long it took."""

    type: ClassVar[str] = "first"
    row: str
    seconds: float


@dataclass(frozen=True)
class PaceStarted(Event):
    """The reference's step is timed, to choose how many steps make a block."""

    type: ClassVar[str] = "pacing"
    row: str


@dataclass(frozen=True)
class PaceMeasured(Event):
    """The pace of the reference.

    Attributes
    ----------
    seconds : float
        Of one step of the reference.
    block : int
        Steps of a timed block.
    steps : int
        Steps of the whole training.
    """

    type: ClassVar[str] = "pace"
    seconds: float
    block: int
    steps: int


@dataclass(frozen=True)
class ProofStarted(Event):
    """The proof of a row begins: ``what`` is ``float64`` or ``float32``."""

    type: ClassVar[str] = "proving"
    row: str
    what: str


@dataclass(frozen=True)
class ProofStep(Event):
    """``done`` of ``steps`` steps of a row's proof are compared; ``what`` as in `ProofStarted`."""

    type: ClassVar[str] = "walking"
    row: str
    what: str
    done: int
    steps: int


@dataclass(frozen=True)
class BlockCheckStarted(Event):
    """It is checked whether ``steps`` steps in one call equal as many calls with one step."""

    type: ClassVar[str] = "checking"
    row: str
    steps: int


@dataclass(frozen=True)
class Float64Judged(Event):
    """The float64 proof of a row is complete.

    Attributes
    ----------
    row : str
        The key of the row, for example ``torch-compiled``.
    unproved : str or None
        Why the row is not proved equal; None where it is.
    walk, blocks : float
        The largest figure of the steps in lockstep, and of the check of several steps at once.
    bound : float
        The largest figure that counts as equal.
    steps : int
        Steps compared in lockstep.
    """

    type: ClassVar[str] = "float64"
    row: str
    unproved: str | None
    walk: float
    blocks: float
    bound: float
    steps: int


@dataclass(frozen=True)
class Float32Judged(Event):
    """The float32 verdict of a row.

    Attributes
    ----------
    row : str
        The key of the row, for example ``torch-compiled``.
    errors : list of float
        Relative error of each of its 16 steps.
    verdict : str
        ``rounding``, ``precision``, ``formula`` or ``diverged``.
    error, reference_error : float
        Median error of the row, and of the NumPy engine in float32.
    factor : float
        The first over the second.
    """

    type: ClassVar[str] = "float32"
    row: str
    errors: list[float]
    verdict: str
    error: float
    reference_error: float = field(metadata={"key": "own"})
    factor: float


@dataclass(frozen=True)
class RoundsStarted(Event):
    """The training in rounds begins.

    Attributes
    ----------
    same : bool
        Whether all rows begin with the same weights, to the bit.
    parameters : int
        Parameters of the network.
    """

    type: ClassVar[str] = "start"
    same: bool
    parameters: int


@dataclass(frozen=True)
class BlockTimed(Event):
    """A row made its block of a round.

    Attributes
    ----------
    row : str
        The key of the row, for example ``torch-compiled``.
    round : int
        Its number, from 0.
    step : int
        Steps made in all, these included.
    steps : int
        Steps of this block.
    warm : bool
        Whether the block has a shape that the row had not seen before; such a block is not timed.
    timed : bool
        Whether the block counts: it is long enough and not warm.
    training : bool
        False after the end of the training, when more rounds are made only to time them.
    seconds : float
        Wall time of one step, in seconds.
    cpu_share : float
        Processor time of the row over wall time.
    disturbance : float
        Processor time that the other workers used meanwhile, over wall time.
    losses : list of float
        Loss of each step, seven significant digits.
    """

    type: ClassVar[str] = "block"
    row: str
    round: int
    step: int
    steps: int
    warm: bool
    timed: bool
    training: bool
    seconds: float
    cpu_share: float
    disturbance: float
    losses: list[float]


@dataclass(frozen=True)
class RoundEnded(Event):
    """Every row made its block of a round.

    Attributes
    ----------
    round : int
        Its number, from 0.
    others : float
        Share of the machine that other programs used meanwhile.
    calm : bool
        Whether the round counts.
    counted, needed : int
        Rounds that count so far, and that are needed.
    training : bool
        As in `BlockTimed`.
    """

    type: ClassVar[str] = "round"
    round: int
    others: float
    calm: bool
    counted: int
    needed: int
    training: bool


@dataclass(frozen=True)
class WaitingForCalm(Event):
    """The machine is busy, and the comparison waits before it times again.

    Attributes
    ----------
    others : float or None
        Share of the machine that other programs used in the last second; None before the first
        look.
    seconds : float
        It waits no longer than this.
    """

    type: ClassVar[str] = "waiting"
    others: float | None
    seconds: float


@dataclass(frozen=True)
class Evaluated(Event):
    """All rows were evaluated on the test split.

    Attributes
    ----------
    step : int
        Steps made in all.
    rows : dict of str to dict
        By row: ``accuracy``, and for all but the reference ``apart`` (largest weight difference)
        and ``flips`` (ReLU signs).
    twins : list of dict
        ``apart`` and ``flips`` of three NumPy runs whose first kernel was moved by one unit in the
        last place.
    """

    type: ClassVar[str] = "evaluation"
    step: int
    rows: dict[str, dict[str, float]]
    twins: list[dict[str, float]]


# ---- Verification: proofs without timing. Its events are not written to a file -------------------


@dataclass(frozen=True)
class RowMissing(Event):
    """A row cannot take part, for example because its framework is not installed."""

    type: ClassVar[str] = "missing"
    row: str
    why: str


@dataclass(frozen=True)
class VerificationEstimateStarted(Event):
    """A step of each network is timed, to estimate how long the verification will take."""

    type: ClassVar[str] = "estimating"


@dataclass(frozen=True)
class VerificationEstimated(Event):
    """How long a verification will take.

    Attributes
    ----------
    seconds : list of float
        An entry for each case: what one row of it will take.
    rows : int
        Rows of each case.
    """

    type: ClassVar[str] = "estimate"
    seconds: list[float]
    rows: int


@dataclass(frozen=True)
class CaseStarted(Event):
    """The next network and recipe are verified in every row.

    Attributes
    ----------
    network, optimizer : str
        Their names.
    steps : int
        Steps to compare.
    """

    type: ClassVar[str] = "case"
    network: str
    optimizer: str
    steps: int


@dataclass(frozen=True)
class CalmStepsMeasured(Event):
    """The training of a case amplifies rounding after some steps.

    Attributes
    ----------
    steps : int
        The steps before. Each later step of a row starts from NumPy's state.
    """

    type: ClassVar[str] = "calm"
    steps: int


@dataclass(frozen=True)
class RowStarted(Event):
    """The next row of a case; it comes before rows that cannot run any more, too."""

    type: ClassVar[str] = "row"
    row: str


@dataclass(frozen=True)
class RowCompared(Event):
    """A row was compared with NumPy in float64, in lockstep and with several steps at once.

    Attributes
    ----------
    row : str
        The key of the row, for example ``torch-compiled``.
    steps : int
        Steps compared in lockstep.
    worst : dict of str to float
        The largest figure of each kind: ``weights``, ``gradients``, ``outputs``, ``loss``, and each
        kind of slot.
    divergence : str or None
        Where the row first differed, in a sentence.
    diverged_at : int or None
        The step of the divergence, from 1.
    block_worst : float
        The largest figure of several steps in one call against as many calls.
    block_divergence : str or None
        Where these first differed.
    closest_error, closest_bound : float
        Of all comparisons the one that came closest to its bound: its figure, and the bound.
    magnified_at : int or None
        The step, from 1, whose update has magnified rounding of the gradients beyond the bound.
        Each later step starts from NumPy's state.
    """

    type: ClassVar[str] = "walked"
    row: str
    steps: int
    worst: dict[str, float]
    divergence: str | None
    diverged_at: int | None
    block_worst: float
    block_divergence: str | None
    closest_error: float
    closest_bound: float
    magnified_at: int | None = None

    @property
    def equal(self) -> bool:
        """Whether the row is equal to NumPy in both comparisons."""
        return self.divergence is None and self.block_divergence is None

    @property
    def largest(self) -> float:
        """The largest figure of any kind in lockstep."""
        return max(self.worst.values(), default=0.0)


@dataclass(frozen=True)
class WorkersStarted(Event):
    """Several workers of a row begin to be compared with one process, in one case.

    Attributes
    ----------
    row : str
        The key of the row, for example ``torch-compiled``.
    workers : int
        How many workers.
    network, optimizer : str
        The case.
    """

    type: ClassVar[str] = "workers"
    row: str
    workers: int
    network: str
    optimizer: str


@dataclass(frozen=True)
class WorkersRefused(Event):
    """An engine cannot divide the steps of a network among workers.

    Attributes
    ----------
    row : str
        The key of the row.
    workers : int
        How many workers.
    network : str
        Its name.
    why : str
        The reason.
    """

    type: ClassVar[str] = "refused"
    row: str
    workers: int
    network: str
    why: str


@dataclass(frozen=True)
class WorkersCompared(Event):
    """Several workers were compared with one process.

    Attributes
    ----------
    row : str
        The key of the row.
    workers : int
        How many workers.
    network, optimizer : str
        The case.
    steps : int
        Steps that were equal.
    shared_from : int or None
        From this step on, counted from 0, each step began with the state of the one process; None
        if the whole trajectory was compared.
    worst : dict of str to float
        The largest figure of each kind: ``weights``, ``buffers``, ``loss``, and each kind of slot.
    bound : float
        The bound on the weights.
    identical : bool
        Whether all workers had the same state, to the bit, after every step.
    divergence : str or None
        Where they first differed from the one process, in a sentence.
    diverged_at : int or None
        The step that differed, from 1.
    causes : list of dict
        The mistakes that reproduce what the workers have computed: ``name`` and ``explanation``.
    native : bool
        Whether the framework's own data-parallel training added the gradients.
    against : str
        What they were compared with: ``process``, or ``workers``, as many of the one mechanism.
    """

    type: ClassVar[str] = "certified"
    row: str
    workers: int
    network: str
    optimizer: str
    steps: int
    shared_from: int | None
    worst: dict[str, float]
    bound: float
    identical: bool
    divergence: str | None
    diverged_at: int | None
    causes: list[dict[str, str]]
    native: bool = False
    against: str = "process"

    @property
    def equal(self) -> bool:
        """Whether the workers computed what one process does, and all the same."""
        return self.identical and self.divergence is None

    @property
    def largest(self) -> float:
        """The largest figure of any kind."""
        return max(self.worst.values(), default=0.0)


@dataclass(frozen=True)
class ScriptStarted(Event):
    """A user's own script begins to be run.

    Attributes
    ----------
    workers : int
        With how many processes.
    purpose : str
        ``reference``: it is what others are compared with. ``rounding``: its first weights are
        moved, which tells what rounding explains. ``comparison``: it is compared.
    """

    type: ClassVar[str] = "script"
    workers: int
    purpose: str


@dataclass(frozen=True)
class ScriptStep(Event):
    """All processes of a user's script have made a step.

    Attributes
    ----------
    workers : int
        How many processes.
    done, steps : int
        Steps made, and the most that are recorded.
    """

    type: ClassVar[str] = "script_step"
    workers: int
    done: int
    steps: int


@dataclass(frozen=True)
class ScriptFailed(Event):
    """A user's script could not be compared.

    Attributes
    ----------
    workers : int
        How many processes it had.
    why : str
        The reason, in a line.
    lines : list of str
        The last lines that it has written, or its traceback.
    """

    type: ClassVar[str] = "script_failed"
    workers: int
    why: str
    lines: list[str]


@dataclass(frozen=True)
class ScriptCompared(Event):
    """A user's script was compared: several processes with one.

    Attributes
    ----------
    workers : int
        How many processes; 1 means that the script was run again.
    steps : int
        Steps that were equal. Fewer than `compared` without a finding: rounding alone has grown
        so far after them that it could hide a mistake.
    compared : int
        Steps whose samples, rates and settings were compared.
    dtype : str
        Of the weights: ``float64`` or ``float32``.
    samples : int
        Of the first step, of all workers together.
    worst : dict of str to float
        The largest figure of each kind in the equal steps: ``forward``, ``loss``, ``gradient``,
        ``weights``, ``buffers``.
    bounds : dict of str to float
        What rounding explains, of each kind.
    identical : bool
        Whether all workers had the same weights, to the bit, after every equal step.
    verdict : str
        ``equal``, ``differs``, ``undecided`` (it differs, but in float32 this may be rounding), or
        ``incomparable`` (the workers train with a larger batch).
    findings : list of dict
        Each difference: ``stage``, ``step`` (from 1), ``what``, ``cause`` and ``explanation``
        (None if no known mistake reproduces the difference), ``evidence``.
    notes : list of str
        What else is worth to know.
    """

    type: ClassVar[str] = "script_compared"
    workers: int
    steps: int
    compared: int
    dtype: str
    samples: int
    worst: dict[str, float]
    bounds: dict[str, float]
    identical: bool
    verdict: str
    findings: list[Json]
    notes: list[str]

    @property
    def equal(self) -> bool:
        """Whether the workers computed what one process does."""
        return self.verdict == "equal"


@dataclass(frozen=True)
class RoundingJudged(Event):
    """The float32 verdict of a row in a verification; the other fields as in `Float32Judged`.

    Attributes
    ----------
    as_announced : bool
        Whether the verdict is ``precision``, and the row's backend announces a lower precision.
    """

    type: ClassVar[str] = "rounding"
    row: str
    verdict: str
    error: float
    reference_error: float
    factor: float
    as_announced: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the row is as precise as it should be."""
        return self.verdict == "rounding" or self.as_announced


@dataclass(frozen=True)
class DriftMeasured(Event):
    """How far a float32 trajectory is from NumPy's; drawn, and never judged.

    Attributes
    ----------
    row : str
        The key of the row, for example ``torch-compiled``.
    step : int
        Steps made.
    apart : float
        Largest weight difference of the row.
    flips : int
        ReLU signs that differ.
    twins : list of dict
        ``apart`` and ``flips`` of three NumPy runs, perturbed by one unit in the last place.
    """

    type: ClassVar[str] = "drift"
    row: str
    step: int
    apart: float
    flips: int
    twins: list[dict[str, float]]


# ---- Sweep: a grid of trainings ------------------------------------------------------------------


@dataclass(frozen=True)
class SweepStarted(Event):
    """A sweep begins, or goes on after it was stopped.

    Attributes
    ----------
    cells : list of dict
        What each cell is: ``key``, ``engine``, ``backend``, ``network``, ``recipe``, ``data``,
        ``seed``, ``threads``, ``timed``, ``parameters``.
    finished : list of str
        The keys of cells that were finished before; they are not run again.
    grid : dict
        The grid.
    version : str
        The version of this package.
    """

    type: ClassVar[str] = "sweep"
    cells: list[Json]
    finished: list[str]
    grid: Json
    version: str


@dataclass(frozen=True)
class ClusterReady(Event):
    """Ray has started, or the connection to a cluster is made.

    Attributes
    ----------
    nodes : list of dict
        The ``name`` and the number of ``processors`` of each node.
    ray : str
        The version of Ray.
    """

    type: ClassVar[str] = "cluster"
    nodes: list[Json]
    ray: str


@dataclass(frozen=True)
class CellStarted(Event):
    """A cell was given to the cluster.

    Attributes
    ----------
    cell : str
        Its key.
    node : str
        The node that it has to itself; empty for a cell that is not timed.
    """

    type: ClassVar[str] = "cell-started"
    cell: str
    node: str


@dataclass(frozen=True)
class CellRetried(Event):
    """The worker or the node of a cell has ended, so the cell waits to be run again.

    Attributes
    ----------
    cell : str
        Its key.
    why : str
        What has ended.
    attempt : int
        The number of the next attempt, from 2.
    """

    type: ClassVar[str] = "cell-retried"
    cell: str
    why: str
    attempt: int


@dataclass(frozen=True)
class CellEnded(Event):
    """A cell is finished or has failed.

    Attributes
    ----------
    cell : dict
        What the cell is, as in `SweepStarted`, and what came of it: ``status``, ``error``,
        ``accuracy``, ``seconds``, … (docs/sweeps.md).
    """

    type: ClassVar[str] = "cell"
    cell: Json


@dataclass(frozen=True)
class SweepEnded(Event):
    """Every cell of a sweep is finished or has failed.

    Attributes
    ----------
    finished, failed : int
        How many, those of earlier calls included.
    """

    type: ClassVar[str] = "sweep-ended"
    finished: int
    failed: int
