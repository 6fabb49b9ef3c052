"""The first phase of a comparison: every row imports, builds and makes its first step."""

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from ..core import events, registry, state
from ..core.events import Event
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.selection import EngineSpec
from ..core.state import State
from ..data.dataset import Dataset
from ..errors import EngineError
from ..process.client import Remote
from ..process.pool import Workers
from .contestants import Failure, RunningRow, Settings, attempt

BLOCK_SECONDS = 0.1  # of the reference; the fastest row should need at least 0.05 s
LONGEST_BLOCK_SECONDS = 1.0
SHARE_OF_THE_TRAINING = 0.01  # that a block may take, if that is longer than `BLOCK_SECONDS`
PACE_STEPS = 5  # that are timed to choose the length of a block
LONGEST_PACE_SECONDS = 10.0  # after which fewer steps are enough
FEWEST_PIECES = 12  # of a training, so that its curve has that many points

Seconds = dict[str, float]  # of ``import``, ``build``, ``transfer`` and ``first_step``


@dataclass(frozen=True)
class Pace:
    """How the training is divided into blocks.

    Attributes
    ----------
    seconds : float
        The reference's time for one step, in seconds.
    block_steps : int
        The steps that a timed block has at least.
    planner : BatchPlanner
        Of the training. The plans of a short training are shorter than a timed block.
    """

    seconds: float
    block_steps: int
    planner: BatchPlanner


@dataclass(frozen=True)
class Started:
    """The rows after the first phase.

    Attributes
    ----------
    rows : dict of str to RunningRow
        By key, every row that was built, also if its first step failed. The reference comes first.
    failures : dict of str to str
        By key, why a row takes no further part.
    seconds : dict of str to dict
        By key, the seconds of ``import``, ``build``, ``transfer`` and ``first_step``.
    weights : State
        The first weights, which all rows share.
    pace : Pace
    """

    rows: dict[str, RunningRow]
    failures: dict[str, str]
    seconds: dict[str, Seconds]
    weights: State
    pace: Pace


def start(
    dataset: Dataset, settings: Settings, workers: Workers, stack: ExitStack
) -> Generator[Event, None, Started]:
    """Start every row.

    Parameters
    ----------
    dataset : Dataset
        Every row gets both of its splits.
    settings : Settings
    workers : Workers
        Those of the rows, which may still be importing.
    stack : ExitStack
        Closes the workers at the end of the comparison.

    Raises
    ------
    EngineError
        If the reference cannot run, or none of the other rows that are installed can.
    """
    reference = settings.rows[0]
    failures: dict[str, str] = {}
    seconds: dict[str, Seconds] = {spec.key: {} for spec in settings.rows}
    weights = state.initial(settings.network, settings.recipe)

    remotes: dict[str, Remote] = {}
    for spec in settings.rows:
        yield events.WorkerImporting(spec.key)
        action = partial(_take, spec, workers, stack)
        taken = yield from attempt(spec, action, required=spec == reference)
        if isinstance(taken, Failure):
            failures[spec.key] = taken.why
        else:
            remotes[spec.key], seconds[spec.key]["import"] = taken

    rows: dict[str, RunningRow] = {}
    for spec in settings.rows:  # after all imports, so that each builds alone
        if spec.key not in remotes:
            continue
        yield events.RowBuilding(spec.key)
        action = partial(_build, spec, remotes[spec.key], dataset, settings, weights)
        built = yield from attempt(spec, action, required=spec == reference)
        if isinstance(built, Failure):
            failures[spec.key] = built.why
            continue
        rows[spec.key] = built
        seconds[spec.key] |= {"build": built.engine.build_s, "transfer": built.engine.upload_s}
        yield events.RowReady(spec.key, built.engine.device, dict(seconds[spec.key]))
    _check_that_others_run(settings, failures)

    planner = BatchPlanner(settings.network, settings.recipe, len(dataset.train), 1)
    first_steps = yield from _make_first_steps(rows, planner)
    for key, step in first_steps.items():
        if isinstance(step, Failure):
            failures[key] = step.why
        else:
            seconds[key]["first_step"] = step

    yield events.PaceStarted(reference.key)
    pace = _measure_pace(rows[reference.key], planner)
    yield events.PaceMeasured(pace.seconds, pace.block_steps, planner.steps)
    return Started(rows, failures, seconds, weights, pace)


def described(spec: EngineSpec, why: str) -> str:
    """Return why a row failed, after its name unless the reason begins with it."""
    return why if why.startswith(spec.label) else f"{spec.label}: {why}"


def _take(spec: EngineSpec, workers: Workers, stack: ExitStack) -> tuple[Remote, float]:
    remote, import_seconds = workers.take(spec)
    stack.callback(remote.close)
    return remote, import_seconds


def _build(
    spec: EngineSpec, remote: Remote, dataset: Dataset, settings: Settings, weights: State
) -> RunningRow:
    engine = remote.build("timed", settings.network, settings.recipe)
    test = engine.upload(dataset.test)
    train = engine.upload(dataset.train)  # the last upload is the one whose time is reported
    engine.load(weights)
    return RunningRow(spec, remote, engine, train, test)


def _check_that_others_run(settings: Settings, failures: dict[str, str]) -> None:
    """Raise an error if other engines are installed and none of them runs.

    Without any other engine installed, NumPy is trained and timed alone.
    """
    others = settings.rows[1:]
    broken = [
        spec for spec in others if spec.key in failures and registry.entry(spec.engine).installed
    ]
    if broken and all(spec.key in failures for spec in others):
        reasons = "; ".join(described(spec, failures[spec.key]) for spec in broken)
        raise EngineError(f"no engine except NumPy could run; {reasons}")


def _make_first_steps(
    rows: dict[str, RunningRow], planner: BatchPlanner
) -> Generator[Event, None, dict[str, float | Failure]]:
    """Return the seconds of each row's first step. The first row is the reference."""
    reference = next(iter(rows))
    plan = next(planner.plans())
    steps: dict[str, float | Failure] = {}
    for key, row in rows.items():
        yield events.FirstStepStarted(key)
        action = partial(_first_step, row, plan)
        step = yield from attempt(row.spec, action, required=key == reference)
        if not isinstance(step, Failure):
            yield events.FirstStepTimed(key, step)
        steps[key] = step
    return steps


def _first_step(row: RunningRow, plan: Plan) -> float:
    """Return the seconds of the very first step of a process, compilation included."""
    row.engine.run(row.train, plan)
    row.engine.wait()
    return row.engine.wall_s


def _measure_pace(reference: RunningRow, planner: BatchPlanner) -> Pace:
    """Time a few steps of the reference, and divide the training into blocks."""
    plan = next(planner.plans())
    seconds: list[float] = []
    while len(seconds) < PACE_STEPS and sum(seconds) < LONGEST_PACE_SECONDS:
        reference.engine.run(reference.train, plan)
        seconds.append(reference.engine.wall_s)
    reference.engine.wait()
    step = min(seconds)
    wanted = max(BLOCK_SECONDS, SHARE_OF_THE_TRAINING * step * planner.steps)
    block_steps = max(1, round(min(wanted, LONGEST_BLOCK_SECONDS) / step))
    piece_steps = min(block_steps, -(-planner.steps // FEWEST_PIECES))
    return Pace(step, block_steps, replace(planner, block=piece_steps))
