"""What is known of an engine before its framework is imported.

This module imports neither a framework nor NumPy.
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from ..errors import EngineError, suggest


@dataclass(frozen=True)
class EngineInfo:
    """What is known of an engine before its framework is imported.

    Attributes
    ----------
    name : str
        The engine's name on the command line, and of its folder in `triptych.engines`.
    label : str
        The framework's name in tables and messages, for example ``PyTorch``.
    requires : str
        The module that must be installed.
    install : str
        The command that installs it.
    backends : dict of str to str
        The ways to run the engine, each with a short description; the first is the default.
    argued : dict of str to str
        Statements for a report that no measurement supports, by topic: ``gpu``, ``debugging``,
        ``scalability``.
    packages : tuple of str
        Other modules whose versions are recorded.
    environment : dict of str to str
        Environment variables that the framework reads when it is imported. ``{threads}`` is
        replaced by the number of threads that the engine may use.
    optional : bool
        If true, the engine is skipped silently when its package is missing, unless it was
        requested by name.
    notices : tuple of str
        Lines on standard error that contain one of these strings are hidden during the import,
        because they are of no use to a user.
    reduced : tuple of str
        Backends that intentionally compute in a lower precision than the recipe's.
    compile_seconds : dict of str to float
        For backends whose compiler is slow, the approximate compilation time in seconds.
    color : tuple of str or None
        The colors in charts on a light and on a dark page, each as ``#rrggbb``. Backends have
        shades of them.
    layout : dict of str to str
        How the framework stores arrays of each role, as einops patterns from the canonical layout;
        a role without an entry is stored in the canonical layout (`triptych.core.layout`).
    processor_only : bool
        Whether it has no other device than ``cpu``. A comparison runs it there, next to engines on
        another device.
    module : str
        The module whose class ``Engine`` is the engine; ``triptych.engines.NAME.engine`` if empty.
    native : str
        What the framework calls its own data-parallel training; empty if it has none. The module
        ``native`` beside the engine's module has it, as the class ``NativeWorkers``.
    native_is_open : bool
        Whether its servers listen on every network interface, and ask for no password.
    """

    name: str
    label: str
    requires: str
    install: str
    backends: dict[str, str]
    argued: dict[str, str]
    packages: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict[str, str])
    optional: bool = False
    reduced: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    compile_seconds: dict[str, float] = field(default_factory=dict[str, float])
    color: tuple[str, str] | None = None
    layout: dict[str, str] = field(default_factory=dict[str, str])
    processor_only: bool = False
    module: str = ""
    native: str = ""
    native_is_open: bool = False

    @property
    def installed(self) -> bool:
        """Whether the framework can be imported."""
        return find_spec(self.requires) is not None

    @property
    def engine_module(self) -> str:
        """The name of the module whose class ``Engine`` is the engine."""
        return self.module or f"triptych.engines.{self.name}.engine"

    @property
    def default_backend(self) -> str:
        """The backend that is used if none is named."""
        return next(iter(self.backends))

    def backend(self, name: Any) -> str:
        """Return the name of a backend, the first for an empty one; raise if it is unknown."""
        if not name:
            return self.default_backend
        if not isinstance(name, str) or name not in self.backends:
            raise EngineError(
                f"{self.label} has no backend {name!r}; {suggest(name, self.backends)}"
            )
        return name
