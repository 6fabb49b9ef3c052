"""Two workers that train one network: the price of adding gradients, and weak scaling."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Literal

import numpy as np
import psutil

from triptych.bench.load import LARGEST_SHARE_OF_OTHERS, Watch
from triptych.bench.rounds import Dropout, Elapsed, Turn, race
from triptych.bench.statistics import Interval, interval, ratio
from triptych.core import registry, selection, state
from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.selection import EngineSpec
from triptych.core.split import Split
from triptych.errors import EngineError
from triptych.process.client import Remote, RemoteEngine
from triptych.scale.certificate import certify, tolerances_of
from triptych.scale.group import GroupEngine, ShardRemote, WorkerGroup
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

from .progress import progress
from .timing import Settings
from .training import images

Clock = Literal["wall", "processor"]

WORKERS = 2
GOAL = 0.8  # times as fast as the native way, and as one worker alone with its part
BYTES_PER_MB = 1e6
STEPS_PROVED = 3
SUMS = 30  # that are timed for the floor
SAMPLES = 640
ALONE = "alone"
MECHANISM = "one mechanism"
NATIVE = "native"
OPEN = (
    "its servers would listen on every network interface; run this in a network namespace: "
    "unshare -n sh -c 'ip link set lo up && exec \"$@\"' sh python -m benchmarks scaling"
)


@dataclass(frozen=True)
class Case:
    """A network with a recipe, and how many steps are timed at once.

    Attributes
    ----------
    network : Network
    recipe : Recipe
        Its batch size is that of one worker.
    steps : int
    """

    network: Network
    recipe: Recipe
    steps: int

    @property
    def gradient_bytes(self) -> int:
        """The bytes that are added in each step."""
        return self.network.parameter_count * np.dtype(self.recipe.dtype).itemsize


class ScalingRemote(ShardRemote):
    """A worker process that also times sums."""

    worker = "benchmarks.scaling_worker"


class ScalingGroup(WorkerGroup):
    """Two workers."""

    remote = ScalingRemote


@dataclass(frozen=True)
class Line:
    """What was measured with one network.

    Attributes
    ----------
    case : Case
    wall, processor : dict of str to list of float
        By the way in which the gradients are added: the seconds of one step in each round, and the
        processor time of one worker in it.
    floor : list of float
        The seconds of each sum of that many bytes alone.
    """

    case: Case
    wall: dict[str, list[float]]
    processor: dict[str, list[float]]
    floor: list[float]

    def ratios(self, clock: Clock) -> dict[str, Interval]:
        """Return the time of the native way, and alone, over that of the one mechanism."""
        times: dict[str, list[float]] = getattr(self, clock)
        ways = [way for way in (NATIVE, ALONE) if way in times]
        return {way: ratio(times[way], times[MECHANISM]) for way in ways}


@dataclass
class Scaled:
    """What was measured with one engine.

    Attributes
    ----------
    name, title : str
        The key of the workload, and a few words.
    key, label : str
        The engine.
    lines : list of Line
    others : list of float
        The share of the machine that other programs used with each network, from 0 to 1.
    largest : float
        The largest difference in float64 between the ways and one process.
    left_out : list of str
        Which ways it does not have here, and why.
    failed : list of str
        Why it was not measured to its end.
    """

    name: str
    title: str
    key: str
    label: str
    lines: list[Line] = field(default_factory=list[Line])
    others: list[float] = field(default_factory=list[float])
    largest: float = 0.0
    left_out: list[str] = field(default_factory=list[str])
    failed: list[str] = field(default_factory=list[str])

    @property
    def busy(self) -> bool:
        """Whether other programs used so much of the machine that the times tell little."""
        return max(self.others, default=0.0) > LARGEST_SHARE_OF_OTHERS

    @property
    def ok(self) -> bool:
        """Whether everything was measured, on a machine that was not busy."""
        return not self.failed and not self.busy

    def entries(self) -> list[dict[str, Any]]:
        """Return the ratios: the time of the native way, or alone, over that of the mechanism.

        Those of wall times are left out on a busy machine.
        """
        clocks: list[Clock] = ["processor"] if self.busy else ["wall", "processor"]
        return [
            {
                "workload": f"{self.name} {line.case.network.name}, {clock} time",
                "engine": self.key,
                "peer": peer,
                "threads": 1,
                "ratio": times.median,
                "low": times.low,
                "high": times.high,
            }
            for clock in clocks
            for line in self.lines
            for peer, times in line.ratios(clock).items()
        ]

    def text(self) -> Iterator[str]:
        """Yield the block that a person reads, line by line."""
        yield f"{self.name}: {self.label}, {self.title}"
        if self.lines:
            shares = ", ".join(f"{share:.0%}" for share in self.others)
            yield f"  other programs used {shares} of the machine"
            yield (
                f"  proved first: {STEPS_PROVED} steps in float64, "
                f"differences from one process up to {self.largest:.1e}"
            )
        for reason in self.left_out + self.failed:
            yield f"  left out: {reason}"
        if not self.lines:
            return
        yield from self._table("wall", "ms a step")
        if self.busy:
            yield f"  others used more than {LARGEST_SHARE_OF_OTHERS:.0%}: these ratios tell little"
        yield from self._table("processor", "ms a worker")
        yield f"  goals: both ratios at least {GOAL:.2f}"

    def _table(self, clock: Clock, unit: str) -> Iterator[str]:
        yield ""
        yield (
            f"  {clock + ' time,':16}{'gradients':>10}{ALONE:>9}{MECHANISM:>15}{NATIVE:>9}"
            f"{'floor':>8}{'native / mechanism':>23}{'alone / mechanism':>23}"
        )
        yield f"  {unit}"
        for line in self.lines:
            times: dict[str, str] = dict.fromkeys((ALONE, MECHANISM, NATIVE), "–")
            for way, seconds in getattr(line, clock).items():
                times[way] = f"{1e3 * interval(seconds).median:.2f}"
            cells: dict[str, str] = dict.fromkeys((NATIVE, ALONE), "–")
            for peer, times_of in line.ratios(clock).items():
                cells[peer] = f"{times_of.median:.2f} [{times_of.low:.2f}, {times_of.high:.2f}]"
            size = f"{line.case.gradient_bytes / BYTES_PER_MB:.2f} MB"
            floor = f"{1e3 * interval(line.floor).median:.2f}" if clock == "wall" else ""
            yield (
                f"  {line.case.network.name:16}{size:>10}{times[ALONE]:>9}{times[MECHANISM]:>15}"
                f"{times[NATIVE]:>9}{floor:>8}{cells[NATIVE]:>23}{cells[ALONE]:>23}"
            )


@dataclass(frozen=True)
class Scaling:
    """Two workers, one thread each: one mechanism, the native way, and one worker alone.

    Every worker has the batch of the recipe, so the batch of two is twice as large.

    Attributes
    ----------
    title : str
    cases : tuple of Case
    """

    title: str
    cases: tuple[Case, ...]
    timed = False  # with several numbers of threads: it is one for each worker

    def measure(self, name: str, settings: Settings) -> Iterator[Scaled]:
        """Prove and time each engine.

        Raises
        ------
        EngineError
            If there are fewer processors than workers, or a worker fails.
        """
        for spec in selection.installed(selection.specs(), named=False):
            label = registry.entry(spec.engine).label
            progress(f"  {label}")
            scaled = Scaled(name, self.title, spec.key, label)
            try:
                self._measure(spec, settings, scaled)
            except EngineError as error:
                scaled.failed.append(str(error))
            yield scaled

    def _measure(self, spec: EngineSpec, settings: Settings, scaled: Scaled) -> None:
        with ExitStack() as stack:
            alone = stack.enter_context(closing(Remote(spec.engine, spec.backend, threads=1)))
            groups = {MECHANISM: stack.enter_context(ScalingGroup(spec, WORKERS))}
            if why := why_not_native(spec):
                scaled.left_out.append(f"{NATIVE}: {why}")
            else:
                groups[NATIVE] = stack.enter_context(ScalingGroup(spec, WORKERS, native=True))
            alone.greet()
            for group in groups.values():
                group.start()
            pids = [alone.pid, *(each.pid for group in groups.values() for each in group.remotes)]
            for case in self.cases:
                progress(f"  {scaled.label}: {case.network.name}", passing=True)
                split = images(case.network, SAMPLES, settings.data)
                scaled.largest = max(scaled.largest, *prove(case, split, alone, groups))
                watch = Watch(pids)
                wall, processor = timed(case, split, alone, groups, settings.rounds)
                scaled.others.append(watch.share())
                floor = sums(groups[MECHANISM], case.gradient_bytes)
                scaled.lines.append(Line(case, wall, processor, floor))


def why_not_native(spec: EngineSpec) -> str | None:
    """Return why the native way of an engine is not measured, or None."""
    info = registry.entry(spec.engine)
    try:
        registry.check_native(info)
    except EngineError as error:
        return str(error)
    if info.native_is_open and not only_loopback():
        return f"{info.native}: {OPEN}"
    return None


def only_loopback() -> bool:
    """Return whether this process sees no network interface that leaves the machine."""
    running = psutil.net_if_stats()
    return all(name == "lo" for name, stats in running.items() if stats.isup)


def group_recipe(case: Case, **changes: Any) -> Recipe:
    """Return the recipe of two workers, each with the batch of one."""
    return replace(case.recipe, batch_size=WORKERS * int(case.recipe.batch_size), **changes)


def prove(
    case: Case, split: Split, alone: Remote, groups: dict[str, WorkerGroup]
) -> Iterator[float]:
    """Compare every way with one process that makes the steps of both workers, in float64.

    Yields
    ------
    float
        The largest difference of each way, relative to its kind.

    Raises
    ------
    EngineError
        If one is not equal.
    """
    recipe = group_recipe(case, dtype="float64")
    planner = BatchPlanner(case.network, recipe, len(split), 1)
    tolerances = tolerances_of(planner, inf)
    start = state.initial(case.network, recipe)
    single = alone.build("proof", case.network, recipe)
    for way, group in groups.items():
        workers = group.build("proof", case.network, recipe)
        *_, certificate = certify(single, workers, split, planner, STEPS_PROVED, start, tolerances)
        workers.drop()
        if not certificate.equal:
            raise EngineError(
                f"{case.network.name}: {way} differs from one process: "
                f"{certificate.divergence or 'the workers have different states'}"
            )
        yield certificate.outcome.largest
    single.drop()


@dataclass(frozen=True)
class Contestant:
    """One way of training, with its engine and its data.

    Attributes
    ----------
    way : str
    engine : RemoteEngine or GroupEngine
    data : str
        The name of the split in its processes.
    plans : iterator of Plan
        Practically without end.
    """

    way: str
    engine: RemoteEngine | GroupEngine
    data: str
    plans: Iterator[Plan]

    def act(self) -> Elapsed:
        """Make the steps of the next plan."""
        plan = next(self.plans)
        self.engine.run(self.data, plan)
        self.engine.wait()
        engines = getattr(self.engine, "engines", [self.engine])
        wall = max(engine.wall_s for engine in engines)
        processor = sum(engine.cpu_s for engine in engines) / len(engines)
        return Elapsed(wall, processor, len(plan))


def timed(
    case: Case, split: Split, alone: Remote, groups: dict[str, WorkerGroup], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Let all ways make the same number of steps in turn; return wall and processor times."""
    recipe = group_recipe(case)
    contestants = [contestant(ALONE, alone, case, case.recipe, split)]
    contestants += [contestant(way, group, case, recipe, split) for way, group in groups.items()]
    wall: dict[str, list[float]] = {each.way: [] for each in contestants}
    processor: dict[str, list[float]] = {each.way: [] for each in contestants}
    turns = race(contestants, lambda each, _: each.act(), range(1 + rounds), pid=lambda _: None)
    for turn in turns:
        if isinstance(turn, Dropout):
            raise turn.error
        if isinstance(turn, Turn) and turn.block.round > 0:
            block = turn.block
            wall[turn.contestant.way].append(block.seconds)
            processor[turn.contestant.way].append(block.seconds * block.cpu_share)
    for each in contestants:
        each.engine.drop()
    return wall, processor


def contestant(
    way: str, processes: Remote | WorkerGroup, case: Case, recipe: Recipe, split: Split
) -> Contestant:
    """Build the engine of one way, with the first weights."""
    engine = processes.build("timed", case.network, recipe)
    engine.load(state.initial(case.network, recipe))
    planner = BatchPlanner(case.network, recipe, len(split), case.steps).endless()
    return Contestant(way, engine, engine.upload(split), planner.plans())


def sums(group: WorkerGroup, size: int) -> list[float]:
    """Return the seconds of each sum of some bytes by gloo: of the slower of both workers."""
    answers = group.each(lambda rank, remote: remote.ask("all_reduce", size=size, times=SUMS))
    of_workers = [answer.values["seconds"] for answer in answers]
    return [max(pair) for pair in zip(*of_workers, strict=True)]
