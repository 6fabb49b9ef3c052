"""report.html: one file, offline, from a run folder alone."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from ..core import files
from ..core.colors import Style, style
from ..core.events import PROBE_ROWS
from ..data.published import DIGITS
from ..spec.layers import ReLU
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..training import misclassified
from ..training.run_folder import read_log, read_results
from . import slots
from .answers import answers
from .class_names import brief_names
from .curves import curves, steps_of_point
from .images import confusions, first_layer, mistakes
from .ratios import footnote, is_marked, ratio, ratio_over_seeds
from .units import milliseconds, scientific
from .verdict import Row, fastest, heading, headline, is_busy, speed

ASSETS = Path(__file__).parent / "assets"
MOST_CARDS = 5  # in a line of the widest page

Lines = dict[str, dict[str, str]]  # by row: name, color and dash of its lines


def write(folder: Path) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    Raises
    ------
    TriptychError
        The folder holds no finished run.
    """
    results = read_results(folder)
    run = results["runs"][0]
    styles = {key: style(row["engine"], row["backend"]) for key, row in run["rows"].items()}
    rows = _rows(run, styles)
    lines = {
        key: {"name": row["label"], "color": styles[key].css, "dash": styles[key].dash}
        for key, row in run["rows"].items()
    }
    events = (event for event in read_log(folder)[0] if event.get("seed") == run["seed"])
    drawn = curves(events, lines)
    matrices = confusions(rows, _classes(run))
    values = (
        {"results": results, "run": run, "rows": rows}
        | _words(results, rows)
        | _unreliable(results, rows)
        | _proof(results, rows)
        | _weight_differences(results, drawn, lines)
        | _images(folder, results, rows, matrices)
        | style_and_script()
        | {"data": _chart_data(run, drawn, lines, matrices)}
    )
    files.write(folder / "report.html", render_template("report.html", values))
    return folder / "report.html"


def render_template(name: str, values: dict[str, Any]) -> str:
    """Return a page: a template with values filled in, of which a missing one is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"ms": milliseconds, "sci": scientific}
    return environment.get_template(name).render(values)


def style_sheet() -> Any:
    """Return the style of all pages, as text that a template does not escape."""
    return _safe(_asset("style.css"))


def style_and_script() -> dict[str, Any]:
    """Return what a page with charts needs: ``style``, ``script``, and the ``script_hash``.

    A browser runs no other script on the page than the one with this SHA-256.
    """
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"style": style_sheet(), "script": _safe(script), "script_hash": digest}


def json_in_page(data: Any) -> Any:
    """Return JSON that can be inside a script element of a page, and is not escaped again."""
    return _safe(files.to_json(data).replace("<", "\\u003c"))


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _script() -> str:
    """Return the script of the page: the charts, which are a module, and what draws them."""
    charts = _asset("charts.js").replace("export function", "function")
    return f"\n{charts}\n{_asset('page.js')}"


def _safe(text: str) -> Any:
    """Return text that the template does not escape."""
    from markupsafe import Markup

    return Markup(text)


def _classes(run: dict[str, Any]) -> list[str]:
    return run["data"].get("class_names", DIGITS)


def _sample_word(run: dict[str, Any]) -> str:
    return "image" if misclassified.are_pictures(run["data"]["image"]) else "sample"


def _rows(run: dict[str, Any], styles: dict[str, Style]) -> list[Row]:
    """Return the rows of a run with what is shown of them.

    These are ``key``, ``color``, ``shown_ratio``, and a sentence on its ``speed``.
    """
    reference = next(iter(run["rows"].values()))
    busy = is_busy(run)
    rows: list[Row] = []
    for key, row in run["rows"].items():
        sentence = "" if busy else speed(row, reference)
        shown = {"key": key, "color": styles[key].css, "shown_ratio": ratio(row, busy)}
        rows.append(row | shown | {"speed": sentence})
    return rows


def _unreliable(results: dict[str, Any], rows: list[Row]) -> dict[str, Any]:
    """Return what is below the tables with ratios of a busy machine, and the ratios over seeds."""
    runs = results["runs"]
    busy = sum(map(is_busy, runs))
    marked = any(is_marked(row, is_busy(runs[0])) for row in rows)
    spread = (results["spread"] or {}).items()
    return {
        "unreliable": footnote() if marked else "",
        "ratios_over_seeds": {key: ratio_over_seeds(row, busy > 0) for key, row in spread},
        "unreliable_over_seeds": footnote(busy, len(runs)) if busy else "",
    }


def _words(results: dict[str, Any], rows: list[Row]) -> dict[str, Any]:
    """Return the sentences of the page."""
    run = results["runs"][0]
    dtype = Recipe.from_json(results["recipe"]).dtype
    has_hidden_layer = len(Network.from_json(results["network"]).parameters) > 2
    return {
        "dtype": dtype,
        "many": sum(not row["failed"] for row in rows) > 1,
        "samples": _sample_word(run),
        "heading": heading(rows),
        "headline": headline(run, dtype),
        "fastest": fastest(run, is_busy(run)),
        "loss_note": _loss_note(run["steps"]),
        "looks_for": f"what a {'hidden unit' if has_hidden_layer else 'class'} looks for",
        "answers": answers(results),
        "columns": _columns_of_cards(len(rows)),
    }


def _columns_of_cards(count: int) -> int:
    """Return how many cards a line has, so that the lines have as equally many as possible."""
    lines = -(-count // MOST_CARDS)
    return -(-count // lines)


def _loss_note(steps: int) -> str:
    count = steps_of_point(steps)
    if count > 1:
        return f"Each point is the mean of {count} steps."
    return "Each point is a step."


def _proof(results: dict[str, Any], rows: list[Row]) -> dict[str, Any]:
    """Return the kinds of arrays compared, and add to each row its optimizer's largest figure."""
    slot_meanings = slots.described(Recipe.from_json(results["recipe"]).optimizer)
    kinds = _kinds(rows, slot_meanings)
    for row in rows:
        row["state"] = None
        if row["float64"]:
            worst = row["float64"]["worst"]
            row["state"] = _largest([worst.get(kind, 0) for kind in kinds["own"]])
    return {"kinds": kinds, "slots": slot_meanings}


def _kinds(rows: list[Row], slot_meanings: dict[str, str]) -> dict[str, list[str]]:
    """Return the kinds of arrays that were compared in float64.

    Returns
    -------
    dict of str to list of str
        ``shared`` by all optimizers, in the order of computation; and the optimizer's ``own``.
    """
    compared: dict[str, None] = {}
    for row in rows:
        if row["float64"]:
            compared |= dict.fromkeys(row["float64"]["worst"])
    shared = [kind for kind in compared if kind not in slot_meanings]
    own_kinds = [kind for kind in compared if kind in slot_meanings]
    return {"shared": sorted(shared, key=_order), "own": own_kinds}


def _order(kind: str) -> int:
    """Return the place of a kind in the order of computation."""
    order = ("outputs", "loss", "gradients", "weights", "buffers")
    return order.index(kind) if kind in order else len(order)


def _largest(figures: list[float | None]) -> float | None:
    """Return the largest figure; None, which is what is not finite in JSON, is larger than all."""
    finite = [figure for figure in figures if figure is not None]
    return max(finite, default=0.0) if len(finite) == len(figures) else None


def _weight_differences(
    results: dict[str, Any], drawn: dict[str, Any], lines: Lines
) -> dict[str, Any]:
    """Return what the template says below the chart of weight differences."""
    series = drawn["apart"]["series"]
    perturbed = [each for each in series if each.get("faint")]
    return {
        "apart": len(perturbed) < len(series),
        "ulps": bool(perturbed),
        "flips": _flips(results, drawn["flips"], lines),
    }


def _flips(
    results: dict[str, Any], flips: dict[str, Any] | None, lines: Lines
) -> dict[str, Any] | None:
    """Return how many outputs of ReLU layers are on in one row and off in the reference.

    Returns
    -------
    dict, optional
        ``of``, how many outputs were compared; ``text``, the counts by row; ``ulps``, the counts of
        the perturbed runs. None where there are none.
    """
    network = Network.from_json(results["network"])
    samples = min(PROBE_ROWS, results["runs"][0]["data"]["train"])
    outputs = sum(
        int(np.prod(place.output_shape))
        for place in network.places
        if isinstance(place.layer, ReLU)
    )
    if not flips or not flips["rows"] or not samples * outputs:
        return None
    counts = [f"{count:,} in {lines[key]['name']}" for key, count in flips["rows"].items()]
    perturbed = ", ".join(f"{count:,}" for count in flips["twins"])
    return {"of": samples * outputs, "text": ", ".join(counts), "ulps": perturbed}


def _images(
    folder: Path,
    results: dict[str, Any],
    rows: list[Row],
    matrices: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return confusion matrices, misclassified images and pictures of weights."""
    run = results["runs"][0]
    prefix = f"seed-{run['seed']}/" if len(results["runs"]) > 1 else ""
    classes = _classes(run)
    are_pictures = misclassified.are_pictures(run["data"]["image"])
    return {
        "classes": classes,
        "confusions": matrices,
        "mistakes": mistakes(folder / f"{prefix}{misclassified.FILE}", run["rows"], classes),
        "units": first_layer(folder, prefix, rows) if are_pictures else [],
    }


def _chart_data(
    run: dict[str, Any],
    drawn: dict[str, Any],
    lines: Lines,
    matrices: list[dict[str, Any]],
) -> Any:
    """Return what the charts draw, as JSON inside a page."""
    charts = {name: drawn[name] for name in ("loss", "accuracy", "apart")}
    intervals = [
        _interval(run["rows"][key], lines[key], times)
        for key, times in drawn["times"].items()
        if run["rows"][key].get("step")
    ]
    confusion = [
        {
            "classes": _classes(run),
            "labels": brief_names(_classes(run)),
            "samples": _sample_word(run),
            "counts": matrix["counts"],
            "changed": matrix["changed"],
        }
        for matrix in matrices
    ]
    data = charts | {"step": {"x": "ms a step", "rows": intervals}, "confusion": confusion}
    return json_in_page(data)


def _interval(row: Row, line: dict[str, str], times: list[float]) -> dict[str, Any]:
    """Return one row of the chart of step times, in milliseconds.

    Parameters
    ----------
    row : dict
    line : dict
        The name and the colour of the row.
    times : list of float
        Milliseconds of a step, one for each block.
    """
    figures = {name: row["step"][name] * 1e3 for name in ("low", "median", "high")}
    values = [float(f"{time:.4g}") for time in times]
    return {"name": line["name"], "color": line["color"], "values": values} | figures
