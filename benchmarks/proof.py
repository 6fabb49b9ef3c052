"""Contestants are proved equal before they are timed.

In float64 their weights are compared, in float32 the sizes of their rounding.
"""

from dataclasses import fields, replace

import numpy as np

from triptych.core import state
from triptych.core.state import State
from triptych.errors import EngineError
from triptych.parity.divergence import BOUND, first_divergence
from triptych.parity.float32 import LARGEST_FACTOR, Rounding, judge_float32, step_errors
from triptych.spec.layers import Dropout
from triptych.spec.optimizers import Optimizer, optimizer
from triptych.spec.recipe import Recipe

from .contestants import Contestant, attempt, load
from .job import Job
from .peers.registry import PEERS
from .progress import progress

STEPS = 3  # one after the other in float64
PROVED = (
    f"float64 weights equal to {BOUND:g} after {STEPS} steps, nothing dropped; "
    f"float32 steps within {LARGEST_FACTOR:g} times NumPy's rounding"
)


def prove(contestants: list[Contestant], job: Job) -> dict[str, Rounding]:
    """Let everybody who can make the same few steps, and compare them with the reference's.

    The reference can compute by every framework's formulas. Nothing is dropped, because peers draw
    their own masks.

    Parameters
    ----------
    contestants : list of Contestant
        The first is the reference. Those that differ in float64 get their `failure`.
    job : Job
        What is trained.

    Returns
    -------
    dict of str to Rounding
        By key, the float32 verdict. Peers that cannot be fed the same batches are left out.

    Raises
    ------
    EngineError
        If the reference cannot run.
    """
    reference = contestants[0]
    truths: dict[str, State] = {}

    def prove_one(contestant: Contestant) -> Rounding | None:
        peer = PEERS.get(contestant.key)
        if peer and not peer.proved:
            return None
        progress(f"  proving {contestant.key}", passing=True)
        like = peer.like if peer else "torch"
        job_of_proof = without_dropout(job, like)
        if like not in truths:
            truths[like] = weights_after_steps(reference, job_of_proof)
        reached = weights_after_steps(contestant, job_of_proof)
        if difference := first_divergence(truths[like], reached, BOUND, "update"):
            raise EngineError(f"{contestant.spec.label} computes something else: {difference}")
        return judge_steps(reference, contestant, job_of_proof)

    verdicts = attempt(contestants, prove_one)
    return {key: rounding for key, rounding in verdicts.items() if rounding}


def without_dropout(job: Job, like: str) -> Job:
    """Return the job with nothing dropped, and with the optimizer's formulas of a framework.

    Parameters
    ----------
    job : Job
    like : str
        ``torch`` or ``keras``.
    """
    layers = tuple(
        replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer
        for layer in job.network.layers
    )
    recipe = job.recipe
    if like == "keras":
        recipe = replace(recipe, optimizer=_like_keras(recipe.optimizer))
    return replace(job, network=replace(job.network, layers=layers), recipe=recipe)


def _like_keras(original: Optimizer) -> Optimizer:
    """Return an optimizer with Keras's formulas, and with betas that float32 holds exactly.

    Keras converts betas to float32, in a float64 training too.
    """
    betas = {
        field.name: float(np.float32(getattr(original, field.name)))
        for field in fields(original)
        if field.name.startswith("beta")
    }
    return optimizer(original.name, original.rate, "keras", **betas)


def weights_after_steps(contestant: Contestant, job: Job) -> State:
    """Return the weights after a few float64 steps, made as those that are timed.

    That is in one call, if an epoch has enough steps.
    """
    loaded = load(contestant, "proof", in_dtype(job, "float64"))
    plans = job.plans(STEPS)
    made = 0
    while made < STEPS:
        plan = next(plans)
        loaded.engine.run(loaded.data, plan)
        made += len(plan)
    reached = state.weights(loaded.engine.state())
    loaded.engine.drop()
    return reached


def judge_steps(reference: Contestant, contestant: Contestant, job: Job) -> Rounding:
    """Return the verdict on float32 steps, each from the first weights.

    Raises
    ------
    EngineError
        If the contestant computes in another precision.
    """
    job = in_dtype(job, "float32")
    exact = load(reference, "exact", in_dtype(job, "float64")).engine
    yardstick = load(reference, "reference", job).engine
    engine = load(contestant, "proof", job).engine
    start = state.initial(job.network, job.recipe)
    planner = job.planner(1)
    errors = list(step_errors(yardstick, exact, engine, job.split, planner, start, stride=0))
    weights = state.weights(engine.state())
    for built in (exact, yardstick, engine):
        built.drop()
    check_dtype(contestant, {str(array.dtype) for array in weights.values()}, "float32")
    return judge_float32(errors, proved=True)


def in_dtype(job: Job, dtype: str) -> Job:
    """Return the job in another precision."""
    recipe: Recipe = replace(job.recipe, dtype=dtype)
    return replace(job, recipe=recipe)


def check_dtype(contestant: Contestant, dtypes: set[str], wanted: str) -> None:
    """Raise an EngineError if arrays of a contestant are in another dtype than wanted."""
    for dtype in dtypes - {wanted}:
        raise EngineError(
            f"{contestant.spec.label} computes in {dtype} where {wanted} is asked for"
        )
