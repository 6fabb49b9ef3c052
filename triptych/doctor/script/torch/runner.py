"""Runs a script in this process, with a recorder in it.

RANK and WORLD_SIZE are in the environment, as torchrun sets them.
"""

import multiprocessing
import os
import runpy
import sys
import time
import traceback
from pathlib import Path

import torch

from ....core import files
from ....scale.worker import end_with_parent
from ..records import ERROR, Settings, write
from . import replacements
from .recorder import Enough, Recorder

PACKAGE = str(Path(__file__).parents[3])


def main(path: Path) -> int:
    """Run the script until enough steps are recorded, or to its end; return its exit status.

    Parameters
    ----------
    path : Path
        The settings.
    """
    end_with_parent()
    settings = Settings.read(path)
    rank = int(os.environ["RANK"])
    folder = settings.of_worker(rank)
    try:
        status = _run(settings, rank)
    except Exception as error:
        lines = _own_lines(error)
        write(folder / ERROR, files.to_json({"time": time.time(), "lines": lines}))
        print(*lines, sep="\n", file=sys.stderr)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for child in multiprocessing.active_children():
        child.terminate()
    return status


def _run(settings: Settings, rank: int) -> int:
    """Run the script; return its exit status."""
    if settings.double:
        torch.set_default_dtype(torch.float64)
    recorder = Recorder(settings, rank)
    recorder.install()
    replacements.install(recorder, Path(settings.folder) / "rendezvous")
    sys.argv = [settings.script, *settings.arguments]
    sys.path.insert(0, str(Path(settings.script).parent))
    status = 0
    try:
        runpy.run_path(settings.script, run_name="__main__")
    except Enough:
        pass
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    recorder.end()
    return status


def _own_lines(error: Exception) -> list[str]:
    """Return the traceback of the script's error, without the lines of this program."""
    described = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = described
    while part is not None:
        kept = [frame for frame in part.stack if not _is_ours(frame.filename)]
        part.stack = traceback.StackSummary.from_list(kept)
        part = part.__cause__ or part.__context__
    return "".join(described.format()).rstrip().splitlines()


def _is_ours(filename: str) -> bool:
    return filename.startswith((PACKAGE, "<frozen runpy"))
