"""The file of a sweep: what it means, and what is wrong in it in one line."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

import triptych as tt
from triptych.core import registry
from triptych.data.dataset import Dataset
from triptych.errors import TriptychError
from triptych.scale.sweep.grid import Grid

SMALL = """
networks = [{ hidden = [4] }, { hidden = [8, 4], dropout = 0.5 }]
recipes = [{ epochs = 1, batch_size = 64, optimizer = { name = "adam" } }, "mlp"]
data = ["digits"]
engines = ["numpy"]
seeds = 3
timed = [0]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "widths.toml"
    path.write_text(text, encoding="utf-8")
    return path


def changed(key: str, value: str) -> str:
    """Return the small file with another value for a key, or with one more key."""
    lines = [line for line in SMALL.splitlines() if not line.startswith(f"{key} =")]
    return "\n".join([*lines, f"{key} = {value}"])


def test_every_combination_is_a_cell(tmp_path: Path) -> None:
    cells = Grid.read(written(tmp_path, SMALL)).load().cells()
    names = [(cell.network.name, cell.recipe_name, cell.recipe.seed) for cell in cells]
    networks = ["dense-4", "dense-8-4-dropout-0.5"]
    recipes = ["adam 0.001, batch 64, 1 epoch", "mlp"]
    assert sorted(names) == sorted(product(networks, recipes, [0, 1, 2]))
    assert {cell.recipe.seed for cell in cells if cell.timed} == {0}
    assert {cell.data_name for cell in cells} == {"digits"}
    assert len({cell.key for cell in cells}) == len(cells)


def test_cells_of_one_engine_follow_each_other(digits: Dataset) -> None:
    """A worker imports a framework once."""
    grid = Grid(["custom"], ["mlp"], [digits], engines=["torch", "numpy"], seeds=2)
    assert [cell.row.engine for cell in grid.load().cells()] == ["torch"] * 2 + ["numpy"] * 2


def test_the_key_depends_on_what_is_computed_and_on_nothing_else(digits: Dataset) -> None:
    first = Grid(["custom"], [tt.Recipe(epochs=1)], [digits], engines=["numpy"])
    (cell,) = first.load().cells()
    renamed = replace(cell, recipe_name="another name", data_name="another name")
    assert renamed.key == cell.key
    others = [
        replace(cell, recipe=replace(cell.recipe, seed=1)),
        replace(cell, recipe=replace(cell.recipe, epochs=2)),
        replace(cell, network=tt.dense(784, 4, 10)),
        replace(cell, data_digest="0"),
        replace(cell, threads=2),
        replace(cell, timed=True),
        replace(cell, row=replace(cell.row, engine="torch", backend="eager")),
    ]
    keys = {each.key for each in [cell, *others]}
    assert len(keys) == len(others) + 1


def test_a_grid_of_objects_is_that_of_the_file(tmp_path: Path, digits: Dataset) -> None:
    recipe = tt.Recipe(epochs=1, batch_size=64, optimizer=tt.optimizers.Adam())
    in_python = Grid([{"hidden": [4]}], [recipe], [digits], engines=["numpy"], seeds=[0, 1, 2])
    text = changed("networks", "[{ hidden = [4] }]").replace(', "mlp"]', "]")
    in_file = Grid.read(written(tmp_path, text.replace("timed = [0]", "")))
    keys = [cell.key for cell in in_python.load().cells()]
    assert [cell.key for cell in in_file.load().cells()] == keys


def test_by_default_every_installed_engine_takes_part(tmp_path: Path) -> None:
    text = "\n".join(line for line in SMALL.splitlines() if not line.startswith("engines"))
    grid = Grid.read(written(tmp_path, text))
    installed = [name for name, entry in registry.entries().items() if entry.installed]
    assert [row.engine for row in grid.rows] == installed
    assert {row.backend for row in grid.rows} == {
        registry.entry(name).default_backend for name in installed
    }


def test_paths_begin_at_the_folder_of_the_file(tmp_path: Path) -> None:
    rows = [f"{i % 3},{i % 7},{'ab'[i % 2]}" for i in range(60)]
    (tmp_path / "flowers.csv").write_text("\n".join(["u,v,class", *rows]))
    (tmp_path / "one.json").write_text('{"epochs": 1}')
    text = changed("data", '["flowers.csv"]').replace('"mlp"', '"one.json"')
    loaded = Grid.read(written(tmp_path, text)).load()
    assert list(loaded.datasets) == ["flowers"]
    assert {cell.recipe_name for cell in loaded.cells()} > {"one"}
    assert {cell.network.input_shape for cell in loaded.cells()} == {(1, 1, 2)}


# What is wrong, and what the message must say; every message begins with the path of the file.
MISTAKES = {
    "a misspelt key": ("seed", "3", "unknown key 'seed'; did you mean 'seeds'?"),
    "no networks": ("networks", "[]", "networks is empty, so there is nothing to train"),
    "no seeds": ("seeds", "[]", "seeds is empty, so there is nothing to train"),
    "seeds of none": ("seeds", "0", "seeds must be a whole number of at least 1, not 0"),
    "a seed twice": ("seeds", "[1, 1]", "seeds has a number twice: [1, 1]"),
    "a negative seed": ("seeds", "[-1]", "seeds must be a whole number of at least 0, not -1"),
    "a text for a list": ("networks", '"custom"', "networks must be a list, not 'custom'"),
    "a misspelt network": ("networks", '["custm"]', "'custm' is unknown; did you mean 'custom'?"),
    "a misspelt key of a network": (
        "networks",
        "[{ hiden = [4] }]",
        "network: unknown key 'hiden'; did you mean 'hidden'?",
    ),
    "a width of none": ("networks", "[{ hidden = [0] }]", "hidden must be a whole number"),
    "a network twice": ("networks", "[{ hidden = [4] }, { hidden = [4] }]", "'dense-4' twice"),
    "a misspelt recipe": ("recipes", '["mlpp"]', "recipe 'mlpp' is unknown; did you mean 'mlp'?"),
    "a misspelt key of a recipe": (
        "recipes",
        "[{ epoch = 1 }]",
        "recipe: unknown key 'epoch'; did you mean 'epochs'?",
    ),
    "a seed in a recipe": ("recipes", "[{ epochs = 1, seed = 4 }]", "its seed would be replaced"),
    "a file that is not there": ("recipes", '["no.json"]', "no.json: cannot be read"),
    "a misspelt engine": ("engines", '["pytorch"]', "did you mean 'torch'?"),
    "an unknown backend": ("engines", '["torch/fit"]', "no backend 'fit'"),
    "no threads": ("threads", "0", "threads must be a whole number of at least 1, not 0"),
    "a timed seed that is none": ("timed", "[7]", "timed names the seed 7, and the seeds are"),
    "not true, false or a list": ("timed", '"all"', "give true, false or a list of seeds"),
    "a misspelt key of data": (
        "data",
        '[{ source = "digits", labl = "x" }]',
        "unknown key 'labl'; did you mean 'label'?",
    ),
    "data without a source": ("data", "[{ size = [8, 8] }]", "data: missing key 'source'"),
    "more seeds than fit": ("seeds", "100_000_000_000", "seeds must be at most 100,000"),
    "backends of another kind": ("backends", '"every"', "must be 'default' or 'all'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_file_is_named_in_one_line(tmp_path: Path, mistake: str) -> None:
    key, value, message = MISTAKES[mistake]
    path = written(tmp_path, changed(key, value))
    with pytest.raises(TriptychError) as caught:
        Grid.read(path)
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(path)[:60])
    assert "\n" not in text


@pytest.mark.parametrize("key", ["networks", "recipes", "data"])
def test_a_key_that_is_missing_is_named(tmp_path: Path, key: str) -> None:
    text = "\n".join(line for line in SMALL.splitlines() if not line.startswith(key))
    with pytest.raises(TriptychError, match=f"missing key '{key}'"):
        Grid.read(written(tmp_path, text))


# Mistakes that are known when the data is read.
MISTAKES_WITH_DATA = {
    "no such data": ("data", '["flowers.csv"]', "flowers.csv: no such file or data set"),
    "a misspelt data set": ("data", '["digit"]', "did you mean 'digits'?"),
    "one training with two names of its recipe": (
        "recipes",
        '[{ epochs = 1, name = "a" }, { epochs = 1, name = "b" }]',
        "dense-4 · a · seed 0 and NumPy · digits · dense-4 · b · seed 0 are the same training",
    ),
    "one training with two names of its data": (
        "data",
        '["digits", { source = "digits", name = "d2" }]',
        "NumPy · d2 · dense-4 · adam 0.001, batch 64, 1 epoch · seed 0 are the same training",
    ),
    "data twice": ("data", '["digits", "digits"]', "data has 'digits' twice"),
    "a network for other images": (
        "networks",
        '["other.json"]',
        "takes inputs of shape (8, 8, 1), the images are (28, 28, 1)",
    ),
    "an augmentation that does not fit": (
        "recipes",
        "[{ epochs = 1, augmentation = { shift = 28 } }]",
        "with network 'dense-4'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES_WITH_DATA)
def test_a_mistake_is_known_before_anything_is_trained(tmp_path: Path, mistake: str) -> None:
    key, value, message = MISTAKES_WITH_DATA[mistake]
    other = tt.dense(64, 10, shape=(8, 8, 1)).to_json()
    (tmp_path / "other.json").write_text(json.dumps(other))
    grid = Grid.read(written(tmp_path, changed(key, value)))
    with pytest.raises(TriptychError) as caught:
        grid.load().cells()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"networks = [", "not TOML"),
        (b"\xff\xfe", "not a text in UTF-8"),
        (None, "cannot be read"),
        (b"x = " + b"[" * 100_000, "nested too deeply|not TOML"),
    ],
)
def test_a_file_that_is_no_grid_is_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "widths.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TriptychError, match=message):
        Grid.read(path)
