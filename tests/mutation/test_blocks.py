"""Mistakes in the loop over K steps, in a network that amplifies rounding: each must be caught.

Single steps are right, so that only the check of K steps at once can see them. It compares such a
network at rates that together are about one step's.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from mutation.planting import NETWORKS, engine_class
from support.engines import rows
from support.errors import relative_errors
from support.splits import first_digits

from triptych.core import registry, state
from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.core.state import State
from triptych.data.dataset import Dataset
from triptych.parity import float32, lockstep
from triptych.spec.optimizers import SHORTHANDS, optimizer
from triptych.spec.recipe import Recipe

NETWORK = NETWORKS["normed"]
STEPS = 24  # of one plan; then comes a batch of 3


def split() -> Split:
    return first_digits(8 * STEPS + 3)


def trained(chosen: str) -> Recipe:
    return Recipe(1, 8, optimizer(chosen), dtype="float64")


def schedule(chosen: str) -> BatchPlanner:
    return BatchPlanner(NETWORK, trained(chosen), len(split()), 64)


def checked(engine: Any, chosen: str) -> lockstep.Outcome:
    start = state.initial(NETWORK, trained(chosen))
    return lockstep.check_blocks_equal_single_steps(engine, split(), schedule(chosen), start)


@cache
def healthy(name: str, backend: str, chosen: str) -> Any:
    return registry.create(name, NETWORK, trained(chosen), backend=backend)


@cache
def passed(name: str, backend: str, chosen: str) -> lockstep.Outcome:
    return checked(healthy(name, backend, chosen), chosen)


class Mistaken:
    """An engine with a mistake where it makes several steps at once.

    Parameters
    ----------
    engine : Engine
        It makes the steps.
    wrong : callable
        Takes the engine, the data and the plan of several steps, and returns the losses.
    """

    def __init__(self, engine: Any, wrong: Callable[[Any, Any, Plan], np.ndarray]) -> None:
        self.engine = engine
        self.wrong = wrong
        self.losses: list[np.ndarray] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def run(self, data: Any, plan: Plan) -> None:
        if len(plan) > 1:
            self.losses.append(self.wrong(self.engine, data, plan))
        else:
            self.engine.run(data, plan)
            self.losses.append(self.engine.wait())

    def wait(self) -> np.ndarray:
        losses = np.concatenate(self.losses)
        self.losses = []
        return losses


# --- The mistakes ---------------------------------------------------------------------------------
# -------------------


def planned(change: Callable[[Plan], Plan]) -> Callable[[Any, Any, Plan], np.ndarray]:
    """The engine obeys another plan."""

    def wrong(engine: Any, data: Any, plan: Plan) -> np.ndarray:
        engine.run(data, change(plan))
        return engine.wait()

    return wrong


def carried(
    change: Callable[[State, State], State], last: bool = True
) -> Callable[[Any, Any, Plan], np.ndarray]:
    """From step to step another state is carried: a change of the new state, the one before it at
    hand.
    """

    def wrong(engine: Any, data: Any, plan: Plan) -> np.ndarray:
        for k, step in enumerate(plan.single()):
            before = engine.state()
            engine.run(data, step)
            if last or k < len(plan) - 1:
                engine.load(change(engine.state(), before))
        return engine.wait()

    return wrong


def before(array: np.ndarray) -> np.ndarray:
    """What belongs to the step before."""
    return np.concatenate([array[:1], array[:-1]])


def shifted_masks(plan: Plan) -> Plan:
    return replace(
        plan, dropout_masks={name: before(mask) for name, mask in plan.dropout_masks.items()}
    )


def stale_masks(plan: Plan) -> Plan:
    return replace(
        plan,
        dropout_masks={
            name: mask[:1].repeat(len(plan), axis=0) for name, mask in plan.dropout_masks.items()
        },
    )


def one_rate(at: int, factor: float) -> Callable[[Plan], Plan]:
    """A single rate is another."""
    return lambda plan: replace(
        plan, rates=plan.rates * np.where(np.arange(len(plan)) == at, factor, 1.0)
    )


def one_sample(plan: Plan) -> Plan:
    """A single sample of a single step is another."""
    assert plan.indices is not None
    order = plan.indices.copy()
    order[STEPS // 2, 0] = order[0, 0]
    return replace(plan, indices=order)


def one_mask(plan: Plan) -> Plan:
    """A single number of a single mask is another."""
    keep = {name: mask.copy() for name, mask in plan.dropout_masks.items()}
    for mask in keep.values():
        mask[STEPS // 2, 0].flat[0] ^= True
    return replace(plan, dropout_masks=keep)


def losses_of_the_step_before(engine: Any, data: Any, plan: Plan) -> np.ndarray:
    engine.run(data, plan)
    return before(engine.wait())


def last_step_dropped(engine: Any, data: Any, plan: Plan) -> np.ndarray:
    """All losses are right: the last one is computed, and its update is not made."""
    engine.run(data, plan[:-1])
    losses = engine.wait()
    loss = engine.trace(data, plan[len(plan) - 1 :], outputs=False)["loss"]
    return np.append(losses, loss)


def of_kind(kind: str) -> Callable[[State, State], State]:
    """Arrays of one kind stay what they were before the step."""
    return lambda after, earlier: {
        n: earlier[n] if state.kind(n) == kind else a for n, a in after.items()
    }


def in_float32(after: State, earlier: State) -> State:
    return {
        n: a.astype(np.float32).astype(a.dtype) if a.dtype.kind == "f" else a
        for n, a in after.items()
    }


PLANNED = {
    "the rate of the step before": planned(lambda plan: replace(plan, rates=before(plan.rates))),
    "the first rate in every step": planned(
        lambda plan: replace(plan, rates=plan.rates[:1].repeat(len(plan)))
    ),
    "rates too large by a millionth": planned(
        lambda plan: replace(plan, rates=plan.rates * (1 + 1e-6))
    ),
    "the last rate too large by a millionth": planned(one_rate(STEPS - 1, 1 + 1e-6)),
    "the middle rate too large by a millionth": planned(one_rate(STEPS // 2, 1 + 1e-6)),
    "rates in float32": planned(
        lambda plan: replace(plan, rates=plan.rates.astype(np.float32).astype(np.float64))
    ),
    "one update left out": planned(one_rate(STEPS // 2, 0.0)),
    "the samples of the step before": planned(
        lambda plan: replace(plan, indices=before(plan.indices))
    ),  # pyright: ignore
    "one sample of one step": planned(one_sample),
    "the masks of the step before": planned(shifted_masks),
    "the first masks in every step": planned(stale_masks),
    "one number of one mask": planned(one_mask),
    "the losses of the step before": losses_of_the_step_before,
    "the last step left out": last_step_dropped,
}


def counted_at_the_end(engine: Any, data: Any, plan: Plan) -> np.ndarray:
    """Every step corrects the bias as the first one does; the counter is right afterwards."""
    start = engine.state()["step"]
    for step in plan.single():
        engine.load(engine.state() | {"step": start})
        engine.run(data, step)
    engine.load(engine.state() | {"step": start + len(plan)})
    return engine.wait()


CARRIED = {
    "running means and variances not carried": ("sgd", carried(of_kind("buffers"), last=False)),
    "weights in float32": ("sgd", carried(in_float32, last=False)),
    "velocity not carried": ("momentum", carried(of_kind("velocity"), last=False)),
    "moment not carried": ("adam", carried(of_kind("m"), last=False)),
    "second moment not carried": ("adagrad", carried(of_kind("v"), last=False)),
    "counter that does not advance": ("adam", carried(of_kind("step"))),
    "counter that advances at the end": ("adam", counted_at_the_end),
}


def with_fast(*fast: str) -> list:
    """Every engine in its default backend, as pytest parameters; the others than these are slow."""
    found = []
    for row in rows(others=False):
        marks = [*row.marks]
        if row.values[0] not in fast:
            marks.append(pytest.mark.slow)
        found.append(pytest.param(*row.values, id=row.id, marks=marks))
    return found


@pytest.mark.parametrize(("name", "backend"), with_fast("numpy", "tensorflow"))
def test_the_engines_pass(name: str, backend: str):
    found = passed(name, backend, "sgd")
    assert found.equal, str(found.divergence)
    assert found.steps == STEPS + 1
    if name == "tensorflow":
        # It optimizes the graphs of one step and of K steps differently, and this network amplifies
        # rounding: SiLU written in seven ways that are equal gave 6e-14 to 2.4e-12.
        assert found.margin.error < found.margin.bound / 10
    else:
        assert found.largest == 0


@pytest.mark.parametrize("mistake", PLANNED)
@pytest.mark.parametrize(("name", "backend"), with_fast("numpy", "tensorflow"))
def test_another_plan_is_caught(name: str, backend: str, mistake: str):
    """In every engine; the rates are the same in every step of the recipe."""
    found = checked(Mistaken(healthy(name, backend, "sgd"), PLANNED[mistake]), "sgd")
    assert found.divergence, f"largest difference {found.largest:.1e}"


@pytest.mark.parametrize("mistake", CARRIED)
@pytest.mark.parametrize(("name", "backend"), with_fast("numpy"))
def test_another_state_from_step_to_step_is_caught(name: str, backend: str, mistake: str):
    chosen, wrong = CARRIED[mistake]
    equal = passed(name, backend, chosen)
    assert equal.equal, str(equal.divergence)
    found = checked(Mistaken(healthy(name, backend, chosen), wrong), chosen)
    assert found.divergence, f"largest difference {found.largest:.1e}"


@pytest.mark.parametrize("chosen", SHORTHANDS)
def test_a_millionth_of_the_rate_is_caught_with_every_optimizer(chosen: str):
    wrong = PLANNED["rates too large by a millionth"]
    found = checked(Mistaken(healthy("numpy", "eager", chosen), wrong), chosen)
    assert found.divergence, f"largest difference {found.largest:.1e}"


@pytest.mark.parametrize("leaf", ["running_mean", "running_variance"])
def test_only_means_that_contain_rounding_have_the_wider_bound(leaf: str):
    """Adagrad turns the rounding of a gradient into steps of up to 1e-9; a variance is not shifted
    by them.
    """
    norm = "norm1"  # after a convolution with a bias

    def wrong(engine: Any, data: Any, plan: Plan) -> np.ndarray:
        engine.run(data, plan)
        arrays = engine.state()
        largest = max(np.abs(a).max() for n, a in arrays.items() if state.kind(n) == "buffers")
        arrays[f"{norm}/{leaf}"][0] += 1e-9 * largest
        engine.load(arrays)
        return engine.wait()

    assert f"{norm}/running_mean" in NETWORK.shifted_means
    found = checked(Mistaken(healthy("numpy", "eager", "adagrad"), wrong), "adagrad")
    assert found.equal == (leaf == "running_mean")


# --- Mistakes in the frameworks' own loops
# ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_tensorflow_graph_with_the_first_batch_in_every_step_is_caught():
    class Wrong(engine_class("tensorflow")):
        def select_batch(self, data, plan, k):
            return super().select_batch(data, plan, 0)

    found = checked(Wrong(NETWORK, trained("sgd")), "sgd")
    assert found.divergence
    assert found.divergence.stage == "loss"
    assert found.divergence.index[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("right", [True, False])
def test_a_jax_scan_with_the_first_rate_in_every_step_is_caught(right: bool):
    class Wrong(engine_class("jax")):
        def to_device(self, plan):
            steps = super().to_device(plan)
            return steps if right else steps._replace(rates=steps.rates[:1].repeat(len(plan)))

    engine = Wrong(NETWORK, trained("sgd"))
    engine.loops = True  # not the default with convolutions on a processor
    assert checked(engine, "sgd").equal == right


# --- The rule itself
# -------------------------------------------------------------------------------------------------


def test_rounding_grows_as_in_one_step(digits: Dataset):
    """A first kernel one unit in the last place away: at the plan's own rates the runs part, at
    gentle ones they do not.
    """
    recipe = Recipe(1, 64, optimizer("sgd"), dtype="float64")
    start = state.initial(NETWORK, recipe)
    twin = float32.perturbed_starts(start, 0)[0]
    planner = BatchPlanner(NETWORK, recipe, len(digits.train), 64)
    plans = [planner.plan(*span) for span in planner.kinds()]
    engine = registry.create("numpy", NETWORK, recipe)
    data = engine.upload(digits.train)

    def after(plans: list[Plan], begin: State) -> State:
        engine.load(begin)
        for plan in plans:
            engine.run(data, plan)
        engine.wait()
        return state.without(engine.state(), NETWORK.zero_gradient_parameters)

    def apart(plans: list[Plan]) -> float:
        return max(relative_errors(after(plans, start), after(plans, twin), "update").values())

    one = apart([plans[0][:1]])
    assert apart(lockstep.gentle(plans)) < 10 * one
    assert apart(plans) > 1000 * one


def test_gentle_plans_are_the_same_steps_with_other_rates():
    own = schedule("sgd")
    plans = [own.plan(*span) for span in own.kinds()]
    changed = lockstep.gentle(plans)
    for plan, other in zip(plans, changed, strict=True):
        assert other.indices is plan.indices
        assert other.dropout_masks is plan.dropout_masks
        assert other.augmentations is plan.augmentations
    factors = np.concatenate([b.rates / a.rates for a, b in zip(plans, changed, strict=True)])
    assert np.allclose(factors, np.arange(1, STEPS + 2) / (STEPS + 1) ** 2, rtol=1e-15)
    assert len(set(factors)) == STEPS + 1
    assert 0.5 < factors.sum() <= 1
    (alone,) = lockstep.gentle([plans[0][:1]])
    assert alone.rates == plans[0].rates[0]


@pytest.mark.parametrize(
    ("network", "own"), [("classic", True), ("smooth", True), ("normed", False)]
)
def test_only_networks_that_amplify_are_run_at_other_rates(network: str, own: bool):
    class Seen(Mistaken):
        rates = np.zeros(0)

        def run(self, data: Any, plan: Plan) -> None:
            if len(plan) > 1:
                self.rates = plan.rates
            super().run(data, plan)

    described = NETWORKS[network]
    recipe = trained("sgd")
    engine = Seen(registry.create("numpy", described, recipe), planned(lambda plan: plan))
    planner = BatchPlanner(described, recipe, len(split()), 64)
    assert lockstep.check_blocks_equal_single_steps(
        engine, split(), planner, state.initial(described, recipe)
    ).equal
    assert np.array_equal(engine.rates, next(planner.plans()).rates) == own
