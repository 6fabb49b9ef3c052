"""The checker's processes: ``python -m benchmarks.portbench.runner torch`` or ``keras``.

A process imports its framework once. For every job, a line of JSON on the standard input, it forks
a child that runs one side of a pair and writes what it measured, so that no job sees another's
global settings, names or random state.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .layout import Array

STEPS = 10  # updates that are compared
EPOCHS = 40  # most epochs of `val_loss` that callbacks see
RATES = 60  # updates whose learning rates are compared
Measured = dict[str, Array]


def main() -> None:
    """Run jobs until the standard input ends."""
    framework = sys.argv[1]
    side = importlib.import_module(f".{framework}_side", __package__)
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_run(side, json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(side: ModuleType, job: dict[str, Any]) -> int:
    """Run one side; write ``job["out"]``, or the traceback beside it. Return the exit status."""
    out = Path(job["out"])
    try:
        # What the user's code prints must not be taken for an answer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        measured: Measured = side.measure(job)
        with out.open("wb") as file:
            np.savez(file, **measured)  # type: ignore[arg-type]
    except BaseException:
        out.with_suffix(".error").write_text(traceback.format_exc())
        return 1
    return 0


def load(path: Path) -> dict[str, Any]:
    """Run a program and return what its ``build`` returns."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return dict(module.build())


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
