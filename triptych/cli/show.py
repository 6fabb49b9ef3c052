"""``triptych show``: a network's layers, shapes and parameters, or what a run came to."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as o
from .app import app
from .option_groups import NetworkOptions, RecipeOptions, with_groups

if TYPE_CHECKING:
    from rich.console import Console

    from ..training.saved import SavedRun

LINES = 20  # of a training's epochs


@app.command("show")
@with_groups
def show(
    *,
    run: Annotated[
        Path | None,
        typer.Argument(help="A run folder, to show what it came to.", show_default=False),
    ] = None,
    data: o.Data = None,
    network: NetworkOptions,
    recipe: o.RecipeName = None,
    like: o.Like = None,
    as_json: bool = False,
) -> None:
    """Show a network layer by layer, or a run, or a recipe.

    With --as-json the network is printed as a file that --network reads; a recipe always is. With
    --data the network is built for these images or rows.

    Change the architecture: triptych show --hidden 256,128 --dropout 0.3
    """
    from rich.console import Console

    given = any(value is not None for value in (data, recipe, like))
    if run is not None and (given or as_json or network != NetworkOptions()):
        raise typer.BadParameter(
            "a run is shown as it was; leave the options out", param_hint="RUN"
        )
    console = Console(emoji=False)
    if run is not None:
        _run(console, run)
        return
    if recipe is not None:
        print(json.dumps(RecipeOptions(recipe, like=like).build().to_json(), indent=2))
        return
    dataset = None
    if data is not None:
        from ..api import load_data

        dataset = load_data(data)
    described = network.build(RecipeOptions(like=like), dataset)
    if as_json:
        print(json.dumps(described.to_json(), indent=2))
    else:
        _network(console, described)


def _network(console: "Console", described: Any) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(f"{described.name}: {described.architecture}"), box=None, title_justify="left"
    )
    for column in ("name", "layer", "output", "parameters"):
        table.add_column(column, justify="right" if column == "parameters" else "left")
    for name, layer, shape, count in described.rows():
        table.add_row(escape(name), escape(layer), escape(shape), f"{count:,}")
    table.add_section()
    table.add_row("", "", "", f"{described.parameter_count:,}")
    console.print(table)


def _run(console: "Console", folder: Path) -> None:
    from ..core import files
    from ..training.run_folder import is_unfinished, read_results

    if is_unfinished(folder):
        _unfinished(console, folder)
        return
    results = read_results(folder, None)
    # Everything is drawn before anything is printed, so that a damaged file is one line and not
    # half a table.
    with (
        files.refusing(folder / "results.json", "results that triptych wrote"),
        console.capture() as captured,
    ):
        _finished(console, results)
    print(captured.get(), end="")
    if results.get("kind") == "train":
        _going_on(console, folder)
    if results.get("kind") == "import":
        _next_steps(console, folder)


def _finished(console: "Console", results: dict[str, Any]) -> None:
    if results.get("kind") == "train":
        _trained(console, results)
        return
    if results.get("kind") == "import":
        from .import_weights import show_import

        show_import(console, results)
        return
    from . import table

    for result in results["runs"]:
        table.show(console, result)
    if len(results["runs"]) > 1:
        table.show_spread(console, results["runs"])


def _going_on(console: "Console", folder: Path) -> None:
    """Say so where a finished run is being trained for more epochs."""
    from ..errors import TriptychError
    from ..training.saved import SavedRun
    from .say import say_unbroken

    try:
        saved = SavedRun.read(folder)
    except TriptychError as error:  # what it came to is known, whatever happened to the states
        say_unbroken(console, f"note: {error}")
        return
    if not saved.finished:
        _how_far(console, saved)
    else:
        _next_steps(console, folder)


def _next_steps(console: "Console", folder: Path) -> None:
    """Print what was exported, and how to predict and export."""
    from ..core.shell import quoted
    from ..exporting.export import exports_in
    from .say import say

    exported = [f"{target} ({verdict})" for target, verdict in exports_in(folder).items()]
    if exported:
        say(console, f"Exported to: {', '.join(exported)}.")
    say(console, f"Classify with it: {quoted('triptych', 'predict', str(folder))} image.png")
    say(console, f"Export it: {quoted('triptych', 'export', str(folder))} --to onnx")


def _trained(console: "Console", results: dict[str, Any]) -> None:
    from .progress import tested_line
    from .say import say_unbroken

    say = partial(say_unbroken, console)
    data = results["data"]
    say(f"{_where(results)}: {results['title']}")
    kind = "rows" if "standardised" in data else "images"
    counts = f"{data['train']:,} training and {data['test']:,} test {kind}"
    say(f"{data['name']}: {counts} ({data['source']})")
    _epochs(console, results["history"], results["recipe"]["epochs"])
    if results["stopped"]:
        say(f"Stopped early: {results['stopped']}; the best epoch was {results['best_epoch']}.")
    say(f"{results['steps']:,} steps of training in {results['seconds']:.3g} s.")
    say(tested_line(results))


def _where(results: dict[str, Any]) -> str:
    """Return in which engine a network was trained, or in which ones, one after the other."""
    from ..core.registry import entries

    last = f"{results['label']}, {results['backend']}, on {results['device']}"
    earlier = results.get("engines", [])[:-1]
    if not earlier:
        return last
    ends = [stage["step"] for stage in results["engines"][1:]]
    parts = [
        f"{entries()[stage['engine']].label} until step {end:,}"
        for stage, end in zip(earlier, ends, strict=True)
    ]
    return f"{', '.join(parts)}, then {last}"


def _unfinished(console: "Console", folder: Path) -> None:
    from ..training.saved import SavedRun

    saved = SavedRun.read(folder)
    _epochs(console, saved.position.history, saved.recipe.epochs)
    _how_far(console, saved)


def _how_far(console: "Console", saved: "SavedRun") -> None:
    from ..core.shell import quoted
    from .say import say_unbroken

    done = len(saved.position.history)
    going_on = quoted("triptych", "train", "--resume", str(saved.folder))
    if done >= saved.recipe.epochs or saved.position.stopped is not None:
        where = f"trained for {done} epochs, and not yet tested"
    else:
        epoch = f"epoch {done + 1} of {saved.recipe.epochs}"
        where = f"saved after step {saved.position.step:,}, in {epoch}"
    line = f"Not finished: {where}; go on with: {going_on}"
    say_unbroken(console, line)


def _epochs(console: "Console", history: list[dict[str, Any]], epochs: int) -> None:
    from ..progress import epoch_line
    from .say import say_unbroken

    every = -(-len(history) // LINES) or 1
    for epoch in history:
        if epoch["epoch"] % every == 0 or epoch is history[-1]:
            say_unbroken(console, epoch_line(epoch, epochs))
