"""``triptych report``: make the report of a run folder anew."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .app import app
from .options import Runs


@app.command("report")
def report(
    run: Annotated[
        Path | None,
        typer.Argument(help="A run folder; by default the newest comparison.", show_default=False),
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Draw figures, TensorBoard logs and report.html again, from what is in a run folder."""
    from ..core import files
    from ..errors import TriptychError
    from ..report.artifacts import illustrate
    from ..training.run_folder import newest, read_log, read_results

    folder = run or newest(runs)
    read_results(folder)
    _, damaged = read_log(folder)
    # What is drawn is computed from results.json and the states; the log gives the curves.
    with files.refusing(folder, "a run folder that triptych compare wrote"):
        try:
            missing = illustrate(folder)
        except (
            OSError
        ) as error:  # nothing is wrong with the run folder where a figure cannot be written
            raise TriptychError(f"{error.filename or folder}: {error.strerror or error}") from None
    if missing:
        raise TriptychError(missing)
    if damaged:
        lines = "1 damaged line is" if damaged == 1 else f"{damaged:,} damaged lines are"
        print(
            f"triptych: {folder / 'events.jsonl'}: {lines} left out of the curves", file=sys.stderr
        )
    print(folder / "report.html")
