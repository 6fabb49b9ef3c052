"""``triptych show``: a network's layers, shapes and parameters."""

import json

from . import app
from .options import DropoutRate, Hidden, NetworkName, network_of


@app.command("show")
def show(network: NetworkName = "classic", hidden: Hidden = None, dropout: DropoutRate = 0.0, as_json: bool = False) -> None:
    """Show a network layer by layer; with --as-json, as a file that --network reads.

    Change the architecture: triptych show --hidden 256,128 --dropout 0.3
    """
    described = network_of(network, hidden, dropout)
    if as_json:
        print(json.dumps(described.to_json(), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{described.name}: {described.architecture}", box=None, title_justify="left")
    for column in ("name", "layer", "output", "parameters"):
        table.add_column(column, justify="right" if column == "parameters" else "left")
    for name, layer, shape, count in described.rows():
        table.add_row(name, layer, shape, f"{count:,}")
    table.add_section()
    table.add_row("", "", "", f"{described.parameter_count:,}")
    Console().print(table)
