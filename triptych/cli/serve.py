"""``triptych serve``: answer requests over HTTP with trained networks."""

import os
from pathlib import Path
from typing import Annotated

import typer

from .app import app

TOKEN_VARIABLE = "TRIPTYCH_TOKEN"


@app.command("serve")
def serve(
    *,
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run folders of triptych train, or state files. NAME=RUN gives a name; without "
            "it the name is that of the network. The same name again is the next version.",
            show_default=False,
        ),
    ],
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 for a free one.")] = 8501,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that answer.")] = 1,
    max_body: Annotated[int, typer.Option(min=1, metavar="MIB", help="Largest request.")] = 16,
    max_batch: Annotated[int, typer.Option(min=1, help="Most images in a request.")] = 256,
    max_concurrency: Annotated[
        int, typer.Option(min=1, help="Most requests at the same time, for each worker.")
    ] = 128,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Longest time for a request.")] = 30,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help=f"Clients must send the token in this file, or in the variable {TOKEN_VARIABLE}.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve trained networks over HTTP, for programs and for a browser.

    Clients of TensorFlow Serving (REST), Triton and KServe (Open Inference Protocol) can ask it:

    curl -d '{"instances": [IMAGE]}' http://127.0.0.1:8501/v1/models/NAME:predict

    A run is loaded again when its folder changes. It is for one machine: docs/serving.md.

    Examples:

    triptych serve runs/20261128-101500-train

    triptych serve digits=runs/first digits=runs/second --port 9000 --workers 2
    """
    from ..serve.launch import launch
    from ..serve.settings import MIB, Limits, ModelSource, ServerSettings

    settings = ServerSettings(
        sources=tuple(map(ModelSource.parse, runs)),
        host=host,
        port=port,
        workers=workers,
        limits=Limits(max_body * MIB, max_batch, max_concurrency, max_seconds),
        token=_read_token(token_file),
    )
    launch(settings)


def _read_token(file: Path | None) -> str | None:
    """Return the access token: of the file, else of the environment; None if neither has one."""
    from ..errors import TriptychError

    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    token = file.read_text(encoding="utf-8").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise TriptychError(f"{file}: must hold a token of printable ASCII characters")
    return token
