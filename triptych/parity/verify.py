"""Verification: whole runs, every engine and backend, step by step. It yields events."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from math import inf

from ..core import events, registry, state
from ..core.events import Event
from ..core.memory import check_memory
from ..core.planner import BatchPlanner
from ..core.selection import EngineSpec
from ..core.split import Split
from ..core.state import State
from ..data.dataset import Dataset
from ..errors import EngineError
from ..process import machine
from ..process.client import Remote, RemoteEngine
from ..spec.network import Network
from ..spec.recipe import Recipe
from . import float32, lockstep
from .lockstep import Outcome

STEPS = 500  # by default, for networks of at most LIGHT multiplications
FEWEST_STEPS = 10  # by default, for the heaviest networks
LIGHT = 1_000_000  # multiplications for one sample
BLOCK_STEPS = 64  # steps in one call, for light networks
HEAVY_BLOCK_STEPS = 4  # the same for networks that are not light
SNAPSHOTS = 10  # of a float32 trajectory

# The parts of the estimate, in seconds unless a name contains another unit.
SECONDS_TO_BUILD = 3.0  # a row's engines, their first steps compiled
SECONDS_PER_MEGABYTE = 0.004  # of arrays that are copied, sent to another process and compared
SECONDS_PER_MESSAGE = 0.0005
NUMPY_STEPS = 2  # for each step of the walk: gradients are computed for the trace and for the run
CANDIDATE_STEPS = 3  # the same in another engine, whose step is assumed to be half as long again
MESSAGES_PER_STEP = 8
COPIES_PER_STEP = 6  # of all arrays of a state
PERTURBED_RUNS = 3
CALM_RUNS = 2  # of NumPy for each case, to measure over how many steps rounding stays small


def default_steps(network: Network) -> int:
    """Return how many steps of a network are compared by default.

    These are 500 for networks of at most 1,000,000 multiplications a sample. For heavier networks
    they are as many as need about the work of 500 steps of such a network, but at least 10.
    """
    if network.multiplications <= LIGHT:
        return STEPS
    return max(FEWEST_STEPS, STEPS * LIGHT // network.multiplications)


@dataclass(frozen=True)
class Case:
    """One network that is trained in one way.

    Attributes
    ----------
    network : Network
        The network.
    recipe : Recipe
        How it is trained. If its dtype is float32, the float32 verdict and the trajectory follow
        after the float64 walk.
    steps : int
        The number of steps that are compared.
    """

    network: Network
    recipe: Recipe
    steps: int

    def planner(self, samples: int, dtype: str) -> BatchPlanner:
        """Return a planner of a run that is long enough for the steps.

        Parameters
        ----------
        samples : int
            The size of the training split.
        dtype : str
            The dtype that replaces the recipe's.
        """
        light = self.network.multiplications < LIGHT
        block_steps = BLOCK_STEPS if light else HEAVY_BLOCK_STEPS
        recipe = replace(self.recipe, dtype=dtype, epochs=1, random="matched")
        epoch = BatchPlanner(self.network, recipe, samples, block_steps)
        epochs = -(-self.steps // epoch.steps_per_epoch)
        return replace(epoch, recipe=replace(recipe, epochs=epochs))


def verify(
    dataset: Dataset,
    cases: list[Case],
    rows: list[EngineSpec],
    *,
    threads: int = 1,
    device: str = "cpu",
) -> Generator[Event]:
    """Prove every row against NumPy in every case.

    Parameters
    ----------
    dataset : Dataset
        The data; its training split is used.
    cases : list of Case
        The networks and recipes.
    rows : list of EngineSpec
        The first is NumPy; the others are the candidates.
    threads : int
        Threads of every row.
    device : str
        The device of the candidates.

    Yields
    ------
    Event
        `WorkerImporting`, `RowMissing`; `VerificationEstimateStarted`, `VerificationEstimated`; for
        each case `CaseStarted`, `CalmStepsMeasured` if not all steps are calm, and for each row of
        it `RowStarted`, also if the row cannot run any more, `ProofStep`, `BlockCheckStarted`,
        `RowCompared`, in float32 `RoundingJudged` and `DriftMeasured`, or `RowFailed`.
    """
    for case in cases:
        case.network.check_fits(dataset.shape, len(dataset.classes))
        check_memory(case.network, replace(case.recipe, dtype="float64"))
    with ExitStack() as workers:
        numpy = workers.enter_context(closing(Remote(registry.REFERENCE, "eager", threads=threads)))
        numpy.greet()
        remotes = yield from _start(workers, rows[1:], threads, device)
        if not remotes:
            return
        yield events.VerificationEstimateStarted()
        seconds = estimate(dataset.train, cases, numpy, threads, len(remotes))
        yield events.VerificationEstimated(seconds, len(remotes))
        yield from _prove(dataset.train, cases, numpy, remotes)


def _start(
    workers: ExitStack, specs: list[EngineSpec], threads: int, device: str
) -> Generator[Event, None, dict[EngineSpec, Remote]]:
    """Start a worker for each candidate; return those that can run."""
    remotes: dict[EngineSpec, Remote] = {}
    for spec in specs:
        yield events.WorkerImporting(spec.key)
        try:
            remote = Remote(spec.engine, spec.backend, threads=threads, device=device)
            workers.enter_context(closing(remote))
            remote.greet()
            remotes[spec] = remote
        except EngineError as error:
            yield events.RowMissing(spec.key, str(error))
    return remotes


def _prove(
    split: Split, cases: list[Case], numpy: Remote, remotes: dict[EngineSpec, Remote]
) -> Iterator[Event]:
    """Prove each row in each case; a row that has failed is left out of the later cases."""
    failed: set[EngineSpec] = set()
    for case in cases:
        yield events.CaseStarted(case.network.name, case.recipe.optimizer.name, case.steps)
        calm = _calm_steps(split, case, numpy)
        if calm < case.steps:
            yield events.CalmStepsMeasured(int(calm))
        for spec, remote in remotes.items():
            yield events.RowStarted(spec.key)
            if spec in failed:
                continue
            try:
                yield from _Proof(split, case, spec, numpy, remote, calm).events()
            except EngineError as error:
                yield events.RowFailed(spec.key, str(error))
                failed.add(spec)
                remote.close()


def estimate(
    split: Split, cases: list[Case], numpy: Remote, threads: int, rows: int
) -> list[float]:
    """Return roughly how long one row of each case takes, from a NumPy step of each network.

    Parameters
    ----------
    split : Split
        The training data.
    cases : list of Case
        The networks and recipes.
    numpy : Remote
        A worker in which each network makes a step or two.
    threads : int
        Threads of every row.
    rows : int
        The number of rows of each case.

    Returns
    -------
    list of float
        Seconds, an entry for each case.
    """
    step_seconds: dict[Network, float] = {}
    estimates: list[float] = []
    for case in cases:
        network = case.network
        if network not in step_seconds:
            step_seconds[network] = _numpy_seconds(split, case, numpy)
        arrays = 1 + len(case.recipe.optimizer.slots)
        megabytes = 8e-6 * network.parameter_count * arrays
        # Both compute at the same time if there are two processors for them.
        steps = CANDIDATE_STEPS if machine.processors() > threads else NUMPY_STEPS + CANDIDATE_STEPS
        if case.recipe.dtype == "float32":
            steps += 2 + PERTURBED_RUNS
        if not network.amplifies_rounding:
            steps += CALM_RUNS / rows
        seconds = steps * step_seconds[network]
        seconds += MESSAGES_PER_STEP * SECONDS_PER_MESSAGE
        seconds += COPIES_PER_STEP * megabytes * SECONDS_PER_MEGABYTE
        estimates.append(SECONDS_TO_BUILD + case.steps * seconds)
    return estimates


def _numpy_seconds(split: Split, case: Case, numpy: Remote) -> float:
    """Return the seconds of a NumPy step: of the second one if the network is light."""
    planner = case.planner(len(split), "float64")
    try:
        engine = numpy.build("estimate", case.network, planner.recipe)
        engine.load(state.initial(case.network, planner.recipe))
        data = engine.upload(split)
        step = next(planner.singles())
        engine.run(data, step)
        if case.network.multiplications < LIGHT:
            engine.run(data, step)
        engine.drop()
    except EngineError:
        return 0.0  # the same error comes again in each row of the case, which reports it
    return engine.wall_s


def _calm_steps(split: Split, case: Case, numpy: Remote) -> float:
    """Return over how many steps of a case rounding is not amplified, measured with NumPy."""
    if case.network.amplifies_rounding:
        return 0
    planner = case.planner(len(split), "float64")
    try:
        reference = numpy.build("calm", case.network, planner.recipe)
        perturbed = numpy.build("perturbed", case.network, planner.recipe)
        start = state.initial(case.network, planner.recipe)
        plans = lockstep.proof_plans(planner, case.steps)
        calm = lockstep.calm_steps(reference, perturbed, split, plans, start)
        reference.drop()
        perturbed.drop()
    except EngineError:
        return inf  # the same error comes again in each row of the case, which reports it
    return calm


@dataclass(frozen=True)
class _Proof:
    """The proof of one row in one case.

    Attributes
    ----------
    split : Split
        The training data.
    case : Case
        The network and the recipe.
    spec : EngineSpec
        The row.
    numpy, candidate : Remote
        The workers of NumPy and of the row.
    calm_steps : float
        The steps over which the training does not amplify rounding.
    """

    split: Split
    case: Case
    spec: EngineSpec
    numpy: Remote
    candidate: Remote
    calm_steps: float

    def events(self) -> Iterator[Event]:
        """Compare in float64; if the recipe's dtype is float32, judge and follow the run in it."""
        network = self.case.network
        planner = self.case.planner(len(self.split), "float64")
        start = state.initial(network, planner.recipe)
        reference = self.numpy.build("float64", network, planner.recipe)
        engine = self.candidate.build("float64", network, planner.recipe)
        outcome = Outcome()
        plans = lockstep.proof_plans(planner, self.case.steps)
        tolerances = lockstep.Tolerances.of(network, planner.recipe, self.calm_steps)
        walk = lockstep.walk(
            reference, engine, self.split, plans, start, tolerances, concurrently=True
        )
        for outcome in walk:
            done = outcome.at + 1
            # The smaller last batch is one step more if the others did not reach it.
            yield events.ProofStep(self.spec.key, "float64", done, max(done, self.case.steps))
        yield events.BlockCheckStarted(self.spec.key, planner.block_steps)
        blocks = lockstep.check_blocks_equal_single_steps(engine, self.split, planner, start)
        engine.drop()
        compared = _compared(self.spec.key, outcome, blocks)
        yield compared
        if self.case.recipe.dtype == "float32":
            yield from self._float32(reference, proved=compared.equal)
        reference.drop()

    def _float32(self, exact: RemoteEngine, *, proved: bool) -> Iterator[Event]:
        network = self.case.network
        planner = self.case.planner(len(self.split), "float32")
        start = state.initial(network, planner.recipe)
        reference = self.numpy.build("float32", network, planner.recipe)
        engine = self.candidate.build("float32", network, planner.recipe)
        errors: list[float32.StepErrors] = []
        for step in float32.step_errors(reference, exact, engine, self.split, planner, start):
            errors.append(step)
            yield events.ProofStep(self.spec.key, "float32", len(errors), float32.STEPS)
        rounding = float32.judge_float32(errors, proved=proved)
        yield events.RoundingJudged(
            self.spec.key,
            rounding.verdict,
            rounding.error,
            rounding.reference_error,
            rounding.factor,
            as_announced=rounding.verdict == "precision" and self.spec.announces_precision,
        )
        yield from self._trajectory(reference, engine, planner, start)
        reference.drop()
        engine.drop()

    def _trajectory(
        self, reference: RemoteEngine, engine: RemoteEngine, planner: BatchPlanner, start: State
    ) -> Iterator[Event]:
        """Follow the row's free run next to perturbed runs of NumPy: shown, and never judged."""
        network = self.case.network
        starts = float32.perturbed_starts(start, planner.recipe.seed)
        perturbed = [
            self.numpy.build(f"perturbed{number}", network, planner.recipe)
            for number in range(len(starts))
        ]
        runs = [reference, engine, *perturbed]
        data = self.split.digest
        for run, begin in zip(runs, [start, start, *starts], strict=True):
            run.upload(self.split)
            run.load(begin)
        probe = float32.probe_plan(planner)
        every = max(1, self.case.steps // SNAPSHOTS)
        for step, plan in enumerate(islice(planner.singles(), self.case.steps), 1):
            for run in runs:
                run.run(data, plan)
            if step % every and step != self.case.steps:
                continue
            expected, *others = [float32.take_snapshot(run, data, probe) for run in runs]
            drift, *twins = [float32.measure_drift(network, expected, each) for each in others]
            yield events.DriftMeasured(
                self.spec.key,
                step,
                drift.weights,
                drift.sign_flips,
                [twin.to_json() for twin in twins],
            )
            for run in runs:
                run.wait()
        for run in perturbed:
            run.drop()


def _compared(row: str, outcome: Outcome, blocks: Outcome) -> events.RowCompared:
    margin = max(outcome.margin, blocks.margin, key=lambda margin: margin.ratio)
    return events.RowCompared(
        row,
        steps=outcome.steps,
        worst=outcome.worst,
        divergence=str(outcome.divergence) if outcome.divergence else None,
        diverged_at=outcome.at + 1 if outcome.divergence else None,
        block_worst=blocks.largest,
        block_divergence=str(blocks.divergence) if blocks.divergence else None,
        closest_error=margin.error,
        closest_bound=margin.bound,
        magnified_at=outcome.magnified_at,
    )
