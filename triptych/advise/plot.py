"""The crossover map: which row is the fastest for which width and batch, as a picture."""

import io
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..core import files
from ..core.colors import style
from ..errors import TriptychError, counted
from ..search_path import load_matplotlib
from ..spec import zoo
from ..spec.network import Network
from ..spec.optimizers import Adam
from .advice import Advisor
from .workload import Case

CELLS = 27  # along each side
WIDTH_INCHES = 11.0  # of the picture
MAP_INCHES = 5.2  # height of the maps and their legend
LINE_INCHES = 0.2  # height of a note below the maps
LINE_CHARACTERS = 160  # of a note
TICKS = [4**power for power in range(8)]
FORMATS = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Panel:
    """One map.

    Attributes
    ----------
    title : str
        Its title.
    y : str
        What the vertical axis counts; the horizontal one is the batch size.
    sizes, batches : list of int
        The values on both axes.
    fastest : list of list of list of str
        By size and batch, the keys of the rows that may be the fastest, the likeliest first.
    """

    title: str
    y: str
    sizes: list[int]
    batches: list[int]
    fastest: list[list[list[str]]]


def panels(advisor: Advisor) -> list[Panel]:
    """Return two maps, of networks with one hidden layer and of networks with one convolution."""
    dense = {width: zoo.dense("map", [width]) for width in _steps(10, 1024)}
    convolutional = {filters: zoo.convolutional([filters], 3) for filters in _steps(4, 64)}
    return [
        _panel(advisor, "One hidden layer", "hidden units", dense, 8192),
        _panel(advisor, "One 3×3 convolution", "filters", convolutional, 512),
    ]


def _panel(
    advisor: Advisor, what: str, y: str, networks: dict[int, Network], last_batch: int
) -> Panel:
    batches = _steps(1, last_batch)
    fastest = [fastest_rows(advisor, network, batches) for network in networks.values()]
    shape = "×".join(map(str, zoo.GREY))
    return Panel(f"{what}, {Adam.name}, images of {shape}", y, list(networks), batches, fastest)


def fastest_rows(advisor: Advisor, network: Network, batches: Iterable[int]) -> list[list[str]]:
    """Return the keys of the rows that may be the fastest with Adam, for each batch size."""
    cases = [Case.of(network, batch, Adam.name) for batch in batches]
    return [advisor.advise(case).fastest for case in cases]


def _steps(first: int, last: int) -> list[int]:
    """Return whole numbers from one to the other, in about equal ratios."""
    return sorted({round(float(number)) for number in np.geomspace(first, last, CELLS)})


def check(path: Path) -> None:
    """Check that a picture can be drawn.

    Raises
    ------
    TriptychError
        If the ending of the file is not that of a picture, or matplotlib is not installed.
    """
    if path.suffix not in FORMATS:
        raise TriptychError(f"{path}: a picture ends in {', '.join(FORMATS)}")
    if not find_spec("matplotlib"):
        raise TriptychError("no picture without matplotlib: pip install 'triptych[report]'")


def draw(advisor: Advisor, path: Path) -> None:
    """Write the map as a picture, in the format of the file's ending."""
    load_matplotlib()
    from matplotlib.figure import Figure

    notes = [
        textwrap.fill(f"Not on the map: {label} ({why}).", LINE_CHARACTERS, break_on_hyphens=False)
        for label, why in advisor.absent().items()
    ]
    height = MAP_INCHES + LINE_INCHES * len(notes)
    figure = Figure((WIDTH_INCHES, height), layout="constrained")
    _draw_maps(figure, advisor)
    figure.supxlabel("\n".join(notes), x=0.01, ha="left", fontsize=9, color="#5a6178")
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:], dpi=130)
    files.write(path, content.getvalue())


def _draw_maps(figure: Any, advisor: Advisor) -> None:
    """Draw both maps, the legend and the title."""
    from matplotlib.patches import Patch

    calibration = advisor.calibration
    rows = [calibration.row(key) for key in advisor.named]
    colors = {spec.key: style(spec.engine, spec.backend).light for spec in rows}
    maps = panels(advisor)
    for axes, panel in zip(figure.subplots(1, len(maps)), maps, strict=True):
        _draw(axes, panel, colors)
    winners = {cell[0] for panel in maps for row in panel.fastest for cell in row}
    handles = [
        Patch(color=colors[spec.key], label=spec.label) for spec in rows if spec.key in winners
    ]
    handles.append(
        Patch(facecolor="#8b93a7", edgecolor="white", hatch="////", label="another may be as fast")
    )
    threads = counted(calibration.threads, "thread")
    figure.legend(
        handles=handles,
        title=f"Who is fastest where: {calibration.processor}, {threads}",
        title_fontsize=12,
        loc="outside upper center",
        ncols=len(handles),
        frameon=False,
    )


def _draw(axes: Any, panel: Panel, colors: dict[str, str]) -> None:
    """Draw one map."""
    from matplotlib.colors import ListedColormap, to_rgba_array

    winners = [to_rgba_array([colors[cell[0]] for cell in row]) for row in panel.fastest]
    decided = [[len(cell) == 1 for cell in row] for row in panel.fastest]
    axes.pcolormesh(panel.batches, panel.sizes, winners)
    axes.pcolor(
        panel.batches,
        panel.sizes,
        np.ma.masked_equal(decided, True),
        cmap=ListedColormap(["none"]),
        hatch="////",
        edgecolor="#ffffff99",
        linewidth=0,
    )
    axes.set(xscale="log", yscale="log", xlabel="batch size", ylabel=panel.y, title=panel.title)
    for axis, values in ((axes.xaxis, panel.batches), (axes.yaxis, panel.sizes)):
        ticks = [tick for tick in TICKS if values[0] <= tick <= values[-1]]
        axis.set_ticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
