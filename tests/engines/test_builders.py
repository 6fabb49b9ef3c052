"""Layers, losses and optimizers from outside the package, in every engine."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from support.engines import loaded_engine
from support.errors import relative_errors
from support.splits import random_split

from triptych.core import registry, state
from triptych.core.planner import BatchPlanner
from triptych.errors import EngineError
from triptych.spec.layers import Dense, Flatten
from triptych.spec.losses import Loss, MeanSquaredError
from triptych.spec.network import Network
from triptych.spec.optimizers import SGD, Optimizer
from triptych.spec.placement import Layer, Parameter, PlacedLayer
from triptych.spec.recipe import Recipe

ENGINES = ("torch", "tensorflow", "jax")


@dataclass(frozen=True)
class Gain(Layer):
    """y = gain·x, with a buffer that counts the batches it has seen in training."""

    def place(self, shape: Any, *fold: Any) -> PlacedLayer:
        gain = Parameter(f"{self.name}/gain", shape[-1:], "vector", "ones")
        count = Parameter(f"{self.name}/batches", (1,), "vector")
        return PlacedLayer(self, shape, shape, (gain,), (count,))


@dataclass(frozen=True)
class Unknown(Layer):
    """A layer that no engine has a builder for."""


@dataclass(frozen=True)
class UnknownLoss(Loss):
    name = "unknown"
    label = "unknown"


@dataclass(frozen=True)
class UnknownOptimizer(Optimizer):
    rate: float = 0.1
    name = "unknown"
    label = "unknown"


def build_torch_gain(place: PlacedLayer) -> Any:
    import torch

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.zeros(place.output_shape[-1]))
            self.register_buffer("batches", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                self.batches += 1
            return x * self.gain

    return Module()


def build_keras_gain(place: PlacedLayer, dtype: str) -> Any:
    import keras

    class KerasGain(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.gain = self.add_weight(shape=(shape[-1],), name="gain")
            self.batches = self.add_weight(shape=(1,), name="batches", trainable=False)

        def call(self, x: Any, training: bool = False) -> Any:
            if training:
                self.batches.assign(self.batches.value + 1)
            return x * self.gain.value

    return KerasGain(name=place.layer.name, dtype=dtype)


def build_jax_gain(place: PlacedLayer) -> Any:
    def gain(x: Any, arrays: Any, forward_pass: Any) -> Any:
        if forward_pass.training:
            forward_pass.buffers[f"{place.layer.name}/batches"] = arrays["batches"] + 1
        return x * arrays["gain"]

    return gain


BUILDERS = {"torch": build_torch_gain, "tensorflow": build_keras_gain, "jax": build_jax_gain}


def network_with(*layers: Layer) -> Network:
    return Network("n", (4, 4, 1), (Flatten("flatten"), *layers, Dense("output", 3)))


def engine_module(name: str, part: str) -> Any:
    pytest.importorskip(registry.entry(name).requires)
    return import_module(f"triptych.engines.{name}.{part}")


@pytest.mark.framework
@pytest.mark.parametrize("name", ENGINES)
def test_a_layer_with_a_parameter_and_a_buffer(name: str):
    engine_module(name, "layers").register_layer(Gain, BUILDERS[name])
    network, recipe = network_with(Gain("gain")), Recipe(1, 4, dtype="float64")
    start = state.initial(network, recipe)
    start["gain/gain"] = np.linspace(0.5, 2, 16)
    engine = loaded_engine(name, network, recipe, start=start)
    split = random_split(12, (4, 4, 1), classes=3)
    data, plan = engine.upload(split), BatchPlanner(network, recipe, 12).plan(0, 3, 4)
    trace = engine.trace(data, plan)
    assert max(relative_errors(start, engine.state(), "update").values()) == 0
    x = split.pixels("float64")[plan.indices[0]].reshape(4, -1)
    assert np.allclose(trace["output/gain"], x * start["gain/gain"], rtol=0, atol=1e-14)
    engine.run(data, plan)
    engine.wait()
    assert engine.state()["gain/batches"] == [3]
    assert not np.array_equal(engine.state()["gain/gain"], start["gain/gain"])


@pytest.mark.framework
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    ("network", "recipe", "message"),
    [
        (network_with(Unknown("x")), Recipe(), "no layer for Unknown"),
        (network_with(), Recipe(loss=UnknownLoss()), "no loss for UnknownLoss"),
        (network_with(), Recipe(optimizer=UnknownOptimizer()), "no optimizer for UnknownOptimizer"),
    ],
    ids=["layer", "loss", "optimizer"],
)
def test_what_has_no_builder_is_refused(name: str, network: Network, recipe: Recipe, message: str):
    engine_module(name, "layers")
    with pytest.raises(EngineError, match=message):
        registry.create(name, network, recipe)


@pytest.mark.framework
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_squared_error_is_numpys(name: str, dtype: str):
    engine_module(name, "loss")
    network = network_with(Dense("hidden", 5))
    recipe = Recipe(1, 4, SGD(0.1), dtype=dtype, loss=MeanSquaredError(l2=0.01))
    split = random_split(12, (4, 4, 1), classes=3)
    plan = BatchPlanner(network, recipe, 12).plan(0, 3, 4)
    traces, states, losses = [], [], []
    for engine_name in ("numpy", name):
        engine = loaded_engine(engine_name, network, recipe)
        data = engine.upload(split)
        traces.append(engine.trace(data, plan))
        engine.run(data, plan)
        losses.append(engine.wait())
        states.append(engine.state())
    bound = {"float32": 1e-5, "float64": 1e-13}[dtype]
    assert losses[1].dtype == dtype
    assert max(relative_errors(*traces).values()) < bound
    assert np.allclose(*losses, rtol=bound, atol=0)
    assert max(relative_errors(*states, "update").values()) < bound
