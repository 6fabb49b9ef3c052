"""Draw docs/speed.svg: how many times as long as our engines each peer takes.

python -m benchmarks --json speed.json
python tools/speed.py speed.json
"""

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

DOCS = Path(__file__).resolve().parent.parent / "docs"
COLOURS = dict(zip(registry.entries(), ("#4c72b0", "#55a868", "#dd8452", "#8172b3"), strict=False))
ROW_INCHES = 0.3
MARGIN_INCHES = 1.1
ENGINE_OFFSET = 0.18  # rows between two of our engines against the same peer

Ratio = dict[str, Any]  # an entry of the JSON: workload, peer, engine, threads, ratio, low, high


def draw(entries: list[Ratio]) -> str:
    """Return an SVG with a panel for each workload and a row for each peer.

    A dot with its 95 % interval is one of our engines; it is hollow for more than one thread.
    """
    ours = {entry["engine"] for entry in entries}
    panels: dict[str, list[Ratio]] = {}
    for entry in entries:
        if entry["engine"] in COLOURS and entry["peer"] not in ours:
            panels.setdefault(entry["workload"], []).append(entry)
    heights = [
        len({entry["peer"] for entry in panel}) * ROW_INCHES + MARGIN_INCHES
        for panel in panels.values()
    ]
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


def fill(ax: Axes, workload: str, panel: list[Ratio]) -> None:
    """Draw one workload."""
    peers = list(dict.fromkeys(entry["peer"] for entry in panel))
    shown = [name for name in COLOURS if any(entry["engine"] == name for entry in panel)]
    middle = (len(shown) - 1) / 2
    for entry in panel:
        offset = shown.index(entry["engine"]) - middle
        below = entry["ratio"] - entry["low"]
        above = entry["high"] - entry["ratio"]
        colour = COLOURS[entry["engine"]]
        ax.errorbar(
            entry["ratio"],
            peers.index(entry["peer"]) + ENGINE_OFFSET * offset,
            xerr=[[below], [above]],
            fmt="o",
            markersize=4,
            color=colour,
            markerfacecolor=colour if entry["threads"] == 1 else "white",
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


def main() -> None:
    """Read the file of the command line and write the picture."""
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/speed.py FILE, which python -m benchmarks --json FILE wrote")
    path = Path(sys.argv[1])
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        ratios = [entry for entry in entries if "ratio" in entry]
    except (OSError, ValueError, TypeError) as error:
        sys.exit(f"{path}: not a file of python -m benchmarks --json ({error})")
    if not ratios:
        sys.exit(f"{path}: it contains no ratios")
    write(DOCS / "speed.svg", draw(ratios))


if __name__ == "__main__":
    main()
