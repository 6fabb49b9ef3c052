"""One page that lists all runs of a folder and links their reports: offline, without a script."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from ..core import files
from ..core.registry import entries as engine_entries
from ..errors import counted
from .inventory import RunEntry
from .page import render_template, style_sheet

# How the words for a status look; others look like plain text.
CLASSES = {"finished": "yes", "not finished": "announced", "stopped": "announced", "damaged": "no"}


def write_overview(path: Path, root: Path, entries: Sequence[RunEntry]) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
        The file; links to reports are relative to its folder.
    root : Path
        The folder of the runs.
    entries : sequence of RunEntry
        What is listed, in this order.
    """
    known = engine_entries()
    rows = [
        {
            "entry": entry,
            "engines": [known[name].label if name in known else name for name in entry.engines],
            "report": _link(entry.report, path),
            "accuracy": _percent(entry.accuracy),
            "interval": entry.interval,
            "seconds": "" if entry.seconds is None else f"{entry.seconds:,.3g} s",
        }
        for entry in entries
    ]
    values = {
        "heading": counted(len(entries), "run"),
        "root": str(root),
        "rows": rows,
        "classes": CLASSES,
        "style": style_sheet(),
    }
    files.write(path, render_template("runs.html", values))


def _link(report: Path | None, page: Path) -> str:
    """Return the address of a report, seen from the page; nothing without a report."""
    if report is None:
        return ""
    relative = os.path.relpath(report.resolve(), page.resolve().parent)
    return quote(relative.replace(os.sep, "/"))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"
