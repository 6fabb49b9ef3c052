"""``triptych data``: what data is here, and fetching more."""

import os
from typing import Annotated

import typer

from .app import Group, app

LONGEST_LINE = 10_000  # characters of the list, whatever the width of the terminal

data_app = typer.Typer(
    cls=Group,
    help="List the data that is here, or fetch MNIST, Fashion-MNIST, KMNIST and CIFAR-10.",
    invoke_without_command=True,
)
app.add_typer(data_app, name="data")


@data_app.callback()
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@data_app.command("fetch")
def fetch_command(
    name: Annotated[str, typer.Argument(help="mnist, fashion-mnist, kmnist or cifar10.")],
) -> None:
    """Download a data set into the cache.

    Its SHA-256 is checked; a download that broke off is continued, from another mirror if there is
    one.

    The cache is $TRIPTYCH_DATA, or the user's cache folder.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from ..data import download

    bars = Progress(
        TextColumn("{task.description:28}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    )
    tasks: dict[str, int] = {}

    def progress(file: str, have: int, total: int) -> None:
        bars.start()  # here, so that nothing is printed if nothing is downloaded
        if file not in tasks:
            tasks[file] = bars.add_task(file, total=total)
        bars.update(tasks[file], completed=have, total=total)  # pyright: ignore[reportArgumentType]

    try:
        folder = download.fetch(name, progress)
    finally:
        if tasks:
            bars.stop()
    print(f"{name} is in {folder}; use it with --data {name}")


@data_app.command("list")
def list_command() -> None:
    """Show every data set by name, with files, sizes and SHA-256, and the decoded images."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from ..data import inventory
    from ..data.cache import cache_folder
    from ..errors import one_line

    cache = str(cache_folder()) + os.sep
    table = Table(box=None, pad_edge=False)
    table.add_column("data", overflow="fold")
    table.add_column("file", overflow="fold")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("SHA-256", no_wrap=True)
    table.add_column("", overflow="fold")
    for item in inventory.inventory():
        size = "" if item.size is None else f"{item.size:,}"
        shown_path = one_line(item.file.removeprefix(cache), LONGEST_LINE)
        table.add_row(*map(escape, (item.name, shown_path, size, item.sha256[:16], item.note)))
    print(f"Cache folder: {cache_folder()}")
    console = Console(emoji=False)
    if not console.is_terminal:  # a line for each file, whatever its length
        width = Console(width=LONGEST_LINE).measure(table).maximum
        console = Console(width=width, soft_wrap=True, emoji=False)
    console.print(table)
