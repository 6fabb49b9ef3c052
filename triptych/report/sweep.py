"""report.html of a sweep: accuracy and its spread, time against accuracy; from the folder alone."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core import files
from ..core.colors import style
from ..core.metrics import interval_text
from ..errors import counted
from ..scale.sweep.folder import PAGE, read_table
from ..scale.sweep.summary import Configuration, cell_name, configurations, front
from .page import json_in_page, render_template, style_and_script

Json = dict[str, Any]

PACKAGES = ("jinja2", "markupsafe")
INSTALL = "No page: pip install 'triptych[report]', then the same command again"
MOST_DRAWN = 60  # configurations in a chart; the table has all
NAMED = ("network", "recipe")  # what a configuration is called after, besides its engine


def illustrate(folder: Path) -> str | None:
    """Write report.html into the folder of a sweep, from its cells.parquet.

    Parameters
    ----------
    folder : Path
        The folder of the sweep.

    Returns
    -------
    str or None
        What to install, if a package is missing; then nothing is written.

    Raises
    ------
    TriptychError
        If the folder has no cells.parquet, or it is damaged.
    """
    if not all(map(find_spec, PACKAGES)):
        return INSTALL
    cells, about = read_table(folder)
    files.write(folder / PAGE, page(cells, about))
    return None


def page(cells: Sequence[Json], about: Json) -> str:
    """Return the page of some cells that have ended.

    Parameters
    ----------
    cells : sequence of dict
        Rows of cells.parquet.
    about : dict
        The metadata of the table: ``cells``, ``grid`` and ``version``.
    """
    found = configurations(cells)
    seeds = sorted({cell["seed"] for cell in cells})
    charts: Json = {}
    sections: list[Json] = []
    for number, data in enumerate(dict.fromkeys(each.data for each in found)):
        chosen = [each for each in found if each.data == data]
        sections.append(_section(chosen, data, number, charts))
    failed = [cell for cell in cells if cell["status"] != "finished"]
    values = {
        "title": about["grid"]["name"],
        "summary": _summary(cells, about["cells"]),
        "missing": about["cells"] - len(cells),
        "failed": [{"name": cell_name(cell), "error": cell["error"]} for cell in failed],
        "seeds": seeds,
        "sections": sections,
        "several": len(sections) > 1,
        "any_timed": any(each.timed for each in found),
        "busy": sum(each.busy for each in found),
        "nodes": _nodes(cells),
        "version": about["version"],
        "created": max((cell["created"] or "" for cell in cells), default=""),
        "data": json_in_page(charts),
    }
    return render_template("sweep.html", values | style_and_script())


def _section(chosen: list[Configuration], data: str, number: int, charts: Json) -> Json:
    """Return what the template shows of a data set; its charts are added to `charts`."""
    names = _names(chosen)
    best = front(chosen)
    finished = [each for each in chosen if each.mean is not None]
    drawn = sorted(finished, key=lambda each: each.mean or 0.0, reverse=True)[:MOST_DRAWN]
    accuracy = f"accuracy-{number}"
    charts[accuracy] = {
        "x": "test accuracy, %",
        "fit": True,
        "rows": [_spread(each, names[id(each)]) for each in finished if each in drawn],
    }
    timed = [each for each in finished if each.seconds is not None]
    time = f"time-{number}"
    charts[time] = {
        "x": "seconds of training",
        "y": "test accuracy, %",
        "points": [_point(each, names[id(each)], each in best) for each in timed],
        "legend": _legend(timed),
    }
    return {
        "data": data,
        "accuracy": accuracy if drawn else None,
        "left_out": len(finished) - len(drawn),
        "time": time if timed else None,
        "fixed": _fixed(chosen),
        "rows": [_row(each, names[id(each)], each in best) for each in chosen],
    }


def _names(chosen: list[Configuration]) -> dict[int, str]:
    """Return what each configuration is called: the engine, and what is not the same in all."""
    varying = [name for name in NAMED if len({getattr(each, name) for each in chosen}) > 1]
    return {
        id(each): " · ".join([each.label, *(getattr(each, name) for name in varying)])
        for each in chosen
    }


def _fixed(chosen: list[Configuration]) -> str:
    """Return what is the same in all configurations, which their names leave out."""
    same = {name: {getattr(each, name) for each in chosen} for name in NAMED}
    return ", ".join(
        f"{name} {next(iter(values))}" for name, values in same.items() if len(values) == 1
    )


def _spread(each: Configuration, name: str) -> Json:
    """Return a row of the chart of accuracies, in percent."""
    assert each.mean is not None
    mean = 100 * each.mean
    return {
        "name": name,
        "color": style(each.engine, each.backend).css,
        "values": [100 * value for value in each.accuracy.values()],
        "low": mean if each.low is None else 100 * each.low,
        "median": mean,
        "high": mean if each.high is None else 100 * each.high,
        "text": _accuracy_text(each),
    }


def _point(each: Configuration, name: str, best: bool) -> Json:
    """Return a point of the chart of time and accuracy."""
    assert each.mean is not None
    assert each.seconds is not None
    return {
        "color": style(each.engine, each.backend).css,
        "x": each.seconds,
        "y": 100 * each.mean,
        "low": None if each.low is None else 100 * each.low,
        "high": None if each.high is None else 100 * each.high,
        "best": best,
        "text": f"{name}\n{_accuracy_text(each)}\n{each.seconds:.3g} s",
    }


def _legend(timed: Sequence[Configuration]) -> list[Json]:
    """Return the colour of each engine in a chart."""
    colors = {each.label: style(each.engine, each.backend).css for each in timed}
    return [{"name": name, "color": color} for name, color in colors.items()]


def _accuracy_text(each: Configuration) -> str:
    """Return the mean accuracy with its interval: ``96.41 % (95.80–97.02)``."""
    if each.mean is None:
        return ""
    text = f"{100 * each.mean:.2f} %"
    return f"{text} ({each.interval})" if each.interval else text


def _row(each: Configuration, name: str, best: bool) -> Json:
    """Return a row of the table."""
    spread = ""
    if len(each.accuracy) > 1:
        spread = interval_text(min(each.accuracy.values()), max(each.accuracy.values()))
    return {
        "name": name,
        "color": style(each.engine, each.backend).css,
        "parameters": each.parameters,
        "mean": each.mean,
        "interval": each.interval,
        "spread": spread,
        "accuracy": each.accuracy,
        "failed": each.failed,
        "seconds": each.seconds,
        "step": each.step_seconds,
        "first": each.first_step_seconds,
        "timed": each.timed,
        "busy": each.busy,
        "best": best,
    }


def _summary(cells: Sequence[Json], planned: int) -> str:
    """Return how much of the grid is done."""
    finished = sum(cell["status"] == "finished" for cell in cells)
    failed = len(cells) - finished
    text = f"{finished:,} of {counted(planned, 'cell')} finished"
    return f"{text}, {failed:,} failed" if failed else text


def _nodes(cells: Sequence[Json]) -> list[str]:
    """Return the machines on which the cells ran."""
    return sorted({cell["node"] for cell in cells if cell["node"]})
