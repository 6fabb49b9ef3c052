"""``triptych doctor``: why two implementations of a model give different numbers."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .app import app
from .option_groups import with_groups

if TYPE_CHECKING:
    from ..doctor.findings import Diagnosis

# By the verdict.
EXIT_STATUS = {"equal": 0, "rounding": 0, "differ": 1, "undecided": 3}


A = Annotated[
    str,
    typer.Argument(
        metavar="A",
        help="The reference: FILE.py, FILE.py:FUNCTION, RUN, RUN:ENGINE, FILE.onnx, or a trace.",
    ),
]
B = Annotated[
    str,
    typer.Argument(
        metavar="B",
        help="The other side: the same; a trace if A is one, too.",
    ),
]
Pairs = Annotated[
    list[str] | None,
    typer.Option(
        "--pair",
        metavar="A=B",
        help="A layer of A and its counterpart in B, by their paths, where this cannot be "
        "found out. May be given several times.",
        show_default=False,
    ),
]
WeightsFile = Annotated[
    Path | None,
    typer.Option(
        "--write-weights",
        metavar="FILE",
        help="Write A's weights in B's layout and under B's names, ready to load: "
        ".safetensors or .npz.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class AnswerOptions:
    """Files of the answer."""

    json_file: o.JsonFile = None
    html_file: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Write the answer as one page.", show_default=False
        ),
    ] = None

    def write(self, diagnosis: "Diagnosis", a: str, b: str) -> None:
        """Write the answer about two sides into the files that were named."""
        from ..core import files

        answer = files.to_json(diagnosis.to_json(), indent=1)
        if self.json_file:
            files.write(self.json_file, f"{answer}\n")
        if self.html_file:
            from ..report.diagnosis import write_diagnosis

            write_diagnosis(self.html_file, json.loads(answer), a, b)


@dataclass(frozen=True)
class TimingOptions:
    """Measurement of times."""

    time: Annotated[
        bool,
        typer.Option(
            "--time",
            help="If both sides are equal, time the training step and the inference of both; "
            "where they are not, there is no ratio.",
        ),
    ] = False
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="Threads of each side while it is timed.")
    ] = 1


@app.command("doctor")
@with_groups
def doctor(
    *,
    a: A,
    b: B,
    batch: o.Batch = None,
    pairs: Pairs = None,
    weights_file: WeightsFile = None,
    timing: TimingOptions,
    answer: AnswerOptions,
) -> None:
    """Find out why two implementations of a model give different numbers.

    Each FILE is your own code, and it is run as such, in a process of its own, with its own folder
    on the search path. Its function build() takes no argument and returns the model, or a dict with
    model and any of preprocess, loss, loss_weights (of several outputs), optimizer, schedule,
    schedule_unit ("batch" or "epoch": after what it advances), steps_per_epoch, metric, callbacks,
    batches (a function that returns those of an epoch), batch_size.

    With the key parameters, the model is a function f(parameters, *inputs), as users of JAX and
    NumPy write it; it is compared as a whole.

    RUN is the run folder of a network that triptych train has trained. Its recipe tells the loss,
    the optimizer and the schedule. The engine that trained it computes it, or that after the colon.

    FILE.onnx is an ONNX file, which has no training mode: the answer names the stages that were not
    compared. No code of it is run.

    A's weights are copied into B. Then every stage of a training step is compared on its own: each
    is fed what A has, so that one fault does not hide the next. A cause is proved if the difference
    vanishes when its fix is applied and the stage is run again; otherwise it is suspected.

    Exit status: 0 equal, or only rounding; 1 they differ; 2 a mistake in the input; 3 undecided.
    With TRIPTYCH_DEBUG=1 in the environment, tracebacks of errors are shown.

    Examples:

    triptych doctor torch_side.py keras_side.py --batch batch.npz

    triptych doctor model.py:build_torch model.py:build_keras --batch batch.npz --json answer.json

    triptych doctor torch_side.py keras_side.py --batch batch.npz --time --threads 2

    triptych doctor runs/20260101-120000-train-torch-custom-digits port.py --batch batch.npz
    """
    from rich.console import Console

    from .. import api
    from .doctor_view import StageProgress, show, show_weights_file

    console = Console(emoji=False)
    mapping = dict(_split(text) for text in pairs or [])
    with StageProgress(console) as progress:
        diagnosis = api.diagnose(
            a,
            b,
            batch,
            pairs=mapping,
            weights_file=weights_file,
            time=timing.time,
            threads=timing.threads,
            on_stage=progress.see,
        )
    show(console, diagnosis, a, b)
    if weights_file:
        show_weights_file(console, diagnosis, weights_file)
    answer.write(diagnosis, a, b)
    sys.exit(EXIT_STATUS[diagnosis.verdict])


def _split(text: str) -> tuple[str, str]:
    """Return both paths of ``A=B``."""
    one, equals, other = text.partition("=")
    if not (one and equals and other):
        raise typer.BadParameter(
            f"{text!r} is not A=B, two paths of layers; the table of the report shows them",
            param_hint="--pair",
        )
    return one, other
