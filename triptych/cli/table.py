"""The result table of a comparison, for the terminal."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..bench.results import spread
from ..bench.validity import FEWEST_ROUNDS
from ..core.registry import REFERENCE, entries
from ..core.selection import EngineSpec
from ..report.ratios import footnote, is_uncertain, ratio, ratio_over_seeds
from ..report.units import milliseconds
from .say import say

Row = dict[str, Any]
Columns = dict[str, Callable[[Row], str]]

# Left out one after the other, until the table fits into a narrow terminal.
EXPENDABLE = (
    "first step",
    "95 %",
    "(95 %)",
    "transfer",
    "build",
    "differ",
    "training",
    "float32",
)
OF_SEVERAL_ROWS = ("differ", "float64", "float32", "weights apart", "NumPy = 1", "(95 %)")
UNLIMITED = 10_000  # columns
APART = (
    "differ, weights apart: predictions and weights after the whole float32 training, against "
    "NumPy's. "
    "Rounding grows from step to step, so weights may end apart although the engines compute the "
    "same."
)


def show(console: Console, result: dict[str, Any]) -> None:
    """Print one seed's result: three tables, their legend, what is missing, and the verdict."""
    rows = [row for row in result["rows"].values() if not row["failed"]]
    say(
        console,
        f"\n[bold]{escape(result['title'])}[/bold]: {result['parameters']:,} parameters, "
        f"{result['steps']:,} steps",
        markup=True,
    )
    for name, columns in tables(result).items():
        _table(console, name, rows, columns)
    for line in legend(result):
        say(console, line, "dim")
    for row in result["rows"].values():
        if row["failed"]:
            say(console, _why_absent(row))
        elif row["unproved"]:
            why = f"[red]{escape(row['label'])}: no ratio without proof of equality.[/red]"
            why += f" It {escape(row['unproved'])}"
            say(console, why, markup=True)
    for note in result["notes"]:
        say(console, f"note: {note}", "yellow")
    say(console, verdict(result))


def _why_absent(row: Row) -> str:
    """Return why a row is not in the tables."""
    if row["failed"].startswith(row["label"]):  # "PyTorch is not installed"
        return row["failed"]
    return f"{row['label']} is not in the table: {row['failed']}"


def show_alone(console: Console, rows: list[EngineSpec]) -> None:
    """Print how to compare NumPy with others, after it was trained alone.

    Parameters
    ----------
    console : Console
        Where it is printed.
    rows : list of EngineSpec
        The rows that the user asked for.
    """
    asked = {spec.engine for spec in rows}
    others = [entry for name, entry in entries().items() if name != REFERENCE]
    for entry in others:
        if not entry.installed and entry.name not in asked:
            say(console, f"To compare it with {entry.label}: {entry.install}")
    present = [entry for entry in others if entry.installed]
    if present:
        labels = ", ".join(entry.label for entry in present)
        names = ",".join(entry.name for entry in present)
        say(console, f"To compare it with {labels}: --engines {names}")


def tables(result: dict[str, Any]) -> dict[str, Columns]:
    """Return the three tables of a result: by name, the columns.

    Parameters
    ----------
    result : dict
        One of ``runs`` of results.json.
    """
    rows = [row for row in result["rows"].values() if not row["failed"]]
    left_out: set[str] = set()
    if len(rows) < 2:
        left_out |= set(OF_SEVERAL_ROWS)
    if len({row["device"] for row in rows}) < 2:
        left_out.add("device")
    shown: dict[str, Columns] = {}
    for name, columns in TABLES.items():
        if name == "equal?" and len(rows) < 2:
            name = "accurate?"
        shown[name] = {title: cell for title, cell in columns.items() if title not in left_out}
    if result["busy"] and "NumPy = 1" in shown["fast?"]:
        shown["fast?"]["NumPy = 1"] = partial(ratio, busy=True)
    return shown


def legend(result: dict[str, Any]) -> list[str]:
    """Return what the columns of the tables mean, a sentence each."""
    rows = [row for row in result["rows"].values() if not row["failed"]]
    times = "ms/step: median of the timed rounds, with its 95 % interval."
    if len(rows) < 2:
        return [f"accuracy: on test images, with its 95 % interval. {times}"]
    lines = [
        "float64: the largest difference from NumPy in the proof; up to 1e-11 means equal.",
        "float32: whether a single step differs from the exact one by no more than rounding.",
        APART,
        f"{times} NumPy = 1: its ratio to NumPy's time; below 1 is faster.",
    ]
    if result["busy"]:
        lines.append(footnote())
    return lines


def _table(console: Console, name: str, rows: list[Row], columns: Columns) -> None:
    """Print a table; on a narrow terminal with less space and then with fewer columns."""
    columns = dict(columns)
    for gap in (1, 0):
        table = _filled(name, rows, columns, gap)
        if _fits(console, table):
            break
    for title in EXPENDABLE:
        if _fits(console, table):
            break
        columns.pop(title, None)
        table = _filled(name, rows, columns, 0)
    console.print(table)


def _fits(console: Console, table: Table) -> bool:
    return (
        console.measure(table, options=console.options.update(max_width=UNLIMITED)).maximum
        <= console.width
    )


def _filled(name: str, rows: list[Row], columns: Columns, gap: int) -> Table:
    table = empty(name, columns, gap)
    for row in rows:
        table.add_row(escape(row["label"]), *(cell(row) for cell in columns.values()))
    return table


def empty(name: str, columns: Iterable[str], gap: int = 1) -> Table:
    """Return a table without rows: names on the left, figures on the right; cells are not broken.

    Parameters
    ----------
    name : str
        The title of the first column, which has the rows' names.
    columns : iterable of str
        The titles of the other columns, which have figures.
    gap : int
        Additional spaces between two columns.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, gap, 0, 0))
    table.add_column(name, style="bold", no_wrap=True)
    for title in columns:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _range(interval: dict[str, float], scale: float) -> str:
    return f"{interval['low'] * scale:.3g}–{interval['high'] * scale:.3g}"


def _accuracy(row: Row) -> str:
    return f"{row['accuracy']['value']:.2%}"


def _float64(row: Row) -> str:
    walked = row["float64"]
    blocked = row["blocks"]
    if not walked or not blocked or walked["divergence"] or blocked["divergence"]:
        return "[red]DIFFERS[/red]"
    return f"{walked['largest']:.0e}"


def _float32(row: Row) -> str:
    if not row["float32"]:
        return ""
    return escape(row["float32"]["verdict"])


def _weights_apart(row: Row) -> str:
    if not row["weights_apart"]:
        return "0"
    return f"{row['weights_apart']:.0e}"


def _step(row: Row) -> str:
    if not row["step"]:
        return ""
    return milliseconds(row["step"]["median"])


def _step_range(row: Row) -> str:
    if not row["step"]:
        return ""
    return _range(row["step"], 1e3)


def _ratio_range(row: Row) -> str:
    if not is_uncertain(row):
        return ""
    return _range(row["ratio"], 1)


def _training(row: Row) -> str:
    if not row["training_seconds"]:
        return ""
    return f"{row['training_seconds']:.2f} s"


def _peak_memory(row: Row) -> str:
    if not row["peak_bytes"]:
        return "?"
    return f"{row['peak_bytes'] / 2**20:,.0f} MB"


TABLES: dict[str, Columns] = {
    "equal?": {
        "accuracy": _accuracy,
        "95 %": lambda row: _range(row["accuracy"], 100),
        "differ": lambda row: f"{row['differing_predictions']}",
        "float64": _float64,
        "float32": _float32,
        "weights apart": _weights_apart,
    },
    "fast?": {
        "ms/step": _step,
        "95 %": _step_range,
        "NumPy = 1": ratio,
        "(95 %)": _ratio_range,
        "training": _training,
        "first step": lambda row: f"{milliseconds(row['seconds']['first_step'])} ms",
    },
    "cost?": {
        "import": lambda row: f"{row['seconds']['import']:.2f} s",
        "build": lambda row: f"{milliseconds(row['seconds']['build'])} ms",
        "transfer": lambda row: f"{milliseconds(row['seconds']['transfer'])} ms",
        "peak memory": _peak_memory,
        "device": lambda row: escape(row["device"]),
    },
}


def show_spread(console: Console, results: list[dict[str, Any]]) -> None:
    """Print each engine's spread over seeds."""
    busy = sum(result["busy"] is not None for result in results)
    columns: Columns = {
        "accuracy": lambda row: f"{row['mean']:.2%} ± {100 * row['deviation']:.2f}",
        "lowest": lambda row: f"{row['lowest']:.2%}",
        "highest": lambda row: f"{row['highest']:.2%}",
        "ms/step": lambda row: milliseconds(row["step"]),
        "NumPy = 1": partial(ratio_over_seeds, busy=busy > 0),
    }
    rows = list(spread(results).values())
    if len(rows) < 2:
        del columns["NumPy = 1"]
    _table(console, f"{len(results)} seeds", rows, columns)
    lines = ["accuracy: mean ± sample standard deviation. ms/step: median over seeds."]
    if len(rows) > 1:
        lines.append(
            "NumPy = 1: median over seeds of each seed's own ratio to NumPy, not the ratio of the "
            "two medians."
        )
    if busy:
        lines.append(footnote(busy, len(results)))
    for line in lines:
        say(console, line, "dim")


def verdict(result: dict[str, Any]) -> str:
    """Return the sentence that the whole comparison comes down to."""
    rows = result["rows"]
    if sum(not row["failed"] for row in rows.values()) < 2:
        label = next(row["label"] for row in rows.values() if not row["failed"])
        return f"Nothing to compare with: {label} was trained and timed alone."
    proved = [row for row in rows.values() if row["proved"]]
    if len(proved) < 2:
        return "Nothing was proved equal."
    apart = max(row["float64"]["largest"] for row in proved)
    steps = min(row["float64"]["steps"] for row in proved)
    labels = ", ".join(row["label"] for row in proved)
    equal = f"Proved equal: {labels} (float64: {apart:.0e} at most, at each of {steps} steps)."
    return f"{equal} {_winner(result)}"


def _winner(result: dict[str, Any]) -> str:
    if result["fastest"] is not None:
        return f"Fastest on this machine: {result['rows'][result['fastest']]['label']}."
    if result["busy"]:
        return "No engine is named the fastest, because the machine was busy during the timing."
    if result["rounds"]["valid"] < FEWEST_ROUNDS:
        return f"No engine is named the fastest: fewer than {FEWEST_ROUNDS} rounds could be timed."
    return "No engine is significantly faster than the others."
