"""The command line: one small file a command, no logic. Nothing heavy is imported until a command runs."""

import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import typer

from ..errors import TriptychError

app = typer.Typer(
    name="triptych",
    help="One network, three implementations (NumPy from scratch, PyTorch, TensorFlow): proved equal, then compared fairly.\n\n"
    "Begin with [bold]triptych compare[/bold]; it works offline, on the digits inside scikit-learn.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Stopped(BaseException):
    """Ctrl-C, under a name that typer does not swallow into an exit status of 1."""


def _stop(*_: Any) -> NoReturn:
    raise Stopped


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit status: 0 fine, 1 a divergence was found, 2 a user's mistake, 130 stopped by Ctrl-C."""
    signal.signal(signal.SIGINT, _stop)
    try:
        app(args=arguments)
    except TriptychError as error:
        print(f"triptych: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped:
        print("\ntriptych: stopped; every file is whole, and an unfinished run folder keeps its events", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except MemoryError as error:
        print(f"triptych: not enough memory; make the network, the batch or the images smaller. {error}".rstrip(), file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a full disk, say; files are written under a temporary name, so the old ones are whole
        print(f"triptych: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)


def _version(asked: bool) -> None:
    if asked:
        from .. import __version__

        print(f"triptych {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version and exit."),
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


for _name in ("compare", "train", "verify", "report", "show", "data", "map", "advise"):  # each file adds its command to the app
    import_module(f"{__name__}.{_name}")
