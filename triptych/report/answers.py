"""What the original project claimed, with what a run of the same job measured."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..spec.layers import Dense
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..spec.zoo import get

# What the teaching project that this one grew from said would come out: percent, and seconds.
ACCURACY = {"numpy": (85, 90), "torch": (87, 92), "tensorflow": (88, 93)}
SECONDS = {"numpy": (60, 120), "torch": (30, 60), "tensorflow": (20, 40)}
BETTER = (2, 5)  # percentage points, from NumPy to TensorFlow
FASTER = (3, 5)  # times, from NumPy to TensorFlow
PYTHON_LOOP = 20  # nanoseconds for a multiplication and an addition: what a loop in Python takes at the very least
DATA = "mnist_test"  # the name of a data set that was read from mnist_test.csv
TRAINING_IMAGES = 9_000
TEST_IMAGES = 1_000

Row = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One claim of the original, in words, and what was measured."""

    claim: str
    measured: str


def is_original(results: dict[str, Any]) -> bool:
    """Return whether a run repeats the original's job.

    The job is 784-10-10 on mnist_test.csv, in full batches, with SGD at a rate of 0.1, for 500 epochs.
    The seed, the dtype and the initializers may be others.

    Parameters
    ----------
    results : dict
        What `triptych.training.run_folder.read_results` returns.
    """
    recipe = Recipe.from_json(results["recipe"])
    data = results["runs"][0]["data"]
    same_recipe = replace(recipe, seed=0, dtype="float32", random="matched") == Recipe()
    same_data = (data["name"], data["train"], data["test"]) == (DATA, TRAINING_IMAGES, TEST_IMAGES)
    return (
        same_recipe
        and same_data
        and _shape(Network.from_json(results["network"])) == _shape(get("classic"))
    )


def _shape(network: Network) -> tuple[Any, ...]:
    """Return what a network computes, without names and initializers."""
    widths = [layer.units for layer in network.layers if isinstance(layer, Dense)]
    return network.input_shape, widths, [type(layer) for layer in network.layers]


def answers(results: dict[str, Any]) -> list[Answer]:
    """Return each claim with what was measured, or nothing where the run is not the original's job.

    Only rows that ran, in the default backends, are asked.
    """
    if not is_original(results):
        return []
    run = results["runs"][0]
    rows: dict[str, Row] = {
        row["engine"]: row
        for key, row in run["rows"].items()
        if key == row["engine"] and row["accuracy"]
    }
    timed = {engine: row for engine, row in rows.items() if row["training_seconds"]}
    found = [
        Answer(
            f"{rows[engine]['label']} reaches an accuracy of {low}–{high} %",
            f"{100 * rows[engine]['accuracy']['value']:.2f} %",
        )
        for engine, (low, high) in ACCURACY.items()
        if engine in rows
    ]
    found += [
        Answer(
            f"{timed[engine]['label']} trains in {low}–{high} s",
            f"{timed[engine]['training_seconds']:.2f} s",
        )
        for engine, (low, high) in SECONDS.items()
        if engine in timed
    ]
    if "numpy" in rows and "tensorflow" in rows:
        found += _from_numpy_to_tensorflow(rows["numpy"], rows["tensorflow"])
    if "numpy" in timed:
        # Forward and the gradient of the kernel: two multiplications for each sample and parameter, at the least.
        each = timed["numpy"]["step"]["median"] / (2 * run["batch"] * run["parameters"]) * 1e9
        measured = f"A multiplication takes {each:.2g} ns; in a Python loop it would take more than {PYTHON_LOOP} ns"
        found.append(Answer("NumPy runs pure Python loops", measured))
    found += [
        _in_words("Memory use (described in words)", rows, _memory),
        _in_words("GPU support (not measured)", rows, _argued("gpu")),
        _in_words("Debugging (not measured)", rows, _argued("debugging")),
        _in_words("Scalability (not measured)", rows, _argued("scalability")),
    ]
    return found


def _from_numpy_to_tensorflow(numpy: Row, tensorflow: Row) -> list[Answer]:
    gain = 100 * (tensorflow["accuracy"]["value"] - numpy["accuracy"]["value"])
    differ = (
        f"{tensorflow['differing_predictions']} of {numpy['accuracy']['of']:,} predictions differ"
    )
    found = [
        Answer(
            f"TensorFlow is {BETTER[0]}–{BETTER[1]} % more accurate than NumPy",
            f"{gain:+.2f} percentage points; {differ}",
        )
    ]
    if ratio := tensorflow["ratio"]:
        times = f"{1 / ratio['median']:.2f} times as fast"
        found.append(Answer(f"TensorFlow is {FASTER[0]}–{FASTER[1]} times as fast as NumPy", times))
    return found


def _in_words(subject: str, rows: dict[str, Row], describe: Callable[[Row], str]) -> Answer:
    measured = "; ".join(f"{row['label']}: {describe(row)}" for row in rows.values())
    return Answer(subject, measured)


def _memory(row: Row) -> str:
    return (
        f"peak of {row['peak_bytes'] / 2**20:,.0f} MB"
        if row["peak_bytes"]
        else "not available on this system"
    )


def _argued(key: str) -> Callable[[Row], str]:
    return lambda row: row["argued"][key]
