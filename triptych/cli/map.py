"""``triptych map``: who is fastest where on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as o
from .app import app
from .option_groups import all_backends, engine_names

if TYPE_CHECKING:
    from rich.console import Console

    from ..advise.advice import Advisor
    from ..advise.calibration import Calibration
    from ..core.selection import EngineSpec

WIDTHS = [10, 32, 128, 512, 1024]
BATCHES = [1, 16, 256, 4096]

Minutes = Annotated[
    float,
    typer.Option("--minutes", min=1, help="How long to time, in all; fewer make a rougher map."),
]
Picture = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="The picture: .png, .svg or .pdf.")
]
Show = Annotated[
    bool, typer.Option("--show", help="Time nothing; print and draw the earlier times.")
]


@app.command("map")
def draw_map(
    engines: o.Engines = None,
    backends: o.Backends = "all",
    threads: o.Threads = 1,
    minutes: Minutes = 9.0,
    out: Picture = Path("map.png"),
    show: Show = False,
) -> None:
    """Time every engine and backend on many networks, and draw which is the fastest.

    The times are saved for triptych advise; rows that are not timed keep their earlier times.

    Examples:

    triptych map

    triptych map --engines torch --minutes 2

    triptych map --show --out map.svg
    """
    from rich.console import Console

    from ..advise import calibration, plot
    from ..advise.advice import Advisor
    from ..core.selection import specs
    from .say import say_unbroken

    console = Console(emoji=False)
    plot.check(out)
    file = calibration.path(threads)
    if show:
        times = calibration.load(file, threads)
    else:
        rows = specs(engine_names(engines), all_backends(backends))
        times = _calibrated(console, rows, threads, minutes)
        Advisor(times)  # raises an error before the earlier times are replaced by too few
        note = calibration.discarded(file, times)
        if note:
            say_unbroken(console, note, "yellow")
        times = calibration.save(times, file)
    advisor = Advisor(times)
    note = calibration.outdated(times)
    if note:
        say_unbroken(console, note, "yellow")
    _costs(console, advisor)
    _fastest(console, advisor)
    plot.draw(advisor, out)
    say_unbroken(console, f"Picture:     {out}\nCalibration: {file}")


def _calibrated(
    console: "Console", rows: "list[EngineSpec]", threads: int, minutes: float
) -> "Calibration":
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from ..advise.calibration import calibrate
    from .say import say_unbroken

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn(f"of {minutes:g} minutes"),
    )
    times: Any = None
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("proving every row", total=1)
        for event in calibrate(rows, threads, minutes):
            if event["type"] == "timed":
                bar.update(
                    task,
                    completed=event["part"],
                    description=f"{event['networks']} networks, {event['rows']} rows",
                )
            elif event.get("why"):
                what = "is timed, but not ranked" if event["type"] == "proved" else "stopped"
                say_unbroken(console, f"{event['row']} {what}: {event['why']}", "yellow")
            elif event["type"] == "calibration":
                times = event["calibration"]
    return times


def _costs(console: "Console", advisor: "Advisor") -> None:
    """Print what the fit came to, and how far off it is for networks that were left out."""
    from math import exp, expm1

    from ..advise.model import COVERED, quantile
    from ..advise.workload import Case
    from ..spec import zoo
    from .say import say_unbroken
    from .table import empty

    case = Case.of(zoo.get("custom"), 512, "adam")
    table = empty("", ["networks", "miss", f"{COVERED:.0%}", "overhead", "GB/s", "GFLOP/s"])
    for key, fit in advisor.fitted.items():
        overhead, bandwidth, rate = advisor.rates(key, case)
        table.add_row(
            advisor.calibration.row(key).label,
            str(advisor.timed(key)),
            f"{expm1(quantile(fit.residuals, 0.5)):.0%}",
            f"×{exp(quantile(fit.residuals, COVERED)):.2f}",
            f"{overhead * 1e6:.0f} µs",
            f"{bandwidth / 1e9:.3g}",
            f"{rate / 1e9:.3g}",
        )
    console.print(table)
    console.print(
        "Overhead, GB/s and GFLOP/s are those of a step of "
        f"{case.network.architecture} with batches of {case.batch} and Adam. "
        "Miss is the median error of the regression for networks left out of it; "
        f"{COVERED:.0%} of these errors do not exceed the factor after it.",
        highlight=False,
    )
    for label, why in advisor.absent().items():
        say_unbroken(console, f"Not on the map: {label} ({why}).", "yellow")


def _fastest(console: "Console", advisor: "Advisor") -> None:
    """Print who is fastest where, for one hidden layer."""
    from ..advise.plot import fastest_rows
    from ..spec import zoo
    from .table import empty

    table = empty("units", [f"batch {batch:,}" for batch in BATCHES])
    for width in WIDTHS:
        names: list[str] = []
        for first, *others in fastest_rows(advisor, zoo.dense("map", [width]), BATCHES):
            names.append(advisor.calibration.row(first).label + (" ?" if others else ""))
        table.add_row(f"{width:,}", *names)
    console.print(table)
    console.print(
        "The fastest row for 784 inputs, one hidden layer and Adam; "
        "a ? means that another row may be as fast.\n",
        highlight=False,
    )
