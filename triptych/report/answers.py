"""The original's own table of expectations, answered row by row with what a run measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# What the teaching project that this one grew from said would come out: percent, and seconds.
ACCURACY = {"numpy": (85, 90), "torch": (87, 92), "tensorflow": (88, 93)}
SECONDS = {"numpy": (60, 120), "torch": (30, 60), "tensorflow": (20, 40)}
BETTER, FASTER = (2, 5), (3, 5)  # from NumPy to TensorFlow: percentage points, times
PYTHON_LOOP = 20  # nanoseconds for a multiplication and an addition: what a loop in Python takes at the very least

Row = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One row. `holds` is None where nothing was measured, and `remark` says what stands instead."""

    question: str
    expected: str
    measured: str
    holds: bool | None
    remark: str = ""


def answers(run: dict[str, Any]) -> list[Answer]:
    """Return the answers that this run can give; only rows that ran, in the default backends, are asked."""
    rows: dict[str, Row] = {row["engine"]: row for key, row in run["rows"].items() if key == row["engine"] and not row["failed"]}
    timed = {engine: row for engine, row in rows.items() if row["training_seconds"]}
    found = [
        _range(rows[engine], "accuracy", bounds, "%", 100 * rows[engine]["accuracy"]["value"])
        for engine, bounds in ACCURACY.items()
        if engine in rows
    ]
    found += [
        _range(timed[engine], "training time", bounds, "s", timed[engine]["training_seconds"])
        for engine, bounds in SECONDS.items()
        if engine in timed
    ]
    if "numpy" in rows and "tensorflow" in rows:
        found += _from_numpy_to_tensorflow(rows["numpy"], rows["tensorflow"])
    if "numpy" in timed:
        # Forward and the gradient of the kernel: two multiplications for each sample and parameter, at the least.
        each = timed["numpy"]["step"]["median"] / (2 * run["batch"] * run["parameters"]) * 1e9
        measured = f"{each:.2g} ns for each multiplication of a step; a Python loop takes over {PYTHON_LOOP}"
        found.append(Answer("NumPy runs pure Python loops", "yes", measured, each > PYTHON_LOOP))
    for question, say, remark in (
        ("memory", _memory, "measured: peak of the process"),
        ("ease of use", _code, "measured: lines of code"),
        ("GPU support", _argued("gpu"), "argued, not measured"),
        ("debugging", _argued("debugging"), "argued, not measured"),
        ("scalability", _argued("scalability"), "argued, not measured"),
    ):
        measured = "; ".join(f"{row['label']}: {say(row)}" for row in rows.values())
        found.append(Answer(question, "words, no figure", measured, None, remark))
    return found


def _range(row: Row, what: str, bounds: tuple[float, float], unit: str, value: float) -> Answer:
    low, high = bounds
    return Answer(f"{row['label']}: {what}", f"{low}–{high} {unit}", f"{value:.2f} {unit}", low <= value <= high)


def _from_numpy_to_tensorflow(numpy: Row, tensorflow: Row) -> list[Answer]:
    gain = 100 * (tensorflow["accuracy"]["value"] - numpy["accuracy"]["value"])
    differ = f"{tensorflow['differing_predictions']} of {numpy['accuracy']['of']:,} predictions differ"
    better = f"{BETTER[0]}–{BETTER[1]} % better"
    found = [Answer("TensorFlow is more accurate than NumPy", better, f"{gain:+.2f} points; {differ}", gain >= BETTER[0])]
    if ratio := tensorflow["ratio"]:
        times = 1 / ratio["median"]
        faster = f"{FASTER[0]}–{FASTER[1]}× faster"
        found.append(Answer("TensorFlow is faster than NumPy", faster, f"{times:.2f} times as fast", times >= FASTER[0]))
    return found


def _memory(row: Row) -> str:
    return f"{row['peak_bytes'] / 2**20:,.0f} MB" if row["peak_bytes"] else "not told by this system"


def _code(row: Row) -> str:
    return f"{row['code_lines']} lines of engine code"


def _argued(key: str) -> Callable[[Row], str]:
    return lambda row: row["argued"][key]
