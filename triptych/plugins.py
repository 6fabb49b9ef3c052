"""Plug-ins: what other installed packages add, found by the entry points in their metadata.

A package names its entry points in its ``pyproject.toml``, in these groups:

* "triptych.plugins": a module that registers layers, optimizers, losses, schedules, callbacks or
  data formats when it is imported, or a function without arguments that registers them. All are
  loaded before the first look-up in a table of these.
* "triptych.plugins.torch", and likewise for every other engine: the same for the builders of one
  engine. They are loaded together with the engine, and may import its framework.
* "triptych.plugins.onnx": likewise the builders of layers for the export to ONNX.
* "triptych.engines": engines; see `triptych.core.registry`.

Each process loads plug-ins once: the command line, a notebook, and every worker for itself. An
entry point that fails half-way leaves nothing in the tables. This module imports neither a
framework nor NumPy.
"""

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, distributions
from typing import Any, TypeVar

from . import search_path
from .errors import TriptychError, one_line

GROUP = "triptych.plugins"
LONGEST_REASON = 150  # characters of an error in the code of another package

# They make the tables that need no engine. They are imported before the first plug-in, so that
# their own entries are there before its entries.
MODULES_WITH_TABLES = (
    "triptych.spec.layers",
    "triptych.spec.losses",
    "triptych.spec.optimizers",
    "triptych.spec.schedules",
    "triptych.spec.callbacks",
    "triptych.data.registry",
)

Table = TypeVar("Table", dict[Any, Any], list[Any])

left_out: list[str] = []  # for each entry point that could not be used, a line with the reason

_loaded: set[str] = set()  # groups
_tables: list[dict[Any, Any] | list[Any]] = []  # what plug-ins fill
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


def watch(table: Table) -> Table:
    """Return a table, which from now on loses what a plug-in that fails has put into it.

    Parameters
    ----------
    table : dict or list
    """
    _tables.append(table)
    return table


def contents() -> list[dict[Any, Any] | list[Any]]:
    """Return a copy of every table that plug-ins fill, for `restore`."""
    return [table.copy() for table in _tables]


def restore(before: list[dict[Any, Any] | list[Any]]) -> None:
    """Give the tables the contents that `contents` has returned.

    A table that was made afterwards stays as it is.
    """
    for table, entries in zip(_tables, before, strict=False):
        table.clear()
        if isinstance(table, dict) and isinstance(entries, dict):
            table.update(entries)
        elif isinstance(table, list):
            table.extend(entries)


def use(group: str, kind: str, action: Callable[[Any], None]) -> None:
    """Give each object of a group of entry points to a function.

    An object that cannot be imported, or for which `action` raises an error, is left out with a
    warning of one line. What it had registered before the error is taken out of the tables.

    Parameters
    ----------
    group : str
        The group of entry points.
    kind : str
        What the warning calls such an object.
    action : callable
        Takes the object.
    """
    points = list(_entry_points(group))
    if points:
        for module in MODULES_WITH_TABLES:
            import_module(module)
    for point in points:
        before = contents()
        try:
            action(point.load())
        except Exception as error:  # the code of another package can fail in any way
            restore(before)
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
