"""The crossover map: which row is the fastest for which width and batch, as a picture."""

import io
import textwrap
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
LINE_INCHES = 0.2  # height of a line of notes below the maps
LEGEND_COLUMNS = 5  # more do not fit side by side
LINE_CHARACTERS = 160
PALE = 0.4  # the opacity where another row may be as fast
FORMATS = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Panel:
    """One map.

    Attributes
    ----------
    y : str
        What the vertical axis counts; the horizontal one is the batch size.
    sizes, batches : list of int
        The values on both axes.
    fastest : list of list of list of str
        By size and batch, the keys of the rows that may be the fastest, the likeliest first.
    """

    y: str
    sizes: list[int]
    batches: list[int]
    fastest: list[list[list[str]]]


def panels(advisor: Advisor) -> list[Panel]:
    """Return two maps, of networks with one hidden layer and of networks with one convolution."""
    dense = {width: zoo.dense("map", [width]) for width in _steps(10, 1024)}
    convolutional = {filters: zoo.convolutional([filters], 3) for filters in _steps(4, 64)}
    return [
        _panel(advisor, "units of one hidden layer", dense, 8192),
        _panel(advisor, "filters of one 3×3 convolution", convolutional, 512),
    ]


def _panel(advisor: Advisor, y: str, networks: dict[int, Network], last_batch: int) -> Panel:
    batches = _steps(1, last_batch)
    fastest = [fastest_rows(advisor, network, batches) for network in networks.values()]
    return Panel(y, list(networks), batches, fastest)


def fastest_rows(advisor: Advisor, network: Network, batches: list[int]) -> list[list[str]]:
    """Return the keys of the rows that may be the fastest with Adam, for each batch size."""
    cases = [Case.of(network, batch, Adam.name) for batch in batches]
    return [advisor.advise(case).fastest for case in cases]


def _steps(first: int, last: int) -> list[int]:
    """Return whole numbers from one to the other, in about equal ratios."""
    return sorted({round(number) for number in np.geomspace(first, last, CELLS)})


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
    from matplotlib.patches import Patch

    calibration = advisor.calibration
    rows = [calibration.row(key) for key in advisor.named]
    colors = {spec.key: style(spec.engine, spec.backend).light for spec in rows}
    lines: list[str] = []
    for label, why in advisor.absent().items():
        note = f"Not on the map: {label} ({why})."
        lines += textwrap.wrap(note, LINE_CHARACTERS, break_on_hyphens=False)
    figure = Figure((WIDTH_INCHES, MAP_INCHES + LINE_INCHES * len(lines)), layout="constrained")
    for axes, panel in zip(figure.subplots(1, 2), panels(advisor), strict=True):
        _draw(axes, panel, colors)
    threads = counted(calibration.threads, "thread")
    shape = "×".join(map(str, zoo.GREY))
    figure.legend(
        handles=[Patch(color=colors[spec.key], label=spec.label) for spec in rows],
        title=f"Who is fastest where: {calibration.processor}, {threads}\n"
        f"{Adam.label}, images of {shape}; pale: another may be as fast",
        loc="outside upper center",
        ncols=min(len(rows), LEGEND_COLUMNS),
        frameon=False,
    )
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=9, color="#5a6178")
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:], dpi=130)
    files.write(path, content.getvalue())


def _draw(axes: Any, panel: Panel, colors: dict[str, str]) -> None:
    """Draw one map."""
    from matplotlib.colors import to_rgba_array

    image: list[Any] = []
    for cells in panel.fastest:
        opacities = [1.0 if len(cell) == 1 else PALE for cell in cells]
        image.append(to_rgba_array([colors[cell[0]] for cell in cells], opacities))
    axes.pcolormesh(panel.batches, panel.sizes, image)
    axes.set(xlabel="batch size", ylabel=panel.y)
    axes.loglog(base=4)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.minorticks_off()
