"""Plug-ins: what other installed packages add, found by the entry points in their metadata.

A package names its entry points in its ``pyproject.toml``, in these groups:

* "triptych.plugins": a module that registers layers, optimizers, losses, schedules, callbacks or
  data formats when it is imported, or a function without arguments that registers them. All are
  loaded before the first look-up in a table of these.
* "triptych.plugins.torch", and likewise for every other engine: the same for the builders of one
  engine. They are loaded together with the engine, and may import its framework.
* "triptych.plugins.onnx": likewise the builders of layers for the export to ONNX.
* "triptych.engines": engines; see `triptych.core.registry`.

Each process loads plug-ins once: the command line, a notebook, and every worker for itself. This
module imports neither a framework nor NumPy.
"""

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions
from typing import Any

from . import search_path
from .errors import TriptychError, one_line

GROUP = "triptych.plugins"
LONGEST_REASON = 150  # characters of an error in the code of another package

left_out: list[str] = []  # for each entry point that could not be used, a line with the reason

_loaded: set[str] = set()  # groups
_lock = threading.RLock()  # a plug-in may look up names while it is loaded, in the same thread


def load(engine: str = "") -> None:
    """Load every plug-in, unless this process has done so.

    Parameters
    ----------
    engine : str
        The engine whose builders are loaded, or ``onnx``; by default what needs no engine.
    """
    group = f"{GROUP}.{engine}" if engine else GROUP
    with _lock:
        if group in _loaded:
            return
        _loaded.add(group)
        use(group, "plug-in", _register)


def use(group: str, kind: str, action: Callable[[Any], None]) -> None:
    """Give each object of a group of entry points to a function.

    An object that cannot be imported, or for which `action` raises an error, is left out with a
    warning of one line.

    Parameters
    ----------
    group : str
        The group of entry points.
    kind : str
        What the warning calls such an object.
    action : callable
        Takes the object.
    """
    for point in _entry_points(group):
        try:
            action(point.load())
        except Exception as error:  # the code of another package can fail in any way
            name = "" if isinstance(error, TriptychError) else f"{type(error).__name__}: "
            reason = one_line(f"{name}{error}", LONGEST_REASON)
            line = f"the {kind} {point.name!r} ({point.value}) is left out: {reason}"
            left_out.append(line)
            # Python prints a line of source code, too, unless the file has a name like this.
            warnings.warn_explicit(line, UserWarning, "<plug-ins>", 0)


def _entry_points(group: str) -> Iterator[EntryPoint]:
    """Yield the entry points of installed packages, never of the working directory."""
    names: set[str] = set()
    for package in distributions(path=search_path.without(os.curdir, sys.path)):
        points = package.entry_points.select(group=group)
        # Of two versions on the path, the first one is imported.
        if points and package.name not in names:
            names.add(package.name)
            yield from points


def _register(loaded: Any) -> None:
    """Call what an entry point names; a module has registered everything at its import."""
    if callable(loaded):
        loaded()
