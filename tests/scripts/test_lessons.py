"""The three scripts at the root: each runs by itself, and each equals its engine."""

import argparse
import ast
import difflib
import importlib.util
import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from support.commands import ROOT, run_python

from triptych import lesson
from triptych.core import registry, state
from triptych.core.planner import BatchPlanner
from triptych.data.dataset import Dataset
from triptych.process import machine

pytestmark = pytest.mark.process

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


def prepare(
    data: Dataset,
    epochs: int,
    batch_size: int | str,
    seed: int,
    dtype: str = "float32",
    followed: tuple[str, ...] = (),
) -> lesson.Lesson:
    """Return what a script gets from `lesson.start`, without a command line."""
    settings = argparse.Namespace(epochs=epochs, batch_size=batch_size, seed=seed)
    hidden = (10, 10) if "deeper" in followed else (10,)
    return lesson.Lesson(data, settings, hidden, dtype)


@pytest.fixture
def float64_by_default():
    """Let the frameworks make float64 models, which the scripts do not ask for."""
    torch = sys.modules.get("torch")
    keras = sys.modules.get("keras")
    if torch:
        torch.set_default_dtype(torch.float64)
    if keras:
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
    yield
    if torch:
        torch.set_default_dtype(torch.float32)
    if keras:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def weights_of(engine: str, model) -> list[np.ndarray]:
    """Return copies of the arrays in the package's layout: kernels (in, out), biases (out,)."""
    if engine == "numpy":
        return [p.T.copy() if p.shape[1] > 1 else p[:, 0].copy() for p in model]
    if engine == "torch":
        return [p.detach().numpy().T.copy() for p in model.parameters()]
    return [array.copy() for array in model.get_weights()]


@pytest.mark.parametrize("engine", SCRIPTS)
@pytest.mark.parametrize(
    ("batch_size", "followed"), [(64, ()), ("full", ()), (64, ("deeper",)), ("full", ("deeper",))]
)
def test_each_equals_its_engine_to_1e_11_over_50_steps(
    engine: str, batch_size, followed, digits: Dataset, tmp_path, request
):
    script = load(engine, tmp_path, followed)
    request.getfixturevalue("float64_by_default")
    data = prepare(digits, 50, batch_size, 3, "float64", followed)
    all_batches = (rows for epoch in range(50) for rows in data.batches(epoch))
    # An epoch of one batch each, so that every step is seen.
    epochs = [[rows] for rows in islice(all_batches, STEPS)]
    model = script.init_params(data.weights)
    X, y, _ = script.get_arrays(data)
    steps = [
        (weights_of(engine, model), float(loss))
        for _, loss in script.train(model, X, y, epochs.__getitem__, STEPS, 0.1)
    ]

    network = data.planner.network
    recipe = data.planner.recipe
    reference = registry.create(engine, network, recipe)
    reference.load(state.initial(network, recipe))
    uploaded = reference.upload(digits.train)
    planner = BatchPlanner(network, recipe, len(digits.train))
    plans = (step for plan in planner.plans() for step in plan.single())
    for (arrays, loss), plan in zip(steps, plans, strict=False):
        reference.run(uploaded, plan)
        assert reference.wait()[0] == pytest.approx(loss, rel=1e-11)
        for array, expected in zip(arrays, reference.state().values(), strict=True):
            assert array.shape == expected.shape
            assert np.abs(array - expected).max() <= 1e-11 * np.abs(expected).max()
    assert len(steps) == STEPS
    assert len(steps[0][0]) == (6 if followed else 4)


def test_back_prop_is_the_gradient_in_the_originals_orientation():
    script = load("numpy")
    rng = np.random.default_rng(0)
    W1 = rng.normal(size=(10, 784)) / 28
    b1 = rng.normal(size=(10, 1))
    W2 = rng.normal(size=(10, 10))
    b2 = rng.normal(size=(10, 1))
    model = [W1, b1, W2, b2]
    X = rng.random((784, 5))
    y = rng.integers(0, 10, 5)
    Z1, A1, Z2, A2 = script.forward_prop(model, X)
    assert (Z1.shape, A1.shape, Z2.shape, A2.shape) == ((10, 5),) * 4
    assert np.allclose(A2.sum(axis=0), 1)
    loss, gradients = script.back_prop(model, X, y)
    assert loss == pytest.approx(script.cross_entropy(A2, np.eye(10)[:, y]), rel=1e-15)
    for parameter, gradient in zip(model, gradients, strict=True):
        assert gradient.shape == parameter.shape
        for index in [tuple(rng.integers(0, n) for n in parameter.shape) for _ in range(20)]:
            before = parameter[index]
            losses = []
            for h in (1e-5, -1e-5):
                parameter[index] = before + h
                losses.append(script.back_prop(model, X, y)[0])
            parameter[index] = before
            slope = (losses[0] - losses[1]) / 2e-5
            assert slope == pytest.approx(gradient[index], rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("followed", [("deeper",), ("dropout",), ("deeper", "dropout")])
def test_followed_to_the_letter_back_prop_is_the_gradient(followed, digits: Dataset, tmp_path):
    """Finite differences in float64, for every parameter, with biases that are not zero."""
    script = load("numpy", tmp_path, followed)
    data = prepare(digits, 1, "full", 0, "float64", followed)
    rng = np.random.default_rng(5)
    model = script.init_params(data.weights)
    for bias in model[1::2]:
        bias += rng.normal(0, 0.1, bias.shape)
    X = data.x_train[:50].T
    y = data.y_train[:50]

    def back_prop():
        np.random.seed(7)  # noqa: NPY002 - the same units are dropped each time
        return script.back_prop(model, X, y)

    gradients = back_prop()[1]
    assert len(gradients) == len(model) == (6 if "deeper" in followed else 4)
    for parameter, gradient in zip(model, gradients, strict=True):
        assert gradient.shape == parameter.shape
        for index in np.argsort(-np.abs(gradient), axis=None)[:10]:
            before = parameter.flat[index]
            losses = []
            for h in (1e-6, -1e-6):
                parameter.flat[index] = before + h
                losses.append(back_prop()[0])
            parameter.flat[index] = before
            slope = (losses[0] - losses[1]) / 2e-6
            assert slope == pytest.approx(gradient.flat[index], rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("followed", [("deeper",), ("dropout",), ("deeper", "dropout")])
def test_followed_to_the_letter_float32_stays_float32(followed, digits: Dataset, tmp_path):
    script = load("numpy", tmp_path, followed)
    data = prepare(digits, 1, "full", 0, followed=followed)
    model = script.init_params(data.weights)
    X = data.x_train[:50].T
    y = data.y_train[:50]
    loss = script.train_step(model, X, y, 0.1)
    outputs = script.forward_prop(model, X, training=True)
    gradients = script.back_prop(model, X, y)[1]
    assert {array.dtype.name for array in (*model, *outputs, *gradients, loss)} == {"float32"}


# Right networks reach 0.84 to 0.97 on the digits in 500 steps; a network that does not learn, 0.1.
LOWEST_ACCURACY = 0.8
TRAINING = ("--data", "digits", "--batch-size", "full", "--epochs", "500")


@pytest.mark.parametrize(
    ("engine", "followed"),
    [
        pytest.param("numpy", ("dropout",), marks=pytest.mark.slow),
        pytest.param("numpy", ("deeper", "dropout"), marks=pytest.mark.slow),
        pytest.param("torch", ("deeper", "dropout"), marks=pytest.mark.slow),
        pytest.param("tensorflow", ("deeper",), marks=pytest.mark.slow),
        pytest.param("tensorflow", ("deeper", "dropout"), marks=pytest.mark.slow),
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
    marks = [exercises.MARK.match(line) for line in text.splitlines()]
    remaining = {mark["exercise"] for mark in marks if mark}
    assert remaining == {"deeper", "dropout"} - set(followed)
    assert text.count("\n") < 200


@pytest.mark.parametrize("engine", SCRIPTS)
def test_no_comment_of_an_exercise_changes_an_indentation(engine: str):
    """A beginner pastes the code in place of the next line: both must begin in the same column."""
    lines = (ROOT / f"{SCRIPTS[engine]}.py").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        mark = exercises.MARK.match(line)
        if mark and mark["verb"] == "instead":
            code = next(x for x in lines[number:] if not x.lstrip().startswith("#"))
            assert len(code) - len(code.lstrip()) == len(mark["indentation"]), line


def test_a_comment_replaces_the_next_line_of_code():
    text = (
        "# deeper, instead: def f(x, y):\n# a comment\ndef f(x):\n"
        "    # dropout, add: x = 2\n    return x\n"
    )
    deeper = "# a comment\ndef f(x, y):\n    # dropout, add: x = 2\n    return x\n"
    dropout = text.replace("# dropout, add: ", "")
    assert exercises.follow(text, ["deeper"]) == deeper
    assert exercises.follow(text, ["dropout"]) == dropout


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


@pytest.mark.parametrize(
    "engine", ["numpy", "torch", pytest.param("tensorflow", marks=pytest.mark.slow)]
)
def test_each_runs_with_no_more_than_what_is_here(engine: str, tmp_path):
    pytest.importorskip(registry.entry(engine).requires)
    done = run(ROOT / f"{SCRIPTS[engine]}.py", tmp_path, "--epochs", "3")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Data: digits, 1,617 training")
    assert lines[1].startswith("  In it: pixels 0 to 255")
    if engine == "numpy":
        assert (
            lines[2] == "Training: 3 epochs, 3 steps, each on all 1,617 samples; 1 thread, seed 0"
        )
    else:
        assert lines[2] == "Training: 3 epochs, 78 steps, each on 64 samples; 1 thread, seed 0"
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
    data = prepare(digits, 1, "full", 0)
    data.folder = tmp_path
    history = {name: [1.0, 0.5] for name in ("loss", "val_loss", "accuracy", "val_accuracy")}
    lesson.end(data, data.y_test, history)
    *_, close, windows = capsys.readouterr().out.splitlines()
    assert close == "Close the windows to end."
    assert windows == "windows [1, 2]"
    assert not plt.get_fignums()


def test_a_mistake_gets_one_line(tmp_path):
    script = str(ROOT / f"{SCRIPTS['numpy']}.py")
    done = run_python(script, "--data", "nope.csv", cwd=tmp_path, timeout=60)
    assert done.returncode == 2
    reason = "nope.csv: no such file or data set; check the path"
    assert done.stderr == f"artificial_neural_network_MNIST.py: {reason}\n"


def test_laid_side_by_side_the_sections_are_the_same():
    """The same sections and the same functions, in the same order, up to what a framework adds."""
    sections = {}
    functions = {}
    for engine, name in SCRIPTS.items():
        text = (ROOT / f"{name}.py").read_text(encoding="utf-8")
        sections[engine] = re.findall(r"^# --- (\d\. [A-Za-z ]+)", text, re.MULTILINE)
        functions[engine] = re.findall(r"^def (\w+)\((.*)\):", text, re.MULTILINE)
    assert sections["numpy"] == sections["torch"] == sections["tensorflow"]
    shared = [
        ("get_arrays", "data"),
        ("init_params", "weights"),
        ("back_prop", "model, X, y"),
        ("train", "model, X, y, batches, epochs, alpha"),
        ("get_predictions", "model, X"),
        ("get_accuracy", "model, X, y"),
        ("main", ""),
    ]
    for defined in functions.values():
        assert [function for function in defined if function in shared] == shared
    steps = {engine: dict(defined)["train_step"] for engine, defined in functions.items()}
    assert steps["numpy"] == steps["tensorflow"] == "model, X, y, alpha"
    assert steps["torch"] == "model, X, y, optimizer"  # its optimizer has the rate and the weights


def lines_of(name: str) -> list[str]:
    """Return the lines of a script that are not blank."""
    text = (ROOT / f"{name}.py").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [("numpy", "torch", 0.45), ("numpy", "tensorflow", 0.45), ("torch", "tensorflow", 0.4)],
)
def test_side_by_side_most_of_what_can_be_equal_is_equal(one: str, other: str, share: float):
    """``diff -y`` shows what differs between the frameworks: the rest is equal, line by line.

    Of the NumPy script, about half of the lines are the gradients that a framework computes itself.
    The share was 22 % before the scripts were written for this.
    """
    first = lines_of(SCRIPTS[one])
    second = lines_of(SCRIPTS[other])
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    equal = sum(block.size for block in matcher.get_matching_blocks())
    assert equal / min(len(first), len(second)) >= share


@pytest.mark.parametrize(("engine", "limit"), [("numpy", 142), ("torch", 158), ("tensorflow", 186)])
def test_no_script_grows(engine: str, limit: int):
    text = (ROOT / f"{SCRIPTS[engine]}.py").read_text(encoding="utf-8")
    assert text.count("\n") <= limit


def test_what_the_scripts_share_is_short_and_needs_no_command_line():
    path = ROOT / "triptych" / "lesson.py"
    text = path.read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if line.strip()]) <= 60
    code = "import sys; from triptych import lesson; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    heavy = {
        "typer",
        "rich",
        "sklearn",
        "matplotlib",
        "pandas",
        "torch",
        "tensorflow",
        "jax",
        "numba",
    }
    assert not loaded & heavy
    assert not [name for name in loaded if name.startswith("triptych.cli")]


@pytest.mark.slow
@pytest.mark.parametrize("engine", SCRIPTS)
def test_pasted_into_a_notebook_each_script_runs(engine: str, tmp_path):
    pytest.importorskip(registry.entry(engine).requires)
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    text = (ROOT / f"{SCRIPTS[engine]}.py").read_text(encoding="utf-8")
    short = re.sub(r"epochs=\d+, batch_size", "epochs=2, batch_size", text)
    assert short != text
    cell = nbformat.v4.new_code_cell(short)
    path = tmp_path / "pasted.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    code = (
        "import sys, nbformat, nbclient\n"
        "book = nbformat.read(sys.argv[1], 4)\n"
        "nbclient.NotebookClient(book, timeout=200, kernel_name='python3').execute()\n"
        "for output in book.cells[0].outputs: print(output.get('text', ''))\n"
    )
    done = run_python("-c", code, str(path), cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.search(r": test accuracy \d+\.\d+% after \d+\.\d s of training", done.stdout)
    assert "predictions.png" in done.stdout


@pytest.mark.parametrize("engine", SCRIPTS)
def test_every_function_of_a_script_is_used(engine: str):
    text = (ROOT / f"{SCRIPTS[engine]}.py").read_text(encoding="utf-8")
    defined = [n.name for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    for name in defined:
        if name not in ("__init__", "forward"):
            assert len(re.findall(rf"\b{name}\(", text)) >= 2, name
