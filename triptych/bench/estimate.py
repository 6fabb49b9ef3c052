"""A rough word beforehand on how long a comparison will take."""

import time
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from .. import engines, state
from ..data.dataset import Dataset
from ..parity.rounding import STEPS
from ..plan import Schedule
from .compare import Settings
from .proof import PROOF_STEPS

FIXED = 15.0  # seconds: imports, first steps, idle times and the report
TWINS = 3
SLOWER = 1.5  # what another row's step is reckoned at, in steps of NumPy's
COMPILED = 25.0  # seconds more for a row whose compiler runs


def estimate(dataset: Dataset, settings: Settings) -> float:
    """Return the seconds that one seed's comparison will take, from two NumPy steps timed here and now."""
    settings.network.check_fits(dataset.shape, len(dataset.classes))
    recipe = replace(settings.recipe, random="matched")
    engine = engines.create("numpy", settings.network, recipe)
    engine.load(state.initial(settings.network, recipe))
    data = engine.put(dataset.train)
    schedule = Schedule(settings.network, recipe, len(dataset.train), 1)
    plan = next(schedule.plans())
    with threadpool_limits(settings.threads), np.errstate(all="ignore"):
        engine.run(data, plan)
        before = time.perf_counter()
        engine.run(data, plan)
        step = time.perf_counter() - before
    others = (len(settings.rows) - 1) * SLOWER
    training = schedule.steps * (1 + TWINS + others)
    proof = 8 * (PROOF_STEPS + STEPS) * (1 + others)  # in float64, both sides of each pair, with traces
    compilers = COMPILED * sum(spec.backend == "compiled" and spec.engine == "torch" for spec in settings.rows)
    return FIXED + step * (training + proof) + compilers
