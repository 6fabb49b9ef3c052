"""A rough word beforehand on how long a comparison will take."""

import time
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from ..core import registry, state
from ..core.engine import Engine
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.split import Split
from ..data.dataset import Dataset
from ..parity.float32 import STEPS
from .comparison import Settings
from .proof import PROOF_STEPS

FIXED = 15.0  # seconds: imports, first steps, idle times and the report
TWINS = 3
SLOWER = 1.5  # what another row's step is reckoned at, in steps of NumPy's
COMPILED = 25.0  # seconds more for a row whose compiler runs


HEAVY = (
    2e10  # multiplications of a step: the time of a heavier one is estimated from two smaller ones
)
SMALL_SHARE = 8  # of `HEAVY`: the work of the smaller of the two


def estimate(dataset: Dataset, settings: Settings) -> float:
    """Return the seconds that one seed's comparison will take, from NumPy steps that are timed now."""
    settings.network.check_fits(dataset.shape, len(dataset.classes))
    recipe = replace(settings.recipe, random="matched")
    schedule = BatchPlanner(settings.network, recipe, len(dataset.train), 1)
    with threadpool_limits(settings.threads), np.errstate(all="ignore"):
        step = _step_seconds(dataset.train, schedule)
    others = (len(settings.rows) - 1) * SLOWER
    training = schedule.steps * (1 + TWINS + others)
    proof = (
        8 * (PROOF_STEPS + STEPS) * (1 + others)
    )  # in float64, both sides of each pair, with traces
    compilers = COMPILED * sum(
        spec.backend == "compiled" and spec.engine == "torch" for spec in settings.rows
    )
    return FIXED + step * (training + proof) + compilers


def _step_seconds(split: Split, schedule: BatchPlanner) -> float:
    """Return the time of one step of NumPy, in seconds.

    A heavy step is not made. Its time is a constant for the weights plus a part that is proportional
    to the samples, and both follow from two steps with few samples.
    """
    network = schedule.network
    engine = registry.create("numpy", network, schedule.recipe)
    engine.load(state.initial(network, schedule.recipe))
    few = max(1, int(HEAVY / SMALL_SHARE / max(1, network.multiplications)))
    more = 4 * few
    if schedule.batch <= more:
        return _second_step(engine, split, next(schedule.plans()))
    short = _second_step_of(engine, split, schedule, few)
    longer = _second_step_of(engine, split, schedule, more)
    each = max(0.0, longer - short) / (more - few)
    return longer + each * (schedule.batch - more)


def _second_step_of(engine: Engine, split: Split, schedule: BatchPlanner, samples: int) -> float:
    part = Split(split.images[:samples], split.labels[:samples])
    recipe = replace(schedule.recipe, batch_size="full", epochs=1)
    return _second_step(
        engine, part, next(BatchPlanner(schedule.network, recipe, samples, 1).plans())
    )


def _second_step(engine: Engine, split: Split, plan: Plan) -> float:
    """Return the time of a plan's step in seconds; the first one also reserves memory."""
    data = engine.upload(split)
    engine.run(data, plan)
    before = time.perf_counter()
    engine.run(data, plan)
    return time.perf_counter() - before
