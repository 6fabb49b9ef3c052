"""The measurement of two sides that were found equal, under the timing rules of the project.

Each side runs in a new process, which nothing has observed before. Its first steps must reach the
weights that the diagnosis has seen, so that what is timed is what was compared.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from ..bench.contestants import SECONDS_OF_PATIENCE
from ..bench.rounds import MOST_ROUNDS, ROUNDS, Dropout, Elapsed, RoundOver, Turn, race
from ..bench.statistics import Interval, fastest, interval, ratio
from ..bench.timing import needs_more
from ..bench.validity import FEWEST_ROUNDS, Rounds, RowBlocks
from ..core.events import Event
from ..errors import TriptychError
from .bounds import TRAVEL_BOUND, relative_difference, travel_differences
from .clock import STEPS_OF_PROOF
from .examination import Side
from .findings import Verdict
from .frameworks.adapter import ModelError
from .model_file import ModelFile
from .observation import Arrays, array_names, outputs_of, targets_in
from .side import LiveSide, SideProcess, both
from .timing import Part, SideTime, TimedPart, Timing

See = Callable[[str], Any]

BLOCK_SECONDS = 0.05  # of the faster side; both make as many calls
PACE_CALLS = 3  # from which the number of calls in a block is found
LONGEST_SECONDS = 120.0  # of a part, after which no more rounds than needed are timed


@dataclass(frozen=True)
class Proof:
    """Training steps that the diagnosis has compared, of one side.

    Attributes
    ----------
    weights : dict of str to ndarray
        Before the steps: A's, carried over.
    gradients : dict of str to ndarray
        Of the first step.
    after : dict of str to ndarray
        The weights after `STEPS_OF_PROOF` steps; empty without an optimizer, a loss or targets.
    random : bool
        Whether the model draws random numbers in training mode.
    """

    weights: Arrays
    gradients: Arrays
    after: Arrays
    random: bool


def proof_of(side: Side, batch: Arrays) -> Proof:
    """Return the steps of a side that has its final weights, as written."""
    given = side.description().given
    inputs = side.inputs(batch)
    weights = side.weights()
    if "y" not in batch or not {"loss", "optimizer"} <= set(given):
        return Proof(weights, {}, {}, random=False)
    targets = targets_in(batch)
    quiet = side.observe(inputs, training=True, targets=targets).arrays
    drawn = side.observe(inputs, training=True, dropout=True).arrays
    random = any(
        relative_difference(array, drawn[name]) > 0 for name, array in outputs_of(quiet).items()
    )
    after, _ = side.train(inputs, targets, STEPS_OF_PROOF)
    return Proof(weights, array_names(quiet, "gradient"), after, random)


@dataclass(eq=False)
class Contestant:
    """A side in its process.

    Attributes
    ----------
    name : str
        ``a`` or ``b``.
    process : SideProcess
        Its process.
    proof : Proof
        What the diagnosis has seen.
    side : LiveSide
        The side, after `begin`.
    first : dict
        What `triptych.doctor.clock.Clock.begin` returned.
    """

    name: str
    process: SideProcess
    proof: Proof
    side: LiveSide = field(init=False)
    first: dict[str, Any] = field(init=False)

    def start(self) -> None:
        """Run the user's file."""
        self.side = self.process.start()

    def begin(self, batch: Arrays) -> None:
        """Make the first calls, and check that they are what was compared.

        Raises
        ------
        ModelError
            If the timed step is not the one of the diagnosis.
        """
        self.first, after = self.side.begin_timing(batch, self.proof.weights)
        if not (after and self.proof.after) or self.proof.random:
            return
        differences = travel_differences(
            self.proof.gradients, self.proof.weights, self.proof.after, after, "native"
        )
        largest = max(differences.values())
        if not largest <= TRAVEL_BOUND["native"]:
            raise ModelError(
                f"{self.name.upper()}: {self.first['code']['training']} does not compute the step "
                f"that was compared: after {STEPS_OF_PROOF} steps the weights are "
                f"{largest:.1e} apart"
            )

    def act(self, part: Part, calls: int) -> Elapsed:
        """Make some calls."""
        return self.side.time(part, calls)


def why_not(verdict: Verdict, files: Sequence[ModelFile | None]) -> str:
    """Return why two sides cannot be timed, or an empty text.

    Parameters
    ----------
    verdict : str
        Of the diagnosis.
    files : sequence of ModelFile or None
        The files of A and B; None for something else.
    """
    if verdict == "differ":
        return "the two sides differ, and times of different computations have no ratio"
    if verdict == "undecided":
        return "the two sides are not proved equal, and without that there is no ratio"
    for name, file in zip("AB", files, strict=True):
        if file is None:
            return (
                f"{name} is not FILE.py or FILE.py:FUNCTION, which can be run again: each side is "
                "timed in a new process"
            )
    return ""


@dataclass(frozen=True)
class Contest:
    """Two sides that may be timed.

    Attributes
    ----------
    batch : dict of str to ndarray
        The shared batch.
    reason : str
        Why they may not; otherwise empty.
    files : sequence of ModelFile
        The files of A and B, if they may.
    proofs : sequence of Proof
        What the diagnosis has seen of A and B, if they may.
    """

    batch: Arrays
    reason: str = ""
    files: Sequence[ModelFile] = ()
    proofs: Sequence[Proof] = ()

    def timed(self, *, threads: int, see: See) -> Timing:
        """Time the training step and the inference of both sides.

        Parameters
        ----------
        threads : int
            The threads of each side.
        see : callable
            Called with what is timed, from time to time.
        """
        if self.reason:
            return Timing(threads, reason=self.reason)
        try:
            with ExitStack() as stack:
                contestants = [
                    Contestant(name, _opened(stack, name, file, threads), proof)
                    for name, file, proof in zip("ab", self.files, self.proofs, strict=True)
                ]
                return _measured(contestants, self.batch, threads, see)
        except TriptychError as error:
            return Timing(threads, reason=str(error))


def prepared(
    verdict: Verdict, files: Sequence[ModelFile | None], sides: Sequence[Side], batch: Arrays
) -> Contest:
    """Return what is needed to time two sides after their diagnosis.

    Parameters
    ----------
    verdict : str
        Of the diagnosis.
    files : sequence of ModelFile or None
        The files of A and B; None for something else.
    sides : sequence of Side
        Both sides, still running, B with A's weights.
    batch : dict of str to ndarray
        The shared batch.
    """
    reason = why_not(verdict, files)
    if reason:
        return Contest(batch, reason)
    proofs = [proof_of(side, batch) for side in sides]
    return Contest(batch, files=[file for file in files if file], proofs=proofs)


def _opened(stack: ExitStack, name: str, file: ModelFile, threads: int) -> SideProcess:
    process = SideProcess(name.upper(), file, threads=threads)
    return stack.enter_context(closing(process))


def _measured(contestants: list[Contestant], batch: Arrays, threads: int, see: See) -> Timing:
    see("timing: starting both sides anew")
    both(contestants[0].start, contestants[1].start)
    see("timing: first calls")
    for contestant in contestants:  # one after the other, because they are timed, too
        contestant.begin(batch)
    _check_threads(contestants, threads)
    shared: list[Part] = [
        part
        for part in ("training", "inference")
        if all(part in contestant.first["code"] for contestant in contestants)
    ]
    patience = SECONDS_OF_PATIENCE
    parts: list[TimedPart] = []
    for part in shared:
        measurement = Measurement(contestants, part, patience)
        for event in measurement.events():
            see(f"timing: {part}, {event}")
        patience = measurement.patience
        parts.append(measurement.result())
    return Timing(threads, tuple(parts), notes=tuple(_notes(contestants, parts)))


def _check_threads(contestants: list[Contestant], threads: int) -> None:
    """Raise a `ModelError` if a user's file has changed the number of threads."""
    for contestant in contestants:
        used = contestant.first["threads"]
        if used not in (threads, None):
            raise ModelError(
                f"{contestant.name.upper()} sets its threads to {used}; both sides must have "
                f"{threads}, or the number of --threads"
            )


def _notes(contestants: list[Contestant], parts: list[TimedPart]) -> Iterator[str]:
    """Yield what a reader should know about the figures."""
    if not any(part.part == "training" for part in parts):
        yield "no training step was timed: it needs y, a loss and an optimizer on both sides"
    for contestant in contestants:
        if contestant.proof.random:
            yield (
                f"{contestant.name.upper()} draws random numbers in training: the diagnosis has "
                "compared the step without them"
            )
    for part in parts:
        if part.rounds < FEWEST_ROUNDS:
            yield f"{part.part}: only {part.rounds} rounds count"


class Measurement:
    """The rounds of one part.

    Parameters
    ----------
    contestants : list of Contestant
        Both sides.
    part : str
        What they do.
    patience : float
        How long to wait for a calm machine, in seconds.

    Attributes
    ----------
    patience : float
        The time that is left for waiting, in seconds.
    """

    def __init__(self, contestants: list[Contestant], part: Part, patience: float) -> None:
        self.contestants = contestants
        self.part: Part = part
        self.patience = patience
        self.rows = {each.name: RowBlocks(each.name.upper()) for each in contestants}
        self.others: dict[int, float] = {}

    @property
    def rounds(self) -> Rounds:
        """What was timed so far."""
        return Rounds(self.rows, self.others)

    def events(self) -> Iterator[str]:
        """Time rounds until enough count; yield how far it is, as text."""
        paces = [each.act(self.part, PACE_CALLS) for each in self.contestants]
        calls = ceil(BLOCK_SECONDS * PACE_CALLS / min(pace.wall_seconds for pace in paces))
        longest = LONGEST_SECONDS / max(pace.wall_seconds * calls / PACE_CALLS for pace in paces)
        most = max(FEWEST_ROUNDS, min(MOST_ROUNDS, int(longest)))
        turns = race(
            self.contestants,
            lambda contestant, calls: contestant.act(self.part, calls),
            self._jobs(calls),
            pid=lambda contestant: contestant.process.pid,
        )
        for item in turns:
            if isinstance(item, Dropout):
                raise item.error
            if isinstance(item, Turn):
                self._record(item)
                continue
            self.others[item.number] = item.others
            yield f"round {item.number}, {len(self.rounds.counted)} of {ROUNDS} count"
            if not (yield from self._goes_on(item, most)):
                return

    def _jobs(self, calls: int) -> Iterator[int]:
        while True:
            yield calls

    def _record(self, turn: Turn[Contestant, int]) -> None:
        row = self.rows[turn.contestant.name]
        blocks = row.blocks if turn.block.round else row.warmups  # the first round warms up
        blocks.append(turn.block)

    def _goes_on(self, over: RoundOver[int], most: int) -> Generator[str, None, bool]:
        """Return whether another round is to be timed, after waiting for a calm machine."""
        if over.number == 0:
            return True
        pids = [each.process.pid for each in self.contestants]
        waiting = needs_more(self.rounds, over.number, most, self.patience, pids)
        more, self.patience = yield from _in_words(waiting)
        return more

    def result(self) -> TimedPart:
        """Return the figures."""
        rounds = self.rounds
        counted = rounds.counted
        seconds = {
            name: [block.seconds for block in row.counted(counted)]
            for name, row in self.rows.items()
        }
        if not counted:
            raise ModelError(f"{self.part}: no round was undisturbed; try again on a calm machine")
        busy = rounds.busy
        sides = {
            each.name: self._side(each, interval(seconds[each.name])) for each in self.contestants
        }
        return TimedPart(
            self.part,
            sides["a"],
            sides["b"],
            ratio(seconds["b"], seconds["a"]),
            None if busy else fastest(seconds),
            len(counted),
            float(np.median([self.others[number] for number in counted])),
            busy or "",
        )

    def _side(self, contestant: Contestant, seconds: Interval) -> SideTime:
        first = contestant.first
        return SideTime(first["code"][self.part], first["first_seconds"][self.part], seconds)


def _in_words(
    waiting: Generator[Event, None, tuple[bool, float]],
) -> Generator[str, None, tuple[bool, float]]:
    """Yield a text for each event, and return what the generator returns."""
    while True:
        try:
            next(waiting)
        except StopIteration as ended:
            return ended.value
        yield "waiting for a calm machine"
