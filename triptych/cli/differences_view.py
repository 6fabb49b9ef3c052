"""What ``triptych differences`` shows."""

import os
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import counted
from .say import say, say_unbroken

if TYPE_CHECKING:
    from ..doctor.catalogue.entry import Difference, Value
    from ..doctor.catalogue.measurement import Change, Measurement

WIDTH_OF_A_PIPE = 100  # columns, unless COLUMNS is set
WIDTH_FOR_FAMILIES = 120  # columns: a narrower terminal has no place for this column


def shown(value: "Value | None") -> str:
    """Return a value as text: numbers with four digits."""
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(f"{number:.4g}" for number in value) or "none"
    return value if isinstance(value, str) else f"{value:.4g}"


def show_list(console: Console, entries: "list[Difference]") -> None:
    """Print a row for each difference, broken between words."""
    if not (console.is_terminal or os.environ.get("COLUMNS")):
        console = Console(emoji=False, width=WIDTH_OF_A_PIPE)
    with_family = console.width >= WIDTH_FOR_FAMILIES
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("id", no_wrap=True)
    if with_family:
        table.add_column("family")
    for title in ("title", "PyTorch", "Keras"):
        table.add_column(title, overflow="fold")
    for entry in entries:
        first = [entry.id, entry.family] if with_family else [entry.id]
        table.add_row(*map(Text, (*first, entry.title, entry.torch, entry.keras)))
    console.print(table)


def show_difference(
    console: Console, entry: "Difference", measurement: "Measurement", changes: "list[Change]"
) -> None:
    """Print a difference in full, with its measured and its recorded values."""
    from ..doctor.catalogue.measurement import as_text, versions
    from ..doctor.catalogue.registry import RECORDED_WITH

    say(console, f"{entry.id}  {entry.title}", "bold")
    stage = "no single stage" if entry.stage == "none" else f"stage: {entry.stage}"
    say(console, f"{entry.family}; {stage}; {entry.kind}", "dim")
    sentences = {
        "PyTorch": entry.torch,
        "Keras": entry.keras,
        "JAX": entry.jax,
        "effect": entry.effect,
    }
    for label, sentence in sentences.items():
        if sentence:
            say(console, f"{label}: {sentence}")
    for label, fix in (("PyTorch", entry.fix_torch), ("Keras", entry.fix_keras)):
        if fix:
            say_unbroken(console, f"fix in {label}: {fix}", "green")
    say(console, f"source: {entry.source}", "dim")
    console.print()
    if measurement.missing:
        say(console, f"Not measured, because {measurement.missing} is not installed.", "yellow")
    if measurement.error:
        say(console, f"Not measured: {measurement.error}", "red")
    _show_values(console, entry, measurement, {change.name for change in changes})
    say(console, f"measured with {as_text(versions())}", "dim")
    say(console, f"recorded with {as_text(RECORDED_WITH)}", "dim")
    if not entry.portable:
        say(console, "The values depend on the processor.", "dim")
    console.print()


def _show_values(
    console: Console, entry: "Difference", measurement: "Measurement", changed: set[str]
) -> None:
    """Print the values of a difference; those that changed are red."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("measured", justify="right")
    table.add_column("recorded", justify="right")
    for name, recorded in entry.recorded.items():
        cells = (name, shown(measurement.values.get(name)), shown(recorded))
        table.add_row(*map(Text, cells), style="red" if name in changed else "")
    console.print(table)


def show_changes(
    console: Console,
    entries: "list[Difference]",
    measured: "dict[str, Measurement]",
    changes: "dict[str, list[Change]]",
) -> None:
    """Print every value that changed, what could not be measured, and the versions."""
    from ..doctor.catalogue.measurement import as_text, versions
    from ..doctor.catalogue.registry import RECORDED_WITH

    changed = [change for entry in entries for change in changes[entry.id]]
    if changed:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("id", "value", "recorded", "measured"):
            table.add_column(title)
        for change in changed:
            cells = (change.id, change.name, shown(change.recorded), shown(change.measured))
            table.add_row(*map(Text, cells), style="red")
        console.print(table)
    for package in sorted({each.missing for each in measured.values() if each.missing}):
        without = sum(each.missing == package for each in measured.values())
        say(console, f"{without} not measured, because {package} is not installed.", "yellow")
    number = counted(len(entries), "difference")
    outcome = f"{counted(len(changed), 'value')} changed" if changed else "no value changed"
    say(console, f"{number} measured: {outcome}.", "red" if changed else "green")
    say(console, f"measured with {as_text(versions())}")
    say(console, f"recorded with {as_text(RECORDED_WITH)}")
