"""Deliberate mistakes: each must be caught, at the right stage and layer, and the engine without it must pass.

A parity check that cannot fail is worse than none. The mistakes are those that people make when they port a network.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from triptych import engines, state, zoo
from triptych.data.dataset import Split
from triptych.engines import numpy as numpy_engine
from triptych.parity import lockstep
from triptych.plan import Plan, Schedule
from triptych.recipe import Recipe, optimizer
from triptych.scratch import layers, loss, optimizers

Numpy = numpy_engine.Engine


def engine_class(name: str) -> Any:
    pytest.importorskip(engines.entry(name).requires)
    engines.create(name, zoo.get("classic"), Recipe())  # imports the module
    import sys

    return sys.modules[f"triptych.engines.{name}"].Engine


# --- Mistakes that any engine can make, at the waist -----------------------------------------------------------------


def transposed_kernel(base: Any) -> Any:
    """(in, out) read as (out, in): invisible in the state, because it is turned back on the way out."""

    def turned(weights: dict) -> dict:
        return weights | {"output/kernel": np.ascontiguousarray(weights["output/kernel"].T)}

    class Wrong(base):
        def load(self, state):
            super().load(turned(state))

        def state(self):
            return turned(super().state())

    return Wrong


def other_initial_weights(base: Any) -> Any:
    class Wrong(base):
        def load(self, state):
            super().load(state | {"hidden/kernel": state["hidden/kernel"] * 1.001})

    return Wrong


def one_nan(base: Any) -> Any:
    class Wrong(base):
        def load(self, state):
            bias = state["output/bias"].copy()
            bias[4] = np.nan
            super().load(state | {"output/bias": bias})

    return Wrong


def changed_plan(change: Callable[[Plan], Plan]) -> Callable[[Any], Any]:
    def mistake(base: Any) -> Any:
        class Wrong(base):
            def run(self, data, plan):
                super().run(data, change(plan))

            def trace(self, data, plan, *, outputs=True):
                return super().trace(data, change(plan), outputs=outputs)

        return Wrong

    return mistake


other_order = changed_plan(lambda plan: replace(plan, order=np.roll(plan.order, 1, axis=1)))
float32_rate = changed_plan(lambda plan: replace(plan, rate=plan.rate.astype(np.float32).astype(np.float64)))
other_masks = changed_plan(lambda plan: replace(plan, keep={name: np.roll(mask, 1, axis=1) for name, mask in plan.keep.items()}))


def slots_forgotten(base: Any) -> Any:
    """Resumed without its optimizer slots."""

    class Wrong(base):
        def load(self, state):
            super().load({name: np.zeros_like(a) if name.endswith(("/m", "/v", "/velocity")) else a for name, a in state.items()})

    return Wrong


# --- Mistakes in the arithmetic, in the engine that is written by hand -----------------------------------------------


def with_layer(name: str, **methods: Callable) -> Callable[[Any], Any]:
    """An engine in which one layer has other methods."""

    def mistake(base: Any) -> Any:
        class Wrong(base):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                for layer in self.layers:
                    if layer.name == name:
                        for method, function in methods.items():
                            setattr(layer, method, function.__get__(layer))

        return Wrong

    return mistake


def wrong_loss(function: Callable) -> Callable[[Any], Any]:
    def mistake(base: Any) -> Any:
        class Wrong(base):
            def _gradients(self, x, y, masks, seen=None):
                kept = numpy_engine.softmax_cross_entropy
                numpy_engine.softmax_cross_entropy = function
                try:
                    return super()._gradients(x, y, masks, seen)
                finally:
                    numpy_engine.softmax_cross_entropy = kept

        return Wrong

    return mistake


def summed(logits, labels):
    value, gradient = loss.softmax_cross_entropy(logits, labels)
    return value * len(labels), gradient * len(labels)


def summed_gradient(logits, labels):
    value, gradient = loss.softmax_cross_entropy(logits, labels)
    return value, gradient * len(labels)


def softmax_twice(logits, labels):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return loss.softmax_cross_entropy(exp / exp.sum(axis=1, keepdims=True), labels)


def unscaled(self, x, keep=None):
    self.scaled = keep
    return x if keep is None else x * keep


def always_open(self, x, keep=None):
    self.scaled = None
    return x


def update_with(rule: Callable) -> Callable[[Any], Any]:
    """An engine with another update rule: rule(o, w, g, slots, rate, step)."""

    def mistake(base: Any) -> Any:
        class Wrong(base):
            def _update(self, gradients, rate):
                kind = type(self.recipe.optimizer)
                kept = numpy_engine.UPDATES[kind]
                numpy_engine.UPDATES[kind] = rule
                try:
                    super()._update(gradients, rate)
                finally:
                    numpy_engine.UPDATES[kind] = kept

        return Wrong

    return mistake


def keras_epsilon(o, w, g, slots, rate, step):
    """D47: Keras folds both corrections into the step, so that epsilon is added before them."""
    m, v = slots["m"], slots["v"]
    m += (1 - o.beta1) * (g - m)
    v += (1 - o.beta2) * (g**2 - v)
    w -= rate * np.sqrt(1 - o.beta2**step) / (1 - o.beta1**step) * m / (np.sqrt(v) + o.epsilon)


def keras_rmsprop(o, w, g, slots, rate, step):
    """D48: epsilon inside the root."""
    v = slots["v"]
    v += (1 - o.decay) * (g**2 - v)
    w -= rate * g / np.sqrt(v + o.epsilon)


def keras_momentum(o, w, g, slots, rate, step):
    """D54: the velocity holds rate times gradient; at a constant rate the weights are the same, the velocity is not."""
    velocity = slots["velocity"]
    velocity *= o.momentum
    velocity += rate * g
    w -= velocity


def plain_instead_of_nesterov(o, w, g, slots, rate, step):
    optimizers.sgd(replace(o, nesterov=False), w, g, slots, rate, step)


def stuck_counter(o, w, g, slots, rate, step):
    """P1 (d2l.ai, TensorFlow tab): the step counter never advances, so bias correction stays at step 1."""
    optimizers.adam(o, w, g, slots, rate, 1)


def decayed(o, w, g, slots, rate, step):
    w -= rate * (g + 1e-4 * w)


def in_float32(base: Any) -> Any:
    """Everything in float64 on the outside, float32 inside one layer."""

    def forward(self, x, keep=None):
        self.x = x
        single = x.astype(np.float32) @ self.parameters["kernel"].astype(np.float32)
        return single.astype(np.float64) + self.parameters["bias"]

    return with_layer("hidden", forward=forward)(base)


@dataclass(frozen=True)
class Tooth:
    """A mistake and where it must be caught."""

    name: str
    mistake: Callable[[Any], Any]
    stage: str
    layer: str
    optimizer: str = "sgd"
    network: str = "classic"
    engine: str = "numpy"
    step: int = 0
    array: str = ""


TEETH = [
    Tooth("transposed kernel, PyTorch", transposed_kernel, "output", "output", engine="torch"),
    Tooth("transposed kernel, TensorFlow", transposed_kernel, "output", "output", engine="tensorflow"),
    Tooth("other initial weights", other_initial_weights, "initial state", "hidden", engine="torch"),
    Tooth("one NaN", one_nan, "initial state", "output", engine="tensorflow", array="output/bias"),
    Tooth("other order", other_order, "output", "flatten", engine="torch"),
    Tooth("other order, TensorFlow", other_order, "output", "flatten", engine="tensorflow"),
    Tooth("float32 learning rate in a float64 run", float32_rate, "update", "hidden", engine="torch"),
    Tooth("float32 learning rate, TensorFlow", float32_rate, "update", "hidden", engine="tensorflow"),
    Tooth("other masks", other_masks, "output", "dropout1", network="regularized", engine="torch"),
    Tooth("missing ReLU gradient", with_layer("relu", backward=lambda self, dy: dy), "gradient", "hidden"),
    Tooth("missing ReLU gradient, deep", with_layer("relu1", backward=lambda self, dy: dy), "gradient", "hidden1", network="custom"),
    Tooth("ReLU at zero, leaking", with_layer("relu", backward=lambda self, dy: dy * np.where(self.y > 0, 1, 0.01)), "gradient", "hidden"),
    Tooth("sum instead of mean", wrong_loss(summed), "loss", "-"),
    Tooth("sum instead of mean, gradient only", wrong_loss(summed_gradient), "gradient", "output"),
    Tooth("softmax twice", wrong_loss(softmax_twice), "loss", "-"),
    Tooth(
        "bias gradient forgotten",
        with_layer("hidden", gradients=lambda self, dy: {"kernel": self.x.T @ dy, "bias": np.zeros(10)}),
        "gradient",
        "hidden",
        array="gradient/hidden/bias",
    ),
    Tooth("mask not rescaled", with_layer("dropout1", forward=unscaled), "output", "dropout1", network="regularized"),
    Tooth("dropout left in evaluation mode", with_layer("dropout2", forward=always_open), "output", "dropout2", network="regularized"),
    Tooth(
        "mask not applied going back",
        with_layer("dropout2", backward=lambda self, dy: dy),
        "gradient",
        "hidden2",
        network="regularized",
    ),
    Tooth("epsilon misplaced, Adam", update_with(keras_epsilon), "update", "hidden", "adam"),
    Tooth("epsilon misplaced, RMSprop", update_with(keras_rmsprop), "update", "hidden", "rmsprop"),
    Tooth("momentum times rate", update_with(keras_momentum), "update", "hidden", "momentum", array="hidden/kernel/velocity"),
    Tooth("plain momentum for Nesterov", update_with(plain_instead_of_nesterov), "update", "hidden", "nesterov", array="hidden/kernel"),
    Tooth("step counter that never advances", update_with(stuck_counter), "update", "hidden", "adam", step=1),
    Tooth("weight decay that nobody asked for", update_with(decayed), "update", "hidden"),
    Tooth("float32 inside one layer", in_float32, "output", "hidden"),
]


def walked(cls: Any, tooth: Tooth, few: Split) -> lockstep.Outcome:
    network, recipe = zoo.get(tooth.network), Recipe(2, 64, optimizer(tooth.optimizer), dtype="float64")
    schedule, start = Schedule(network, recipe, len(few)), state.initial(network, recipe)
    plans = islice((step for plan in schedule.plans() for step in plan.single()), 5)
    *_, outcome = lockstep.walk(Numpy(network, recipe), cls(network, recipe), few, plans, start)
    return outcome


@pytest.mark.parametrize("tooth", TEETH, ids=lambda tooth: tooth.name)
def test_the_mistake_is_caught_at_the_right_place(tooth: Tooth, few: Split):
    base = engine_class(tooth.engine)
    healthy = walked(base, tooth, few)
    assert healthy.equal, str(healthy.divergence)
    assert healthy.steps == 5
    found = walked(tooth.mistake(base), tooth, few)
    assert found.divergence, "the mistake went unnoticed"
    assert (found.divergence.stage, found.divergence.layer) == (tooth.stage, tooth.layer), str(found.divergence)
    assert found.at == tooth.step
    assert tooth.array in found.divergence.name
    assert found.largest > 1e-11


def test_a_resumed_run_without_its_slots_is_caught(few: Split):
    network, recipe = zoo.get("classic"), Recipe(2, 64, optimizer("momentum"), dtype="float64")
    start = state.initial(network, recipe)
    start["hidden/kernel/velocity"] += 0.5
    plans = [next(Schedule(network, recipe, len(few), 1).plans())]
    *_, outcome = lockstep.walk(Numpy(network, recipe), slots_forgotten(Numpy)(network, recipe), few, plans, start)
    assert outcome.divergence
    assert (outcome.divergence.stage, outcome.divergence.name) == ("initial state", "hidden/kernel/velocity")


# --- Mistakes that show only when K steps are made at once -----------------------------------------------------------


def first_rate_for_all(base: Any) -> Any:
    class Wrong(base):
        def run(self, data, plan):
            super().run(data, replace(plan, rate=plan.rate * np.linspace(1, 1.1, len(plan))))

    return Wrong


def last_step_dropped(base: Any) -> Any:
    class Wrong(base):
        def run(self, data, plan):
            super().run(data, plan[:-1] if len(plan) > 1 else plan)
            if len(plan) > 1:
                self.losses.append(self.losses[-1])

    return Wrong


def stale_mask(base: Any) -> Any:
    """A dropout mask kept from the first step of a block."""

    class Wrong(base):
        def run(self, data, plan):
            super().run(data, replace(plan, keep={name: mask[:1].repeat(len(plan), axis=0) for name, mask in plan.keep.items()}))

    return Wrong


@pytest.mark.parametrize("mistake", [first_rate_for_all, last_step_dropped, stale_mask])
def test_k_steps_at_once_that_are_not_k_single_steps(mistake, few: Split):
    network, recipe = zoo.get("regularized"), Recipe(1, 64, optimizer("sgd"), dtype="float64")
    schedule, start = Schedule(network, recipe, len(few), 3), state.initial(network, recipe)
    assert lockstep.blocks(Numpy(network, recipe), few, schedule, start).equal
    found = lockstep.blocks(mistake(Numpy)(network, recipe), few, schedule, start)
    assert found.divergence
    assert found.largest > 1e-11


def test_there_are_teeth_enough():
    assert len(TEETH) >= 10
    assert {tooth.stage for tooth in TEETH} == {"initial state", "output", "loss", "gradient", "update"}
    assert {tooth.engine for tooth in TEETH} == {"numpy", "torch", "tensorflow"}
    assert all(issubclass(layer, layers.Layer) for layer in (layers.Dense, layers.ReLU, layers.Dropout, layers.Flatten))


def test_a_smaller_last_batch_divided_by_the_usual_size_is_caught(few: Split):
    """The mean over 8 samples taken as if they were 64: the first 3 steps are right, the fourth is the smaller one."""

    def by_nominal(logits, labels):
        value, gradient = loss.softmax_cross_entropy(logits, labels)
        return value, gradient * (len(labels) / 64)

    network, recipe = zoo.get("classic"), Recipe(1, 64, dtype="float64")
    schedule, start = Schedule(network, recipe, len(few)), state.initial(network, recipe)
    for mistake, equal in ((lambda base: base, True), (wrong_loss(by_nominal), False)):
        *_, found = lockstep.walk(Numpy(network, recipe), mistake(Numpy)(network, recipe), few, schedule.proof(2), start)
        assert found.equal == equal
    assert found.divergence
    assert (found.divergence.stage, found.at, found.steps) == ("gradient", 2, 2)
