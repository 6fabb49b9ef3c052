"""Every layer type with every option, times every optimizer, in every engine: float64 steps over
the small specimens.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from support.engines import rows, slow_if
from support.splits import first_digits

from triptych.core import registry, state
from triptych.core.engine import Engine
from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.parity import lockstep
from triptych.parity.divergence import BOUND
from triptych.parity.specimens import SPECIMENS, specimens
from triptych.spec import zoo
from triptych.spec.layers import LAYERS, BatchNorm, Dropout, LayerNorm
from triptych.spec.network import Network
from triptych.spec.optimizers import SHORTHANDS, optimizer
from triptych.spec.placement import Layer
from triptych.spec.recipe import Recipe

STEPS, STEPWISE, SHORT = (
    200,
    100,
    10,
)  # of a trajectory, of steps that are judged each by itself, and in the other backends
NETWORKS = {build.__name__: build(zoo.GREY, 10) for build in SPECIMENS}


class Recorded:
    """NumPy's side of a walk, computed for the first engine and replayed for the others.

    Results are kept by method, number of steps made before the call, and the plan it is given. A
    call that was not recorded is computed, which is possible only where the recording ends.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.results: dict[tuple[Any, ...], Any] = {}
        self.steps_replayed = 0
        self.steps_computed = 0

    def restart(self) -> None:
        """Replay from the beginning."""
        self.steps_replayed = 0

    def __getattr__(self, method: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            plans = [_content(plan) for plan in arguments if isinstance(plan, Plan)]
            key = (method, self.steps_replayed, *plans, *named.items())
            if key not in self.results:
                assert self.steps_replayed == self.steps_computed, f"{method} was not recorded"
                self.results[key] = getattr(self.engine, method)(*arguments, **named)
                self.steps_computed += method == "run"
            self.steps_replayed += method == "run"
            return self.results[key]

        return call


def _content(plan: Plan) -> bytes:
    """Return the numbers of a plan, by which two plans are told apart."""
    assert plan.indices is not None
    masks = b"".join(mask.tobytes() for mask in plan.dropout_masks.values())
    return plan.indices.tobytes() + plan.rates.tobytes() + masks


@lru_cache(maxsize=1)
def recorded(network: Network, recipe: Recipe) -> Recorded:
    return Recorded(registry.create("numpy", network, recipe))


# The other backends in one case each; all in all by ``triptych verify --layers --all --backends
# all``.
OTHERS = {
    "torch-onednn": "normed",
    "torch-bf16": "edged",
    "torch-compiled": "edged",
    "tensorflow-xla": "edged",
    "tensorflow-fit": "normed",
}


# The network of the engines that compile, in tests that are not slow.
FAST_IN = {"tensorflow": "smooth", "jax": "edged"}


def cases() -> list:
    """Return every network with every optimizer in every engine; most of them are slow tests.

    In one third, every pair of network and optimizer, of network and engine, and of optimizer and
    engine occurs; of these, engines that compile have one network each in tests that are not slow.
    """
    defaults = [row.id for row in rows(others=False, numpy=False)]
    found = []
    for i, network in enumerate(NETWORKS):
        for j, chosen in enumerate(SHORTHANDS):
            for row in rows(numpy=False):
                if row.id in defaults:
                    is_chosen = (i + j + defaults.index(row.id)) % len(NETWORKS) == 0
                    compiles = FAST_IN.get(row.values[0], network) != network
                    marks = slow_if(compiles or not is_chosen)
                elif chosen == "adam" and OTHERS[row.id] == network:
                    marks = []
                else:
                    continue
                name = f"{network}-{chosen}-{row.id}"
                marks = [*row.marks, *marks]
                found.append(pytest.param(network, chosen, *row.values, id=name, marks=marks))
    return found


@pytest.mark.parametrize(("network", "chosen", "name", "backend"), cases())
def test_every_layer_with_every_optimizer(
    network: str, chosen: str, name: str, backend: str, digits
):
    """Eight full batches and one of a single sample in turn; trajectories, and with BatchNorm and
    Residual step by step.
    """
    few = first_digits(65)
    recipe = Recipe(40, 8, optimizer(chosen), dtype="float64")
    specimen = NETWORKS[network]
    steps = (
        SHORT
        if backend != registry.entry(name).default_backend
        else STEPWISE
        if specimen.amplifies_rounding
        else STEPS
    )
    schedule, rule = (
        BatchPlanner(specimen, recipe, len(few), 3),
        lockstep.Tolerances.of(specimen, recipe),
    )
    reference, candidate = (
        recorded(specimen, recipe),
        registry.create(name, specimen, recipe, backend=backend),
    )
    reference.restart()
    start = state.initial(specimen, recipe)
    *_, outcome = lockstep.walk(
        reference, candidate, few, lockstep.proof_plans(schedule, steps), start, rule
    )
    assert outcome.divergence is None, str(outcome.divergence)
    assert outcome.steps == steps
    assert outcome.worst.keys() >= {
        "outputs",
        "loss",
        "gradients",
        "weights",
        *recipe.optimizer.slots,
    }
    assert max(figure for kind, figure in outcome.worst.items() if kind != "weights") <= BOUND
    assert outcome.worst["weights"] <= rule.at(0).weights
    if chosen == "momentum":
        blocks = lockstep.check_blocks_equal_single_steps(candidate, few, schedule, start)
        assert blocks.divergence is None, str(blocks.divergence)
        assert blocks.steps == 3 + 2 + 1  # a whole block, the rest of the epoch, the single sample


def test_the_specimens_hold_every_layer_type_with_every_option():
    places = [place for network in NETWORKS.values() for place in network.places]
    for kind in LAYERS.values():
        own = [place.layer for place in places if type(place.layer) is kind]
        assert own, kind
        for field in fields(kind)[1:]:
            if not field.name.endswith(
                "initializer"
            ):  # they decide how a state begins, and every engine is given that
                assert len({getattr(layer, field.name) for layer in own}) > 1, (kind, field.name)
    for kind in (BatchNorm, LayerNorm, Dropout):
        assert {place.role for place in places if isinstance(place.layer, kind)} == {
            "image",
            "flat",
            "vector",
        }, kind
    assert [network.amplifies_rounding for network in NETWORKS.values()] == [False, False, True]


def test_a_layer_from_outside_gets_a_specimen_of_its_examples(monkeypatch):
    """One that takes images, and one that takes vectors only."""

    @dataclass(frozen=True)
    class Doubled(Layer):
        factor: float = 2.0

        @classmethod
        def examples(cls) -> tuple[Layer, ...]:
            return cls("layer"), cls("layer", 3.0)

    @dataclass(frozen=True)
    class Reversed(Layer):
        def place(self, shape, image_shape):
            if len(shape) != 1:
                self.refuse("needs a vector")
            return super().place(shape, image_shape)

    assert [network.name for network in specimens(zoo.GREY, 10)] == ["smooth", "edged", "normed"]
    monkeypatch.setitem(LAYERS, "Doubled", Doubled)
    monkeypatch.setitem(LAYERS, "Reversed", Reversed)
    *_, doubled, turned = specimens(zoo.GREY, 10)
    assert [place.layer for place in doubled.places if isinstance(place.layer, Doubled)] == [
        Doubled("doubled1"),
        Doubled("doubled2", 3.0),
    ]
    (place,) = [place for place in turned.places if isinstance(place.layer, Reversed)]
    assert place.input_shape == (12,)


def test_every_registered_layer_is_in_a_specimen():
    networks = specimens(zoo.GREY, 10)
    kinds = {type(place.layer) for network in networks for place in network.places}
    assert kinds == set(LAYERS.values())


def test_a_mistake_far_from_zero_is_found_by_the_specimen_of_a_new_layer(monkeypatch):
    """PyTorch's Softplus returns x itself above 20, where the formula adds up to 2e-9."""
    torch = pytest.importorskip("torch")
    from triptych.engines.numpy import layers as in_numpy
    from triptych.engines.numpy.layer import Layer as Computed
    from triptych.engines.torch import layers as in_torch

    @dataclass(frozen=True)
    class Softplus(Layer):
        pass

    class ByFormula(Computed):
        def forward(self, x):
            self.x = x
            return np.logaddexp(0, x)

        def input_gradient(self, dy):
            return dy / (1 + np.exp(-self.x))

    def build(threshold: float):
        return lambda place: torch.nn.Softplus(threshold=threshold)

    monkeypatch.setitem(LAYERS, "Softplus", Softplus)
    monkeypatch.setitem(in_numpy.LAYERS.builders, Softplus, ByFormula)
    specimen = specimens(zoo.GREY, 10)[-1]
    recipe = Recipe(40, 8, dtype="float64")
    few = first_digits(65)
    start = state.initial(specimen, recipe)
    plans = list(lockstep.proof_plans(BatchPlanner(specimen, recipe, len(few), 3), 4))
    rule = lockstep.Tolerances.of(specimen, recipe)
    for threshold, stage in ((20, "output"), (1000, None)):
        monkeypatch.setitem(in_torch.LAYERS.builders, Softplus, build(threshold))
        numpy = registry.create("numpy", specimen, recipe)
        candidate = registry.create("torch", specimen, recipe)
        *_, outcome = lockstep.walk(numpy, candidate, few, plans, start, rule)
        assert (outcome.divergence and outcome.divergence.stage) == stage
