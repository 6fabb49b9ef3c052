"""Measure what one training step does in each engine, and print it as a table.

    python -m tools.step_profile
    python -m tools.step_profile --network R2 --engines numpy,numba
    python -m tools.step_profile --write docs/compiled-loops.md

That page explains the figures; `tools/step_counts.py` measures them, one engine in each process.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.progress import progress
from benchmarks.training import Training
from benchmarks.workloads import WORKLOADS
from triptych.bench.load import LARGEST_SHARE_OF_OTHERS, Watch
from triptych.core import files, registry
from triptych.errors import EngineError
from triptych.process import machine

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- written by tools/step_profile.py -->"
END = "<!-- end of what tools/step_profile.py has written -->"
NETWORKS = "overhead,R2,R3"
PRODUCTS = "products"  # what tools/step_counts.py measures in place of an engine
COLUMNS = (
    "engine",
    "operations",
    "Python calls",
    "MB moved",
    "MB new",
    "time",
    "products",
    "first step",
)
# The environment variable that names the folder in which an engine keeps compiled code.
CACHES = {"numba": "NUMBA_CACHE_DIR"}

Figures = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """What was measured of a workload.

    Attributes
    ----------
    name : str
        Of the workload.
    training : Training
        The workload.
    products : dict
        The ``count`` of the matrix products of a step, and their ``seconds`` alone.
    rows : dict of str to dict
        The figures of each engine, by its name; or its ``error``.
    """

    name: str
    training: Training
    products: Figures
    rows: dict[str, Figures]

    @property
    def title(self) -> str:
        """What is measured."""
        return f"{self.name}: {self.training.title}; {self.training.steps} steps in a plan"

    def cells(self) -> Iterator[list[str]]:
        """Yield the cells of each row."""
        count = number(self.products["count"])
        alone = duration(self.products["seconds"])
        yield ["the products alone", count, "", "", "", alone, "100 %", ""]
        for engine, figures in self.rows.items():
            label = registry.entry(engine).label
            if "error" in figures:
                yield [label, figures["error"], *[""] * (len(COLUMNS) - 2)]
                continue
            share = self.products["seconds"] / figures["seconds"]
            first = f"{figures['first_seconds']:.1f} s"
            if "without_cache" in figures:
                first += f"; {figures['without_cache']:.1f} s without stored code"
            yield [
                label,
                number(figures["operations"]),
                number(figures["python_calls"]),
                megabytes(figures["moved"]),
                megabytes(figures["peak"]),
                duration(figures["seconds"]),
                f"{share:.0%}".replace("%", " %"),
                first,
            ]


def number(value: float | None) -> str:
    """Return a number with two digits or more; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def megabytes(value: float | None) -> str:
    """Return bytes as megabytes; a dash for None."""
    if value is None:
        return "–"
    return f"{value / 1e6:.3g}"


def duration(seconds: float) -> str:
    """Return a time in microseconds or milliseconds."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms"


def run_counts(name: str, workload: str, settings: dict[str, str]) -> Figures:
    """Return what `tools/step_counts.py` measures in a process of its own, or its ``error``."""
    command = [sys.executable, "-m", "tools.step_counts", name, workload]
    ended = subprocess.run(
        command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"]
        return {"error": lines[-1]}
    return json.loads(ended.stdout.splitlines()[-1])


def figures_of(engine: str, workload: str, settings: dict[str, str]) -> Figures:
    """Return the figures of an engine; one that stores compiled code is measured with it, too."""
    if not registry.entry(engine).installed:
        return {"error": f"not installed: `{registry.entry(engine).install}`"}
    if engine not in CACHES:
        return run_counts(engine, workload, settings)
    with tempfile.TemporaryDirectory() as folder:
        settings = settings | {CACHES[engine]: folder}
        cold = run_counts(engine, workload, settings)
        if "error" in cold:
            return cold
        warm = run_counts(engine, workload, settings)
        return warm | {"without_cache": cold["first_seconds"]}


def measure(name: str, engines: list[str]) -> Measured:
    """Measure a workload."""
    training = WORKLOADS[name]
    assert isinstance(training, Training)
    settings = machine.environment(1, "cpu")
    progress(f"{name}: the products alone ...", passing=True)
    products = run_counts(PRODUCTS, name, settings)
    rows: dict[str, Figures] = {}
    for i, engine in enumerate(engines, 1):
        progress(f"{name}: {engine} ({i} of {len(engines)}) ...", passing=True)
        rows[engine] = figures_of(engine, name, settings)
    progress(f"{name} is measured")
    return Measured(name, training, products, rows)


def markdown(results: list[Measured], command: str, others: float) -> str:
    """Return the results as Markdown.

    Parameters
    ----------
    results : list of Measured
        One for each workload.
    command : str
        Which has measured them.
    others : float
        The share of the machine that other programs have used, from 0 to 1.
    """
    parts = [f"By `{command}`, {conditions(others)}"]
    for measured in results:
        lines = [
            f"**{measured.title}**",
            "",
            f"| {' | '.join(COLUMNS)} |",
            f"|---{'|---:' * (len(COLUMNS) - 1)}|",
        ]
        lines += [f"| {' | '.join(cells)} |" for cells in measured.cells()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def conditions(others: float) -> str:
    """Return the processor and the versions, and a warning if other programs were running."""
    about = machine.describe()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    text = f"one thread of {about['processor']}, Python {about['python']}, {versions}."
    if others > LARGEST_SHARE_OF_OTHERS:
        text += f" Other programs used {others:.0%} of the machine: these times are not reliable."
    return text.replace("%", " %")


def show(results: list[Measured], others: float) -> None:
    """Print the results for a terminal."""
    console = Console()
    for measured in results:
        table = Table(title=measured.title, title_justify="left", box=box.SIMPLE)
        for i, column in enumerate(COLUMNS):
            table.add_column(column, justify="right" if i else "left")
        for cells in measured.cells():
            table.add_row(*cells)
        console.print(table)
    console.print(conditions(others), style="dim", highlight=False)


def replace_table(page: Path, text: str) -> None:
    """Replace what is between the two comments of a page.

    Raises
    ------
    typer.BadParameter
        If the page does not have them.
    """
    try:
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    except OSError as error:
        raise typer.BadParameter(f"{page}: {error.strerror}") from None
    _, found, after = rest.partition(END)
    if not found:
        raise typer.BadParameter(f"{page} has no lines {BEGIN} and {END}")
    files.write(page, f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def chosen_networks(text: str) -> list[str]:
    """Return names of workloads; raise `typer.BadParameter` for one that trains nothing."""
    known = [name for name, workload in WORKLOADS.items() if isinstance(workload, Training)]
    names = text.split(",")
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is unknown; there are {', '.join(known)}")
    return names


def chosen_engines(text: str | None) -> list[str]:
    """Return names of engines; raise `typer.BadParameter` for an unknown one."""
    if text is None:
        return list(registry.entries())
    try:
        return [registry.entry(name).name for name in text.split(",")]
    except EngineError as error:
        raise typer.BadParameter(str(error)) from None


def main(
    network: Annotated[
        str, typer.Option(help="Workloads of benchmarks/workloads.py, separated by commas.")
    ] = NETWORKS,
    engines: Annotated[
        str | None, typer.Option(help="Engines, separated by commas; all by default.")
    ] = None,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables as Markdown.")
    ] = False,
    write: Annotated[
        Path | None, typer.Option(help="A page whose tables are replaced by the new ones.")
    ] = None,
) -> None:
    """Measure what one training step does in each engine.

    Each engine is measured in a process of its own, with one thread. All
    networks and engines take about five minutes. Run nothing else meanwhile:
    other programs make the steps slower.

    operations: what the framework runs one after the other in a step.

    Python calls: functions that Python calls in a step.

    MB moved: what these operations read and write, if it tells.

    MB new: memory that a step requests, at most at a time, if it tells.

    time: processor time of a step, the median of many.

    products: the share of it that the step's matrix products alone take NumPy.

    first step: processor time from the import to the end of the first step.

    docs/compiled-loops.md tells how each is counted, and what they mean.
    """
    names = chosen_networks(network)
    chosen = chosen_engines(engines)
    watch = Watch()
    results = [measure(name, chosen) for name in names]
    others = watch.share()
    command = "python -m tools.step_profile"
    if network != NETWORKS:
        command += f" --network {network}"
    if engines is not None:
        command += f" --engines {engines}"
    if write is not None:
        replace_table(write, markdown(results, command, others))
    elif as_markdown:
        print(markdown(results, command, others), end="")
    else:
        show(results, others)


if __name__ == "__main__":
    typer.run(main)
