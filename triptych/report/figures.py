"""PNG figures of a run, for slides and READMEs; report.html draws its own."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from ..core import files
from ..core.colors import style
from ..process.search_path import load_matplotlib
from ..training.run_folder import read_log, read_results
from .curves import curves

GREY = "#8b93a7"  # of the runs that were moved by one ulp; that of style.css
BAR = 0.34  # how far below its dots an interval is drawn, in rows
MARGIN = 0.75  # between the outermost rows and the frame, in rows


def write(folder: Path) -> list[Path]:
    """Write loss.png, accuracy.png, difference.png and step-time.png into a run folder and return their paths."""
    load_matplotlib()
    from matplotlib.figure import Figure

    run = read_results(folder)["runs"][0]
    styles = {key: style(row["engine"], row["backend"]) for key, row in run["rows"].items()}
    rows = {
        key: {"name": row["label"], "color": styles[key].light, "key": key}
        for key, row in run["rows"].items()
    }
    drawn = curves((e for e in read_log(folder)[0] if e.get("seed") == run["seed"]), rows)
    paths: list[Path] = []

    def save(figure: Any, name: str) -> None:
        figure.tight_layout()
        paths.append(folder / f"{name}.png")
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=130)
        files.write(paths[-1], content.getvalue())

    for name, key in (("loss", "loss"), ("accuracy", "accuracy"), ("difference", "apart")):
        figure = Figure(figsize=(6.4, 3.8))
        axes = figure.subplots()
        draw_lines(axes, drawn[key], {key: each.matplotlib_dash for key, each in styles.items()})
        axes.set_title(run["title"], wrap=True, fontsize=10)
        save(figure, name)
    figure = Figure(figsize=(6.4, 0.7 * len(drawn["times"]) + 1.6))
    axes = figure.subplots()
    draw_times(
        axes, drawn["times"], rows, {key: row.get("step") for key, row in run["rows"].items()}
    )
    axes.set_title(run["title"], wrap=True, fontsize=10)
    save(figure, "step-time")
    return paths


def draw_lines(axes: Any, spec: dict[str, Any], dashes: dict[str, Any]) -> None:
    """Draw one of the charts of `curves`.

    Parameters
    ----------
    axes : matplotlib Axes
    spec : dict
        The chart, with a ``key`` in each series of a row.
    dashes : dict
        The line style of each row, by its key.
    """
    solid = [series for series in spec["series"] if not series.get("faint")]
    for series in spec["series"]:
        values = np.array(series["y"], float)
        if spec.get("log"):
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
    positive = any(np.any(np.array(series["y"], float) > 0) for series in spec["series"])
    if spec.get("log") and positive:
        axes.set_yscale("log")
    elif spec.get("log"):
        axes.text(0.5, 0.5, "no difference", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_yticks([])
    axes.set(xlabel=spec["x"], ylabel=spec["y"])
    axes.grid(alpha=0.3)
    if spec["series"]:
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
        if step := steps[key]:
            low, median, high = (step[name] * 1e3 for name in ("low", "median", "high"))
            errors = [[median - low], [high - median]]
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
