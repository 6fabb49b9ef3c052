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
from triptych import lesson
from triptych.core import registry, state
from triptych.core.planner import BatchPlanner
from triptych.data.dataset import Dataset
from triptych.process import machine

ROOT = Path(triptych.__file__).parents[1]
SCRIPTS = {
    "numpy": "artificial_neural_network_MNIST",
    "torch": "artificial_neural_network_MNIST_pytorch",
    "tensorflow": "artificial_neural_network_MNIST_tensorflow",
}
STEPS = 50


def import_file(path: Path):
    spec = importlib.util.spec_from_file_location(f"imported_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


exercises = import_file(ROOT / "tools" / "exercises.py")


def solved(engine: str, followed: tuple[str, ...]) -> str:
    """The text of a lesson with the comments of some exercises followed."""
    return exercises.follow((ROOT / f"{SCRIPTS[engine]}.py").read_text(encoding="utf-8"), followed)


def load(engine: str, folder: Path | None = None, followed: tuple[str, ...] = ()):
    """Import a lesson; with `followed`, a copy in `folder` whose comments were followed."""
    pytest.importorskip(registry.entry(engine).requires)
    path = ROOT / f"{SCRIPTS[engine]}.py"
    if followed:
        assert folder
        path = folder / f"{'_'.join(followed)}_{engine}.py"
        path.write_text(solved(engine, followed), encoding="utf-8")
    return import_file(path)


@pytest.mark.parametrize("engine", SCRIPTS)
@pytest.mark.parametrize(
    ("batch_size", "followed"), [(64, ()), ("full", ()), (64, ("deeper",)), ("full", ("deeper",))]
)
def test_each_equals_its_engine_to_1e_11_over_50_steps(
    engine: str, batch_size, followed, digits: Dataset, tmp_path
):
    script = load(engine, tmp_path, followed)
    hidden = (10, 10) if followed else (10,)
    begun = lesson.prepare(digits, 50, batch_size, 3, "float64", hidden=hidden)
    batches = list(islice((rows for epoch in range(50) for rows in begun.batches(epoch)), STEPS))
    steps: list[tuple[list, float]] = []

    def watch(epoch, loss) -> None:
        steps.append((weights(), float(loss)))

    one_each = [
        [rows] for rows in batches
    ]  # an epoch of one batch each, so that every step is watched
    if engine == "numpy":
        params = script.init_params(begun.weights)
        weights = lambda: [p.T.copy() if p.shape[1] > 1 else p[:, 0].copy() for p in params]  # noqa: E731
        script.train(
            params,
            begun.x_train.T,
            script.one_hot(begun.y_train),
            one_each.__getitem__,
            STEPS,
            0.1,
            watch,
        )
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
        script.train(
            model,
            tf.constant(begun.x_train),
            tf.constant(begun.y_train),
            one_each.__getitem__,
            STEPS,
            0.1,
            watch,
        )

    network, recipe = begun.schedule.network, begun.schedule.recipe
    own = registry.create(engine, network, recipe)
    own.load(state.initial(network, recipe))
    data = own.upload(digits.train)
    plans = (
        step
        for plan in BatchPlanner(network, recipe, len(digits.train)).plans()
        for step in plan.single()
    )
    for (found, loss), plan in zip(steps, plans, strict=False):
        own.run(data, plan)
        assert own.wait()[0] == pytest.approx(loss, rel=1e-11)
        for array, expected in zip(found, own.state().values(), strict=True):
            assert array.shape == expected.shape
            assert np.abs(array - expected).max() <= 1e-11 * np.abs(expected).max()
    assert len(steps) == STEPS
    assert len(steps[0][0]) == 2 * len(hidden) + 2


def test_back_prop_is_the_gradient_in_the_originals_orientation():
    script = load("numpy")
    rng = np.random.default_rng(0)
    W1, b1, W2, b2 = (
        rng.normal(size=(10, 784)) / 28,
        rng.normal(size=(10, 1)),
        rng.normal(size=(10, 10)),
        rng.normal(size=(10, 1)),
    )
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


@pytest.mark.parametrize("followed", [("deeper",), ("dropout",), ("deeper", "dropout")])
def test_followed_to_the_letter_back_prop_is_the_gradient(followed, digits: Dataset, tmp_path):
    """Finite differences in float64, for every parameter, with biases that are not zero."""
    script = load("numpy", tmp_path, followed)
    hidden = (10, 10) if "deeper" in followed else (10,)
    begun = lesson.prepare(digits, 1, "full", 0, "float64", hidden=hidden)
    rng = np.random.default_rng(5)
    params = script.init_params(begun.weights)
    for bias in params[1::2]:
        bias += rng.normal(0, 0.1, bias.shape)
    X = begun.x_train[:50].T
    Y = script.one_hot(begun.y_train[:50]).astype("float64")
    mask = [(rng.random((10, 50)) >= 0.2) / 0.8] if "dropout" in followed else []
    gradients = script.back_prop(*script.forward_prop(*params, X, *mask), *params[::2], X, Y)
    assert len(gradients) == len(params) == 2 * len(hidden) + 2
    for parameter, gradient in zip(params, gradients, strict=True):
        assert gradient.shape == parameter.shape
        for index in np.argsort(-np.abs(gradient), axis=None)[:10]:
            before = parameter.flat[index]
            losses = []
            for h in (1e-6, -1e-6):
                parameter.flat[index] = before + h
                outputs = script.forward_prop(*params, X, *mask)
                losses.append(script.cross_entropy(outputs[-1], Y))
            parameter.flat[index] = before
            assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(
                gradient.flat[index], rel=1e-5, abs=1e-8
            )


@pytest.mark.parametrize("followed", [("deeper",), ("dropout",), ("deeper", "dropout")])
def test_followed_to_the_letter_float32_stays_float32(followed, digits: Dataset, tmp_path):
    script = load("numpy", tmp_path, followed)
    hidden = (10, 10) if "deeper" in followed else (10,)
    begun = lesson.prepare(digits, 1, "full", 0, hidden=hidden)
    params = script.init_params(begun.weights)
    X = begun.x_train[:50].T
    Y = script.one_hot(begun.y_train[:50])
    loss = script.train_step(params, X, Y, 0.1)
    outputs = script.forward_prop(*params, X)
    gradients = script.back_prop(*outputs, *params[::2], X, Y)
    assert {array.dtype.name for array in (*params, *outputs, *gradients, loss)} == {"float32"}


# Right networks reach 0.84 to 0.97 on the digits in 500 steps; a network that does not learn, 0.1.
LOWEST_ACCURACY = 0.8
TRAINING = ("--data", "digits", "--batch-size", "full", "--epochs", "500")


@pytest.mark.parametrize(
    "followed",
    [("deeper",), ("dropout",), pytest.param(("deeper", "dropout"), marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    "engine",
    [
        "numpy",
        pytest.param("torch", marks=pytest.mark.slow),
        pytest.param("tensorflow", marks=pytest.mark.slow),
    ],
)
def test_followed_to_the_letter_each_script_runs_and_its_seed_decides(
    engine: str, followed, tmp_path
):
    pytest.importorskip(registry.entry(engine).requires)
    script = tmp_path / "followed.py"
    script.write_text(solved(engine, followed), encoding="utf-8")
    first, again, other = (
        run(script, tmp_path, *TRAINING, "--seed", seed).stdout for seed in ("1", "1", "2")
    )
    epochs = exercises.epochs_printed(first)
    assert list(epochs.values())[-1][1] > LOWEST_ACCURACY
    assert epochs == exercises.epochs_printed(again)
    assert epochs != exercises.epochs_printed(other)
    if engine == "tensorflow":
        apart = re.search(
            r"By hand against model.fit: weights at most (\S+) apart, steps: 1\n(.*)", first
        )
        assert apart
        if "dropout" in followed:
            assert apart[2].startswith("With dropout they must differ")
        else:
            assert float(apart[1]) < 1e-5


@pytest.mark.parametrize("engine", SCRIPTS)
@pytest.mark.parametrize("followed", [("deeper",), ("dropout",), ("deeper", "dropout")])
def test_every_comment_of_an_exercise_becomes_code(engine: str, followed):
    text = solved(engine, followed)
    compile(text, engine, "exec")
    marked = map(exercises.MARK.match, text.splitlines())
    left = [mark[2] for mark in marked if mark]
    if len(followed) == 2:
        # Only in NumPy do both exercises change one line; its group of comments offers three.
        assert left == (["deeper", "dropout"] if engine == "numpy" else [])
    else:
        assert set(left) <= {"deeper", "dropout", "both"} - set(followed)
    assert text.count("\n") < 200


def test_a_comment_replaces_the_line_above_it_and_takes_its_indentation():
    text = (
        "def f(x):\n    # deeper, instead: def f(x, y):\n    # dropout, add: x = 2\n    return x\n"
    )
    assert (
        exercises.follow(text, ["deeper"])
        == "def f(x, y):\n    # dropout, add: x = 2\n    return x\n"
    )
    assert (
        exercises.follow(text, ["dropout"])
        == "def f(x):\n    # deeper, instead: def f(x, y):\n    x = 2\n    return x\n"
    )


def run(
    script: Path, cwd: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script as a user does, from an environment without this test's threads."""
    ours = machine.environment(1, "cpu")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if ours.get(name) != value or name in ("PATH", "HOME")
    }
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=cwd,
        env=inherited
        | {"PYTHONPATH": str(ROOT), "TRIPTYCH_DATA": str(cwd), "PYTHONUTF8": "1"}
        | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("engine", SCRIPTS)
def test_each_runs_with_no_more_than_what_is_here(engine: str, tmp_path):
    pytest.importorskip(registry.entry(engine).requires)
    done = run(ROOT / f"{SCRIPTS[engine]}.py", tmp_path, "--epochs", "3")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Data: digits, 1,617 training")
    assert lines[1].startswith("  In it: pixels 0 to 255")
    if engine == "numpy":
        assert lines[2] == "Training: 3 epochs, 3 steps, each on all 1,617 digits; 1 thread, seed 0"
    else:
        assert lines[2] == "Training: 3 epochs, 78 steps, each on 64 digits; 1 thread, seed 0"
    # The result comes before everything that can fail or wait: the pictures are the end.
    result = next(
        i
        for i, line in enumerate(lines)
        if re.search(r": test accuracy \d+\.\d+% after \d+\.\d s of training$", line)
    )
    assert lines[result - 1].startswith("epoch    3:")
    pictures = [i for i, line in enumerate(lines) if line.endswith(".png")]
    assert pictures == list(range(len(lines) - len(pictures), len(lines)))
    assert lines[pictures[0] - 1].startswith("To compare times, run: triptych compare")
    assert done.stderr == ""
    folder = next((tmp_path / "runs").iterdir())
    assert (folder / "predictions.png").exists()
    if engine == "torch":
        assert "it predicts the same" in done.stdout
        assert (folder / "mnist_net.safetensors").exists()
    if engine == "tensorflow":
        apart = re.search(
            r"By hand against model.fit: weights at most (\S+) apart, steps: 20", done.stdout
        )
        assert apart
        assert float(apart[1]) < 1e-5
        assert (folder / "history.png").exists()
        assert list(folder.glob("logs/train/events*"))


BLOCKED = """
import sys
sys.modules["matplotlib"] = None  # as where it is not installed
"""


def test_without_matplotlib_the_result_is_printed_and_the_pictures_are_explained(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    done = run(ROOT / f"{SCRIPTS['numpy']}.py", tmp_path, "--epochs", "2", PYTHONPATH=path)
    assert re.search(r"^NumPy: test accuracy \d+\.\d+% after", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("The pictures need matplotlib: python -m pip install matplotlib\n")
    assert done.stderr == ""


def test_windows_open_last_and_together(tmp_path, capsys, monkeypatch, digits: Dataset):
    """What a window would hold back is printed before it opens."""
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.setattr(plt, "get_backend", lambda: "tkagg")
    monkeypatch.setattr(plt, "show", lambda: print("windows", plt.get_fignums()))
    begun = lesson.prepare(digits, 1, "full", 0, folder=tmp_path)
    history = {name: [1.0, 0.5] for name in ("loss", "val_loss", "accuracy", "val_accuracy")}
    lesson.end(begun, begun.y_test, history)
    *_, close, windows = capsys.readouterr().out.splitlines()
    assert close == "Close the windows to end."
    assert windows == "windows [1, 2]"
    assert not plt.get_fignums()


def test_a_mistake_gets_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / f"{SCRIPTS['numpy']}.py"), "--data", "nope.csv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert (
        done.stderr
        == "artificial_neural_network_MNIST.py: nope.csv: no such file or data set; check the path\n"
    )


def test_laid_side_by_side_the_sections_are_the_same():
    """Same numbers, same order; the first words agree up to what each framework adds."""
    found = {}
    for engine, name in SCRIPTS.items():
        text = (ROOT / f"{name}.py").read_text()
        found[engine] = re.findall(r"^# --- (\d\. [A-Za-z ]+)", text, re.MULTILINE)
        functions = set(re.findall(r"^def (\w+)", text, re.MULTILINE))
        assert {
            "init_params",
            "back_prop",
            "train_step",
            "train",
            "get_predictions",
            "get_accuracy",
            "main",
        } <= functions
    assert found["numpy"] == found["tensorflow"]
    assert [s.split()[0:2] for s in found["numpy"]] == [s.split()[0:2] for s in found["torch"]]
