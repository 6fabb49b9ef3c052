"""``triptych sweep``: a grid of trainings, on this machine or on a cluster."""

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .app import app

if TYPE_CHECKING:
    from rich.console import Console

    from ..scale.sweep.session import SweepSession

GridFile = Annotated[Path, typer.Argument(metavar="FILE.toml", help="The grid, in TOML.")]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="A cluster of Ray that runs already; auto for the one on this machine. Default: Ray "
        "is started here, and ends with the sweep.",
        show_default=False,
    ),
]
Retime = Annotated[
    bool, typer.Option("--retime", help="Run timed cells again that ran on a busy node.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check the file, count the cells, and train nothing.")
]


@app.command("sweep")
def sweep(
    file: GridFile,
    *,
    address: Address = None,
    runs: o.Runs = Path("runs"),
    retime: Retime = False,
    dry_run: DryRun = False,
) -> None:
    r"""Train a grid: engines × data sets × networks × recipes × seeds, as tasks of Ray.

    The file names what is combined; each combination is a cell. For example:

    networks = [{ hidden = [32] }, { hidden = [128, 64], dropout = 0.2 }, "lenet", "mine.json"]

    recipes = ["mlp", { epochs = 5, batch_size = 64, optimizer = { name = "adam", rate = 0.001 } }]

    data = ["digits", { source = "flowers.csv", label = "species" }]

    engines = ["numpy", "torch", "tensorflow/xla"] (default: all that are installed)

    seeds = 5 (from 0; or a list), threads = 1 (of each cell), name = "widths" (default: the file's)

    timed = [0] (cells of these seeds run alone on their node, and are timed; true for all)

    The folder runs/sweep-NAME gets cells.parquet, a row for each cell, and report.html. The same
    command goes on where a sweep was stopped: finished cells are not run again, also after the file
    was changed, and failed ones are tried again. Exit status 1 if a cell has failed. It needs Ray:
    pip install 'triptych\[scale]'

    Examples:

    triptych sweep widths.toml --dry-run

    triptych sweep widths.toml

    triptych sweep widths.toml --address 10.0.0.1:6379
    """
    from rich.console import Console

    from .. import api
    from .say import say

    console = Console(emoji=False)
    if dry_run:
        _count(console, file)
        return
    session = api.sweep_session(
        file,
        address=address,
        runs=runs,
        retime=retime,
        on_data=lambda name: say(console, f"Data: {name}"),
    )
    try:
        _watch(console, session)
    finally:
        _draw(console, session.folder)
    if session.stopped:
        _say_how_to_go_on(file, address, runs)
        sys.exit(130)
    sys.exit(_summarise(console, session.folder))


def _count(console: "Console", file: Path) -> None:
    """Print how many cells a file describes."""
    from ..errors import counted
    from ..scale.sweep.grid import Grid
    from .say import say

    grid = Grid.read(file)
    loaded = grid.load()
    cells = loaded.cells()
    timed = sum(cell.timed for cell in cells)
    factors = {
        "row": len(grid.rows),
        "data set": len(loaded.datasets),
        "network": len(grid.networks),
        "recipe": len(grid.recipes),
        "seed": len(grid.seed_numbers),
    }
    product = " × ".join(counted(number, name) for name, number in factors.items())
    say(console, f"{counted(len(cells), 'cell')}: {product}; {timed:,} of them timed")


def _watch(console: "Console", session: "SweepSession") -> None:
    """Run the sweep and show it; Ctrl-C ends it."""
    from .interruptions import stopping
    from .sweep_view import SweepView

    with (
        stopping(session.stop),
        SweepView(console) as view,
        closing(session.events()) as events,
    ):
        for event in events:
            view.on_event(event)


def _draw(console: "Console", folder: Path) -> None:
    """Draw the page, if there is a table, and print where everything is."""
    from .. import api
    from ..scale.sweep.folder import PAGE, TABLE
    from .say import announced, say, say_unbroken

    if not (folder / TABLE).exists():
        return
    with announced(console, "drawing the page"):
        missing = api.draw_sweep(folder)
    if missing:
        say(console, missing, "yellow")
    lines = [f"Table: {folder / TABLE}"] + ([] if missing else [f"Page:  {folder / PAGE}"])
    say_unbroken(console, "\n".join(lines))


def _summarise(console: "Console", folder: Path) -> int:
    """Print what each configuration came to; return 1 if a cell has failed."""
    from .. import api
    from .sweep_view import show_failures, show_summary

    result = api.sweep_result(folder)
    show_summary(console, result)
    show_failures(console, result)
    return 0 if result.complete else 1


def _say_how_to_go_on(file: Path, address: str | None, runs: Path) -> None:
    from ..core.shell import quoted

    words = ["triptych", "sweep", str(file)]
    if address is not None:
        words += ["--address", address]
    if runs != Path("runs"):
        words += ["--runs", str(runs)]
    print("triptych: stopped; what is finished is kept; go on with:", file=sys.stderr)
    print(quoted(*words), file=sys.stderr)
