"""How a mistake is planted, and what it is to catch it: the healthy engine passes a walk on which
the other is stopped.

A mistake makes an engine's class into one that has it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from importlib import import_module
from inspect import isfunction
from itertools import islice
from typing import Any
from unittest import mock

import numpy as np
import pytest
from support.splits import first_digits

from triptych.core import registry, state
from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.core.state import State
from triptych.engines.numpy.engine import Engine as Numpy
from triptych.engines.numpy.loss import build_loss, register_loss
from triptych.engines.numpy.optimizers import register_optimizer
from triptych.parity import lockstep
from triptych.parity.specimens import specimens
from triptych.spec import zoo
from triptych.spec.layers import Residual
from triptych.spec.losses import SoftmaxCrossEntropy
from triptych.spec.network import Network
from triptych.spec.optimizers import optimizer
from triptych.spec.placement import Layer
from triptych.spec.recipe import Recipe

Mistake = Callable[[Any], Any]

NETWORKS = {name: zoo.get(name) for name in ("classic", "custom", "regularized")}
NETWORKS |= {network.name: network for network in specimens(zoo.GREY, 10)}
STEPS = 5  # three batches of 64, a smaller one of 8, and one of 64 again


def trained(name: str = "sgd", **others: Any) -> Recipe:
    """A float64 recipe with an optimizer by name."""
    return replace(Recipe(2, 64, optimizer(name), dtype="float64"), **others)


def as_it_is(anything: Any) -> Any:
    return anything


@dataclass(frozen=True)
class Mutation:
    """A mistake, and where it must be caught: `array` is a part of the array's name, `start`
    changes the first state.
    """

    name: str
    mistake: Mistake
    stage: str
    layer: str
    network: str = "classic"
    engine: str = "numpy"
    recipe: Recipe = trained()  # noqa: RUF009 - frozen
    step: int = 0
    array: str = ""
    start: Callable[[State], State] = as_it_is


def few() -> Split:
    return first_digits(200)


def engine_class(name: str) -> Any:
    pytest.importorskip(registry.entry(name).requires)
    registry.create(name, NETWORKS["classic"], Recipe())  # imports the module
    return sys.modules[f"triptych.engines.{name}.engine"].Engine


@cache
def walked(mutation: Mutation) -> lockstep.Outcome:
    network, recipe = NETWORKS[mutation.network], mutation.recipe
    schedule, start = (
        BatchPlanner(network, recipe, len(few())),
        mutation.start(state.initial(network, recipe)),
    )
    reference, candidate = (
        Numpy(network, recipe),
        mutation.mistake(engine_class(mutation.engine))(network, recipe),
    )
    *_, outcome = lockstep.walk(
        reference,
        candidate,
        few(),
        islice(schedule.singles(), STEPS),
        start,
        lockstep.Tolerances.of(network, recipe),
    )
    return outcome


def check(mutation: Mutation) -> None:
    """Assert that the healthy engine passes, and that the mistake is caught where it must be."""
    healthy = walked(
        replace(mutation, name="healthy", mistake=as_it_is, stage="", layer="", step=0, array="")
    )
    assert healthy.equal, str(healthy.divergence)
    assert healthy.steps == STEPS
    found = walked(mutation)
    assert found.divergence, "the mistake went unnoticed"
    place = (found.divergence.stage, found.divergence.layer)
    assert place == (mutation.stage, mutation.layer), str(found.divergence)
    assert found.at == mutation.step
    assert mutation.array in found.divergence.name
    assert found.largest > 1e-11


def with_layer(name: str, **changes: Any) -> Mistake:
    """One layer is a plug-in: the engine's own layer, some methods or numbers of which differ.

    Parameters
    ----------
    name : str
        The layer's name.
    **changes : object
        Methods (as functions of the layer) and other attributes, in the engine's own terms.
    """

    def mistake(base: Any) -> Any:
        layers = import_module(f"{base.__module__.rpartition('.')[0]}.layers")

        class Wrong(base):
            def __init__(self, network, recipe):
                changed = change_layer(network, name, lambda right: plug_in(layers, right, changes))
                super().__init__(changed, recipe)

        return Wrong

    return mistake


def change_layer(network: Network, name: str, change: Callable[[Layer], Layer]) -> Network:
    """Return a network of which one layer is another; it may be inside a residual."""

    def changed(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        found = []
        for layer in layers:
            if layer.name == name:
                layer = change(layer)
            elif isinstance(layer, Residual):
                ways = {"branch": changed(layer.branch), "projection": changed(layer.projection)}
                layer = replace(layer, **ways)
            found.append(layer)
        return tuple(found)

    layers = changed(network.layers)
    assert layers != network.layers, f"no layer {name} to change"
    return replace(network, layers=layers)


def plug_in(layers: Any, right: Layer, changes: dict[str, Any]) -> Layer:
    """Register a layer type with an engine, and return a layer of it.

    Parameters
    ----------
    layers : module
        The layers of the engine: `LAYERS`, the table of its builders, and `register_layer`.
    right : Layer
        The layer that is to be replaced; the returned one has its name and numbers.
    changes : dict
        What is set in the object that the engine's own builder returns.
    """
    build_right = layers.LAYERS.find(right)

    def build_wrong(*arguments: Any) -> Any:
        built = build_right(*arguments)
        for key, value in changes.items():
            setattr(built, key, value.__get__(built) if isfunction(value) else value)
        return built

    kind = type(right)
    wrong_kind = type(f"Wrong{kind.__name__}", (kind,), {})
    layers.register_layer(wrong_kind, build_wrong)
    return wrong_kind(**{field.name: getattr(right, field.name) for field in fields(right)})


def with_numpy_layer(name: str, **methods: Callable[..., Any]) -> Mistake:
    """One layer of the NumPy engine has other methods."""

    class Wrong(Numpy):
        def __init__(self, network, recipe):
            super().__init__(network, recipe)
            (layer,) = [layer for layer in self.layers if layer.name == name]
            layer.__class__ = type("Wrong", (type(layer),), methods)

    return lambda base: Wrong


def with_description(name: str, **fields: Any) -> Mistake:
    """One layer is another than the description says: the engine is built for another network."""

    def mistake(base: Any) -> Any:
        class Wrong(base):
            def __init__(self, network, recipe):
                changed = change_layer(network, name, lambda layer: replace(layer, **fields))
                super().__init__(changed, recipe)

        return Wrong

    return mistake


def with_loss(change: Callable[..., Any]) -> Mistake:
    """The loss is a plug-in that changes what NumPy's own loss returns.

    Parameters
    ----------
    change : callable
        Takes the right function and what it is given; see `register_loss` of the NumPy engine.
    """

    class WrongLoss(SoftmaxCrossEntropy):
        pass

    def build(loss: WrongLoss) -> Callable[..., Any]:
        settings = {field.name: getattr(loss, field.name) for field in fields(loss)}
        return partial(change, build_loss(SoftmaxCrossEntropy(**settings)))

    register_loss(WrongLoss, build)
    return with_recipe(loss=WrongLoss())


def with_optimizer(rule: Callable[..., Any]) -> Mistake:
    """The optimizer is a plug-in of the NumPy engine with another update rule.

    Parameters
    ----------
    rule : callable
        See `register_optimizer` of the NumPy engine.
    """

    def mistake(base: Any) -> Any:
        class Wrong(base):
            def __init__(self, network, recipe):
                right = recipe.optimizer
                kind = type(right)
                wrong_kind = type(f"Wrong{kind.__name__}", (kind,), {})
                register_optimizer(wrong_kind, rule)
                numbers = {field.name: getattr(right, field.name) for field in fields(right)}
                super().__init__(network, replace(recipe, optimizer=wrong_kind(**numbers)))

        return Wrong

    return mistake


def with_layout(engine: str, **patterns: str) -> Mistake:
    """Arrays of some roles go in and out by another pattern of the engine's layout table."""
    table = registry.entry(engine).layout

    def mistake(base: Any) -> Any:
        class Wrong(base):
            def load(self, state):
                with mock.patch.dict(table, patterns):
                    super().load(state)

            def state(self):
                with mock.patch.dict(table, patterns):
                    return super().state()

            def trace(self, data, plan, *, outputs=True):
                with mock.patch.dict(table, patterns):
                    return super().trace(data, plan, outputs=outputs)

        return Wrong

    return mistake


def with_recipe(**changes: Any) -> Mistake:
    """The engine is built for another recipe than it is told: what follows from its numbers
    differs, the plan does not.
    """

    def mistake(base: Any) -> Any:
        class Wrong(base):
            def __init__(self, network, recipe):
                super().__init__(network, replace(recipe, **changes))

        return Wrong

    return mistake


def with_plan(change: Callable[[Plan], Plan]) -> Mistake:
    def mistake(base: Any) -> Any:
        class Wrong(base):
            def run(self, data, plan):
                super().run(data, change(plan))

            def trace(self, data, plan, *, outputs=True):
                return super().trace(data, change(plan), outputs=outputs)

        return Wrong

    return mistake


def with_state(
    change: Callable[[State], State], back: Callable[[State], State] = as_it_is
) -> Mistake:
    """A state is changed on its way in, and back on its way out."""

    def mistake(base: Any) -> Any:
        class Wrong(base):
            def load(self, state):
                super().load(change(state))

            def state(self):
                return back(super().state())

        return Wrong

    return mistake


def stored(name: str, turn: Callable[[np.ndarray], np.ndarray]) -> Mistake:
    """An array is stored another way round, and turned back on its way out: invisible in the state.
    Twice `turn` is nothing.
    """

    def turned(arrays: State) -> State:
        return arrays | {name: np.ascontiguousarray(turn(arrays[name]))}

    return with_state(turned, turned)


def with_function(path: str, wrong: Any) -> Mistake:
    """A function or a table, named by its module, is another while the engine computes."""

    def mistake(base: Any) -> Any:
        class Wrong(base):
            def run(self, data, plan):
                with mock.patch(path, wrong):
                    super().run(data, plan)

            def trace(self, data, plan, *, outputs=True):
                with mock.patch(path, wrong):
                    return super().trace(data, plan, outputs=outputs)

        return Wrong

    return mistake
