"""The result table of a comparison, for the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from ..bench.result import spread

COLUMNS = ("", "accuracy (95 %)", "differ", "parity", "weights apart", "ms/step (95 %)", "vs NumPy", "first step", "import", "transfer", "memory", "code")


def show(console: Console, result: dict[str, Any]) -> None:
    """Print one seed's result."""
    rows: dict[str, dict[str, Any]] = result["rows"]
    parameters = result["parameters"]
    table = Table(pad_edge=False, title=f"{result['title']}, {parameters:,} parameters, {result['steps']:,} steps", title_justify="left")
    wide = console.width >= 150
    for name in COLUMNS if wide else COLUMNS[:7]:
        table.add_column(name, justify="left" if not name else "right", no_wrap=name != "parity")
    for row in rows.values():
        cells = _cells(row)
        table.add_row(*(cells if wide else cells[:7]))
    console.print(table)
    if not wide:
        costs = Table(pad_edge=False)
        for name in ("", *COLUMNS[7:], "device"):
            costs.add_column(name, justify="left" if not name else "right")
        for row in rows.values():
            if not row["failed"]:
                costs.add_row(row["label"], *_cells(row)[7:], row["device"])
        console.print(costs)
    for row in rows.values():
        if row["failed"]:
            console.print(f"{row['label']} is not in the table: {row['failed']}", highlight=False)
        elif row["unproved"]:
            console.print(f"[red]{row['label']}: no ratio without parity.[/red] It {row['unproved']}", highlight=False)
    for note in result["notes"]:
        console.print(f"note: {note}", style="yellow", highlight=False)
    console.print(verdict(result), highlight=False)


def show_spread(console: Console, results: list[dict[str, Any]]) -> None:
    """Print each engine's spread over seeds."""
    table = Table(title=f"Over {len(results)} seeds", title_justify="left", pad_edge=False)
    for name in ("", "accuracy, mean ± standard deviation", "lowest", "highest", "ms/step, median", "vs NumPy, median"):
        table.add_column(name, justify="left" if not name else "right")
    for row in spread(results).values():
        ratio = f"{row['ratio']:.2f}×" if row["ratio"] else "withheld"
        accuracy = f"{row['mean']:.2%} ± {100 * row['deviation']:.2f}"
        table.add_row(row["label"], accuracy, f"{row['lowest']:.2%}", f"{row['highest']:.2%}", _ms(row["step"]), ratio)
    console.print(table)


def verdict(result: dict[str, Any]) -> str:
    """Return the sentence that the whole comparison comes down to."""
    rows = result["rows"]
    proved = [row["label"] for row in rows.values() if row["proved"]]
    apart = max((row["float64"]["largest"] for row in rows.values() if row["proved"]), default=0)
    equal = f"Proved equal: {', '.join(proved)} (float64, {apart:.0e} at most, kind by kind, at every step)." if len(proved) > 1 else "Nothing was proved equal."
    if (fastest := result["fastest"]) is None:
        return f"{equal} No difference in speed was measured." if len(proved) > 1 else equal
    return f"{equal} Fastest on this machine, here and now: {rows[fastest]['label']}."


def _cells(row: dict[str, Any]) -> list[str]:
    if row["failed"]:
        return [row["label"], "not run", *[""] * (len(COLUMNS) - 2)]
    a, step, ratio, seconds = row["accuracy"], row["step"], row["ratio"], row["seconds"]
    return [
        row["label"],
        f"{a['value']:.2%} ({100 * a['low']:.1f}–{100 * a['high']:.1f})",
        f"{row['differing_predictions']}",
        "equal" if row["proved"] else "NOT PROVED",
        f"{row['weights_apart']:.1e}" if row["weights_apart"] else "0",
        f"{_ms(step['median'])} ({_ms(step['low'])}–{_ms(step['high'])})" if step else "",
        f"{ratio['median']:.2f}×" if ratio else "withheld",
        f"{_ms(seconds['first_step'])} ms",
        f"{seconds['import']:.1f} s",
        f"{_ms(seconds['transfer'])} ms",
        f"{row['peak_bytes'] / 2**20:,.0f} MB" if row["peak_bytes"] else "?",
        f"{row['code_lines']} lines",
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"
