"""Whether a run folder tells an undisturbed training: no step lost or repeated, no other samples.

The run is trained again in this process, from its first weights, as if nothing had disturbed it.
What the log tells of each step is compared with that, and so is the saved state.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from ..core import registry
from ..core.events import BlockTrained, Event
from ..core.plan import digest_of
from ..core.planner import BatchPlanner
from ..data.dataset import Dataset
from ..spec.validation import is_number
from ..training import run_folder
from ..training.loop import Training
from ..training.saved import SavedRun
from ..training.session import Session, Settings
from .divergence import array_errors

Json = dict[str, Any]

# Of float64, over whole trajectories of networks that do not amplify rounding.
BOUND = 1e-9
DIGITS_BOUND = 1e-6  # of a loss in the log, which has seven significant digits


@dataclass
class ReplayResult:
    """What came of it.

    Attributes
    ----------
    steps : int
        Steps of the last checkpoint, which were trained again.
    restarts : int
        How often the run went on after it had been stopped, or had lost a worker.
    damages : list of str
        What is wrong with the log: a step that is missing or twice, other samples, a line each.
    samples_compared : int
        Steps whose samples were compared; logs of older versions do not tell them.
    loss_difference, state_difference : float
        The largest relative differences.
    exact : bool
        Whether equality to the bit is to be expected: one process of one engine trained all.
    judged : bool
        Whether there is a bound on the differences; float32 of several workers or engines has none.
    first_difference : int
        The first step whose loss differs by more than it may, from 1; 0 if there is none.
    """

    steps: int
    restarts: int
    damages: list[str] = field(default_factory=list[str])
    samples_compared: int = 0
    loss_difference: float = 0.0
    state_difference: float = 0.0
    exact: bool = True
    judged: bool = True
    first_difference: int = 0

    @property
    def equal(self) -> bool:
        """Whether the log is whole, and the trajectory that of the undisturbed run."""
        if self.damages:
            return False
        if not self.judged:
            return True
        if self.exact:
            return self.loss_difference == 0 and self.state_difference == 0
        return self.loss_difference <= DIGITS_BOUND and self.state_difference <= BOUND


def replayed(saved: SavedRun, data: Dataset, threads: int) -> Generator[Event, None, ReplayResult]:
    """Train a run again up to its last checkpoint, and compare.

    Parameters
    ----------
    saved : SavedRun
        The run.
    data : Dataset
        Its data.
    threads : int
        Threads of the engine in this process.

    Yields
    ------
    Event
        Those of the training, for its progress.

    Returns
    -------
    ReplayResult
        What came of it.

    Raises
    ------
    TriptychError
        If the folder has no log, or the engine cannot train the network.
    """
    blocks, places, restarts = _read(saved)
    engine = saved.engine or registry.REFERENCE
    backend = registry.entry(engine).backend(saved.backend)
    session = Session(
        Settings(engine, backend, "cpu", threads), saved.network, saved.recipe, data, runs=None
    )
    exact = places == {(engine, backend, "cpu", threads, 1)}
    in_bounds = saved.recipe.dtype == "float64" and not saved.network.amplifies_rounding
    result = ReplayResult(saved.position.step, restarts, exact=exact, judged=exact or in_bounds)
    planner = session.training.planner
    result.damages = _damages(blocks, planner, result)
    losses = yield from _trained_again(session.training, saved.position.step)
    for at, told in _logged_losses(blocks):
        difference = _relative(told, losses[at - 1])
        if difference > max(result.loss_difference, 0.0 if exact else DIGITS_BOUND):
            result.first_difference = result.first_difference or at
        result.loss_difference = max(result.loss_difference, difference)
    state = session.training.engine.state()
    result.state_difference = max(each.error for each in array_errors(state, saved.state))
    return result


def _read(saved: SavedRun) -> tuple[list[Json], set[tuple[Any, ...]], int]:
    """Return the logged blocks up to the checkpoint, where they were trained, and the restarts."""
    events = run_folder.read_events(saved.folder)
    blocks = [event for event in events if event["type"] == "block"]
    began = [event for event in events if event["type"] == "begin"]
    places = {
        tuple(event.get(key) for key in ("engine", "backend", "device", "threads"))
        + (event.get("workers", 1),)
        for event in began
    }
    before = [block for block in blocks if block["step"] <= saved.position.step]
    return before, places, max(len(began) - 1, 0)


def _damages(blocks: list[Json], planner: BatchPlanner, result: ReplayResult) -> list[str]:
    """Return what is wrong with the logged steps and their samples, a line each."""
    damages: list[str] = []
    done = 0
    for block in blocks:
        first = block["step"] - block["steps"]
        if first != done:
            what = "missing" if first > done else "twice"
            low, high = sorted((first, done))
            damages.append(f"{_steps(low, high)} {what} in the log")
        done = block["step"]
        if len(block["losses"]) != block["steps"]:
            damages.append(f"the block that ends with step {done:,} has not a loss for each step")
        told = block.get("samples")
        if told is None or planner.full:
            continue
        result.samples_compared += block["steps"]
        if told != _samples(planner, first, block["steps"]):
            damages.append(f"{_steps(first, done)} not made with the samples of the recipe")
    if done < result.steps:
        damages.append(f"{_steps(done, result.steps)} missing in the log")
    return damages


def _steps(first: int, last: int) -> str:
    """Return the beginning of a sentence about the steps after one, up to another one."""
    if last == first + 1:
        return f"step {last:,} is"
    return f"steps {first + 1:,} to {last:,} are"


def _logged_losses(blocks: list[Json]) -> Iterator[tuple[int, Any]]:
    """Yield the number of each logged step, from 1, and its loss."""
    for block in blocks:
        yield from enumerate(block["losses"][: block["steps"]], block["step"] - block["steps"] + 1)


def _samples(planner: BatchPlanner, first: int, steps: int) -> str:
    """Return the digest of the samples of some steps of one epoch."""
    epoch, at = divmod(first, planner.steps_per_epoch)
    order = planner.epoch_order(epoch)
    return digest_of(order[at * planner.batch : (at + steps) * planner.batch])


def _trained_again(training: Training, steps: int) -> Generator[Event, None, list[float]]:
    """Make the steps of the run; return their losses, as a log holds them."""
    training.pause = steps
    losses: list[float] = []
    with closing(training.feed), closing(training.events()) as events:
        # The checkpoint may be in the middle of an epoch, or before the first step.
        while training.position.step < steps:
            event = next(events, None)
            if event is None:
                break
            yield event
            if isinstance(event, BlockTrained):
                losses += event.losses
    return losses


def _relative(told: Any, again: float) -> float:
    """Return the relative difference of two losses; a loss that is no number is different."""
    if not is_number(told):
        return float("inf")
    return abs(told - again) / max(abs(told), abs(again)) if told != again else 0.0
