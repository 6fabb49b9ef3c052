"""PNG figures of a run, for slides and READMEs; report.html draws its own."""

import io
from pathlib import Path
from typing import Any

from .. import files
from ..runs import read_log, read_results
from .curves import curves

COLORS = ("#1f77c9", "#e0472b", "#b98300", "#2a9d63", "#8e5bd0", "#d0529b", "#4f6f8f", "#0f8a94", "#6b7d00")  # those of style.css


def write(folder: Path) -> list[Path]:
    """Write loss.png, accuracy.png, difference.png and step-time.png into a run folder and return their paths."""
    from matplotlib.figure import Figure

    run = read_results(folder)["runs"][0]
    colors = {key: COLORS[i % len(COLORS)] for i, key in enumerate(run["rows"])}
    labels = {key: row["label"] for key, row in run["rows"].items()}
    drawn = curves((e for e in read_log(folder)[0] if e.get("seed") == run["seed"]), labels, colors)
    paths: list[Path] = []

    def save(figure: Any, name: str) -> None:
        figure.tight_layout()
        paths.append(folder / f"{name}.png")
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=130)
        files.write(paths[-1], content.getvalue())

    for name, key in (("loss", "loss"), ("accuracy", "accuracy"), ("difference", "apart")):
        spec = drawn[key]
        figure = Figure(figsize=(6.4, 3.8))
        axes = figure.subplots()
        solid = [s for s in spec["series"] if not s.get("faint")]
        for series in spec["series"]:
            faint = series.get("faint", False)
            width = 1 if faint else 1.5 + 2.5 * (len(solid) - 1 - solid.index(series))  # thick to thin: equal curves are seen to coincide
            axes.plot(
                series["x"],
                series["y"],
                label=series["name"],
                lw=width,
                color="#8b93a7" if faint else series["color"],
                ls="--" if faint else "-",
            )
        if spec.get("log"):
            axes.set_yscale("log")
        axes.set(xlabel=spec["x"], ylabel=spec["y"], title=run["title"])
        axes.grid(alpha=0.3)
        axes.legend()
        save(figure, name)
    figure = Figure(figsize=(6.4, 0.7 * len(drawn["times"]) + 1.4))
    axes = figure.subplots()
    for i, (key, times) in enumerate(drawn["times"].items()):
        axes.plot(times, [i] * len(times), "o", alpha=0.3, color=colors[key])
        if step := run["rows"][key].get("step"):
            axes.plot([step["low"] * 1e3, step["high"] * 1e3], [i, i], lw=6, color=colors[key], solid_capstyle="round")
    axes.set_yticks(range(len(drawn["times"])), [labels[key] for key in drawn["times"]])
    axes.invert_yaxis()
    axes.set(xlim=(0, None), xlabel="ms a step: blocks, and the 95 % interval of their median", title=run["title"])
    axes.grid(axis="x", alpha=0.3)
    save(figure, "step-time")
    return paths
