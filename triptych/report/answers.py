"""What the original project claimed, with what a run of the same job measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..spec.layers import Dense
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..spec.zoo import get

# What the teaching project from which this one grew claimed: percent, and seconds.
ACCURACY = {"numpy": (85, 90), "torch": (87, 92), "tensorflow": (88, 93)}
SECONDS = {"numpy": (60, 120), "torch": (30, 60), "tensorflow": (20, 40)}
BETTER = (2, 5)  # percentage points, from NumPy to TensorFlow
FASTER = (3, 5)  # times, from NumPy to TensorFlow
# The least nanoseconds that a loop in Python takes for a multiplication and an addition.
PYTHON_LOOP_NANOSECONDS = 20
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

    The job is 784-10-10 on mnist_test.csv, in full batches, with SGD at a rate of 0.1, for 500
    epochs. The seed, the dtype and the initializers may be others.

    Parameters
    ----------
    results : dict
        What `triptych.training.run_folder.read_results` returns.
    """
    recipe = Recipe.from_json(results["recipe"])
    data = results["runs"][0]["data"]
    network = Network.from_json(results["network"])
    has_same_recipe = replace(recipe, seed=0, dtype="float32", random="matched") == Recipe()
    sizes = (data["name"], data["train"], data["test"])
    has_same_data = sizes == (DATA, TRAINING_IMAGES, TEST_IMAGES)
    return has_same_recipe and has_same_data and _shape(network) == _shape(get("classic"))


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
    every = [*_accuracies(rows), *_times(timed)]
    if "numpy" in rows and "tensorflow" in rows:
        every += _from_numpy_to_tensorflow(rows["numpy"], rows["tensorflow"])
    if "numpy" in timed:
        every.append(_python_loops(run, timed["numpy"]))
    return [
        *every,
        _in_words("Memory use (described in words)", rows, _memory),
        _in_words("GPU support (not measured)", rows, _argued("gpu")),
        _in_words("Debugging (not measured)", rows, _argued("debugging")),
        _in_words("Scalability (not measured)", rows, _argued("scalability")),
    ]


def _accuracies(rows: dict[str, Row]) -> Iterator[Answer]:
    for engine, (low, high) in ACCURACY.items():
        if engine in rows:
            claim = f"{rows[engine]['label']} reaches an accuracy of {low}–{high} %"
            yield Answer(claim, f"{100 * rows[engine]['accuracy']['value']:.2f} %")


def _times(timed: dict[str, Row]) -> Iterator[Answer]:
    for engine, (low, high) in SECONDS.items():
        if engine in timed:
            claim = f"{timed[engine]['label']} trains in {low}–{high} s"
            yield Answer(claim, f"{timed[engine]['training_seconds']:.2f} s")


def _python_loops(run: dict[str, Any], row: Row) -> Answer:
    """Return how long a multiplication takes in NumPy.

    A step makes at least two multiplications for each sample and parameter: forward, and for the
    gradient of the kernel.
    """
    multiplications = 2 * run["batch"] * run["parameters"]
    each = row["step"]["median"] / multiplications * 1e9
    loop = f"in a Python loop it would take more than {PYTHON_LOOP_NANOSECONDS} ns"
    return Answer("NumPy runs pure Python loops", f"A multiplication takes {each:.2g} ns; {loop}")


def _from_numpy_to_tensorflow(numpy: Row, tensorflow: Row) -> Iterator[Answer]:
    gain = 100 * (tensorflow["accuracy"]["value"] - numpy["accuracy"]["value"])
    differing = tensorflow["differing_predictions"]
    predictions = f"{differing} of {numpy['accuracy']['of']:,} predictions differ"
    claim = f"TensorFlow is {BETTER[0]}–{BETTER[1]} % more accurate than NumPy"
    yield Answer(claim, f"{gain:+.2f} percentage points; {predictions}")
    if tensorflow["ratio"]:
        times = f"{1 / tensorflow['ratio']['median']:.2f} times as fast"
        yield Answer(f"TensorFlow is {FASTER[0]}–{FASTER[1]} times as fast as NumPy", times)


def _in_words(subject: str, rows: dict[str, Row], describe: Callable[[Row], str]) -> Answer:
    measured = "; ".join(f"{row['label']}: {describe(row)}" for row in rows.values())
    return Answer(subject, measured)


def _memory(row: Row) -> str:
    if not row["peak_bytes"]:
        return "not available on this system"
    return f"peak of {row['peak_bytes'] / 2**20:,.0f} MB"


def _argued(key: str) -> Callable[[Row], str]:
    return lambda row: row["argued"][key]
