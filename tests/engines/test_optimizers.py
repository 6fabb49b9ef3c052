"""Every optimizer in every engine against the frameworks' own classes, as they come: 200 float64
steps, a changing rate.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
from support.engines import loaded_engine, rows, slow_if
from support.splits import random_split

from triptych.core import state
from triptych.core.plan import Plan
from triptych.core.registry import create
from triptych.core.split import Split
from triptych.spec import zoo
from triptych.spec.optimizers import SHORTHANDS, optimizer
from triptych.spec.recipe import Recipe

STEPS = 200
NETWORK = zoo.dense("n", [6], shape=(4, 4, 1), classes=3)

# PyTorch's and Keras's classes; an optimizer that they do not have is not in this table.
CLASSES = {
    "sgd": "SGD",
    "momentum": "SGD",
    "nesterov": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "nadam": "NAdam",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
}


@cache
def few() -> Split:
    return random_split(12, (4, 4, 1), classes=3)


def rates(base: float, steps: int) -> np.ndarray:
    """Up and down by powers of two, each exact in float32: Keras keeps its learning rate in that
    (D62).
    """
    return float(np.float32(base)) * np.repeat([1.0, 0.25, 2.0, 0.125], steps // 4)


class Torch:
    """torch.optim, built as its users build it."""

    def __init__(self, name: str, weights: list[np.ndarray], given: dict[str, Any]) -> None:
        import torch

        self.parameters = [torch.nn.Parameter(torch.tensor(w)) for w in weights]
        # Nadam's product of momenta is kept in the default dtype: float32 would be 1e-8 off.
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            self.own = getattr(torch.optim, CLASSES[name])(self.parameters, **given)
            self.rate = self.own.param_groups[0]["lr"]
        finally:
            torch.set_default_dtype(before)

    def step(self, gradients: list[np.ndarray], rate: float) -> None:
        import torch

        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.grad = torch.tensor(gradient)
            self.own.param_groups[0]["lr"] = rate
            self.own.step()
        finally:
            torch.set_default_dtype(before)

    def weights(self) -> list[np.ndarray]:
        return [parameter.detach().numpy() for parameter in self.parameters]


class Keras:
    """keras.optimizers, built as its users build it."""

    def __init__(self, name: str, weights: list[np.ndarray], given: dict[str, Any]) -> None:
        import keras
        import tensorflow as tf

        self.parameters = [keras.Variable(w, dtype="float64") for w in weights]
        self.own = getattr(keras.optimizers, CLASSES[name].replace("NAdam", "Nadam"))(**given)
        self.rate = float(np.asarray(self.own.learning_rate))
        self.own.build(self.parameters)
        if chosen := self.own.weight_decay:
            self.own.weight_decay = tf.constant(chosen, tf.float64)
        for accumulator in getattr(self.own, "_accumulators", []):
            accumulator.assign(
                tf.fill(
                    accumulator.shape, tf.constant(self.own.initial_accumulator_value, tf.float64)
                )
            )

    def step(self, gradients: list[np.ndarray], rate: float) -> None:
        import tensorflow as tf
        from keras.src import ops

        cast = ops.cast

        def exact(x: Any, dtype: str) -> Any:
            """Keras reads its own numbers through float32, 0.9 and 0.96 in the formulas too (D63):
            1e-7 off, without this.
            """
            return tf.constant(x, dtype) if isinstance(x, float) else cast(x, dtype)

        self.own.learning_rate.assign(rate)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ops, "cast", exact)
            self.own.apply([tf.constant(g) for g in gradients], self.parameters)

    def weights(self) -> list[np.ndarray]:
        return [np.asarray(parameter) for parameter in self.parameters]


NATIVE = {"torch": Torch, "keras": Keras}


def followed(
    name: str, backend: str, chosen: str, like: str, steps: int = STEPS, **numbers: float
) -> float:
    """Feed the framework's class the gradients that the engine sees; return how far their weights
    ever part.
    """
    pytest.importorskip({"torch": "torch", "keras": "tensorflow"}[like])
    o = optimizer(chosen, like=like, **numbers)
    recipe = Recipe(steps, "full", o, dtype="float64")
    start = state.initial(NETWORK, recipe)
    names = [p.name for p in NETWORK.parameters]
    given = {key: value for key, value in SHORTHANDS[chosen][1].items() if key != "rate"}
    native = NATIVE[like](chosen, [start[n] for n in names], given | numbers)
    if "rate" not in SHORTHANDS[chosen][1]:
        assert o.rate == pytest.approx(native.rate, rel=1e-7)
    engine = create(name, NETWORK, recipe, backend=backend)
    engine.load(start)
    data, apart = engine.upload(few()), 0.0
    for rate in rates(o.rate, steps):
        plan = Plan(np.array([rate]))
        seen = engine.trace(data, plan, outputs=False)
        native.step([seen[f"gradient/{n}"] for n in names], float(rate))
        engine.run(data, plan)
        found, theirs = engine.state(), native.weights()
        scale = max(float(np.abs(w).max()) for w in theirs)
        apart = max(
            apart,
            *(
                float(np.abs(found[n] - w).max()) / scale
                for n, w in zip(names, theirs, strict=True)
            ),
        )
    assert (
        max(float(np.abs(found[n] - start[n]).max()) for n in names) > 1e-6 * steps
    )  # it went somewhere
    return apart


LIKE = pytest.mark.parametrize("like", list(NATIVE))


def numpy_and_slow_others() -> list:
    """Return every engine; those that other tests prove equal to NumPy are slow tests here."""
    return [
        pytest.param(*row.values, id=row.id, marks=[*row.marks, *slow_if(row.values[0] != "numpy")])
        for row in rows(others=False)
    ]


def frameworks_and_optimizers() -> list:
    """Return every pair; Keras builds a graph for each, and most of these are slow tests."""
    fast = ("momentum", "adam", "nadam", "rmsprop")
    return [
        pytest.param(
            chosen,
            like,
            id=f"{chosen}-{like}",
            marks=slow_if(like == "keras" and chosen not in fast),
        )
        for chosen in CLASSES
        for like in NATIVE
    ]


@pytest.mark.parametrize(("name", "backend"), numpy_and_slow_others())
@pytest.mark.parametrize(("chosen", "like"), frameworks_and_optimizers())
def test_as_the_framework_itself_has_it(name: str, backend: str, chosen: str, like: str):
    assert followed(name, backend, chosen, like) <= 1e-11


@pytest.mark.parametrize(("name", "backend"), numpy_and_slow_others())
@LIKE
@pytest.mark.parametrize("chosen", CLASSES)
def test_weight_decay_as_the_framework_itself_has_it(
    name: str, backend: str, chosen: str, like: str
):
    """Coupled in PyTorch, but in AdamW; decoupled in Keras (D56)."""
    assert followed(name, backend, chosen, like, 40, weight_decay=0.25) <= 1e-11


@pytest.mark.parametrize(("name", "backend"), rows())
@LIKE
def test_rmsprop_with_momentum(name: str, backend: str, like: str):
    """In every backend; the velocity holds rate times gradient in Keras alone."""
    assert followed(name, backend, "rmsprop", like, 40, momentum=0.875) <= 1e-11


@pytest.mark.parametrize(
    "chosen", ["momentum", "nesterov", "adam", "adamw", "nadam", "rmsprop", "adagrad"]
)
def test_the_other_frameworks_formula_is_told_apart(chosen: str):
    """The comparison can fail: PyTorch's optimizer differs from Keras's formula with the same
    numbers.
    """
    pytest.importorskip("torch")
    kept = {"rate", "epsilon", "weight_decay", "rho", "initial"}
    theirs = optimizer(chosen, like="torch")
    numbers = {key: getattr(theirs, key) for key in kept if hasattr(theirs, key)}
    mixed = (
        optimizer(chosen, like="keras", **numbers)
        if chosen != "adamw"
        else optimizer("adamw", like="torch", decoupled=False)
    )
    ends = []
    for o in (theirs, mixed):
        recipe = Recipe(40, "full", o, dtype="float64")
        engine = loaded_engine("numpy", NETWORK, recipe)
        engine.run(engine.upload(few()), Plan(rates(o.rate, 40)))
        ends.append(engine.state()["hidden/kernel"])
    assert np.abs(ends[0] - ends[1]).max() > 1e-9
