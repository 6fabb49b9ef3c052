"""Who takes part: our engines and the peers, each in a process of its own."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from triptych.bench.load import Watch
from triptych.bench.rounds import MOST_ROUNDS, Block, Dropout, Elapsed, Turn, race, valid_rounds
from triptych.core import registry, selection, state
from triptych.core.selection import EngineSpec
from triptych.errors import EngineError
from triptych.process.client import Remote, RemoteEngine

from .job import Job
from .peers.registry import PEERS
from .progress import progress
from .timing import Settings

R = TypeVar("R")
J = TypeVar("J")

# Backends of ours that take part in addition to each engine's first one.
FURTHER_BACKENDS = (EngineSpec("torch", "onednn"),)


class ContestantProcess(Remote):
    """The process of an engine or a peer."""

    worker = "benchmarks.worker"


@dataclass
class Contestant:
    """An engine or a peer.

    Attributes
    ----------
    spec : EngineSpec
        The framework and the backend, or the peer's name in place of a backend.
    remote : Remote
        Its process.
    failure : str, optional
        Why it takes no further part.
    """

    spec: EngineSpec
    remote: Remote
    failure: str | None = None

    @property
    def key(self) -> str:
        """The short name of the engine and backend."""
        return self.spec.key


@dataclass(frozen=True)
class Loaded:
    """An engine that holds the first weights and a split.

    Attributes
    ----------
    engine : RemoteEngine
    data : str
        The name of the split in the process.
    """

    engine: RemoteEngine
    data: str


@dataclass(frozen=True)
class Raced:
    """What was timed.

    Attributes
    ----------
    blocks : dict of str to list of Block
        By contestant; only of those that did not fail. The first round is left out.
    others : float
        The share of the machine that other programs used meanwhile, from 0 to 1.
    """

    blocks: dict[str, list[Block]]
    others: float

    def seconds(self, key: str) -> list[float]:
        """Return a contestant's seconds for one step in the rounds that count."""
        valid = valid_rounds(self.blocks)
        return [block.seconds for block in self.blocks[key] if block.round in valid]


def ours(all_backends: bool = False) -> list[EngineSpec]:
    """Return our engines that are installed, NumPy, the reference, first."""
    every = selection.installed(selection.specs(all_backends=True), named=False)
    if all_backends:
        return every
    return [spec for spec in every if spec.key == spec.engine or spec in FURTHER_BACKENDS]


def field(peers: Iterable[str], settings: Settings) -> list[EngineSpec]:
    """Return our engines and the given peers, of those that are installed and wanted."""
    specs = ours(settings.all_backends)
    for key in peers:
        peer = PEERS[key]
        wanted = settings.all_backends or not peer.slow
        if wanted and registry.entry(peer.spec.engine).installed:
            specs.append(peer.spec)
    return specs


@contextmanager
def opened(specs: list[EngineSpec], threads: int) -> Generator[list[Contestant]]:
    """Start a process for each contestant, all at once, and end them afterwards."""
    progress(f"  starting {len(specs)} processes", passing=True)
    contestants: list[Contestant] = []
    try:
        for spec in specs:
            remote = ContestantProcess(spec.engine, spec.backend, threads=threads)
            contestants.append(Contestant(spec, remote))
        attempt(contestants, lambda contestant: contestant.remote.greet())
        yield contestants
    finally:
        for contestant in contestants:
            contestant.remote.close()


def running(contestants: Iterable[Contestant]) -> list[Contestant]:
    """Return those that have not failed."""
    return [contestant for contestant in contestants if not contestant.failure]


def attempt(contestants: list[Contestant], action: Callable[[Contestant], R]) -> dict[str, R]:
    """Do something for every contestant that has not failed; one that cannot gets its `failure`.

    Parameters
    ----------
    contestants : list of Contestant
        The first is the reference.
    action : callable
        May raise an EngineError.

    Returns
    -------
    dict
        By key, what the action returned.

    Raises
    ------
    EngineError
        If it is the reference that cannot.
    """
    results: dict[str, R] = {}
    for contestant in running(contestants):
        try:
            results[contestant.key] = action(contestant)
        except EngineError as error:
            fail(contestants, contestant, error)
    return results


def fail(contestants: list[Contestant], contestant: Contestant, error: EngineError) -> None:
    """Take a contestant out, or raise the error if it is the reference."""
    if contestant is contestants[0]:
        raise error
    contestant.failure = str(error)


def load(contestant: Contestant, key: str, job: Job) -> Loaded:
    """Build an engine with the first weights, and give it the images of a job.

    Parameters
    ----------
    contestant : Contestant
        In whose process the engine is built.
    key : str
        The name of the engine in that process.
    job : Job
        What is trained.
    """
    engine = contestant.remote.build(key, job.network, job.recipe)
    engine.load(state.initial(job.network, job.recipe))
    return Loaded(engine, engine.upload(job.split))


def compete(
    contestants: list[Contestant],
    settings: Settings,
    act: Callable[[Contestant, J], Elapsed],
    rounds: Iterator[J],
) -> Raced:
    """Time rounds until enough of them were undisturbed, after one to warm up.

    Parameters
    ----------
    contestants : list of Contestant
        Those that fail meanwhile get their `failure`.
    settings : Settings
    act : callable
        Lets a contestant do what a round asks for.
    rounds : iterator
        What is to be done in each round; at least `MOST_ROUNDS` more than are wanted.

    Raises
    ------
    EngineError
        If the reference fails, or too many rounds were disturbed by the other contestants.
    """
    blocks: dict[str, list[Block]] = {contestant.key: [] for contestant in running(contestants)}
    most = settings.rounds + MOST_ROUNDS
    watch = Watch()
    timed = race(
        running(contestants),
        act,
        islice(rounds, 1 + most),
        pid=lambda contestant: contestant.remote.pid,
        processor_time=settings.processor_time,
    )
    for item in timed:
        if isinstance(item, Turn):
            if item.block.round > 0:
                blocks[item.contestant.key].append(item.block)
        elif isinstance(item, Dropout):
            fail(contestants, item.contestant, item.error)
            del blocks[item.contestant.key]
        elif item.number == 0:
            # From now on: a compiler that ran before in a process of its own is no other program.
            watch = Watch(contestant.remote.pid for contestant in running(contestants))
        else:
            done = len(valid_rounds(blocks))
            progress(f"  {done} of {settings.rounds} rounds", passing=True)
            if done >= settings.rounds:
                return Raced(blocks, watch.share())
    raise EngineError(
        f"fewer than {settings.rounds} of {most} rounds were undisturbed; "
        "let the machine come to rest"
    )


def described(spec: EngineSpec) -> str:
    """Return a few words on a contestant."""
    if peer := PEERS.get(spec.key):
        return peer.description
    entry = registry.entry(spec.engine)
    return f"ours: {entry.label}, {entry.backends[spec.backend]}"


def processes_that_tell(contestants: Iterable[Contestant]) -> Mapping[str, Remote]:
    """Return one process of NumPy and one of PyTorch, if they run.

    These tell their library for products, and their rates are measured.
    """
    processes: dict[str, Remote] = {}
    for contestant in running(contestants):
        if contestant.spec.engine in ("numpy", "torch"):
            processes.setdefault(contestant.spec.engine, contestant.remote)
    return processes
