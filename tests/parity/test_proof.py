"""The proof on real digits: whole float64 trajectories, K steps at once, and the
float32 verdict.
"""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from support.engines import rows, slow_if

from triptych.bench.proof import Proof, Standing
from triptych.core import registry, state
from triptych.core.planner import BatchPlanner
from triptych.core.selection import EngineSpec
from triptych.data.dataset import Dataset
from triptych.parity import float32, lockstep
from triptych.spec import zoo
from triptych.spec.optimizers import SHORTHANDS, optimizer
from triptych.spec.recipe import Recipe

STEPS = 500
SHORT = (
    40  # for the backends that are not the default: the same code steps, compiled in another way
)


def proof(name: str, backend: str, network, recipe, digits: Dataset, steps: int):
    start = state.initial(network, recipe)
    schedule = BatchPlanner(network, recipe, len(digits.train), 11)
    reference, candidate = (
        registry.create(n, network, recipe, backend=b)
        for n, b in (("numpy", "eager"), (name, backend))
    )
    plans = islice((step for plan in schedule.plans() for step in plan.single()), steps)
    *_, outcome = lockstep.walk(reference, candidate, digits.train, plans, start)
    return outcome, lockstep.check_blocks_equal_single_steps(
        candidate, digits.train, schedule, start
    )


CASES = [
    *(("classic", "sgd"), ("classic", "nesterov"), ("classic", "nadam"), ("classic", "adadelta")),
    *(("custom", "momentum"), ("regularized", "adam")),
]
FAST_IN = {
    ("classic", "sgd"): "tensorflow",
    ("classic", "nesterov"): "jax",
    ("classic", "nadam"): "torch",
}


def cases() -> list:
    """Default backends in every case, the others in one; every network and optimizer by ``triptych
    verify --all --backends all``.

    Three cases are a fast test in one engine each.
    """
    found = []
    for pair in CASES:
        for row in rows(numpy=False, others=pair == CASES[-1]):
            slow = slow_if(row.values[0] != FAST_IN.get(pair))
            name = f"{'-'.join(pair)}-{row.id}"
            found.append(pytest.param(*pair, *row.values, id=name, marks=[*row.marks, *slow]))
    return found


@pytest.mark.parametrize(("network", "chosen", "name", "backend"), cases())
def test_whole_trajectories_are_equal(
    network: str, chosen: str, name: str, backend: str, digits: Dataset
):
    """Every engine; bound 1e-11 at every step, kind by kind."""
    default = registry.entry(name).default_backend == backend
    recipe = Recipe(20, 64, optimizer(chosen), dtype="float64")
    steps = STEPS if default else SHORT
    outcome, blocks = proof(name, backend, zoo.get(network), recipe, digits, steps)
    assert outcome.divergence is None, str(outcome.divergence)
    assert outcome.steps == steps
    counted = ["step"] if recipe.optimizer.counts_steps else []
    assert set(outcome.worst) == {
        "outputs",
        "loss",
        "gradients",
        "weights",
        *recipe.optimizer.slots,
        *counted,
    }
    assert outcome.largest <= 1e-11
    assert blocks.divergence is None, str(blocks.divergence)
    assert (
        blocks.steps == 11 + 3 + 1
    )  # a whole block, the rest of the epoch, the smaller last batch


@pytest.mark.parametrize(("name", "backend"), rows(numpy=False, others=False))
@pytest.mark.parametrize(
    ("network", "batch"),
    [
        ("classic", "full"),
        ("regularized", 128),
        pytest.param("classic", 128, marks=pytest.mark.slow),
        pytest.param("regularized", "full", marks=pytest.mark.slow),
    ],
)
def test_with_and_without_masks_in_full_and_in_mini_batches(
    network: str, batch, name: str, backend: str, digits: Dataset
):
    outcome, blocks = proof(
        name, backend, zoo.get(network), Recipe(12, batch, dtype="float64"), digits, 12
    )
    assert outcome.equal, str(outcome.divergence)
    assert blocks.equal, str(blocks.divergence)


def verdict(
    candidate, digits: Dataset, network, chosen: str, proved: bool = True
) -> float32.Rounding:
    recipe = Recipe(3, 64, optimizer(chosen))
    schedule, start = (
        BatchPlanner(network, recipe, len(digits.train)),
        state.initial(network, recipe),
    )
    reference = registry.create("numpy", network, recipe)
    exact = registry.create("numpy", network, Recipe(3, 64, optimizer(chosen), dtype="float64"))
    errors = list(float32.step_errors(reference, exact, candidate, digits.train, schedule, start))
    assert len(errors) == float32.STEPS == 16
    return float32.judge_float32(errors, proved=proved)


@pytest.mark.parametrize(("name", "backend"), rows(others=False))
@pytest.mark.parametrize(
    ("network", "chosen"),
    [
        *(
            pytest.param(
                "classic", chosen, marks=slow_if(chosen not in ("sgd", "adam", "adadelta"))
            )
            for chosen in SHORTHANDS
        ),
        pytest.param("custom", "adam", marks=pytest.mark.slow),
        ("lenet", "momentum"),
    ],
)
def test_a_correct_engine_is_only_rounding(
    name: str, backend: str, network: str, chosen: str, digits: Dataset
):
    described = zoo.get(network)
    found = verdict(
        registry.create(name, described, Recipe(3, 64, optimizer(chosen)), backend=backend),
        digits,
        described,
        chosen,
    )
    assert found.verdict == "rounding", found
    assert found.error < 1e-4


def test_reduced_precision_is_told_from_rounding_and_from_a_formula(digits: Dataset):
    """Products of numbers cut to bfloat16's 8 bits: precision where the float64 proof holds,
    formula where it does not.
    """
    from triptych.engines.numpy.engine import Engine

    network = zoo.get("custom")

    class Cut(Engine):
        def select_batch(self, data, plan, k):
            x, y, masks = super().select_batch(data, plan, k)
            return (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32), y, masks

    recipe = Recipe(3, 64, optimizer("adam"))
    assert verdict(Cut(network, recipe), digits, network, "adam").verdict == "precision"
    assert verdict(Cut(network, recipe), digits, network, "adam", proved=False).verdict == "formula"


def test_the_reference_follows_its_run_as_a_second_numpy_engine_steps_from_its_states(
    digits: Dataset,
):
    """The reference's own next step is NumPy's float32 step from the state that is shared."""
    network = zoo.get("custom")
    recipe = Recipe(3, 64, optimizer("adam"))
    planner = BatchPlanner(network, recipe, len(digits.train))
    start = state.initial(network, recipe)
    reference, second = (registry.create("numpy", network, recipe) for _ in range(2))
    exact = registry.create("numpy", network, replace(recipe, dtype="float64"))
    for stride in (0, 1, 4):
        for step in float32.step_errors(
            reference, exact, second, digits.train, planner, start, steps=5, stride=stride
        ):
            assert step.row == step.reference > 0


def test_twins_are_one_unit_in_the_last_place_away():
    network, recipe = zoo.get("classic"), Recipe()
    start = state.initial(network, recipe)
    twins = float32.perturbed_starts(start, 0)
    assert len(twins) == 3
    for twin in twins:
        a, b = start["hidden/kernel"], twin["hidden/kernel"]
        assert b.dtype == np.float32
        assert (a != b).all()
        assert np.array_equal(np.nextafter(a, b), b)
        assert all(
            np.array_equal(twin[name], start[name]) for name in start if name != "hidden/kernel"
        )


def test_sign_flips_are_counted():
    network = zoo.get("custom")
    a = {
        "output/relu1": np.array([0.0, 1.0, 2.0]),
        "output/relu2": np.array([0.0]),
        "output/hidden1": np.array([-1.0]),
    }
    b = {
        "output/relu1": np.array([1e-9, 0.0, 3.0]),
        "output/relu2": np.array([0.0]),
        "output/hidden1": np.array([1.0]),
    }
    assert float32.sign_flips(network, a, b) == 2


def test_what_is_not_finite_is_not_judged():
    def verdict_on(row: float, reference: float, *, proved: bool) -> str:
        errors = [float32.StepErrors(row, reference)]
        return float32.judge_float32(errors, proved=proved).verdict

    assert verdict_on(1e-6, np.inf, proved=False) == "diverged"
    assert verdict_on(np.inf, 1e-6, proved=True) == "precision"
    assert verdict_on(0.0, 0.0, proved=True) == "rounding"
    a = {"l/kernel": np.ones(3), "l/bias": np.array([np.nan])}
    assert np.isnan(float32.largest_weight_difference(a, a))


def test_only_a_backend_that_says_so_may_be_imprecise_and_in_nothing_else():
    same, precision = lockstep.Outcome(3), float32.Rounding("precision", 1e-3, 1e-7)
    proof = Proof(lockstep=same, blocks=same, rounding=precision)
    row = Standing(EngineSpec("torch", "bf16"), proof)
    assert row.as_announced
    assert "computes in reduced precision" in (row.unproved or "")
    formula = float32.Rounding("formula", 1e-3, 1e-7)
    rounding = float32.Rounding("rounding", 1e-7, 1e-7)
    for other in (
        replace(row, spec=EngineSpec("torch", "eager")),
        replace(row, same_start=False),
        replace(row, failure="it died"),
        replace(row, proof=None),
        replace(row, proof=replace(proof, rounding=formula)),
        replace(row, proof=replace(proof, rounding=rounding)),
    ):
        assert not other.as_announced
