"""``triptych record``: one side of a comparison, for later."""

from pathlib import Path
from typing import Annotated

import typer

from . import options as o
from .app import app


@app.command("record")
def record(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="The model: FILE.py, FILE.py:FUNCTION, RUN, RUN:ENGINE or FILE.onnx.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="The trace, a folder.")
    ],
    batch: o.Batch = None,
) -> None:
    """Record one side of a comparison: what its model, loss and optimizer compute.

    triptych doctor compares another side with the trace later, also on a machine that lacks the
    framework of the recorded one. A trace is JSON and safetensors; docs/traces.md has its format,
    so that other programs can write it.

    Example:

    triptych record torch_side.py --batch batch.npz -o torch.trace

    triptych doctor torch.trace keras_side.py
    """
    from rich.console import Console

    from ..doctor import sources, trace
    from ..doctor.batch import checked
    from .say import say_unbroken

    console = Console(emoji=False)
    arrays = checked(batch)
    with console.status("recording", spinner="line"), sources.started(file) as side:
        recordings = trace.record(side, arrays)
    trace.write_trace(out, recordings, arrays)
    say_unbroken(console, f"{out}: recorded in {', '.join(recordings)}")
