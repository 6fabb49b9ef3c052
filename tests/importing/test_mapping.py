"""Which array is which parameter, where shapes alone do not tell, and the command."""

import json
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.commands import run
from support.damage import Driver
from support.foreign import NETWORK, arrays_like, written

from triptych.core import registry
from triptych.core.layout import to_native
from triptych.errors import TriptychError
from triptych.importing.mapping import LEAVES
from triptych.importing.weights import ImportedWeights, import_weights, read_weights
from triptych.spec import zoo

SQUARE = zoo.dense("square", [8, 8, 8], shape=(1, 1, 8), classes=8)  # layers of one shape


def square(*names: str) -> dict[str, np.ndarray]:
    """Return four modules of the same shapes; the first bias is all 0, the second all 1."""
    arrays: dict[str, np.ndarray] = {}
    for value, name in enumerate(names):
        arrays[f"{name}.weight"] = np.eye(8, dtype=np.float32)
        arrays[f"{name}.bias"] = np.full(8, value, np.float32)
    return arrays


def imported(
    folder: Path, arrays: dict[str, np.ndarray], kind: str = "safetensors", **options
) -> ImportedWeights:
    path = folder / f"weights.{kind}"
    if kind == "npz":
        np.savez(path, **arrays)
    else:
        save_file(arrays, path)
    return import_weights(read_weights(path, SQUARE), SQUARE, "torch", **options)


def order(found: ImportedWeights) -> list[int]:
    """Return which module became each layer."""
    layers = ("hidden1", "hidden2", "hidden3", "output")
    return [int(found.state[f"{layer}/bias"][0]) for layer in layers]


def test_places_in_a_sequential_are_numbers(tmp_path):
    found = imported(tmp_path, square("0", "2", "10", "12"))
    assert order(found) == [0, 1, 2, 3]
    assert found.warnings == []


def test_numbered_names_are_taken_in_order_and_reported(tmp_path):
    found = imported(tmp_path, square("fc2", "fc1", "fc10", "fc9"))
    assert order(found) == [1, 0, 3, 2]
    assert "have the same shapes; they were taken in the order of their names" in found.warnings[0]


def test_names_of_the_network_need_no_order(tmp_path):
    found = imported(tmp_path, square("net.output", "net.hidden2", "net.hidden3", "net.hidden1"))
    assert order(found) == [3, 1, 2, 0]
    assert found.warnings == []


def test_other_names_are_ambiguous_until_the_user_decides(tmp_path):
    arrays = square("enter", "middle", "again", "leave")
    with pytest.raises(
        TriptychError, match="their names do not tell their order; decide it: --map"
    ):
        imported(tmp_path, arrays)
    chosen = {"enter": "hidden1", "middle": "hidden2", "again": "hidden3"}
    assert order(imported(tmp_path, arrays, chosen=chosen)) == [0, 1, 2, 3]
    for wrong, reason in (
        ({"nothing": "hidden1"}, "the file has no arrays 'nothing'"),
        ({"enter": "relu1"}, "no layer 'relu1' with weights"),
        ({"enter": "hidden1", "again": "hidden1"}, "the layer is named twice"),
    ):
        with pytest.raises(TriptychError, match=reason):
            imported(tmp_path, arrays, chosen=wrong)


def test_an_npz_has_an_order(tmp_path):
    found = imported(tmp_path, square("enter", "middle", "again", "leave"), "npz")
    assert order(found) == [0, 1, 2, 3]
    found = imported(tmp_path, square("fc1", "fc3", "fc2", "fc4"), "npz")
    assert order(found) == [0, 1, 2, 3]
    assert "another order in the file" in found.warnings[0]


def test_names_that_contradict_the_shapes(tmp_path):
    network = zoo.dense("tower", [6, 5], shape=(1, 1, 8), classes=3)
    shapes = {"hidden1": (6, 8), "hidden2": (5, 6), "output": (3, 5)}

    def arrays(*names: str) -> dict[str, np.ndarray]:
        made: dict[str, np.ndarray] = {}
        for name, shape in zip(names, shapes.values(), strict=True):
            made[f"{name}.weight"] = np.ones(shape, np.float32)
            made[f"{name}.bias"] = np.ones(shape[0], np.float32)
        return made

    path = tmp_path / "weights.safetensors"
    save_file(arrays("4", "2", "6"), path)
    with pytest.raises(TriptychError, match="the network in the file is another one"):
        import_weights(read_weights(path, network), network, "torch")
    save_file(arrays("fc3", "fc1", "fc2"), path)
    found = import_weights(read_weights(path, network), network, "torch")
    assert "another order than that of their names" in found.warnings[0]


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_a_file_is_read_once(tmp_path, kind: str):
    """What is imported is what the digest is of, even if the file changes meanwhile."""
    path = tmp_path / f"weights.{kind}"
    save = save_file if kind == "safetensors" else lambda arrays, path: np.savez(path, **arrays)
    save(square("0", "2", "10", "12"), path)
    digest = sha256(path.read_bytes()).hexdigest()
    weights = read_weights(path, SQUARE)
    save(square("12", "10", "2", "0"), path)
    found = import_weights(weights, SQUARE, "torch")
    assert found.sha256 == digest
    assert order(found) == [0, 1, 2, 3]


@pytest.mark.process
def test_the_command_writes_a_run_that_the_others_use(tmp_path):
    save_file(arrays_like("torch"), tmp_path / "model.safetensors")
    written(tmp_path)
    with Driver(tmp_path) as driver:
        status, said, _ = driver.run("import", "model.safetensors", "--network", "network.json")
        assert status == 0
        assert (
            "7.weight (16, 150) → hidden1/kernel (150, 16): o (c h w) -> (h w c) o, h=5, w=5"
            in said
        )
        assert "0.weight (4, 2, 3, 3) → conv1/kernel (3, 3, 2, 4): o i h w -> h w i o" in said
        assert "norm1: BatchNorm with epsilon 1e-05" in said
        (folder,) = (tmp_path / "runs").iterdir()
        assert "-import-torch-foreign" in folder.name
        name = str(folder.relative_to(tmp_path))
        shown = driver.run("show", name)[1]
        assert "7.weight (16, 150) → hidden1/kernel" in shown
        assert f"triptych predict {name}" in shown
        results = json.loads((folder / "results.json").read_text())
        assert results["kind"] == "import"
        message = driver.refused("train", "torch", "--resume", name)
        assert message is not None
        assert "how they were trained is not known, so they cannot be trained further" in message
        assert message.endswith("predict, show, export and serve take this run")
        np.savez(tmp_path / "new.npz", x=np.zeros((4, 12, 12, 3), np.uint8), y=[0, 1, 2, 0])
        message = driver.refused("predict", name, "new.npz")
        assert message is not None
        assert "3 channels, but the network takes 2" in message
        refused = {
            ("--network", "custom"): "custom",
            ("--network", "network.json", "--format", "keras"): "are named as torch names them",
            ("--network", "network.json", "--format", "flax"): "--format 'flax' is unknown",
            ("--network", "network.json", "--map", "7"): "give NAME=LAYER",
        }
        for options, reason in refused.items():
            message = driver.refused("import", "model.safetensors", *options)
            assert message is not None
            assert reason in message
        assert list((tmp_path / "runs").iterdir()) == [folder]


@pytest.mark.process
def test_without_a_network_those_that_fit_are_named(tmp_path):
    def save(name: str, *widths: int) -> None:
        arrays: dict[str, np.ndarray] = {}
        for number, (inputs, outputs) in enumerate(pairwise(widths)):
            arrays[f"{number}.weight"] = np.ones((outputs, inputs), np.float32)
            arrays[f"{number}.bias"] = np.ones(outputs, np.float32)
        save_file(arrays, tmp_path / name)

    save("custom.safetensors", 784, 128, 64, 10)
    save("other.safetensors", 784, 100, 10)
    save("large.safetensors", 784, 9_000, 784, 10)
    save_file(arrays_of_zoo("resnet20"), tmp_path / "resnet.safetensors")
    save_file(arrays_of_zoo("lenet-bn", (20, 20, 1), 3), tmp_path / "small.safetensors")
    images = np.zeros((20, 20, 20), np.uint8)
    images[::2] = 255
    np.savez(tmp_path / "small.npz", x=images, y=np.arange(20) % 3)
    expected = {
        ("custom.safetensors",): "the shapes of custom, regularized: add --network custom",
        ("resnet.safetensors",): "the shapes of resnet20: add --network resnet20",
        ("small.safetensors",): "as built without --data; add --hidden",
        ("small.safetensors", "--data", "small.npz"): "of lenet-bn: add --network lenet-bn",
        ("other.safetensors",): "the shapes of no network of triptych train",
        ("large.safetensors",): "the shapes of no network of triptych train",
        ("custom.safetensors", "--format", "keras"): "named as torch names them, not as keras",
    }
    with Driver(tmp_path) as driver:
        for arguments, reason in expected.items():
            message = driver.refused("import", *arguments)
            assert message is not None
            assert reason in message
        assert not (tmp_path / "runs").exists()
        for name in ("custom", "regularized"):
            done = driver.run("import", "custom.safetensors", "--network", name)
            assert done[0] == 0


def arrays_of_zoo(
    name: str, shape: tuple[int, int, int] | None = None, classes: int = 10
) -> dict[str, np.ndarray]:
    """Return arrays with the shapes that PyTorch has in a named network."""
    network = zoo.get(name, shape, classes)
    layout = registry.entry("torch").layout
    arrays: dict[str, np.ndarray] = {}
    for parameter in (*network.parameters, *network.buffers):
        layer = parameter.name.partition("/")[0]
        ones = np.ones(parameter.shape, np.float32)
        native = to_native(layout, parameter.role, ones, parameter.sizes)
        arrays[f"{layer}.{LEAVES['torch'][parameter.leaf]}"] = np.ascontiguousarray(native)
    return arrays


@pytest.mark.process
def test_an_imported_network_is_tested_and_served_in_all_engines(tmp_path):
    network = zoo.dense("tiny", [4])
    rng = np.random.default_rng(0)
    arrays = {
        "dense/kernel": rng.normal(0, 0.1, (784, 4)),
        "dense/bias": np.zeros(4),
        "dense_1/kernel": rng.normal(0, 1, (4, 10)),
        "dense_1/bias": np.zeros(10),
    }
    np.savez(tmp_path / "weights.npz", **arrays)
    written(tmp_path, network)
    done = run(
        "import", "weights.npz", "--network", "network.json", "--data", "digits", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    accuracy = done.stdout.split("Test accuracy on digits: ")[1].splitlines()[0]
    done = run("predict", str(folder), cwd=tmp_path)
    assert f"Accuracy: {accuracy}" in done.stdout


def test_keras_layers_have_the_defaults_of_keras(tmp_path):
    np.savez(tmp_path / "weights.npz", **arrays_like("keras"))
    network = NETWORK.like("keras")
    weights = read_weights(tmp_path / "weights.npz", network)
    found = import_weights(weights, network, "keras")
    assert "norm1: BatchNorm with epsilon 0.001" in found.settings
