"""Which engines and backends a user asked for."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import EngineError
from . import registry


@dataclass(frozen=True)
class EngineSpec:
    """Which engine and backend a row stands for."""

    engine: str
    backend: str

    @property
    def key(self) -> str:
        """Short name, also of its folder: ``torch``, or ``torch-compiled`` where it is not the default backend."""
        default = registry.entry(self.engine).default_backend
        return self.engine if self.backend == default else f"{self.engine}-{self.backend}"

    @property
    def label(self) -> str:
        entry = registry.entry(self.engine)
        return (
            entry.label
            if self.backend == entry.default_backend
            else f"{entry.label} {self.backend}"
        )


def specs(names: Iterable[str] | None = None, all_backends: bool = False) -> list[EngineSpec]:
    """Return the rows that a user asked for; NumPy, the reference, always comes first.

    Parameters
    ----------
    names : iterable of str, optional
        Engines, or ``engine/backend``; by default every one, but of the optional ones those that are installed.
    all_backends : bool
        Each engine in all of its backends.

    Raises
    ------
    EngineError
        Where an engine or backend is unknown.
    """
    chosen: list[EngineSpec] = []
    usual = [
        name for name, entry in registry.entries().items() if entry.installed or not entry.optional
    ]
    for name in [registry.REFERENCE, *(usual if names is None else names)]:
        engine, _, backend = name.partition("/")
        entry = registry.entry(engine)
        if backend and backend not in entry.backends:
            raise EngineError(
                f"{entry.label} has no backend {backend!r}; known: {', '.join(entry.backends)}"
            )
        wanted = (
            [backend]
            if backend
            else list(entry.backends)
            if all_backends
            else [entry.default_backend]
        )
        chosen += [EngineSpec(engine, b) for b in wanted if EngineSpec(engine, b) not in chosen]
    return chosen


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
    found = [spec for spec in rows if registry.entry(spec.engine).installed]
    missing = [registry.entry(spec.engine) for spec in rows if spec not in found]
    if named and missing and len(found) < 2:
        raise EngineError(
            "; ".join(
                dict.fromkeys(
                    f"{entry.label} is not installed: {entry.install}" for entry in missing
                )
            )
        )
    return found
