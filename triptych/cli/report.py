"""``triptych report``: make the report of a run folder anew."""

from pathlib import Path
from typing import Annotated

import typer

from . import app
from .options import Runs


@app.command("report")
def report(
    run: Annotated[Path | None, typer.Argument(help="A run folder; by default the newest comparison.", show_default=False)] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Draw figures, TensorBoard logs and report.html again, from what is in a run folder."""
    from ..bench.outputs import illustrate
    from ..errors import TriptychError
    from ..runs import newest, read_results

    folder = run or newest(runs)
    read_results(folder)
    if missing := illustrate(folder):
        raise TriptychError(missing)
    print(folder / "report.html")
