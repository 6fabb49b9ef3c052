"""Data other than MNIST on the command line: the network follows it, and what is wrong with it is
said.
"""

import io
import json
import re
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_iris
from support.commands import ROOT, run
from support.engines import needs_torch

from triptych.cli import loading
from triptych.cli.option_groups import DataOptions, NetworkOptions
from triptych.data import loading as data
from triptych.data.reading import PLAIN, Options
from triptych.errors import DataError, SpecError, TriptychError
from triptych.spec import zoo
from triptych.spec.recipe import Recipe
from triptych.training.saved import SavedRun
from triptych.training.session import Session, Settings

pytestmark = pytest.mark.process

CIFAR = ROOT.parent / "shared" / "data" / "cifar10-jpeg"
CLASSES = ("apple", "pear", "plum")


@pytest.fixture
def fruit(tmp_path, monkeypatch) -> Path:
    """A working directory with the folder fruit: train and test, three classes of 12 and 4 colour
    images of 8×8.
    """
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "no-data"))
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for channel, name in enumerate(CLASSES):
            folder = tmp_path / "fruit" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 120, (8, 8, 3), np.uint8)
                image[..., channel] += 100
                Image.fromarray(image).save(folder / f"{i}.png")
    return tmp_path


def test_the_network_follows_the_images_and_the_classes(fruit):
    done = run(
        "train",
        "numpy",
        "--data",
        "fruit",
        "--hidden",
        "16",
        "--batch-size",
        "8",
        "--epochs",
        "30",
        "--optimizer",
        "adam",
        cwd=fruit,
    )
    assert done.returncode == 0, done.stderr
    assert (
        "Data: fruit, 36 training and 12 test images of 8×8×3, 3 classes (fruit (image files))."
        in done.stdout
    )
    result = json.loads(next(fruit.glob("runs/*/results.json")).read_text())
    assert result["network"]["input_shape"] == [8, 8, 3]
    assert result["data"]["class_names"] == list(CLASSES)
    assert np.array(result["confusion"]).shape == (3, 3)
    assert (
        result["accuracy"]["right"] == np.trace(result["confusion"]) > 8
    )  # guessing gives 4 of 12


@needs_torch
@pytest.mark.slow
def test_a_comparison_of_a_convolution_on_three_classes_has_a_report(fruit):
    arguments = (
        "--data",
        "fruit",
        "--network",
        "cnn",
        "--batch-size",
        "12",
        "--epochs",
        "2",
        "--engines",
        "numpy,torch",
        "--wait",
        "0",
    )
    done = run("compare", *arguments, cwd=fruit)
    assert done.returncode == 0, done.stdout + done.stderr
    page = next(fruit.glob("runs/*/report.html")).read_text()
    assert json.dumps(sorted(CLASSES)).replace(" ", "") in page.replace(
        " ", ""
    )  # the names of the confusion matrix


@needs_torch
def test_a_proof_on_three_classes(fruit):
    done = run(
        "verify",
        "--data",
        "fruit",
        "--size",
        "4x6",
        "--steps",
        "3",
        "--engines",
        "numpy,torch",
        cwd=fruit,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "images of 4×6×3, 3 classes" in done.stdout
    assert "The row is equal" in done.stdout


@pytest.fixture
def flowers(tmp_path) -> Path:
    """A working directory with iris.csv: four features and a column of three words."""
    iris = load_iris()
    rows = [
        ",".join([*map(str, row), str(iris.target_names[y])])
        for row, y in zip(iris.data.tolist(), iris.target, strict=True)
    ]
    (tmp_path / "iris.csv").write_text("\n".join(["a,b,c,d,species", *rows]))
    return tmp_path


def test_a_table_is_trained_and_its_mean_is_in_the_results(flowers):
    done = run(
        "train", "numpy", "--data", "iris.csv", "--hidden", "16", "--epochs", "200", cwd=flowers
    )
    assert done.returncode == 0, done.stderr
    first, how, *_ = done.stdout.splitlines()
    assert (
        first
        == "Data: iris, 135 training and 15 test rows of 4 features, standardised by the training "
        "rows, 3 classes (iris.csv)."
    )
    assert how == "  As read: labels in column 5 ('species')."
    result = json.loads(next(flowers.glob("runs/*/results.json")).read_text())
    assert result["data"]["class_names"] == ["setosa", "versicolor", "virginica"]
    assert result["data"]["standardised"]["names"] == ["a", "b", "c", "d"]
    assert (
        np.abs(
            np.array(result["data"]["standardised"]["mean"]) - load_iris().data.mean(axis=0)
        ).max()
        < 0.1
    )
    assert result["accuracy"]["right"] > 12  # guessing gives 5 of 15


@pytest.mark.parametrize("network", ["cnn", "lenet", "resnet20"])
def test_a_table_has_no_neighbouring_pixels(flowers, network: str):
    table = data.load(str(flowers / "iris.csv"))
    with pytest.raises(
        SpecError, match=f"network '{network}' has convolutions or pooling.*--hidden 16"
    ):
        NetworkOptions(network).build(dataset=table)
    assert NetworkOptions("mlp").build(dataset=table).classes == 3


def test_a_table_goes_on_with_the_same_numbers(flowers):
    source, recipe = str(flowers / "iris.csv"), Recipe(1)
    dataset = data.load(source, recipe.seed)
    network = NetworkOptions(hidden="4").build(dataset=dataset)
    begun = Session(Settings("numpy", "eager"), network, recipe, dataset, flowers / "runs")
    with closing(begun.events()) as events:
        next(events)
    saved = SavedRun.read(begun.folder)
    saved.check_same(data.load(saved.source, saved.recipe.seed, saved.reading))
    with pytest.raises(TriptychError, match="not the data this run began with"):
        saved.check_same(data.load(saved.source, 1, saved.reading))


def test_every_network_of_the_zoo_is_built_for_the_digits_in_grey(digits):
    for name in zoo.ZOO:
        NetworkOptions(name).build(dataset=digits).check_fits(digits.shape, 10)
    assert NetworkOptions("resnet20").build().input_shape == (
        32,
        32,
        3,
    )  # without data, what it is meant for


def test_a_network_from_a_file_is_not_changed_to_fit(fruit, digits):
    path = fruit / "mine.json"
    path.write_text(json.dumps(zoo.dense("mine", [4]).to_json()))
    assert NetworkOptions(str(path)).build(dataset=digits).classes == 10
    images = data.load(str(fruit / "fruit"))
    with pytest.raises(
        SpecError, match=r"takes inputs of shape \(28, 28, 1\), the images are \(8, 8, 3\)"
    ):
        NetworkOptions(str(path)).build(dataset=images)
    path.write_text(json.dumps(zoo.dense("mine", [4], shape=(8, 8, 3)).to_json()))
    with pytest.raises(SpecError, match="ends in 10 logits, the data has 3 classes"):
        NetworkOptions(str(path)).build(dataset=images)


@pytest.mark.parametrize("command", [["train", "numpy"], ["compare"], ["verify"]])
def test_an_unreadable_image_ends_it_in_one_line(fruit, command: list[str]):
    (fruit / "fruit" / "train" / "pear" / "3.png").write_bytes(b"")
    done = run(*command, "--data", "fruit", cwd=fruit)
    assert done.returncode == 2
    assert re.fullmatch(
        r"triptych: fruit/train/pear/3\.png: no bytes where an image is "
        r"needed;.*--skip-unreadable\n",
        done.stderr,
    )


def test_what_is_left_out_is_named(fruit):
    for i in range(12):
        (fruit / "fruit" / "train" / CLASSES[i % 3] / f"{i}.png").write_bytes(b"no image")
    done = run(
        "train",
        "numpy",
        "--data",
        "fruit",
        "--hidden",
        "4",
        "--epochs",
        "1",
        "--skip-unreadable",
        cwd=fruit,
    )
    assert done.returncode == 0, done.stderr
    assert "24 training and 12 test images" in done.stdout
    assert "12 more cannot be read, and are left out." in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("  left out: ")]
    assert len(lines) == 11
    assert (
        lines[0]
        == "  left out: fruit/train/apple/0.png: not a PNG, JPEG, BMP, GIF, WebP, PPM or TIFF "
        "image, but a text file"
    )
    assert lines[-1] == "  left out: … and 2 more"


def test_a_run_that_goes_on_reads_its_images_as_it_began(fruit):
    (fruit / "fruit" / "train" / "pear" / "3.png").write_bytes(b"")
    source, reading = str(fruit / "fruit"), Options((5, 4), True)
    dataset = data.load(source, 0, reading)
    network = NetworkOptions(hidden="4").build(dataset=dataset)
    begun = Session(
        Settings("numpy", "eager"),
        network,
        Recipe(1),
        dataset,
        fruit / "runs",
    )
    with closing(begun.events()) as events:
        next(events)
    saved = SavedRun.read(begun.folder)
    assert (saved.source, saved.reading) == (source, reading)
    saved.check_same(data.load(saved.source, 0, saved.reading))
    done = run("train", "numpy", "--resume", str(begun.folder), "--size", "8", cwd=fruit)
    assert done.returncode == 2
    assert "it comes from the run that goes on" in done.stderr


@pytest.mark.parametrize(
    ("text", "size"), [("32", (32, 32)), ("28x32", (28, 32)), ("28X32", (28, 32))]
)
def test_sizes(text: str, size: tuple[int, int]):
    assert DataOptions(size=text).reading.size == size


@pytest.mark.parametrize("text", ["", "x", "3x", "3x4x5", "big", "2.5", "0", "-3", "5000"])
def test_a_size_that_is_none(text: str):
    with pytest.raises(
        DataError, match=r"^(--size '.*': give pixels|size .*: give whole numbers from 1 to 4096)"
    ):
        _ = DataOptions(size=text).reading


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize("long", [-1, 60])
def test_long_decoding_is_said(fruit, monkeypatch, terminal: bool, long: int):
    monkeypatch.setattr(loading, "LONG", long)
    said = io.StringIO()
    loading.load(
        Console(file=said, force_terminal=terminal, width=120), str(fruit / "fruit"), 0, PLAIN
    )
    assert (
        "decoding images" in said.getvalue().lower() or "Decoding 48 images" in said.getvalue()
    ) == (long < 0)


def test_the_list_tells_what_there_is(fruit):
    before = run("data", "list", cwd=fruit).stdout
    assert re.search(r"cifar10 +6 of 6 files missing .*triptych data fetch cifar10", before)
    assert "decoded" not in before
    data.load(str(fruit / "fruit"))
    (fruit / "no-data" / "cifar10").mkdir()
    (fruit / "no-data" / "cifar10" / "test_batch.bin").write_bytes(bytes(3073))
    after = run("data", "list", cwd=fruit).stdout
    assert re.search(r"cifar10 +5 of 6 files missing", after)
    assert re.search(r"\(decoded images\) .*may be deleted", after)


@pytest.mark.parametrize("command", ["train", "compare", "verify"])
def test_help_names_the_sources(fruit, command: str):
    said = re.sub(r"[│\s]+", " ", run(command, "--help", cwd=fruit).stdout)
    assert all(
        word in said
        for word in (
            "cifar10",
            "fashion-mnist",
            "kmnist",
            ".parquet",
            "train/CLASS/",
            "--size",
            "--skip-unreadable",
        )
    )


@pytest.mark.skipif(
    not CIFAR.is_dir(), reason="shared/data/cifar10-jpeg is not next to the repository"
)
@pytest.mark.slow
def test_cifar_from_hugging_face_in_one_command(tmp_path):
    source = str(CIFAR / "test.parquet")
    done = run(
        "train",
        "numpy",
        "--network",
        "lenet",
        "--data",
        source,
        "--batch-size",
        "500",
        "--epochs",
        "1",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "Data: test, 9,000 training and 1,000 test images of 32×32×3, 10 classes" in done.stdout
    assert "triptych data fetch mnist" not in done.stdout
