"""The world-size certificates of several engines, networks and numbers of workers, as events."""

from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from math import inf

from ..core import events, registry, state
from ..core.engine import Trainer
from ..core.events import Event
from ..core.memory import check_memory
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.selection import EngineSpec
from ..core.split import Split
from ..core.state import State
from ..data.dataset import Dataset
from ..errors import EngineError
from ..parity import lockstep
from ..parity.lockstep import Tolerances
from ..parity.verify import Case
from ..process import protocol
from ..process.client import Remote, RemoteEngine, RowFailed, WorkerDied
from ..spec import zoo
from ..spec.layers import Dropout
from ..spec.network import Network
from ..spec.placement import Shape
from .causes import Cause, Setting, StepMistakes
from .certificate import Certificate, causes_of, certify, tolerances_of
from .group import GroupEngine, ShardRemote, WorkerGroup
from .messages import STATE_PREFIX

DROPOUT = 0.25  # before the last layer of the network with BatchNorm


def default_networks(shape: Shape, classes: int) -> list[Network]:
    """Return the networks that are certified if none is named.

    One is compared over whole trajectories; one has BatchNorm and dropout, and is compared step by
    step.

    Parameters
    ----------
    shape : tuple of int
        Of an image.
    classes : int
        Units of the output.
    """
    normed = zoo.get("lenet-bn", shape, classes)
    *features, output = normed.layers
    with_dropout = replace(normed, layers=(*features, Dropout("dropout", DROPOUT), output))
    return [zoo.get("custom", shape, classes), with_dropout]


def verify_workers(
    dataset: Dataset,
    cases: list[Case],
    rows: list[EngineSpec],
    counts: list[int],
    *,
    threads: int = 1,
    device: str = "cpu",
    native: bool = False,
) -> Generator[Event]:
    """Compare several workers of each engine with one process of it, in float64.

    Parameters
    ----------
    dataset : Dataset
        The data; its training split is used.
    cases : list of Case
        The networks and recipes.
    rows : list of EngineSpec
        The engines.
    counts : list of int
        Numbers of workers.
    threads : int
        Threads of every process.
    device : str
        The device of all engines.
    native : bool
        Whether the workers are those of the framework's own data-parallel training. They are then
        compared with one process, and with as many workers of the one mechanism.

    Yields
    ------
    Event
        For each row `WorkerImporting`, then `RowMissing` or, for each number of workers and each
        case, `WorkersStarted`, `ProofStep`, and `WorkersCompared`, `WorkersRefused` or `RowFailed`.
    """
    for case in cases:
        case.network.check_fits(dataset.shape, len(dataset.classes))
        check_memory(case.network, replace(case.recipe, dtype="float64"))
    for spec in rows:
        yield events.WorkerImporting(spec.key)
        with ExitStack() as stack:
            try:
                if native:
                    registry.check_native(registry.entry(spec.engine))
                remote = Remote(spec.engine, spec.backend, threads=threads, device=device)
                stack.enter_context(closing(remote))
                remote.greet()
            except EngineError as error:
                yield events.RowMissing(spec.key, str(error))
                continue
            row = _Row(spec, remote, dataset.train, cases, threads, device, native)
            for count in counts:
                yield from row.certificates(count)


@dataclass(frozen=True)
class _Row:
    """One engine with its single process.

    Attributes
    ----------
    spec : EngineSpec
        The engine and its backend.
    remote : Remote
        The single process.
    split : Split
        The training data.
    cases : list of Case
        The networks and recipes.
    threads : int
        Threads of every process.
    device : str
        The device of all engines.
    native : bool
        Whether the workers are those of the framework's own data-parallel training.
    """

    spec: EngineSpec
    remote: Remote
    split: Split
    cases: list[Case]
    threads: int
    device: str
    native: bool

    def certificates(self, workers: int) -> Generator[Event]:
        """Compare a number of workers with the single process in every case."""
        with ExitStack() as stack:
            group = stack.enter_context(self._group(workers, native=self.native))
            others = stack.enter_context(self._group(workers)) if self.native else None
            for case in self.cases:
                names = (case.network.name, case.recipe.optimizer.name)
                yield events.WorkersStarted(self.spec.key, workers, *names)
                try:
                    if case is self.cases[0]:
                        group.start()
                        if others:
                            others.start()
                    yield from self._case(case, group, others)
                except EngineError as error:
                    yield events.RowFailed(self.spec.key, str(error))
                    return

    def _group(self, workers: int, *, native: bool = False) -> WorkerGroup:
        return WorkerGroup(
            self.spec, workers, threads=self.threads, device=self.device, native=native
        )

    def _case(self, case: Case, group: WorkerGroup, others: WorkerGroup | None) -> Generator[Event]:
        """Compare a group with the single process, and with other workers if there are some."""
        planner = case.planner(len(self.split), "float64")
        network = case.network
        try:
            workers = group.build("float64", network, planner.recipe)
        except (RowFailed, WorkerDied):
            raise
        except EngineError as error:
            why = str(error)
            yield events.WorkersRefused(self.spec.key, group.workers, network.name, why)
            return
        start = state.initial(network, planner.recipe)
        single = self.remote.build("float64", network, planner.recipe)
        tolerances = tolerances_of(planner, self._calm_steps(case, planner, single, start))
        comparison = _Comparison(case, planner, start, tolerances)
        yield from self._compare(comparison, single, workers, "process")
        if others:
            mechanism = others.build("float64", network, planner.recipe)
            yield from self._compare(comparison, mechanism, workers, "workers")
            mechanism.drop()
        single.drop()
        workers.drop()

    def _compare(
        self, comparison: "_Comparison", reference: Trainer, workers: GroupEngine, against: str
    ) -> Generator[Event]:
        """Compare a group with a reference in one case."""
        case = comparison.case
        tolerances = comparison.tolerances
        certificate = Certificate()
        for certificate in certify(
            reference,
            workers,
            self.split,
            comparison.planner,
            case.steps,
            comparison.start,
            tolerances,
        ):
            done = certificate.outcome.steps
            yield events.ProofStep(self.spec.key, "float64", done, max(done, case.steps))
        count = workers.group.workers
        causes: tuple[Cause, ...] = ()
        if certificate.observed and count > 1:
            causes = self._causes(certificate, Setting(comparison.planner, count), tolerances)
        compared = self._compared(case, count, certificate, tolerances, causes)
        yield replace(compared, native=self.native, against=against)

    def _calm_steps(
        self, case: Case, planner: BatchPlanner, single: RemoteEngine, start: State
    ) -> float:
        """Return over how many steps rounding is not amplified."""
        if case.network.amplifies_rounding:
            return 0
        perturbed = self.remote.build("perturbed", case.network, planner.recipe)
        plans = lockstep.proof_plans(planner, case.steps)
        calm = lockstep.calm_steps(single, perturbed, self.split, plans, start)
        perturbed.drop()
        return calm

    def _causes(
        self, certificate: Certificate, setting: Setting, tolerances: Tolerances
    ) -> tuple[Cause, ...]:
        """Look for the mistake in a process of its own."""
        remote = ShardRemote(
            self.spec.engine, self.spec.backend, threads=self.threads, device=self.device
        )
        with closing(remote):
            remote.greet()
            network = setting.planner.network
            engine = remote.build("simulation", network, setting.planner.recipe)
            simulation = RemoteSimulation(remote, engine.key, engine.upload(self.split))
            return causes_of(certificate, setting, simulation, tolerances)

    def _compared(
        self,
        case: Case,
        workers: int,
        certificate: Certificate,
        tolerances: Tolerances,
        causes: tuple[Cause, ...],
    ) -> events.WorkersCompared:
        outcome = certificate.outcome
        shared = tolerances.calm_steps if tolerances.calm_steps < inf else None
        return events.WorkersCompared(
            self.spec.key,
            workers,
            case.network.name,
            case.recipe.optimizer.name,
            steps=outcome.steps,
            shared_from=None if shared is None else int(shared),
            worst=outcome.worst,
            bound=tolerances.at(0).weights,
            identical=certificate.identical,
            divergence=certificate.divergence,
            diverged_at=None if certificate.at is None else certificate.at + 1,
            causes=[{"name": cause.name, "explanation": cause.explanation} for cause in causes],
        )


@dataclass(frozen=True)
class _Comparison:
    """What several workers and a reference compute.

    Attributes
    ----------
    case : Case
        The network and the recipe.
    planner : BatchPlanner
        The planner of the run.
    start : dict of str to ndarray
        The state before the first step.
    tolerances : Tolerances
        What is compared, and the bounds.
    """

    case: Case
    planner: BatchPlanner
    start: State
    tolerances: Tolerances


@dataclass(frozen=True)
class RemoteSimulation:
    """A `triptych.scale.causes.Simulation` in another process.

    Attributes
    ----------
    remote : ShardRemote
        The process.
    key : str
        The name of its engine.
    data : str
        The name of the split in it.
    """

    remote: ShardRemote
    key: str
    data: str

    def step(self, before: State, plan: Plan, workers: int, mistakes: StepMistakes) -> State:
        """Return the state of the first worker after a step."""
        arrays = protocol.pack_plans([plan])
        arrays |= {f"{STATE_PREFIX}{name}": array for name, array in before.items()}
        reply = self.remote.ask(
            "simulate",
            arrays,
            key=self.key,
            name=self.data,
            workers=workers,
            mistakes=asdict(mistakes),
        )
        return reply.arrays
