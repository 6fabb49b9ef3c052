"""A rough estimate of how long a comparison will take."""

import time
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from ..core import registry, state
from ..core.engine import Engine
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.selection import EngineSpec
from ..core.split import Split
from ..data.dataset import Dataset
from ..parity.float32 import STEPS
from .contestants import Settings
from .proof import PROOF_STEPS

FIXED_SECONDS = 15.0  # imports, first steps, idle times and the report
TWINS = 3
STEPS_OF_ANOTHER_ROW = 1.5  # in steps of NumPy, that one step of another row is assumed to take
STEPS_OF_A_PROOF_STEP = 8  # in float64, for both sides of a pair, with traces

# The time of a step with more multiplications is estimated from two smaller ones.
HEAVY_MULTIPLICATIONS = 2e10
SMALL_SHARE = 8  # the smaller of the two has this fraction of `HEAVY_MULTIPLICATIONS`: 1/8


def estimate(dataset: Dataset, settings: Settings) -> float:
    """Return the seconds that one seed's comparison will take, from NumPy steps that are timed now.

    Parameters
    ----------
    dataset : Dataset
        Its training split is used.
    settings : Settings
        What is compared.
    """
    settings.network.check_fits(dataset.shape, len(dataset.classes))
    recipe = replace(settings.recipe, random="matched")
    planner = BatchPlanner(settings.network, recipe, len(dataset.train), 1)
    with threadpool_limits(settings.threads), np.errstate(all="ignore"):
        step_seconds = _step_seconds(dataset.train, planner)
    others = (len(settings.rows) - 1) * STEPS_OF_ANOTHER_ROW
    training_steps = planner.steps * (1 + TWINS + others)
    proof_steps = STEPS_OF_A_PROOF_STEP * (PROOF_STEPS + STEPS) * (1 + others)
    computing = step_seconds * (training_steps + proof_steps)
    return FIXED_SECONDS + computing + sum(map(_compile_seconds, settings.rows))


def _compile_seconds(spec: EngineSpec) -> float:
    return registry.entry(spec.engine).compile_seconds.get(spec.backend, 0.0)


def _step_seconds(split: Split, planner: BatchPlanner) -> float:
    """Return the time of one step of NumPy, in seconds.

    A heavy step is not made. Its time is a constant for the weights plus a part that is
    proportional to the samples, and both follow from two steps with few samples.
    """
    network = planner.network
    engine = registry.create(registry.REFERENCE, network, planner.recipe)
    engine.load(state.initial(network, planner.recipe))
    multiplications = max(1, network.multiplications)
    few = max(1, int(HEAVY_MULTIPLICATIONS / SMALL_SHARE / multiplications))
    more = 4 * few
    if planner.batch <= more:
        return _second_step(engine, split, next(planner.plans()))
    short = _second_step_of(engine, split, planner, few)
    longer = _second_step_of(engine, split, planner, more)
    seconds_per_sample = max(0.0, longer - short) / (more - few)
    return longer + seconds_per_sample * (planner.batch - more)


def _second_step_of(engine: Engine, split: Split, planner: BatchPlanner, samples: int) -> float:
    """Return the time of a step over the first samples of a split, in seconds."""
    part = Split(split.images[:samples], split.labels[:samples])
    recipe = replace(planner.recipe, batch_size="full", epochs=1)
    plan = next(BatchPlanner(planner.network, recipe, samples, 1).plans())
    return _second_step(engine, part, plan)


def _second_step(engine: Engine, split: Split, plan: Plan) -> float:
    """Return the time of a plan's step, in seconds; the first one also reserves memory."""
    data = engine.upload(split)
    engine.run(data, plan)
    before = time.perf_counter()
    engine.run(data, plan)
    return time.perf_counter() - before
