"""One cell in the process that trains it; without Ray."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.streams import parquet

import triptych as tt
from triptych.bench import load
from triptych.core.events import BlockTrained
from triptych.core.split import Split
from triptych.data.dataset import Dataset
from triptych.scale.sweep import cell as one_cell
from triptych.scale.sweep.grid import Grid


def of_grid(digits: Dataset, timed: bool = False, **recipe: Any) -> dict[str, Any]:
    trained = tt.Recipe(epochs=2, batch_size=64, **recipe)
    (cell,) = Grid([{"hidden": [8]}], [trained], [digits], ["numpy"], timed=timed).load().cells()
    return cell.to_json()


def test_it_is_the_training_of_train(digits: Dataset) -> None:
    cell = of_grid(digits)
    record = one_cell.run_cell(cell, one_cell.pack(digits))
    recipe = tt.Recipe.from_json(cell["recipe_json"])
    alone = tt.train("numpy", tt.dense(784, 8, 10), recipe, digits, runs=None)
    assert record["status"] == "finished"
    assert record["accuracy"] == alone.accuracy
    assert record["loss"] == alone.history[-1]["loss"]
    assert (record["epochs"], record["steps"]) == (2, 2 * -(-len(digits.train) // 64))
    assert record["tested"] == len(digits.test)
    assert "others" not in record


def test_data_arrives_as_it_was(digits: Dataset) -> None:
    again = one_cell.unpack(*one_cell.pack(digits))
    assert again.train.digest == digits.train.digest
    assert again.test.digest == digits.test.digest
    assert again.classes == digits.classes


def test_rows_of_a_table_arrive_with_their_means(tmp_path) -> None:
    rows = [f"{i % 3},{i % 7},{'ab'[i % 2]}" for i in range(60)]
    (tmp_path / "flowers.csv").write_text("\n".join(["u,v,class", *rows]))
    table = tt.load_data(tmp_path / "flowers.csv")
    again = one_cell.unpack(*one_cell.pack(table))
    assert again.table is not None
    assert table.table is not None
    np.testing.assert_array_equal(again.table.mean, table.table.mean)


def test_streamed_data_is_read_where_it_is_trained_on(tmp_path, monkeypatch) -> None:
    """Its images are not sent; the training is that of the single process."""
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "cache"))
    source = parquet(tmp_path / "set", 100)
    data = [{"source": str(source), "stream": True}]
    recipe = tt.Recipe(epochs=2, batch_size=16)
    grid = Grid([{"hidden": [4]}], [recipe], data, ["numpy"]).load()
    (cell,) = grid.cells()
    (dataset,) = grid.datasets.values()
    record = one_cell.run_cell(cell.to_json(), one_cell.pack(dataset))
    network = tt.dense(90, 4, 3, shape=(6, 5, 3))
    alone = tt.train("numpy", network, recipe, dataset, runs=None)
    assert record["status"] == "finished"
    assert record["loss"] == alone.history[-1]["loss"]


def test_an_error_is_a_line_of_the_record(digits: Dataset) -> None:
    network = tt.dense(784, 10**9, 10)  # larger than the memory of any machine
    cell = of_grid(digits) | {"network_json": network.to_json()}
    record = one_cell.run_cell(cell, one_cell.pack(digits))
    assert record["status"] == "failed"
    assert "not enough memory" in record["error"]
    assert "accuracy" not in record


def test_an_error_that_nothing_foresees_is_a_line_too(digits: Dataset, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr(one_cell, "Session", fail)
    record = one_cell.run_cell(of_grid(digits), one_cell.pack(digits))
    assert record["error"] == "ZeroDivisionError: first line"


@pytest.fixture
def shares(monkeypatch) -> Iterator[list[float]]:
    """Return a list: what others use of the machine in each attempt to time a cell."""
    given: list[float] = []

    class Watch:
        def share(self) -> float:
            return given.pop(0)

    monkeypatch.setattr(load, "Watch", Watch)
    monkeypatch.setattr(load, "SECONDS_OF_A_LOOK", 0.0)
    monkeypatch.setattr(one_cell, "SECONDS_FOR_CALM", 0.0)
    yield given
    assert given == []  # there were no fewer attempts


@pytest.mark.parametrize(
    ("measured", "others", "busy"),
    [
        ([0.01], 0.01, False),
        ([0.3, 0.02], 0.02, False),
        ([0.05], 0.05, False),
        ([0.3, 0.2, 0.4], 0.2, True),
        ([0.3, 0.4, 0.051], 0.051, True),
    ],
)
def test_a_timed_cell_is_repeated_until_the_node_is_calm(
    digits: Dataset, shares: list[float], measured: list[float], others: float, busy: bool
) -> None:
    shares += measured
    record = one_cell.run_cell(of_grid(digits, timed=True), one_cell.pack(digits))
    assert record["status"] == "finished"
    assert record["attempts"] == len(measured)
    assert record["others"] == others
    assert record["busy"] == busy
    assert record["seconds"] > 0
    assert record["first_step_seconds"] > 0


def block(steps: int, seconds: float) -> BlockTrained:
    return BlockTrained(1, steps, steps, 0.1, seconds, [1.0] * steps)


def test_the_time_of_a_step_is_the_median_of_the_later_ones() -> None:
    assert one_cell.steady_step([block(1, 9.0)]) is None
    blocks = [block(1, 9.0), block(1, 4.0), block(3, 1.0), block(2, 2.0)]
    assert one_cell.steady_step(blocks) == 1.5  # of 4, 1, 1, 1, 2, 2


def test_a_worker_keeps_the_data_of_one_set(digits: Dataset) -> None:
    few = Split(digits.train.images[:100], digits.train.labels[:100])
    small = Dataset("few", "few", few, few)
    for dataset in (digits, small):
        one_cell.run_cell(of_grid(dataset), one_cell.pack(dataset))
        assert len(one_cell._datasets) == 1
