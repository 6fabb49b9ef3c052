"""Draw how far ahead of each peer we are: ``python docs/speed.py speed.json``, of ``python -m benchmarks --json speed.json``."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from triptych.core import registry
from triptych.core.files import write

COLOURS = dict(zip(registry.entries(), ("#4c72b0", "#55a868", "#dd8452", "#8172b3"), strict=False))
ROW, MARGIN = 0.3, 1.1  # inches
EngineInfo = dict[str, Any]


def draw(entries: list[EngineInfo]) -> str:
    """Return an SVG: for each workload a panel, for each peer a row, for each of our engines a dot with its interval.

    One thread is a filled dot, more are hollow.
    """
    ours = {entry["engine"] for entry in entries}
    panels: dict[str, list[EngineInfo]] = {}
    for entry in entries:
        if entry["engine"] in COLOURS and entry["peer"] not in ours:
            panels.setdefault(entry["workload"], []).append(entry)
    heights = [len({entry["peer"] for entry in panel}) * ROW + MARGIN for panel in panels.values()]
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "triptych", "font.size": 9}
    figure, axes = pyplot.subplots(
        len(panels),
        figsize=(8, sum(heights)),
        squeeze=False,
        layout="constrained",
        gridspec_kw={"height_ratios": heights},
    )
    for ax, (workload, panel) in zip(axes[:, 0], panels.items(), strict=True):
        fill(ax, workload, panel)
    axes[-1, 0].set_xlabel("the peer's time over ours; right of the line we are faster")
    content = io.StringIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def fill(ax: Axes, workload: str, panel: list[EngineInfo]) -> None:
    """Draw one workload."""
    peers = list(dict.fromkeys(entry["peer"] for entry in panel))
    shown = [name for name in COLOURS if any(entry["engine"] == name for entry in panel)]
    for entry in panel:
        at = peers.index(entry["peer"]) + 0.18 * (
            shown.index(entry["engine"]) - (len(shown) - 1) / 2
        )
        around = [[entry["ratio"] - entry["low"]], [entry["high"] - entry["ratio"]]]
        colour, inside = (
            COLOURS[entry["engine"]],
            COLOURS[entry["engine"]] if entry["threads"] == 1 else "white",
        )
        ax.errorbar(
            entry["ratio"],
            at,
            xerr=around,
            fmt="o",
            markersize=4,
            color=colour,
            markerfacecolor=inside,
            linewidth=1,
        )
    for name in shown:
        ax.plot([], [], "o", color=COLOURS[name], markersize=4, label=registry.entry(name).label)
    ax.axvline(1, color="grey", linewidth=0.8)
    ax.set(title=workload, xscale="log", yticks=range(len(peers)), yticklabels=peers)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
    ax.invert_yaxis()
    ax.grid(axis="x", linewidth=0.3)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/speed.py FILE, which python -m benchmarks --json FILE wrote")
    try:
        ratios = [entry for entry in json.loads(Path(sys.argv[1]).read_text()) if "ratio" in entry]
    except (OSError, ValueError, TypeError) as error:
        sys.exit(f"{sys.argv[1]}: not such a file ({error})")
    if not ratios:
        sys.exit(f"{sys.argv[1]}: no ratios in it")
    write(Path(__file__).with_name("speed.svg"), draw(ratios))
