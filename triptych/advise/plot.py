"""The crossover map: who is fastest where, as plain data, and as a picture."""

import io
import textwrap
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..core import files
from ..core.colors import style
from ..errors import TriptychError, counted
from ..process.search_path import load_matplotlib
from ..spec import zoo
from ..spec.network import Network
from ..spec.optimizers import Adam, Optimizer
from ..spec.placement import Shape
from ..spec.recipe import Recipe
from .advice import Advisor
from .sampling import convolutional
from .workload import arithmetic

CELLS = 27  # along each side
WIDTH = 11.0  # of the picture, in inches
HEIGHT = 5.2  # of the maps and their legend, in inches
LINE = 160  # characters of a line below the maps
LINE_HEIGHT = 0.2  # of such a line, in inches
TICKS = [4**power for power in range(8)]
FORMATS = (".png", ".svg", ".pdf")

Panel = dict[str, Any]
Ends = tuple[int, int]


def panels(advisor: Advisor, shape: Shape, optimizer: Optimizer) -> list[Panel]:
    """Return two maps as JSON: ``fastest`` and ``seconds`` by row, one for each of ``ys``, and cell, one for each of ``xs``.

    Parameters
    ----------
    advisor : Advisor
    shape : tuple of int
        Of one image.
    optimizer : Optimizer
    """

    def dense(width: int) -> Network:
        return zoo.dense("map", [width], shape=shape)

    def convolution(filters: int) -> Network:
        return convolutional([filters], 3, shape=shape)

    of = f"{optimizer.name}, images of {'×'.join(map(str, shape))}"
    return [
        _panel(advisor, optimizer, dense, (10, 1024), (1, 8192))
        | {"title": f"One hidden layer, {of}", "y": "hidden units"},
        _panel(advisor, optimizer, convolution, (4, 64), (1, 512))
        | {"title": f"One 3×3 convolution, {of}", "y": "filters"},
    ]


def _panel(
    advisor: Advisor, optimizer: Optimizer, build: Callable[[int], Network], ys: Ends, xs: Ends
) -> Panel:
    sizes, batches = (
        sorted({round(float(n)) for n in np.geomspace(*ends, CELLS)}) for ends in (ys, xs)
    )
    found = [
        [
            advisor.advise(arithmetic(network, Recipe(1, batch, optimizer, random="free"), batch))
            for batch in batches
        ]
        for network in map(build, sizes)
    ]
    fastest = [[advice.fastest for advice in row] for row in found]
    seconds = [
        [{e.key: float(f"{e.seconds:.3g}") for e in advice.estimates} for advice in row]
        for row in found
    ]
    return {"x": "batch size", "xs": batches, "ys": sizes, "fastest": fastest, "seconds": seconds}


def check(path: Path) -> None:
    """Raise `TriptychError` where no picture can be drawn: the file's ending is none of one, or matplotlib is missing."""
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
    from matplotlib.patches import Patch

    drawn = panels(advisor, zoo.GREY, Adam())
    colors = {
        spec.key: style(spec.engine, spec.backend).light
        for spec in advisor.calibration.rows
        if spec.key in advisor.named
    }
    absent = "\n".join(
        textwrap.fill(f"Not on the map: {label} ({why}).", LINE, break_on_hyphens=False)
        for label, why in advisor.absent().items()
    )
    whole = Figure(
        figsize=(WIDTH, HEIGHT + LINE_HEIGHT * len(absent.splitlines())), layout="constrained"
    )
    figure: Any = whole
    if absent:
        parts: Any = whole.subfigures(
            2, 1, height_ratios=(HEIGHT, LINE_HEIGHT * len(absent.splitlines()))
        )
        figure, below = parts
        below.text(0.01, 0.95, absent, fontsize=9, va="top", color="#5a6178")
    for axes, panel in zip(figure.subplots(1, 2), drawn, strict=True):
        _draw(axes, panel, colors)
    seen = {cell[0] for panel in drawn for row in panel["fastest"] for cell in row}
    handles = [
        Patch(color=color, label=advisor.calibration.label(key))
        for key, color in colors.items()
        if key in seen
    ]
    handles.append(
        Patch(facecolor="#8b93a7", edgecolor="white", hatch="////", label="another may be as fast")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    found = advisor.calibration
    figure.suptitle(
        f"Who is fastest where: {found.processor}, {counted(found.threads, 'thread')}", fontsize=12
    )
    content = io.BytesIO()
    whole.savefig(content, format=path.suffix[1:], dpi=130)
    files.write(path, content.getvalue())


def _draw(axes: Any, panel: Panel, colors: dict[str, str]) -> None:
    from matplotlib.colors import ListedColormap

    order = list(colors)
    winners = np.array([[order.index(cell[0]) for cell in row] for row in panel["fastest"]])
    undecided = np.array([[len(cell) > 1 for cell in row] for row in panel["fastest"]])
    axes.pcolormesh(
        panel["xs"],
        panel["ys"],
        winners,
        cmap=ListedColormap(list(colors.values())),
        vmin=-0.5,
        vmax=len(order) - 0.5,
    )
    hatched, clear = (
        np.ma.masked_where(~undecided, undecided),
        ListedColormap([(1.0, 1.0, 1.0, 0.0)]),
    )
    axes.pcolor(
        panel["xs"],
        panel["ys"],
        hatched,
        cmap=clear,
        hatch="////",
        edgecolor="#ffffff99",
        linewidth=0,
    )
    axes.set(xscale="log", yscale="log", xlabel=panel["x"], ylabel=panel["y"], title=panel["title"])
    for axis, ends in ((axes.xaxis, panel["xs"]), (axes.yaxis, panel["ys"])):
        ticks = [tick for tick in TICKS if ends[0] <= tick <= ends[-1]]
        axis.set_ticks(ticks, [f"{tick:,}" for tick in ticks])
        axis.set_ticks([], minor=True)
