"""``triptych verify --script``: a PyTorch script of the user, with several workers and with one."""

import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer

WORKERS = 2  # where --workers does not tell


@dataclass(frozen=True)
class ScriptOptions:
    """Which script of the user is run, and how."""

    script: Annotated[
        Path | None,
        typer.Option(
            "--script",
            metavar="FILE.py",
            help="Instead, run this PyTorch script, which torchrun would start, with --workers "
            "processes and with one, and find the first stage that differs. Its arguments follow "
            "after --. Default: 2 workers, 100 steps.",
            show_default=False,
        ),
    ] = None
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN | ARGUMENTS]",
            help="A run folder of triptych train: instead, its log must tell every step once, with "
            "its samples; it is trained again, and losses and weights are compared. Or, after --, "
            "the arguments of --script; {64/workers} in them is 64 divided by the number of "
            "workers.",
            show_default=False,
        ),
    ] = None
    float64: Annotated[
        bool,
        typer.Option(
            "--float64", help="Run --script in double precision, where rounding hides less."
        ),
    ] = False
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=1,
            metavar="SECONDS",
            help="How long --script may make no step before its processes are ended.",
        ),
    ] = 300.0

    @property
    def run(self) -> Path | None:
        """The run folder that was named instead of a script."""
        if self.script is not None or not self.arguments:
            return None
        return Path(self.arguments[0])

    def check(self) -> None:
        """Raise an error if options were given that need a script, and there is none."""
        several = len(self.arguments or []) > 1
        if self.script is None and (several or self.float64):
            option = "--float64" if self.float64 else "-- ARGUMENTS"
            raise typer.BadParameter(
                "it belongs to a script; name that with --script FILE.py", param_hint=option
            )


def verify_script(
    options: ScriptOptions, counts: list[int], steps: int | None, threads: int
) -> NoReturn:
    """Compare a script with several workers and with one, and end the command.

    Parameters
    ----------
    options : ScriptOptions
        The script.
    counts : list of int
        Numbers of workers; empty for the default.
    steps : int or None
        How many steps are compared.
    threads : int
        Threads of each process.
    """
    from rich.console import Console

    from .. import api
    from .script_view import ScriptReport

    assert options.script
    happening = api.iter_verify_script(
        options.script,
        options.arguments or [],
        workers=counts or WORKERS,
        steps=steps,
        double=options.float64,
        threads=threads,
        timeout=options.timeout,
    )
    console = Console(emoji=False)
    report = ScriptReport(console, options.script.name)
    with closing(happening), report:
        for event in happening:
            report.on_event(event)
    sys.exit(report.conclude())
