"""The command line: one file for each command.

Nothing heavy is imported until a command runs.
"""

import atexit
import errno
import inspect
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from ..errors import TriptychError, one_line
from .usage import usage_message

CLOSED_PIPE = 141  # what a shell reports of a process that SIGPIPE ended
LAUNCHER = "compare_all_implementations.py"  # another name for compare, which its help then shows


class Stopped(BaseException):
    """Ctrl-C, under a name that typer does not swallow into an exit status of 1."""


class PipeClosed(BaseException):
    """The reader of the output has ended, as ``head`` does; typer would end with status 1."""


class Group(TyperGroup):
    """Commands whose help is broken into lines at the terminal's width."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name."""
        command = super().get_command(ctx, cmd_name)
        if command and command.help:
            command.help = unwrapped(command.help)
        return command


def unwrapped(text: str) -> str:
    """Return a text with each paragraph on one line."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


class Commands(Group):
    """The commands, in which a closed pipe is not taken for a divergence."""

    def make_context(self, *arguments: Any, **values: Any) -> Any:
        """Parse the command line."""
        with _closed_pipes():
            return super().make_context(*arguments, **values)

    def invoke(self, *arguments: Any, **values: Any) -> Any:
        """Run the command."""
        with _closed_pipes():
            return super().invoke(*arguments, **values)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name."""
        return super().get_command(ctx, "compare" if cmd_name == LAUNCHER else cmd_name)


@contextmanager
def _closed_pipes() -> Generator[None]:
    from rich.console import Console

    Console.on_broken_pipe = _raise_again  # rich's own method ends the process with status 1
    try:
        yield
    except BrokenPipeError:
        raise PipeClosed from None


def _raise_again(self: Any) -> NoReturn:
    raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


app = typer.Typer(
    name="triptych",
    cls=Commands,
    help="One network, three implementations (NumPy from scratch, PyTorch, TensorFlow): "
    "proved equal, then compared fairly.\n\n"
    "Begin with [bold]triptych compare[/bold]; it works offline, on the digits inside "
    "scikit-learn.",
    invoke_without_command=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _stop(*_: Any) -> NoReturn:
    _ignore_ctrl_c()  # once is enough: what follows is closing files and ending workers
    raise Stopped


def _ignore_ctrl_c() -> None:
    # Not SIG_IGN, which processes that are started later would inherit.
    signal.signal(signal.SIGINT, _nothing)


def _nothing(*_: Any) -> None:
    pass


def main(arguments: list[str] | None = None, name: str = "triptych") -> None:
    """Run the command line.

    Exit status: 0 fine, 1 a divergence was found, 2 a user's mistake, 130 stopped by Ctrl-C, 141
    the reader of the output has ended.

    Parameters
    ----------
    arguments : list of str, optional
        Those of the process by default.
    name : str
        What help calls the program.
    """
    for stream in (sys.stdout, sys.stderr):
        # What the terminal's encoding lacks becomes a question mark.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    signal.signal(signal.SIGINT, _stop)
    status = _status(arguments, name)
    # Everything was reported. What libraries print at exit, of the same full disk, is discarded.
    atexit.register(os.dup2, os.open(os.devnull, os.O_WRONLY), 2)
    sys.exit(status)


def _status(arguments: list[str] | None, name: str) -> int:
    """Run the command line, and return its exit status; errors that are foreseen are printed."""
    try:
        try:
            status = app(args=arguments, prog_name=name, standalone_mode=False)
            sys.stdout.flush()  # a full disk is noticed here, and not when the process ends
        finally:
            _ignore_ctrl_c()
    except TriptychError as error:
        return _complain(str(error))
    except TyperException as error:
        return _complain(usage_message(error, arguments or sys.argv[1:]))
    except Stopped:
        _complain(
            "stopped; every file is whole, and an unfinished run folder keeps its events", "\n"
        )
        return 130
    except PipeClosed:
        for stream in (1, 2):  # what is left in the buffers must not be written at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        return CLOSED_PIPE
    except Exception as error:
        message = _foreseen(error)
        if message is None:
            raise
        return _complain(message)
    return status if isinstance(status, int) else 0


def _complain(message: str, before: str = "") -> int:
    """Print an error, and return the exit status of a user's mistake."""
    with suppress(OSError):  # where nothing can be printed, the exit status is all that is left
        print(f"{before}triptych: {message}", file=sys.stderr, flush=True)
    return 2


def _foreseen(error: Exception) -> str | None:
    """Return what to print of an error that is not the program's own, or None."""
    from ..core.memory import OUT_OF_MEMORY, ran_out_of_memory

    if ran_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, OSError):
        if error.filename is None:  # every file of ours is named in its errors
            _discard_output()
        return one_line(f"{error.filename or 'standard output'}: {error.strerror or error}")
    return None


def _discard_output() -> None:
    """Send what is left in the buffer of the standard output to nowhere: it cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _version(asked: bool) -> None:
    if asked:
        from ..version import __version__

        print(f"triptych {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


# Each file adds its command to the app, in the order of the help; groups of commands come last.
COMMANDS = (
    "compare",
    "train",
    "verify",
    "sweep",
    "doctor",
    "record",
    "differences",
    "report",
    "runs",
    "show",
    "predict",
    "import_weights",
    "export",
    "data",
    "map",
    "advise",
    "serve",
)
for _name in COMMANDS:
    import_module(f"triptych.cli.{_name}")
