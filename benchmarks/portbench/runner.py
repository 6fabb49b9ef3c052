"""The checker's processes: ``python -m benchmarks.portbench.runner torch`` or ``keras``.

For every job, a line of JSON on the standard input, a process forks a child that runs one side of a
pair and writes what it measured, so that no job sees another's global settings, names or random
state. What a child had to import is imported by the process, too, so that the next one is faster.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .layout import Array

STEPS = 10  # updates that are compared
EPOCHS = 40  # most epochs of `val_loss` that callbacks see
RATES = 60  # updates whose learning rates are compared
READY = "ready"  # a process says so when it has started
MODULES = ".modules"  # suffix of the file with the names of what a job imported
Measured = dict[str, Array]


def main() -> None:
    """Run jobs until the standard input ends."""
    framework = sys.argv[1]
    side = importlib.import_module(f".{framework}_side", __package__)

    def measure(job: dict[str, Any], out: Path) -> None:
        measured: Measured = side.measure(job)
        with out.open("wb") as file:
            np.savez(file, **measured)  # type: ignore[arg-type]

    serve(measure)


def serve(work: Callable[[dict[str, Any], Path], None]) -> None:
    """Do every job of the standard input in a fork, and print its exit status.

    Parameters
    ----------
    work : callable
        Does a job and writes the file ``job["out"]``, which is its second argument. What it raises
        is written beside this file.
    """
    print(READY, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_status(work, job))
        _, status = os.waitpid(child, 0)
        _import_too(Path(job["out"]).with_suffix(MODULES))
        print(os.waitstatus_to_exitcode(status), flush=True)


def _status(work: Callable[[dict[str, Any], Path], None], job: dict[str, Any]) -> int:
    """Do one job in this process; return its exit status."""
    out = Path(job["out"])
    before = set(sys.modules)
    try:
        # What the user's code prints must not be taken for an answer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        work(job, out)
        imported = [name for name in sys.modules if name not in before]
        out.with_suffix(MODULES).write_text("\n".join(imported))
    except BaseException:
        out.with_suffix(".error").write_text(traceback.format_exc())
        return 1
    return 0


def _import_too(names: Path) -> None:
    """Import the modules that a file names; those of a pair cannot be found, and are left out."""
    if not names.exists():
        return
    for name in names.read_text().split():
        with suppress(Exception):
            importlib.import_module(name)


def load(path: Path) -> Callable[[], dict[str, Any]]:
    """Run a program and return its function ``build``."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module.build


def batch(folder: Path) -> Measured:
    """Return the arrays of a pair's batch."""
    with np.load(folder / "batch.npz") as file:
        return {name: file[name] for name in file.files}


def inputs(arrays: Measured) -> list[Array]:
    """Return the inputs of a batch, in order."""
    return [arrays[name] for name in ("x", "x2", "x3") if name in arrays]


def prefixed(prefix: str, arrays: Measured) -> Measured:
    """Return arrays with a prefix before their names."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def stop_epoch(callback: Any, model: Any = None) -> bool:
    """Return whether a callback has asked to stop the training."""
    names = ("stop_training", "should_stop", "early_stop", "stopped")
    return any(bool(getattr(holder, name, False)) for name in names for holder in (callback, model))


if __name__ == "__main__":
    main()
