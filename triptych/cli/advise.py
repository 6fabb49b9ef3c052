"""``triptych advise``: predicts a network's step in each engine and names the fastest."""

from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .app import app
from .option_groups import NetworkOptions, RecipeOptions, with_groups

if TYPE_CHECKING:
    from rich.console import Console

    from ..advise.advice import Advice, Advisor
    from ..advise.workload import Case

IMAGES = 9_000  # of the original's full batch


@app.command("advise")
@with_groups
def advise(
    *,
    network: NetworkOptions,
    recipe_name: o.RecipeName = None,
    batch_size: o.BatchSize = None,
    images: Annotated[
        int, typer.Option("--images", min=1, help="How many a full batch holds.")
    ] = IMAGES,
    optimizer: o.OptimizerName = None,
    threads: o.Threads = 1,
) -> None:
    """Predict the time of a training step in every row; needs triptych map once.

    Examples:

    triptych advise --network custom --batch-size 64 --optimizer adam

    triptych advise --hidden 256,128 --dropout 0.2 --batch-size 8
    """
    from rich.console import Console

    from ..advise import calibration
    from ..advise.advice import Advisor
    from ..advise.workload import Case
    from .say import say_unbroken

    console = Console(emoji=False)
    options = RecipeOptions(recipe_name, batch_size=batch_size, optimizer=optimizer)
    options = options.for_network(network)
    recipe = options.build()
    described = network.build(options)
    times = calibration.load(calibration.path(threads), threads)
    advisor = Advisor(times)
    batch = images if recipe.batch_size == "full" else recipe.batch_size
    case = Case(described, recipe, batch)
    advice = advisor.advise(case)
    _table(console, advice, batch)
    say_unbroken(console, _verdict(advice))
    for note in (calibration.outdated(times), *_notes(advisor, case)):
        if note:
            say_unbroken(console, f"note: {note}", "yellow")


def _table(console: "Console", advice: "Advice", batch: int) -> None:
    from ..advise.model import COVERED, SHARES
    from ..report.units import milliseconds
    from .table import empty

    table = empty(f"batch {batch:,}", ["ms/step", f"{COVERED:.0%}", *SHARES])
    # The first row is the one that is named the fastest, so rows that may not be named come last.
    for e in sorted(advice.estimates, key=lambda e: e.barred is not None):
        interval = "–".join(map(milliseconds, e.interval))
        name = f"({e.label})" if e.barred else e.label
        table.add_row(
            name, milliseconds(e.seconds), interval, *(f"{e.shares[share]:.0%}" for share in SHARES)
        )
    console.print(table)


def _verdict(advice: "Advice") -> str:
    """Return the sentence that names the fastest row."""
    estimates = {e.key: e for e in advice.estimates}
    first, *others = (estimates[key] for key in advice.fastest)
    why = ", ".join(
        f"{part:.0%} {share}"
        for share, part in sorted(first.shares.items(), key=lambda item: -item[1])
    )
    if others:
        names = " or ".join(e.label for e in (first, *others))
        return (
            f"Fastest: {names}; the calibration cannot tell them apart here. "
            f"{first.label} is expected to spend {why}."
        )
    return f"Fastest: {first.label}, expected to spend {why}."


def _notes(advisor: "Advisor", case: "Case") -> list[str]:
    """Return what the estimate leaves out."""
    listed = [advisor.calibration.row(key).label for key in advisor.fitted]
    notes: list[str] = []
    for label, why in advisor.absent().items():
        name = f"({label}) is not ranked" if label in listed else f"{label} is not in the table"
        notes.append(f"{name}: {why}")
    kinds = advisor.unknown(case)
    if kinds:
        notes.append(
            f"no network of the calibration had {', '.join(kinds)}; "
            "they are taken to cost as much as similar layers"
        )
    recipe = case.recipe
    if recipe.augmentation.active:
        notes.append("augmentation is not counted")
    if recipe.dtype != "float32":
        notes.append(
            f"calibrated in float32; in {recipe.dtype} bytes are counted, "
            "and operations are taken to be as fast"
        )
    return notes
