"""The engines and backends that a user asked for."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import EngineError
from . import registry
from .devices import check_device


@dataclass(frozen=True)
class EngineSpec:
    """One engine with one of its backends: a row of a comparison.

    Attributes
    ----------
    engine : str
        The engine's name in the registry.
    backend : str
        One of the engine's backends.
    """

    engine: str
    backend: str

    @property
    def key(self) -> str:
        """A short name, also of the row's folder; the default backend is left out.

        For example ``torch``, or ``torch-compiled``.
        """
        if self.backend == registry.entry(self.engine).default_backend:
            return self.engine
        return f"{self.engine}-{self.backend}"

    @property
    def announces_precision(self) -> bool:
        """Whether the backend intentionally computes in a lower precision than the recipe's."""
        return self.backend in registry.entry(self.engine).reduced

    @property
    def label(self) -> str:
        """The name in tables, for example ``PyTorch``, or ``PyTorch compiled``."""
        entry = registry.entry(self.engine)
        if self.backend == entry.default_backend:
            return entry.label
        return f"{entry.label} {self.backend}"


def specs(names: Iterable[str] | None = None, all_backends: bool = False) -> list[EngineSpec]:
    """Return the rows that a user asked for, without repetition.

    NumPy, the reference, always comes first.

    Parameters
    ----------
    names : iterable of str, optional
        Names of engines, or ``engine/backend``. By default these are all engines, except optional
        ones that are not installed.
    all_backends : bool
        Whether an engine without a named backend is used with all of its backends. Otherwise its
        default backend is used.

    Raises
    ------
    EngineError
        If an engine or a backend is unknown.
    """
    if names is None:
        names = default_names()
    return named_specs([registry.REFERENCE, *_checked(names)], all_backends)


def default_names() -> list[str]:
    """Return the engines that take part if none is named: all but optional ones not installed."""
    entries = registry.entries().items()
    return [name for name, entry in entries if entry.installed or not entry.optional]


def named_specs(names: Iterable[str], all_backends: bool = False) -> list[EngineSpec]:
    """Return the rows that are named, without repetition; the parameters are those of `specs`."""
    chosen: list[EngineSpec] = []
    for name in _checked(names):
        engine, _, backend = str(name).partition("/")
        entry = registry.entry(engine)
        wanted = [entry.backend(backend)]
        if all_backends and not backend:
            wanted = list(entry.backends)
        for each in wanted:
            row = EngineSpec(engine, each)
            if row not in chosen:
                chosen.append(row)
    return chosen


def _checked(names: Any) -> Iterable[str]:
    # A text would be taken for a list of letters.
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise EngineError(f"engines must be a list of names, such as ['torch'], not {names!r}")
    return names


@dataclass(frozen=True)
class Selection:
    """The engines that a user chose, and where they run.

    Attributes
    ----------
    rows : list of EngineSpec
        The first is NumPy, the reference.
    named : bool
        Whether the user asked for these engines by name.
    threads : int
        Threads of each row.
    device : str
        ``cpu``, ``cuda``, ``mps`` or ``auto``.
    """

    rows: list[EngineSpec]
    named: bool
    threads: int
    device: str

    @property
    def labels(self) -> dict[str, str]:
        """The label of each row, by its key."""
        return {row.key: row.label for row in self.rows}


def select(
    names: Iterable[str] | None = None,
    all_backends: bool = False,
    *,
    threads: int = 1,
    device: str = "cpu",
) -> Selection:
    """Return what `specs` returns, with the threads and the device.

    Raises
    ------
    EngineError
        If an engine, a backend or the device is unknown.
    """
    rows = specs(names, all_backends)
    check_device(device)
    return Selection(rows, names is not None, threads, device)


def installed(rows: list[EngineSpec], *, named: bool) -> list[EngineSpec]:
    """Return the rows whose framework is installed.

    Parameters
    ----------
    rows : list of EngineSpec
        The first is NumPy.
    named : bool
        Whether the user asked for these engines by name.

    Raises
    ------
    EngineError
        If the user named engines and none of them except NumPy is installed.
    """
    usable = [row for row in rows if registry.entry(row.engine).installed]
    missing = [registry.entry(row.engine) for row in rows if row not in usable]
    if named and missing and len(usable) < 2:
        messages = [f"{entry.label} is not installed: {entry.install}" for entry in missing]
        raise EngineError("; ".join(dict.fromkeys(messages)))  # each message once
    return usable
