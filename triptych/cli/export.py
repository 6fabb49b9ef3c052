"""``triptych export``: a trained network for other runtimes, verified there."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..exporting.targets import TARGETS
from . import options as o
from .app import app
from .option_groups import DataOptions, with_groups

if TYPE_CHECKING:
    from rich.console import Console

    from ..data.dataset import Dataset
    from ..exporting.export import ExportResult
    from ..training.trained import TrainedRun


To = Annotated[
    list[str],
    typer.Option(
        "--to", metavar="TARGET", help=f"{', '.join(TARGETS)}. May be given several times."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help="Where each target gets a folder. Default: RUN/export.",
        show_default=False,
    ),
]
RuntimeFolder = Annotated[
    Path | None,
    typer.Option(
        "--web-runtime",
        metavar="FOLDER",
        help="The npm package onnxruntime-web, for the target web. Default: node_modules here "
        "or in a folder above.",
        show_default=False,
    ),
]


@app.command("export")
@with_groups
def export(
    *,
    run: o.TrainedPath,
    to: To,
    out: Out = None,
    web_runtime: RuntimeFolder = None,
    data: DataOptions,
) -> None:
    """Export a trained network, and verify in the target's runtime what it computes.

    After writing, the model is loaded by its runtime in a fresh process and runs the whole test
    split, one image at a time and 256 at a time. Its logits must not differ from those in float64
    by more than four times the error that float32 has on this network. The verdict is in
    export.json next to the model. Exit status 1 if an export computes something else.

    Examples:

    triptych export runs/20260101-120000-train-torch-custom-digits --to onnx

    triptych export runs/20260101-120000-train-torch-custom-digits --to litert --to litert-int8
    """
    from rich.console import Console

    from .. import api
    from ..training.trained import TrainedRun
    from .say import say_if_unfinished

    console = Console(emoji=False)
    api.export_targets(to, web_runtime)  # what is missing is reported before data is read
    trained = TrainedRun.read(run)
    say_if_unfinished(console, run)
    dataset = _load(console, trained, data)
    passed = True
    with ExportProgress(console) as progress:
        exports = api.iter_export(
            trained, to, data=dataset, out=out, web_runtime=web_runtime, on_stage=progress.see
        )
        for result in exports:
            _report(console, result)
            passed = passed and result.verification.passed
    sys.exit(0 if passed else 1)


def _load(console: "Console", trained: "TrainedRun", data: DataOptions) -> "Dataset | None":
    """Load the data that was named, or that of the run; None if neither is known."""
    from .loading import load

    if data.data is not None:
        return data.read(console, trained.recipe.seed)
    if trained.source is None:
        return None
    return load(console, trained.source, trained.recipe.seed, trained.reading)


class ExportProgress:
    """A line that shows which target is written or verified; a context manager."""

    def __init__(self, console: "Console") -> None:
        from rich.status import Status

        self._status = Status("reading the run", console=console)
        self._is_terminal = console.is_terminal

    def __enter__(self) -> "ExportProgress":
        if self._is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def see(self, target: str, stage: str, done: int, total: int) -> None:
        """Take in how far the export is."""
        share = f", {done / total:.0%}" if total else ""
        self._status.update(f"{target}: {stage}{share}")


def _report(console: "Console", result: "ExportResult") -> None:
    """Print the verdict on one target."""
    from ..core.metrics import interval_text
    from ..core.shell import quoted
    from ..exporting.targets import target
    from .say import say, say_unbroken

    chosen = target(result.target)
    verification = result.verification
    say(console, f"{result.file} ({result.size / 1000:,.0f} kB, {result.seconds:.1f} s)")
    if chosen.quantized:
        interval = f"95 %: {interval_text(verification.low, verification.high)}"
        measure = (
            f"accuracy {verification.accuracy:.2%} ({interval}), "
            f"in float64 {verification.reference_accuracy:.2%}"
        )
    else:
        bound = f"bound {verification.bound:.1e}"
        measure = f"logits differ by at most {verification.largest:.1e} ({bound})"
    where = f"{verification.runtime}, {verification.samples:,} test samples"
    differing = f"{verification.differing:,} predictions differ"
    say(console, f"  {where}: {verification.verdict}; {measure}; {differing}")
    if not verification.passed:
        say(console, "  This model computes something else than the network. Do not use it.", "red")
    if result.earlier:
        say_unbroken(console, f"  The earlier export is unchanged: {result.earlier}")
    if verification.first_layer:
        say(console, f"  The first layer that differs: {verification.first_layer}", "red")
    if chosen.note:
        note = chosen.note.format(folder=quoted(str(result.folder)))
        say_unbroken(console, f"  {note}", "yellow")
