"""A layer, an optimizer, a loss and a data format from outside the package, through everything."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.engines import needs_torch
from support.errors import relative_errors

import triptych as tt
from triptych.core import registry, state
from triptych.core.planner import BatchPlanner
from triptych.data.registry import unregister_format
from triptych.parity import lockstep
from triptych.spec.layers import LAYERS, Dense, Flatten, Tanh
from triptych.spec.losses import LOSSES
from triptych.spec.network import Network
from triptych.spec.optimizers import OPTIMIZERS, SHORTHANDS, optimizer_names
from triptych.spec.recipe import Recipe

pytestmark = needs_torch


@pytest.fixture(scope="module")
def plugin():
    """The plug-in, registered; afterwards the tables are as before."""
    tables = (LAYERS, LOSSES, OPTIMIZERS, SHORTHANDS)
    before = [dict(table) for table in tables]
    path = Path(__file__).with_name("softer.py")
    described = importlib.util.spec_from_file_location("softer", path)
    module = importlib.util.module_from_spec(described)
    sys.modules["softer"] = module
    described.loader.exec_module(module)
    module.register_in_engines()
    yield module
    unregister_format(module.HEX.name)
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    del sys.modules["softer"]


@pytest.fixture(scope="module")
def dataset(plugin: Any, tmp_path_factory: pytest.TempPathFactory):
    """200 of scikit-learn's digits (8×8 pixels of 0 to 16), in the plug-in's format."""
    digits = load_digits()
    lines = []
    for image, label in zip(digits.data[:200], digits.target[:200], strict=True):
        lines.append(f"{label}:" + "".join(f"{min(int(pixel), 15):x}" for pixel in image))
    path = tmp_path_factory.mktemp("data") / "digits.hexlines"
    path.write_text("\n".join(lines))
    return tt.load_data(str(path))


def described(plugin: Any) -> tuple[Network, Recipe]:
    """Return network and recipe, both read from JSON, as a user's files have them."""
    layers = (
        Flatten("flatten"),
        Dense("hidden", 16),
        plugin.ChannelGain("gain"),
        Tanh("tanh"),
        Dense("output", 10),
    )
    network = Network("gained", (8, 8, 1), layers)
    recipe = Recipe.from_json(
        {
            "epochs": 3,
            "batch_size": 32,
            "optimizer": {"name": "averaged-sgd", "rate": 2.0},
            "loss": {"name": "pseudo_huber", "l2": 1e-4},
            "clip": {"limit": 1.0},
            "dtype": "float64",
            "validation": 0.2,
        }
    )
    assert Network.from_json(network.to_json()) == network
    assert Recipe.from_json(recipe.to_json()) == recipe
    return network, recipe


def test_help_texts_and_errors_name_it(plugin: Any):
    assert "averaged-sgd" in optimizer_names()
    with pytest.raises(tt.TriptychError, match="did you mean 'averaged-sgd'"):
        Recipe.from_json({"optimizer": {"name": "averaged-sdg"}})


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_it_trains(plugin: Any, dataset: Any, engine: str):
    network, recipe = described(plugin)
    result = tt.train(engine, network, recipe, dataset, runs=None)
    losses = [epoch["validation_loss"] for epoch in result.history]
    assert losses[-1] < losses[0]
    assert set(result.state) >= {"gain/gain", "gain/gain/m"}


def test_the_lockstep_finds_no_difference(plugin: Any, dataset: Any):
    network, recipe = described(plugin)
    planner = BatchPlanner(network, recipe, len(dataset.train))
    engines = [registry.create(name, network, recipe) for name in ("numpy", "torch")]
    start = state.initial(network, recipe)
    plans = list(lockstep.proof_plans(planner, 30))
    *_, outcome = lockstep.walk(*engines, dataset.train, plans, start)
    assert outcome.equal, str(outcome.divergence)
    assert outcome.steps == len(plans)


@pytest.mark.parametrize("wrong", ["layer", "optimizer", "loss"])
def test_the_lockstep_finds_a_mistake_in_it(
    plugin: Any, dataset: Any, wrong: str, monkeypatch: pytest.MonkeyPatch
):
    network, recipe = described(plugin)
    numpy = registry.create("numpy", network, recipe)
    torch = registry.create("torch", network, recipe)
    if wrong == "layer":
        layer = next(layer for layer in numpy.layers if layer.name == "gain")
        backward = layer.backward
        monkeypatch.setattr(layer, "backward", lambda dy, into=True: 1.001 * backward(dy, into))
        stage = "gradient"
    elif wrong == "loss":
        loss = numpy.loss
        monkeypatch.setattr(numpy, "loss", lambda *rows: (1.001 * loss(*rows)[0], loss(*rows)[1]))
        stage = "loss"
    else:
        torch.optimizer.beta = 0.8
        stage = "update"
    planner = BatchPlanner(network, recipe, len(dataset.train))
    plans = list(lockstep.proof_plans(planner, 3))
    start = state.initial(network, recipe)
    *_, outcome = lockstep.walk(numpy, torch, dataset.train, plans, start)
    assert not outcome.equal
    assert outcome.divergence.stage == stage, str(outcome.divergence)


def test_a_run_changes_hands(plugin: Any, dataset: Any):
    network, recipe = described(plugin)
    planner = BatchPlanner(network, recipe, len(dataset.train))
    plans = list(lockstep.proof_plans(planner, 10))
    numpy, torch = (registry.create(name, network, recipe) for name in ("numpy", "torch"))

    def advance(engine: Any, start: state.State, part: list[Any]) -> state.State:
        engine.load(start)
        data = engine.upload(dataset.train)
        for plan in part:
            engine.run(data, plan)
        engine.wait()
        return engine.state()

    start = state.initial(network, recipe)
    alone = advance(numpy, start, plans)
    halfway = advance(torch, start, plans[:5])
    handed_over = advance(numpy, halfway, plans[5:])
    assert max(relative_errors(alone, handed_over).values()) <= 1e-11


def test_the_gradients_are_those_of_the_loss(plugin: Any):
    from triptych.engines.numpy.loss import build_loss

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 3))
    labels = rng.integers(0, 3, 4)
    loss = plugin.PseudoHuber()
    value, gradient = build_loss(loss)(logits, labels, labels)
    assert value == pytest.approx(loss.evaluate(logits, labels), rel=1e-13)
    for index in np.ndindex(*logits.shape):
        moved = logits.copy()
        moved[index] += 1e-6
        slope = (loss.evaluate(moved, labels) - value) / 1e-6
        assert gradient[index] == pytest.approx(slope, abs=1e-6)
