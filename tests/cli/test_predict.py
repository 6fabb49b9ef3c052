"""``triptych predict``: pictures, tables and labelled data, as a trained network takes them."""

import csv
import io
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_iris
from support.damage import Driver, changed, cut, flipped, forged_state
from support.engines import needs_torch
from support.pictures import encoded
from support.trainings import trained

from triptych.cli import prediction_view as view
from triptych.data import loading
from triptych.data.dataset import Dataset
from triptych.errors import TriptychError
from triptych.spec import zoo
from triptych.spec.optimizers import Adam
from triptych.spec.recipe import Recipe
from triptych.training.trained import TrainedRun

pytestmark = pytest.mark.process

COLUMNS = ["sepal length", "sepal width", "petal length", "petal width"]
MUTANTS = 100
RECIPE = Recipe(8, 32, Adam(0.01))
LONG = Recipe(80, 32, Adam(0.01))


def digit(digits: Dataset, label: int) -> np.ndarray:
    """Return the first test image of a digit, (28, 28)."""
    return digits.test.images[int(np.argmax(digits.test.labels == label)), ..., 0]


@pytest.fixture(scope="module")
def place(tmp_path_factory, digits) -> Path:
    """A folder with a run of digits, ``images``, and one of iris, ``rows``, and with new data."""
    root = tmp_path_factory.mktemp("predict")
    trained(root / "of-digits", digits, RECIPE, network=zoo.dense("images", [64])).rename(
        root / "images"
    )
    iris = load_iris()
    names = [str(iris.target_names[target]) for target in iris.target]
    write_csv(root / "iris.csv", [*COLUMNS, "species"], iris.data, names)
    table = loading.load(str(root / "iris.csv"))
    network = zoo.dense("rows", [16], shape=table.shape, classes=3)
    trained(root / "of-iris", table, LONG, network=network).rename(root / "rows")
    Image.fromarray(digit(digits, 3)).save(root / "three.png")
    paper = Image.fromarray(255 - digit(digits, 3)).convert("RGB")
    paper.resize((90, 120)).save(root / "paper.png")
    for label in (3, 7):
        (root / "by-class" / str(label)).mkdir(parents=True)
        Image.fromarray(digit(digits, label)).save(root / "by-class" / str(label) / "it.png")
    return root


@pytest.fixture(scope="module")
def driver(place):
    with Driver(place) as process:
        yield process


def write_csv(path: Path, header: list[str], rows, labels: list[str] | None = None) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for at, row in enumerate(np.asarray(rows).tolist()):
            writer.writerow([*row, *([labels[at]] if labels else [])])


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_image_gets_its_best_classes(driver):
    status, said, _ = driver.run("predict", "images", "three.png")
    assert status == 0
    assert said.splitlines()[0] == "Data: three.png, 1 image."
    best = said.splitlines()[1].split()
    assert best[0] == "3"
    assert best[2].startswith("█")
    assert "▀" not in said  # no picture in a pipe


def test_an_inverted_image_is_not_inverted_silently(driver):
    _, said, _ = driver.run("predict", "images", "paper.png")
    assert "Warning: the ground is light, but that of the training images is dark" in said
    assert "add --invert" in said
    _, said, _ = driver.run("predict", "images", "paper.png", "--invert")
    assert "Warning" not in said
    assert "light and dark exchanged" in said
    assert "colours read as grey" in said
    assert "1 image scaled to 28×28 pixels, of which 1 changed their proportions" in said
    assert said.splitlines()[2].split()[0] == "3"


def test_one_inverted_image_among_others_is_named(driver):
    _, said, _ = driver.run("predict", "images", "three.png", "three.png", "three.png", "paper.png")
    flat = " ".join(said.split())
    assert "Warning: the ground of paper.png is light, but that of the training images" in flat
    assert "classify such images separately, with --invert" in flat
    _, said, _ = driver.run("predict", "images", "three.png", "three.png")
    assert "Warning" not in said


def test_a_blank_image_is_classified_with_a_warning(driver, place):
    Image.new("L", (28, 28), 255).save(place / "paper-blank.png")
    Image.new("RGB", (28, 28), (200, 10, 10)).save(place / "red.png")
    status, said, _ = driver.run("predict", "images", "paper-blank.png")
    assert status == 0
    assert "Warning: paper-blank.png is blank (one colour everywhere), so its prediction" in said
    assert "--invert" not in said  # a blank image has no ground
    _, said, _ = driver.run("predict", "images", "three.png", "red.png", "paper-blank.png")
    assert "Warning: red.png and 1 more are blank" in said
    _, said, _ = driver.run("predict", "images", "paper.png", "red.png")
    assert "Warning: red.png is blank" in said
    assert "Warning: the ground is light" in said  # that of the other image


def test_the_run_after_the_image_is_refused_with_the_right_order(driver):
    said = driver.refused("predict", "three.png", "images")
    assert said.endswith("not a run; the run comes first: triptych predict images three.png")
    said = driver.refused("predict", "three.png", "paper.png", "images")
    assert said.endswith("triptych predict images three.png paper.png")
    assert "first" not in driver.refused("predict", "three.png", "paper.png")


def test_without_data_the_test_split_of_the_run_is_classified(driver, digits):
    _, said, _ = driver.run("predict", "images")
    tested = driver.run("show", "images")[1]
    accuracy = next(line for line in said.splitlines() if line.startswith("Accuracy"))
    assert accuracy.removeprefix("Accuracy: ") in tested
    assert f"the test split of digits, {len(digits.test)} images" in said
    assert "Each row is a true class" in said


def test_show_tells_how_to_go_on(driver):
    said = driver.run("show", "images")[1]
    assert "Classify with it: triptych predict images image.png" in said
    assert "Export it: triptych export images --to onnx" in said


@needs_torch
def test_every_engine_predicts_the_same(driver, place):
    predicted = []
    for engine in ("numpy", "torch"):
        file = f"{engine}.csv"
        assert driver.run("predict", "images", "--engine", engine, "--csv", file)[0] == 0
        predicted.append(read_csv(place / file))
    columns = ["index", "label", "predicted", *(f"p({digit})" for digit in range(10))]
    assert list(predicted[0][0]) == columns
    for ours, theirs in zip(*predicted, strict=True):
        assert ours["label"] == theirs["label"]
        assert ours["predicted"] == theirs["predicted"]
        assert float(ours["p(0)"]) == pytest.approx(float(theirs["p(0)"]), abs=1e-5)


def test_folders_of_classes_may_hold_few_images(driver):
    _, said, _ = driver.run("predict", "images", "by-class")
    assert "2 of 2 right" in said


def test_images_without_classes_get_a_line_each(driver, place, digits):
    (place / "flat").mkdir(exist_ok=True)
    for at in range(12):
        Image.fromarray(digits.test.images[at, ..., 0]).save(place / "flat" / f"{at:02}.png")
    _, said, _ = driver.run("predict", "images", "flat", "--csv", "flat.csv")
    assert said.count(".png: ") == 12
    assert "Predicted: " in said
    rows = read_csv(place / "flat.csv")
    assert rows[3]["file"] == str(Path("flat") / "03.png")
    assert rows[3]["label"] == ""


def test_rows_are_standardised_with_the_training_data(driver, place):
    """A single row has no deviation of its own; half of the rows would have another mean."""
    iris = load_iris()
    names = [str(iris.target_names[target]) for target in iris.target]
    write_csv(place / "one.csv", [*COLUMNS, "species"], iris.data[:1], names[:1])
    assert "1 of 1 right" in driver.run("predict", "rows", "one.csv")[1]
    write_csv(place / "setosa.csv", [*COLUMNS, "species"], iris.data[:50], names[:50])
    _, said, _ = driver.run("predict", "rows", "setosa.csv", "--csv", "setosa-out.csv")
    assert "50 of 50 right" in said
    assert "standardised with the mean and deviation of the training data" in said


def test_columns_are_found_by_their_names(driver, place):
    iris = load_iris()
    order = [3, 0, 1, 2]
    write_csv(place / "moved.csv", [COLUMNS[i] for i in order], iris.data[::10][:, order])
    _, said, _ = driver.run("predict", "rows", "moved.csv", "--csv", "moved-out.csv")
    assert "columns put in the order of the training data" in said
    predicted = [row["predicted"] for row in read_csv(place / "moved-out.csv")]
    assert predicted == ["setosa"] * 5 + ["versicolor"] * 5 + ["virginica"] * 5


def test_a_table_without_names_and_labels(driver, place):
    np.savetxt(place / "bare.csv", load_iris().data[::10], delimiter=",")
    _, said, _ = driver.run("predict", "rows", "bare.csv")
    assert "15 rows" in said
    assert "Predicted: setosa 5, versicolor 5, virginica 5." in said


def test_what_does_not_fit_is_refused_in_one_line(driver, place):
    iris = load_iris()
    write_csv(place / "other.csv", [*COLUMNS[:3], "x", "species"], iris.data[:2], ["setosa"] * 2)
    write_csv(place / "rose.csv", [*COLUMNS, "species"], iris.data[:2], ["setosa", "rose"])
    (place / "empty").mkdir(exist_ok=True)
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
    refused = {
        ("rows", "other.csv"): "has no column 'petal width'",
        ("rows", "rose.csv"): "class 'rose' is none of those of the run, setosa, versicolor",
        ("rows", "three.png"): "an image, but the network was trained with the rows of a table",
        ("rows", "digits"): "images, but the network was trained with the rows of a table",
        ("rows", "iris.csv", "--invert"): "--invert is for images",
        ("images", "iris.csv"): "rows of a table, but the network was trained with images",
        ("images", "nothing.png"): "nothing.png: no such file",
        ("images", "three.png", "iris.csv"): "several files must all be images",
        ("images", "three.png", "--label", "x"): "--label is for tables and arrays",
        ("images", "broken.png"): "broken.png: ",
        ("images", "empty"): "empty",
        ("images", "three.png", "--engine", "tensor"): "engine 'tensor' is unknown",
        ("images", "three.png", "--backend", "fast"): "fast",
        (
            "nowhere",
            "three.png",
        ): "nowhere: no such file or folder; name a run folder or a state file",
    }
    for arguments, reason in refused.items():
        message = driver.refused("predict", *arguments)
        assert message is not None, arguments
        assert reason in message, arguments


def test_a_csv_without_labels_of_another_size_needs_its_shape(driver, place, digits):
    images = np.stack([digit(digits, label)[::2, ::2] for label in range(10)])
    rows = np.tile(images.reshape(10, -1), (3, 1))
    np.savetxt(place / "halves.csv", rows, fmt="%d", delimiter=",")
    assert driver.refused("predict", "images", "halves.csv") is not None
    _, said, _ = driver.run("predict", "images", "halves.csv", "--shape", "14x14")
    assert "scaled from 14×14 to 28×28 pixels" in said
    assert "image 19: " in said
    assert "Accuracy" not in said


def test_arrays_and_parquet_of_other_sizes(driver, place, digits):
    images = [digit(digits, label) for label in range(10)]
    large = np.stack([np.kron(image, np.ones((2, 2), np.uint8)) for image in images])
    np.savez(place / "large.npz", x=np.stack([large] * 3, axis=-1), y=np.arange(10))
    _, said, _ = driver.run("predict", "images", "large.npz", "--csv", "large.csv")
    assert "colours read as grey" in said
    assert "scaled from 56×56 to 28×28 pixels" in said
    contents = [{"bytes": encoded(image), "path": None} for image in large]
    write_parquet(place / "large.parquet", contents)
    driver.run("predict", "images", "large.parquet", "--csv", "parquet.csv")
    assert read_csv(place / "parquet.csv") == read_csv(place / "large.csv")


def write_parquet(path: Path, contents: list[dict]) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    labels = pa.array(range(len(contents)), pa.int64())
    pq.write_table(pa.table({"image": pa.array(contents, kind), "label": labels}), path)


def test_an_altered_state_is_refused(place):
    content = (place / "rows" / "last" / "state.safetensors").read_bytes()
    rng = random.Random(1)
    path = place / "altered.safetensors"
    for number in range(MUTANTS):
        change = flipped if number % 2 else cut
        path.write_bytes(change(content, rng))
        with pytest.raises(TriptychError):
            TrainedRun.read(path)


def test_a_forged_description_of_the_data_is_one_line(driver, place):
    """The digest is right, so that nothing but the content is wrong."""
    content = (place / "rows" / "last" / "state.safetensors").read_bytes()
    write_csv(place / "forged.csv", [*COLUMNS, "species"], load_iris().data[:2], ["setosa"] * 2)
    rng = random.Random(2)
    (place / "forged").mkdir()
    refused = 0
    for _ in range(MUTANTS):
        forged = forged_state(content, lambda about: changed(about["provenance"]["data"], rng))
        (place / "forged" / "state.safetensors").write_bytes(forged)
        refused += driver.refused("predict", "forged", "forged.csv") is not None
    assert refused


def test_many_classes_are_confusions_instead_of_a_matrix():
    names = [f"a class with a name {index}" for index in range(30)]
    matrix = np.zeros((30, 30), np.int64)
    matrix[4, 7] = 3
    matrix[4, 4] = 1
    text = io.StringIO()
    view.show_confusions(Console(file=text, width=80), matrix, names)
    assert text.getvalue() == ("  a class with a name 4 taken for a class with a name 7: 3 of 4\n")


def test_the_picture_has_two_rows_of_pixels_in_a_line(digits):
    drawn = view.picture(digits.test.images[0])
    lines = drawn.plain.split("\n")
    assert len(lines) == 14
    assert all(line == "  " + "▀" * 28 for line in lines)
    wide = view.picture(np.zeros((200, 400, 3), np.uint8))
    assert len(wide.plain.split("\n")[0]) == 2 + view.WIDEST_PICTURE
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, color_system="truecolor", width=80)
    console.print(drawn)
    assert "38;2;" in text.getvalue()
