"""A layer, an optimizer, a loss and a data format from another package, through everything.

The plug-in is `softer/`, a package as pip would install it.
"""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support import commands, distributions, serving
from support.engines import loaded_engine, needs_torch
from support.errors import relative_errors

import triptych as tt
from triptych import plugins
from triptych.data.dataset import Dataset
from triptych.spec.layers import LAYERS, Dense, Flatten, Tanh
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

pytestmark = [needs_torch, pytest.mark.process]

PROJECT = Path(__file__).with_name("softer")
LAYERS_IN_FILE = [
    {"type": "Flatten", "name": "flatten"},
    {"type": "Dense", "name": "hidden", "units": 16},
    {"type": "ChannelGain", "name": "gain"},
    {"type": "Tanh", "name": "tanh"},
    {"type": "Dense", "name": "output", "units": 10},
]
NETWORK = {"name": "gained", "input_shape": [8, 8, 1], "layers": LAYERS_IN_FILE}
RECIPE = {
    "epochs": 3,
    "batch_size": 32,
    "optimizer": {"name": "averaged-sgd", "rate": 2.0},
    "loss": {"name": "pseudo_huber", "l2": 1e-4},
    "clip": {"limit": 1.0},
    "dtype": "float64",
    "validation": 0.2,
}


def install(site: Path) -> None:
    """Install the plug-in into a folder as pip does: the package, and what pyproject.toml says."""
    shutil.copytree(PROJECT / "softer", site / "softer")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    distributions.write_metadata(site, project["name"], project["entry-points"])


def path_with(site: Path) -> str:
    return os.pathsep.join([str(commands.ROOT), str(site)])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the plug-in is installed."""
    folder = tmp_path_factory.mktemp("site")
    install(folder)
    return folder


@pytest.fixture(scope="module")
def plugin(site: Path) -> Iterator[Any]:
    """The plug-in, found by this process and its workers; afterwards the tables are as before."""
    before = plugins.contents()
    with pytest.MonkeyPatch.context() as patch:
        distributions.search(patch, site)
        patch.setenv("PYTHONPATH", str(site))
        yield importlib.import_module("softer.specs")
        plugins.restore(before)
    for name in [name for name in sys.modules if name.partition(".")[0] == "softer"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: network, recipe, and 200 digits in the plug-in's format."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "network.json").write_text(json.dumps(NETWORK))
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    pixels, labels = load_digits(return_X_y=True)  # 8×8 pixels of 0 to 16
    lines: list[str] = []
    for image, label in zip(pixels[:200], labels[:200], strict=True):
        lines.append(f"{label}:" + "".join(f"{min(int(pixel), 15):x}" for pixel in image))
    (folder / "digits.hexlines").write_text("\n".join(lines))
    return folder


@pytest.fixture
def network(plugin: Any) -> Network:
    return Network.from_json(NETWORK)


@pytest.fixture
def recipe(plugin: Any) -> Recipe:
    return Recipe.from_json(RECIPE)


@pytest.fixture
def dataset(plugin: Any, folder: Path) -> Dataset:
    return tt.load_data(str(folder / "digits.hexlines"))


def run(folder: Path, site: Path, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the network, the recipe and the data of the folder."""
    described = ("--network", "network.json", "--recipe", "recipe.json")
    arguments = (*command.split(), "--data", "digits.hexlines", *described, *options)
    return commands.run(*arguments, cwd=folder, PYTHONPATH=path_with(site))


def test_descriptions_go_to_files_and_back(network: Network, recipe: Recipe):
    assert Network.from_json(network.to_json()) == network
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_help_texts_and_errors_name_it(plugin: Any, folder: Path, site: Path):
    done = commands.run("train", "--help", cwd=folder, PYTHONPATH=path_with(site))
    assert "averaged-sgd" in done.stdout
    assert ".hexlines" in done.stdout
    with pytest.raises(tt.TriptychError, match="did you mean 'averaged-sgd'"):
        Recipe.from_json({"optimizer": {"name": "averaged-sdg"}})


def test_train_predict_and_hand_over(
    network: Network, recipe: Recipe, dataset: Dataset, folder: Path, site: Path
):
    """Trained by the command line in NumPy, it goes on in PyTorch, and both predict the same."""
    done = run(folder, site, "train numpy", "--runs", "trained")
    assert done.returncode == 0, done.stderr
    (trained,) = (folder / "trained").iterdir()
    longer = tt.resume(trained, "torch", epochs=6, data=dataset)
    assert longer.engine == "torch"
    assert set(longer.state) >= {"gain/gain", "gain/gain/m"}
    losses = [epoch["validation_loss"] for epoch in longer.history]
    assert losses[-1] < losses[0]
    alone = tt.train("numpy", network, replace(recipe, epochs=6), dataset, runs=None)
    assert max(relative_errors(alone.state, longer.state).values()) <= 1e-11

    images = dataset.test.images
    in_numpy = tt.predict(trained, images)
    in_torch = tt.predict(trained, images, engine="torch")
    assert (in_numpy.classes == in_torch.classes).all()
    assert (in_numpy.classes == dataset.test.labels).mean() > 0.5


def test_export(network: Network, recipe: Recipe, dataset: Dataset, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    trained = tt.train("numpy", network, replace(recipe, epochs=1), dataset, runs=tmp_path)
    (exported,) = tt.export(trained, "onnx", data=dataset)
    assert exported.verdict == "rounding"


def test_serve_computes_in_onnx_runtime(network: Network, site: Path, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("uvicorn")
    serving.save_run(tmp_path / "run", network)
    with serving.running("run", cwd=tmp_path, PYTHONPATH=path_with(site)) as server:
        (model,) = server.ask("/v1/models").json["models"]
    assert model["versions"][0]["runtime"].startswith("ONNX Runtime")


@pytest.mark.slow
def test_compare(network: Network, recipe: Recipe, dataset: Dataset):
    engines = ["numpy", "torch"]
    compared = tt.compare(network, recipe, dataset, engines=engines, wait=0, runs=None)
    assert compared.equal
    assert compared.rows["torch"]["ratio"]


@pytest.mark.slow
def test_compare_draws_its_report(folder: Path, site: Path):
    options = ("--engines", "numpy,torch", "--wait", "0", "--runs", "compared")
    done = run(folder, site, "compare", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Proved equal: NumPy, PyTorch" in done.stdout
    (compared,) = (folder / "compared").iterdir()
    assert "pseudo-Huber" in (compared / "report.html").read_text()


def test_verify(folder: Path, site: Path):
    done = run(folder, site, "verify", "--engines", "torch", "--steps", "30", "--dtype", "float32")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "divergence"),
    [
        pytest.param(
            "return x * self.gain",
            "return 1.001 * x * self.gain",
            "output, layer gain",
            marks=pytest.mark.slow,
        ),
        pytest.param("1 - self.beta", "0.9 - self.beta", "update, layer", marks=pytest.mark.slow),
        ("- 1).mean()", "- 1).sum() / logits.numel() * 1.001", "loss"),
    ],
)
def test_verify_finds_a_mistake_in_it(
    folder: Path, tmp_path: Path, right: str, wrong: str, divergence: str
):
    install(tmp_path)
    builders = tmp_path / "softer" / "in_torch.py"
    source = builders.read_text()
    assert source.count(right) == 1
    builders.write_text(source.replace(right, wrong))
    done = run(folder, tmp_path, "verify", "--engines", "torch", "--steps", "3")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"gained averaged-sgd, PyTorch, step 1: {divergence}" in done.stdout


@pytest.mark.slow
def test_an_engine_without_a_builder_gives_the_reason(folder: Path, tmp_path: Path):
    install(tmp_path)
    builders = tmp_path / "softer" / "in_torch.py"
    builders.write_text("raise OSError('no driver')\n" + builders.read_text())
    done = run(folder, tmp_path, "verify", "--engines", "torch", "--steps", "3")
    assert done.returncode == 2
    assert "PyTorch has no layer for ChannelGain" in done.stdout + done.stderr
    assert "(softer.in_torch) is left out: OSError: no driver" in done.stdout + done.stderr


def test_a_class_of_a_script_is_unknown_to_workers(
    network: Network, recipe: Recipe, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
):
    class Sharp(Tanh):
        """A layer that a user defines in a notebook."""

    monkeypatch.setitem(LAYERS, "Sharp", Sharp)
    layers = (Flatten("flatten"), Sharp("sharp"), Dense("output", 10))
    sharp = replace(network, layers=layers)
    with pytest.raises(tt.TriptychError, match="layer type 'Sharp' is unknown in worker") as error:
        tt.compare(sharp, recipe, dataset, engines=["torch"], runs=None)
    assert "installed plug-ins" in str(error.value)


def test_the_gradients_are_those_of_the_loss(plugin: Any, network: Network, recipe: Recipe):
    engine = loaded_engine("numpy", network, recipe)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 10))
    labels = rng.integers(0, 10, 4)
    value, gradient = engine.loss(logits, labels)
    assert value == pytest.approx(recipe.loss.evaluate(logits, labels), rel=1e-13)
    for index in np.ndindex(*logits.shape):
        moved = logits.copy()
        moved[index] += 1e-6
        slope = (recipe.loss.evaluate(moved, labels) - value) / 1e-6
        assert gradient[index] == pytest.approx(slope, abs=1e-6)
    guess = recipe.loss.evaluate(np.full((1, 10), 0.1), np.zeros(1, int))
    assert recipe.loss.of_guessing(10) == pytest.approx(guess)


def test_the_recipe_for_contributors_is_this_plug_in():
    """Each block of code in the section on plug-ins is in a file of the plug-in."""
    page = (commands.ROOT / "CONTRIBUTING.md").read_text()
    _, _, rest = page.partition("### From another package")
    section, _, _ = rest.partition("\n### ")
    blocks = re.findall(r"^( *)```\w+\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)
    sources = [path.read_text() for path in PROJECT.rglob("*") if path.suffix in (".py", ".toml")]
    assert len(blocks) == 4
    for _, block in blocks:
        code = textwrap.dedent(block)
        assert any(code in source for source in sources), code
