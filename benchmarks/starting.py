"""Import and start-up: whole processes of Python, from nothing to their end."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from .processes import Command, alternate
from .timing import Line, Settings, Timing

OURS = (
    Command("triptych", "ours: import triptych", ("-c", "import triptych"), ours=True),
    Command("help", "ours: triptych --help", ("-m", "triptych", "--help"), ours=True),
    Command(
        "verify-help",
        "ours: triptych verify --help",
        ("-m", "triptych", "verify", "--help"),
        ours=True,
    ),
)
IMPORTED = ("numpy", "sklearn", "jax", "torch", "tensorflow", "keras")


@dataclass(frozen=True)
class Starting:
    """Processes that start, and end."""

    title: str
    timed = True

    def measure(self, name: str, settings: Settings) -> Iterator[Timing]:
        """Start our commands, and the import of every framework that is installed."""
        there = [module for module in IMPORTED if find_spec(module)]
        commands = [
            *OURS,
            *(
                Command(f"import-{module}", f"import {module}", ("-c", f"import {module}"))
                for module in there
            ),
        ]
        ended, others = alternate(commands, settings)
        lines = [
            Line(c.key, c.about, c.ours, [run.seconds(settings) for run in ended[c.key]])
            for c in commands
        ]
        yield Timing(
            name,
            self.title,
            settings,
            others,
            lines,
            "every process ended with status 0",
            "a start",
        )
