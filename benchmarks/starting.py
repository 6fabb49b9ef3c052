"""Import and start-up: whole processes of Python, from their start to their end."""

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
    """Processes that start and end."""

    title: str
    timed = True

    def measure(self, name: str, settings: Settings) -> Iterator[Timing]:
        """Start our commands, and the import of every framework that is installed."""
        imports = [
            Command(f"import-{module}", f"import {module}", ("-c", f"import {module}"))
            for module in IMPORTED
            if find_spec(module)
        ]
        commands = [*OURS, *imports]
        ended, others = alternate(commands, settings)
        lines: list[Line] = []
        for command in commands:
            seconds = [process.seconds(settings) for process in ended[command.key]]
            lines.append(Line(command.key, command.description, command.ours, seconds))
        yield Timing(
            name,
            self.title,
            settings,
            others,
            lines,
            proof="every process ended with status 0",
            unit="a start",
        )
