"""A comparison or a verification as HTML for a notebook: the verdict, a table, and charts."""

import io
from collections.abc import Iterable
from html import escape
from importlib.util import find_spec
from typing import Any

from ..core.events import RowCompared
from .curves import curves
from .figures import draw_lines, draw_times, line_styles
from .ratios import footnote, is_marked, ratio
from .units import milliseconds
from .verdict import fastest, headline, is_busy

Row = dict[str, Any]
PROOF_COLUMNS = ("network and optimizer", "row", "steps", "largest difference", "")
COLUMNS = ("", "test accuracy", "largest float64 difference", "ms a step", "NumPy = 1")


def comparison_html(result: Row, events: list[Row], dtype: str) -> str:
    """Return the verdict on one seed, a table with a line for each row, and charts as SVG.

    Parameters
    ----------
    result : dict
        One of ``runs`` in results.json.
    events : list of dict
        The ``block`` and ``evaluation`` events of that seed.
    dtype : str
        Of the recipe.

    Returns
    -------
    str
        HTML; without charts if matplotlib is not installed.
    """
    verdict = headline(result, dtype, "The reasons are below the table.")
    rows = result["rows"].values()
    reasons = [f"{row['label']}: {row['unproved']}" for row in rows if _differs(row)]
    busy = is_busy(result)
    lines = [verdict["big"], *reasons, verdict["small"], fastest(result, busy)]
    if any(is_marked(row, busy) for row in rows):
        lines.append(footnote())
    first, *others = [escape(str(line)) for line in lines if line]
    paragraphs = "".join(f"<p>{line}</p>" for line in others)
    table = _table(COLUMNS, [_line(row, busy) for row in rows])
    charts = _charts(result, events) if events and find_spec("matplotlib") else ""
    return f"<h4>{first}</h4>{table}{paragraphs}{charts}"


def verification_html(headline: str, rows: Iterable[tuple[str, RowCompared]]) -> str:
    """Return the result of a verification, and a table with a line for each proof.

    Parameters
    ----------
    headline : str
        The result in a sentence.
    rows : iterable of (str, RowCompared)
        The names of network and optimizer, and what was found.
    """
    lines: list[str] = []
    for case, proof in rows:
        difference = proof.divergence or proof.block_divergence
        figure = f"{max(proof.largest, proof.block_worst):.0e}"
        cells = [escape(case), escape(proof.row), str(proof.steps), figure]
        cells.append(escape(difference or "equal"))
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"<h4>{escape(headline)}</h4>{_table(PROOF_COLUMNS, lines)}"


def _table(columns: Iterable[str], lines: Iterable[str]) -> str:
    head = "".join(f"<th>{title}</th>" for title in columns)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _differs(row: Row) -> bool:
    """Return whether a row ran and is not proved equal, unless its backend announces that."""
    return bool(row["unproved"]) and not row["failed"] and not row["as_announced"]


def _line(row: Row, busy: bool) -> str:
    """Return one line of the table; the ratio of a busy machine is marked."""
    label = f"<th>{escape(row['label'])}</th>"
    if row["failed"]:
        return f'<tr>{label}<td colspan="4">{escape(row["failed"])}</td></tr>'
    cells = [
        f"{row['accuracy']['value']:.2%}" if row["accuracy"] else "",
        f"{row['float64']['largest']:.0e}" if row["float64"] else "",
        milliseconds(row["step"]["median"]) if row["step"] else "",
        ratio(row, busy) if row["ratio"] else "",
    ]
    return f"<tr>{label}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _charts(result: Row, events: list[Row]) -> str:
    """Return loss, accuracy and step times as SVG."""
    from ..search_path import load_matplotlib

    load_matplotlib()
    from matplotlib.figure import Figure

    lines, dashes = line_styles(result)
    drawn = curves(events, lines)
    figure = Figure(figsize=(12, 3.4))
    loss, accuracy, times = figure.subplots(1, 3)
    draw_lines(loss, drawn["loss"], dashes)
    draw_lines(accuracy, drawn["accuracy"], dashes)
    steps = {key: row.get("step") for key, row in result["rows"].items()}
    draw_times(times, drawn["times"], lines, steps)
    figure.tight_layout()
    content = io.StringIO()
    figure.savefig(content, format="svg")
    svg = content.getvalue()
    return svg[svg.index("<svg") :]
