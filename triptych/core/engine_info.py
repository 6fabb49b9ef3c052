"""What is known of an engine before its framework is imported. Imports neither a framework nor NumPy."""

from dataclasses import dataclass, field
from importlib.util import find_spec


@dataclass(frozen=True)
class EngineInfo:
    """What is known of an engine before its framework is imported.

    Attributes
    ----------
    name : str
        The engine's name on the command line, and of its folder in `triptych.engines`.
    label : str
        What people call the framework.
    requires : str
        The module that must be installed.
    install : str
        The command that installs it.
    backends : dict of str to str
        Ways to run, each with a few words; the first is the default.
    argued : dict of str to str
        What a report tells without a measurement, by the keys gpu, debugging and scalability.
    packages : tuple of str
        Other modules whose versions are recorded.
    environment : dict of str to str
        Variables of its process, read when it is imported; ``{threads}`` stands for how many it may use.
    optional : bool
        If true, the engine is skipped silently when its package is missing, unless it was
        requested by name.
    notices : tuple of str
        Parts of lines that it writes to standard error when it is imported and that mean nothing to
        a user.
    reduced : tuple of str
        Backends that compute in less than the recipe's precision: that is what they are for.
    compile_seconds : dict of str to float
        Backends whose compiler takes long, with about so many seconds; for estimates.
    color : tuple of str or None
        In charts, on a light and on a dark page, each as ``#rrggbb``. Backends have shades of it.
    layout : dict of str to str
        How the framework stores arrays of each role, as einops patterns from the canonical layout;
        a role without an entry is stored in the canonical layout (`triptych.core.layout`).
    module : str
        The module whose class ``Engine`` is the engine; ``triptych.engines.NAME.engine`` if empty.
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
    module: str = ""

    @property
    def installed(self) -> bool:
        """Whether the framework can be imported."""
        return find_spec(self.requires) is not None

    @property
    def default_backend(self) -> str:
        """The backend that is used if none is named."""
        return next(iter(self.backends))
