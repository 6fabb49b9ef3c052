"""``triptych verify``: whole runs, every engine and backend, step by step. A generator of events, and no words."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ..core import state
from ..core.memory import check_memory
from ..core.planner import BatchPlanner
from ..core.selection import EngineSpec
from ..core.split import Split
from ..data.dataset import Dataset
from ..errors import EngineError
from ..process.client import Remote, RemoteEngine
from ..spec.network import Network
from ..spec.recipe import Recipe
from . import float32, lockstep

Event = dict[str, Any]

LIGHT = 1_000_000  # multiplications a sample: what is heavier is made fewer steps at once
LOOKS = 10  # how often a float32 trajectory is looked at

# What the estimate is made of: seconds, where a name does not say otherwise.
SECONDS_TO_BUILD = 3.0  # a row's engines, their first steps compiled
SECONDS_PER_MEGABYTE = 0.004  # of arrays that are copied, sent to another process and compared
SECONDS_PER_MESSAGE = 0.0005
NUMPY_STEPS = (
    2  # of each step of the walk: its gradients are computed for the trace and for the run
)
CANDIDATE_STEPS = 3  # the same in another engine, whose step is taken to be half as long again
TWINS = 3


@dataclass(frozen=True)
class Case:
    """One network trained in one way, for a number of steps."""

    network: Network
    recipe: Recipe
    steps: int

    def schedule(self, samples: int, dtype: str) -> BatchPlanner:
        """Return a schedule that is long enough for the steps."""
        block = 64 if self.network.multiplications < LIGHT else 4
        one = BatchPlanner(
            self.network,
            replace(self.recipe, dtype=dtype, epochs=1, random="matched"),
            samples,
            block,
        )
        return replace(
            one, recipe=replace(one.recipe, epochs=-(-self.steps // one.steps_per_epoch))
        )


def verify(
    dataset: Dataset,
    cases: list[Case],
    rows: list[EngineSpec],
    *,
    threads: int = 1,
    device: str = "cpu",
) -> Iterator[Event]:
    """Prove every row against NumPy in every case.

    Parameters
    ----------
    dataset : Dataset
        Of which the training split is used.
    cases : list of Case
        Where the dtype is float32, the shared-state verdict and the trajectory follow after the float64 walk.
    rows : list of Spec
        The first is NumPy; the others are the candidates.
    threads : int
    device : str

    Yields
    ------
    dict
        With a ``type``: ``importing``, ``missing``, ``estimating``, ``estimate``, ``case``, ``row``,
        ``walking``, ``together``, ``walked``, ``failed``, ``rounding``, ``drift``. In ``estimate``,
        `seconds` is a list with an entry for each case: what one row of it is expected to take.
        A ``row`` comes before each row, also before one that cannot run any more.
    """
    for case in cases:
        case.network.check_fits(dataset.shape, len(dataset.classes))
        check_memory(case.network, replace(case.recipe, dtype="float64"))
    remotes: dict[str, Remote] = {}
    numpy = Remote("numpy", "eager", threads=threads)
    try:
        numpy.greet()
        for spec in rows[1:]:
            yield {"type": "importing", "key": spec.key, "label": spec.label}
            try:
                remotes[spec.key] = Remote(
                    spec.engine, spec.backend, threads=threads, device=device
                )
                remotes[spec.key].greet()
            except EngineError as error:
                if spec.key in remotes:
                    remotes.pop(spec.key).close()
                yield {"type": "missing", "key": spec.key, "label": spec.label, "why": str(error)}
        candidates = [spec for spec in rows[1:] if spec.key in remotes]
        if not candidates:
            return
        yield {"type": "estimating"}
        yield {
            "type": "estimate",
            "seconds": estimate(dataset.train, cases, numpy),
            "rows": len(candidates),
        }
        for case in cases:
            yield {
                "type": "case",
                "network": case.network,
                "recipe": case.recipe,
                "steps": case.steps,
            }
            for spec in candidates:
                yield {"type": "row", "key": spec.key, "label": spec.label}
                if spec.key not in remotes:
                    continue
                try:
                    yield from _prove(dataset.train, case, spec, numpy, remotes[spec.key])
                except EngineError as error:
                    yield {
                        "type": "failed",
                        "key": spec.key,
                        "label": spec.label,
                        "why": str(error),
                    }
                    remotes.pop(spec.key).close()
    finally:
        for remote in [numpy, *remotes.values()]:
            remote.close()


def estimate(split: Split, cases: list[Case], numpy: Remote) -> list[float]:
    """Return roughly how long one row of each case takes, from a NumPy step of each network.

    Parameters
    ----------
    split : Split
        The training data.
    cases : list of Case
    numpy : Remote
        A worker in which each network makes a step or two.

    Returns
    -------
    list of float
        Seconds, an entry for each case.
    """
    step_of: dict[Network, float] = {}
    found: list[float] = []
    for case in cases:
        network = case.network
        if network not in step_of:
            step_of[network] = _numpy_seconds(split, case, numpy)
        step = step_of[network]
        kinds = 1 + len(case.recipe.optimizer.slots)
        megabytes = 8e-6 * network.parameter_count * kinds
        one = (NUMPY_STEPS + CANDIDATE_STEPS) * step + 8 * SECONDS_PER_MESSAGE
        one += 6 * megabytes * SECONDS_PER_MEGABYTE
        if case.recipe.dtype == "float32":
            one += (2 + TWINS) * step
        found.append(SECONDS_TO_BUILD + case.steps * one)
    return found


def _numpy_seconds(split: Split, case: Case, numpy: Remote) -> float:
    """Return the seconds of a NumPy step: of the second one where the first does not take long."""
    schedule = case.schedule(len(split), "float64")
    try:
        engine = numpy.build("estimate", case.network, schedule.recipe)
        engine.load(state.initial(case.network, schedule.recipe))
        data = engine.upload(split)
        step = next(schedule.singles())
        engine.run(data, step)
        if case.network.multiplications < LIGHT:
            engine.run(data, step)
        engine.drop()
    except EngineError:
        return 0.0  # the same error comes again in each row of the case, which reports it
    return engine.wall_s


def _prove(
    split: Split, case: Case, spec: EngineSpec, numpy: Remote, remote: Remote
) -> Iterator[Event]:
    schedule = case.schedule(len(split), "float64")
    said = {"key": spec.key, "label": spec.label}
    start = state.initial(case.network, schedule.recipe)
    reference, exact = (r.build("float64", case.network, schedule.recipe) for r in (numpy, remote))
    outcome = lockstep.Outcome()
    for outcome in lockstep.walk(
        reference,
        exact,
        split,
        lockstep.proof_plans(schedule, case.steps),
        start,
        lockstep.Tolerances.of(case.network, schedule.recipe),
    ):
        done = outcome.at + 1
        # The smaller last batch is one step more where the others did not reach it.
        yield {"type": "walking", "done": done, "steps": max(done, case.steps)} | said
    yield {"type": "together"} | said
    blocked = lockstep.check_blocks_equal_single_steps(exact, split, schedule, start)
    yield {"type": "walked", "outcome": outcome, "blocks": blocked} | said
    exact.drop()
    if case.recipe.dtype == "float32":
        yield from _float32(
            split, case, numpy, remote, reference, outcome.equal and blocked.equal, said
        )
    reference.drop()


def _float32(
    split: Split,
    case: Case,
    numpy: Remote,
    remote: Remote,
    exact: RemoteEngine,
    proved: bool,
    said: dict[str, Any],
) -> Iterator[Event]:
    schedule = case.schedule(len(split), "float32")
    start = state.initial(case.network, schedule.recipe)
    reference = numpy.build("float32", case.network, schedule.recipe)
    row = remote.build("float32", case.network, schedule.recipe)
    errors = float32.step_errors(reference, exact, row, split, schedule, start)
    yield {"type": "rounding", "rounding": float32.judge_float32(errors, proved=proved)} | said
    # The trajectory, next to three perturbed ones: drawn as evidence, never judged.
    twins = [numpy.build(f"twin{i}", case.network, schedule.recipe) for i in range(3)]
    probe, engines = (
        float32.probe_plan(schedule),
        {"row": row} | {f"twin{i}": twin for i, twin in enumerate(twins)},
    )
    data = {name: engine.upload(split) for name, engine in engines.items()}
    own = reference.upload(split)
    for engine, begin in zip(
        [reference, row, *twins],
        [start, start, *float32.perturbed_starts(start, case.recipe.seed)],
        strict=True,
    ):
        engine.load(begin)
    every = max(1, case.steps // LOOKS)
    for done, plan in enumerate(islice(schedule.singles(), case.steps), 1):
        reference.run(own, plan)
        for name, engine in engines.items():
            engine.run(data[name], plan)
        if done % every == 0 or done == case.steps:
            seen = float32.take_snapshot(reference, own, probe)
            found: dict[str, Any] = {}
            for name, engine in engines.items():
                snapshot = float32.take_snapshot(engine, data[name], probe)
                found[name] = float32.measure_drift(case.network, seen, snapshot).to_json()
            yield {"type": "drift", "step": done} | said | found
            for engine in (reference, *engines.values()):
                engine.wait()
    for engine in (reference, row, *twins):
        engine.drop()
