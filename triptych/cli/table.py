"""The result table of a comparison, for the terminal."""

from collections.abc import Callable, Iterable
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..bench.result import milliseconds, spread

Row = dict[str, Any]


def show(console: Console, result: dict[str, Any]) -> None:
    """Print one seed's result: three tables of 80 columns, what was left out and why, and the verdict."""
    rows = [row for row in result["rows"].values() if not row["failed"]]
    console.print(
        f"\n[bold]{escape(result['title'])}[/bold]: {result['parameters']:,} parameters, {result['steps']:,} steps", highlight=False
    )
    for name, columns in TABLES.items():
        _table(console, name, rows, columns)
    for row in result["rows"].values():
        if row["failed"]:
            console.print(f"{escape(row['label'])} is not in the table: {escape(row['failed'])}", highlight=False, soft_wrap=True)
        elif row["unproved"]:
            console.print(
                f"[red]{escape(row['label'])}: no ratio without parity.[/red] It {escape(row['unproved'])}", highlight=False, soft_wrap=True
            )
    for note in result["notes"]:
        console.print(f"note: {escape(note)}", style="yellow", highlight=False, soft_wrap=True)
    console.print(verdict(result), highlight=False, markup=False, soft_wrap=True)


def _table(console: Console, name: str, rows: list[Row], columns: dict[str, Callable[[Row], str]]) -> None:
    table = empty(name, columns)
    for row in rows:
        table.add_row(escape(row["label"]), *(cell(row) for cell in columns.values()))
    console.print(table)


def empty(name: str, columns: Iterable[str]) -> Table:
    """Return a table without rows yet: names on the left, figures on the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(name, style="bold")
    for title in columns:
        table.add_column(title, justify="right")
    return table


def _range(interval: dict[str, float], scale: float) -> str:
    return f"{interval['low'] * scale:.3g}–{interval['high'] * scale:.3g}"


def _float64(row: Row) -> str:
    walked, blocked = row["float64"], row["blocks"]
    if not walked or not blocked or walked["divergence"] or blocked["divergence"]:
        return "[red]DIFFERS[/red]"
    return f"{walked['largest']:.0e}"


TABLES: dict[str, dict[str, Callable[[Row], str]]] = {
    "equal?": {
        "accuracy": lambda row: f"{row['accuracy']['value']:.2%}",
        "95 %": lambda row: _range(row["accuracy"], 100),
        "differ": lambda row: f"{row['differing_predictions']}",
        "float64": _float64,
        "float32": lambda row: escape(row["float32"]["verdict"]) if row["float32"] else "",
        "weights apart": lambda row: f"{row['weights_apart']:.0e}" if row["weights_apart"] else "0",
    },
    "fast?": {
        "ms/step": lambda row: milliseconds(row["step"]["median"]) if row["step"] else "",
        "95 %": lambda row: _range(row["step"], 1e3) if row["step"] else "",
        "NumPy = 1": lambda row: f"{row['ratio']['median']:.2f}" if row["ratio"] else "not measured" if row["proved"] else "withheld",
        "(95 %)": lambda row: _range(row["ratio"], 1) if row["ratio"] and row["ratio"]["low"] < row["ratio"]["high"] else "",
        "training": lambda row: f"{row['training_seconds']:.2f} s" if row["training_seconds"] else "",
        "first step": lambda row: f"{milliseconds(row['seconds']['first_step'])} ms",
    },
    "cost?": {
        "import": lambda row: f"{row['seconds']['import']:.2f} s",
        "build": lambda row: f"{milliseconds(row['seconds']['build'])} ms",
        "transfer": lambda row: f"{milliseconds(row['seconds']['transfer'])} ms",
        "peak memory": lambda row: f"{row['peak_bytes'] / 2**20:,.0f} MB" if row["peak_bytes"] else "?",
        "code": lambda row: f"{row['code_lines']} lines",
        "device": lambda row: escape(row["device"]),
    },
}


def show_spread(console: Console, results: list[dict[str, Any]]) -> None:
    """Print each engine's spread over seeds."""
    table = Table(title=f"Over {len(results)} seeds", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("", "accuracy ± deviation", "lowest", "highest", "ms/step", "vs NumPy"):
        table.add_column(name, justify="left" if not name else "right")
    for row in spread(results).values():
        ratio = f"{row['ratio']:.2f}×" if row["ratio"] else "withheld"
        accuracy = f"{row['mean']:.2%} ± {100 * row['deviation']:.2f}"
        table.add_row(escape(row["label"]), accuracy, f"{row['lowest']:.2%}", f"{row['highest']:.2%}", milliseconds(row["step"]), ratio)
    console.print(table)


def verdict(result: dict[str, Any]) -> str:
    """Return the sentence that the whole comparison comes down to."""
    rows = result["rows"]
    proved = [row["label"] for row in rows.values() if row["proved"]]
    apart = max((row["float64"]["largest"] for row in rows.values() if row["proved"]), default=0)
    steps = min((row["float64"]["steps"] for row in rows.values() if row["proved"]), default=0)
    equal = (
        f"Proved equal: {', '.join(proved)} (float64: {apart:.0e} at most, at each of {steps} steps)."
        if len(proved) > 1
        else "Nothing was proved equal."
    )
    if (fastest := result["fastest"]) is None:
        return f"{equal} None is named the fastest." if len(proved) > 1 else equal
    return f"{equal} Fastest on this machine, here and now: {rows[fastest]['label']}."
