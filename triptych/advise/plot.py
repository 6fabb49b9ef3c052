"""The crossover map: which row is the fastest for which width and batch, as a picture."""

import io
import textwrap
from collections.abc import Callable
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
from ..spec.recipe import Recipe
from .advice import Advisor
from .workload import arithmetic

CELLS = 27  # along each side
WIDTH_INCHES = 11.0  # of the picture
MAP_INCHES = 5.2  # height of the maps and their legend
LINE_INCHES = 0.2  # height of a line below the maps
LINE_CHARACTERS = 160
TICKS = [4**power for power in range(8)]
FORMATS = (".png", ".svg", ".pdf")

Ends = tuple[int, int]


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

    def dense(width: int) -> Network:
        return zoo.dense("map", [width])

    def convolution(filters: int) -> Network:
        return zoo.convolutional([filters], 3)

    return [
        _panel(advisor, dense, ("One hidden layer", "hidden units"), (10, 1024), (1, 8192)),
        _panel(advisor, convolution, ("One 3×3 convolution", "filters"), (4, 64), (1, 512)),
    ]


def _panel(
    advisor: Advisor,
    build: Callable[[int], Network],
    names: tuple[str, str],
    size_ends: Ends,
    batch_ends: Ends,
) -> Panel:
    sizes = _steps(size_ends)
    batches = _steps(batch_ends)
    optimizer = Adam()
    fastest: list[list[list[str]]] = []
    for network in map(build, sizes):
        of_network: list[list[str]] = []
        for batch in batches:
            step = arithmetic(network, Recipe(1, batch, optimizer, random="free"), batch)
            of_network.append(advisor.advise(step).fastest)
        fastest.append(of_network)
    shape = "×".join(map(str, zoo.GREY))
    title = f"{names[0]}, {optimizer.name}, images of {shape}"
    return Panel(title, names[1], sizes, batches, fastest)


def _steps(ends: Ends) -> list[int]:
    """Return whole numbers from one end to the other, in about equal ratios."""
    return sorted({round(float(number)) for number in np.geomspace(*ends, CELLS)})


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
    """Write the map as a picture, in the format of the file's ending.

    Raises
    ------
    TriptychError
        As `check`.
    """
    check(path)
    load_matplotlib()
    from matplotlib.figure import Figure

    lines = [
        textwrap.fill(f"Not on the map: {label} ({why}).", LINE_CHARACTERS, break_on_hyphens=False)
        for label, why in advisor.absent().items()
    ]
    notes = "\n".join(lines)
    notes_inches = LINE_INCHES * len(notes.splitlines())
    whole = Figure(figsize=(WIDTH_INCHES, MAP_INCHES + notes_inches), layout="constrained")
    figure: Any = whole
    if notes:
        parts: Any = whole.subfigures(2, 1, height_ratios=(MAP_INCHES, notes_inches))
        figure, below = parts
        below.text(0.01, 0.95, notes, fontsize=9, va="top", color="#5a6178")
    _draw_maps(figure, advisor)
    content = io.BytesIO()
    whole.savefig(content, format=path.suffix[1:], dpi=130)
    files.write(path, content.getvalue())


def _draw_maps(figure: Any, advisor: Advisor) -> None:
    """Draw both maps, the legend and the title."""
    from matplotlib.patches import Patch

    calibration = advisor.calibration
    colors = {
        spec.key: style(spec.engine, spec.backend).light
        for spec in calibration.rows
        if spec.key in advisor.named
    }
    maps = panels(advisor)
    for axes, panel in zip(figure.subplots(1, len(maps)), maps, strict=True):
        _draw(axes, panel, colors)
    winners = {cell[0] for panel in maps for row in panel.fastest for cell in row}
    handles = [
        Patch(color=color, label=calibration.label(key))
        for key, color in colors.items()
        if key in winners
    ]
    handles.append(
        Patch(facecolor="#8b93a7", edgecolor="white", hatch="////", label="another may be as fast")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    threads = counted(calibration.threads, "thread")
    figure.suptitle(f"Who is fastest where: {calibration.processor}, {threads}", fontsize=12)


def _draw(axes: Any, panel: Panel, colors: dict[str, str]) -> None:
    """Draw one map."""
    from matplotlib.colors import ListedColormap

    keys = list(colors)
    winners = np.array([[keys.index(cell[0]) for cell in row] for row in panel.fastest])
    undecided = np.array([[len(cell) > 1 for cell in row] for row in panel.fastest])
    axes.pcolormesh(
        panel.batches,
        panel.sizes,
        winners,
        cmap=ListedColormap(list(colors.values())),
        vmin=-0.5,
        vmax=len(keys) - 0.5,
    )
    axes.pcolor(
        panel.batches,
        panel.sizes,
        np.ma.masked_where(~undecided, undecided),
        cmap=ListedColormap([(1.0, 1.0, 1.0, 0.0)]),
        hatch="////",
        edgecolor="#ffffff99",
        linewidth=0,
    )
    axes.set(xscale="log", yscale="log", xlabel="batch size", ylabel=panel.y, title=panel.title)
    for axis, values in ((axes.xaxis, panel.batches), (axes.yaxis, panel.sizes)):
        ticks = [tick for tick in TICKS if values[0] <= tick <= values[-1]]
        axis.set_ticks(ticks, [f"{tick:,}" for tick in ticks])
        axis.set_ticks([], minor=True)
