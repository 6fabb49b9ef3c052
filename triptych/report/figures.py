"""PNG figures of a run, for slides and READMEs; report.html draws its own."""

import io
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from ..core import files
from ..core.colors import style
from ..search_path import load_matplotlib
from ..training.run_folder import read_log, read_results
from .curves import curves

LETTERS_OF_TITLE = 58  # in a line
GREY = "#8b93a7"  # of the runs that were moved by one ulp; that of style.css
BAR = 0.34  # how far below its dots an interval is drawn, in rows
MARGIN = 0.75  # between the outermost rows and the frame, in rows


def write(folder: Path) -> list[Path]:
    """Write loss.png, accuracy.png, difference.png and step-time.png into a run folder.

    Returns
    -------
    list of Path
        The files.
    """
    load_matplotlib()
    from matplotlib.figure import Figure

    run = read_results(folder)["runs"][0]
    rows, dashes = line_styles(run)
    events = (event for event in read_log(folder)[0] if event.get("seed") == run["seed"])
    drawn = curves(events, rows)
    paths: list[Path] = []
    for name, chart in (("loss", "loss"), ("accuracy", "accuracy"), ("difference", "apart")):
        figure = Figure(figsize=(6.4, 3.8))
        draw_lines(figure.subplots(), drawn[chart], dashes)
        paths.append(_save(figure, run["title"], folder / f"{name}.png"))
    figure = Figure(figsize=(6.4, 0.7 * len(drawn["times"]) + 1.6))
    steps = {key: row.get("step") for key, row in run["rows"].items()}
    draw_times(figure.subplots(), drawn["times"], rows, steps)
    paths.append(_save(figure, run["title"], folder / "step-time.png"))
    return paths


def line_styles(run: dict[str, Any]) -> tuple[dict[str, dict[str, str]], dict[str, Any]]:
    """Return how the lines of a run are drawn.

    Parameters
    ----------
    run : dict
        One of ``runs`` in results.json.

    Returns
    -------
    rows : dict of str to dict
        By row: ``name``, ``color`` and ``key``, as `curves` takes them.
    dashes : dict
        By row: the line style of matplotlib.
    """
    styles = {key: style(row["engine"], row["backend"]) for key, row in run["rows"].items()}
    rows = {
        key: {"name": row["label"], "color": styles[key].light, "key": key}
        for key, row in run["rows"].items()
    }
    return rows, {key: each.matplotlib_dash for key, each in styles.items()}


def _save(figure: Any, title: str, path: Path) -> Path:
    """Write a figure of one chart with a title, and return its path."""
    lines = textwrap.fill(title, LETTERS_OF_TITLE)  # matplotlib's own wrap leaves no room for them
    figure.axes[0].set_title(lines, fontsize=10)
    figure.tight_layout()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    files.write(path, content.getvalue())
    return path


def draw_lines(axes: Any, chart: dict[str, Any], dashes: dict[str, Any]) -> None:
    """Draw one of the charts of `curves`.

    Parameters
    ----------
    axes : matplotlib Axes
    chart : dict
        The chart, with a ``key`` in each series of a row.
    dashes : dict
        The line style of each row, by its key.
    """
    solid = [series for series in chart["series"] if not series.get("faint")]
    for series in chart["series"]:
        values = np.array(series["y"], float)
        if chart.get("log"):
            values[values <= 0] = np.nan  # they have no logarithm; the line has a gap there
        if series.get("faint"):
            axes.plot(series["x"], values, label=series["name"], lw=1, color=GREY, ls="--")
            continue
        thicker = min(2.5, 8 / len(solid))  # thick to thin: equal curves are seen to coincide
        width = 1.5 + thicker * (len(solid) - 1 - solid.index(series))
        axes.plot(
            series["x"],
            values,
            label=series["name"],
            lw=width,
            color=series["color"],
            ls=dashes[series["key"]],
        )
    positive = any(np.any(np.array(series["y"], float) > 0) for series in chart["series"])
    if chart.get("log") and positive:
        axes.set_yscale("log")
    elif chart.get("log"):
        axes.text(0.5, 0.5, "no difference", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_yticks([])
    axes.set(xlabel=chart["x"], ylabel=chart["y"])
    axes.grid(alpha=0.3)
    if chart["series"]:
        axes.legend(fontsize=8, handlelength=3)


def draw_times(
    axes: Any, times: dict[str, list[float]], rows: dict[str, dict[str, str]], steps: dict[str, Any]
) -> None:
    """Draw the time of each block as a dot, and below the dots the interval of their median.

    Parameters
    ----------
    axes : matplotlib Axes
    times : dict of str to list of float
        By row: milliseconds of a step, one for each block.
    rows : dict of str to dict
        By row: ``name`` and ``color``.
    steps : dict of str to dict or None
        By row: ``low``, ``median`` and ``high``, in seconds.
    """
    for i, (key, values) in enumerate(times.items()):
        axes.plot(
            values, [i] * len(values), "o", alpha=0.3, color=rows[key]["color"], gid=f"{key}-dots"
        )
        step = steps[key]
        if step:
            median = step["median"] * 1e3
            errors = [[median - step["low"] * 1e3], [step["high"] * 1e3 - median]]
            color = rows[key]["color"]
            axes.errorbar(
                median, i + BAR, xerr=errors, fmt="|", ms=9, mew=2, lw=2.5, capsize=4, color=color
            )
    axes.set_yticks(range(len(times)), [rows[key]["name"] for key in times])
    axes.set_ylim(max(len(times), 1) - 1 + MARGIN, -MARGIN)  # the first row is on top
    axes.set(
        xlim=(0, None),
        xlabel="ms a step: a dot is a block, the bar is the 95 % interval of the median",
    )
    axes.grid(axis="x", alpha=0.3)
