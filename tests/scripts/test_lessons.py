"""The three scripts at the root: each runs by itself, and each equals its engine."""

import importlib.util
import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import triptych
from triptych import engines, lesson, state
from triptych.data.dataset import Dataset
from triptych.plan import Schedule

ROOT = Path(triptych.__file__).parents[1]
SCRIPTS = {
    "numpy": "artificial_neural_network_MNIST",
    "torch": "artificial_neural_network_MNIST_pytorch",
    "tensorflow": "artificial_neural_network_MNIST_tensorflow",
}
STEPS = 50


def load(engine: str):
    pytest.importorskip(engines.entry(engine).requires)
    spec = importlib.util.spec_from_file_location(f"lesson_{engine}", ROOT / f"{SCRIPTS[engine]}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("engine", SCRIPTS)
@pytest.mark.parametrize("batch_size", [64, "full"])
def test_each_equals_its_engine_to_1e_11_over_50_steps(engine: str, batch_size, digits: Dataset):
    script = load(engine)
    begun = lesson.prepare(digits, 50, batch_size, 3, "float64")
    batches = list(islice((rows for epoch in range(50) for rows in begun.batches(epoch)), STEPS))
    steps: list[tuple[list, float]] = []

    def watch(epoch, loss) -> None:
        steps.append((weights(), float(loss)))

    one_each = [[rows] for rows in batches]  # an epoch of one batch each, so that every step is watched
    if engine == "numpy":
        params = script.init_params(begun.weights)
        weights = lambda: [p.T.copy() if p.shape[1] > 1 else p[:, 0].copy() for p in params]  # noqa: E731
        script.train(params, begun.x_train.T, script.one_hot(begun.y_train), one_each.__getitem__, STEPS, 0.1, watch)
    elif engine == "torch":
        import torch

        model = script.MNISTNet().double()
        script.init_params(model, begun.weights)
        weights = lambda: [p.detach().numpy().T.copy() for p in model.parameters()]  # noqa: E731
        x, y = torch.from_numpy(begun.x_train), torch.from_numpy(begun.y_train).long()
        script.train(model, x, y, one_each.__getitem__, STEPS, 0.1, watch)
    else:
        import tensorflow as tf

        model = script.simple_model("float64")
        script.init_params(model, begun.weights)
        weights = lambda: [w.copy() for w in model.get_weights()]  # noqa: E731
        script.train(model, tf.constant(begun.x_train), tf.constant(begun.y_train), one_each.__getitem__, STEPS, 0.1, watch)

    network, recipe = begun.schedule.network, begun.schedule.recipe
    own = engines.create(engine, network, recipe)
    own.load(state.initial(network, recipe))
    data = own.put(digits.train)
    plans = (step for plan in Schedule(network, recipe, len(digits.train)).plans() for step in plan.single())
    for (found, loss), plan in zip(steps, plans, strict=False):
        own.run(data, plan)
        assert own.sync()[0] == pytest.approx(loss, rel=1e-11)
        for array, expected in zip(found, own.state().values(), strict=True):
            assert array.shape == expected.shape
            assert np.abs(array - expected).max() <= 1e-11 * np.abs(expected).max()
    assert len(steps) == STEPS


def test_back_prop_is_the_gradient_in_the_originals_orientation():
    script = load("numpy")
    rng = np.random.default_rng(0)
    W1, b1, W2, b2 = rng.normal(size=(10, 784)) / 28, rng.normal(size=(10, 1)), rng.normal(size=(10, 10)), rng.normal(size=(10, 1))
    X, Y = rng.random((784, 5)), np.eye(10)[:, rng.integers(0, 10, 5)]
    Z1, A1, Z2, A2 = script.forward_prop(W1, b1, W2, b2, X)
    assert (Z1.shape, A1.shape, Z2.shape, A2.shape) == ((10, 5),) * 4
    assert np.allclose(A2.sum(axis=0), 1)
    gradients = script.back_prop(Z1, A1, Z2, A2, W1, W2, X, Y)
    for parameter, gradient in zip((W1, b1, W2, b2), gradients, strict=True):
        assert gradient.shape == parameter.shape
        for index in [tuple(rng.integers(0, n) for n in parameter.shape) for _ in range(20)]:
            kept, ends = parameter[index], []
            for h in (1e-5, -1e-5):
                parameter[index] = kept + h
                ends.append(script.cross_entropy(script.forward_prop(W1, b1, W2, b2, X)[-1], Y))
            parameter[index] = kept
            assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(gradient[index], rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("engine", SCRIPTS)
def test_each_runs_with_no_more_than_what_is_here(engine: str, tmp_path):
    pytest.importorskip(engines.entry(engine).requires)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TRIPTYCH_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(ROOT / f"{SCRIPTS[engine]}.py"), "--epochs", "3"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Data: digits")
    assert re.search(r"test accuracy \d+\.\d+% after \d+\.\d s of training\s*$", done.stdout)
    folder = next((tmp_path / "runs").iterdir())
    assert (folder / "predictions.png").exists()
    if engine == "torch":
        assert "it predicts the same" in done.stdout
        assert (folder / "mnist_net.safetensors").exists()
    if engine == "tensorflow":
        assert re.search(r"against model.fit, 20 steps: weights at most [0-9e+-]+ apart", done.stdout)
        assert (folder / "history.png").exists()
        assert list(folder.glob("logs/train/events*"))


def test_a_mistake_gets_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / f"{SCRIPTS['numpy']}.py"), "--data", "nope.csv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == "artificial_neural_network_MNIST.py: nope.csv: no such file or data set; check the path\n"


def test_laid_side_by_side_the_sections_are_the_same():
    """Same numbers, same order; the first words agree up to what each framework adds."""
    found = {}
    for engine, name in SCRIPTS.items():
        text = (ROOT / f"{name}.py").read_text()
        found[engine] = re.findall(r"^# --- (\d\. [A-Za-z ]+)", text, re.MULTILINE)
        functions = set(re.findall(r"^def (\w+)", text, re.MULTILINE))
        assert {"init_params", "back_prop", "train_step", "train", "get_predictions", "get_accuracy", "main"} <= functions
    assert found["numpy"] == found["tensorflow"]
    assert [s.split()[0:2] for s in found["numpy"]] == [s.split()[0:2] for s in found["torch"]]
