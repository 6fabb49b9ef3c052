"""``triptych import``: weights of another program as a run folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as o
from .app import app
from .option_groups import DataOptions, NetworkOptions, RecipeOptions, with_groups

if TYPE_CHECKING:
    from rich.console import Console


File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A .safetensors or .npz file of weights.")
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="torch|keras",
        help="Whose names and layout the arrays have. Default: seen from their names.",
        show_default=False,
    ),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NAME=LAYER",
        help="Which layer arrays whose names begin with NAME are, where it is open. May be "
        "given several times.",
        show_default=False,
    ),
]


@app.command("import")
@with_groups
def import_command(
    *,
    file: File,
    network: NetworkOptions,
    framework: Format = None,
    like: o.Like = None,
    chosen: Map = None,
    data: DataOptions,
    runs: o.Runs = Path("runs"),
) -> None:
    """Import weights from PyTorch or Keras for a network, as a run folder.

    The file is a state_dict saved by safetensors.torch.save_file, or Keras weights in safetensors
    or npz. The layout mapping is printed. Layers have the defaults of that framework, unless --like
    or the network's file sets others. With --data the network is built for this data, and tested.
    Without --network or --hidden, the networks whose shapes the arrays have are listed.

    Examples:

    triptych import model.safetensors --network custom --data digits

    triptych import weights.npz --network network.json --format keras
    """
    from rich.console import Console

    from ..errors import TriptychError
    from ..importing import candidates, weights
    from .say import say

    console = Console(emoji=False)
    dataset = data.read(console, 0) if data.data is not None else None
    built = network.build(RecipeOptions(like=like), dataset)
    if not network.is_named:
        raise TriptychError(candidates.advice(file, framework, dataset))
    read = weights.read_weights(file, built)
    name = weights.framework_of_file(read, framework)
    if like is None:
        built = network.build(RecipeOptions(like=name), dataset)
    imported = weights.import_weights(read, built, name, _choices(chosen or []))
    folder, results = weights.save_imported(imported, runs, dataset)
    show_import(console, results)
    say(console, f"Run folder: {folder}")


def _choices(chosen: list[str]) -> dict[str, str]:
    """Return the layers that --map names, by modules."""
    choices: dict[str, str] = {}
    for choice in chosen:
        module, equals, layer = choice.rpartition("=")
        if not equals or not layer:
            raise typer.BadParameter(f"{choice!r}; give NAME=LAYER", param_hint="--map")
        choices[module] = layer
    return choices


def show_import(console: "Console", results: dict[str, Any]) -> None:
    """Print what was imported, and how arrays became parameters."""
    from .progress import accuracy_text
    from .say import say

    say(console, f"{results['title']}: {results['parameters']:,} parameters")
    say(console, f"Weights of {results['label']} ({results['format']}), from {results['file']}:")
    for line in results["mapping"]:
        say(console, f"  {line}")
    if results["settings"]:
        say(console, "Settings that a file of weights does not hold (change them with --like):")
    for line in results["settings"]:
        say(console, f"  {line}")
    for warning in results["warnings"]:
        say(console, f"Warning: {warning}.", "yellow")
    if results["accuracy"] is not None:
        say(console, f"Test accuracy on {results['data']['name']}: {accuracy_text(results)}.")
