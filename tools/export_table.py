"""Export networks to every target, and print sizes and verdicts as a Markdown table.

    python tools/export_table.py --data digits --web-runtime node_modules

Each network is trained for one epoch in PyTorch and exported; a run that exists in the folder of
runs is not repeated.
"""

from pathlib import Path
from typing import Annotated

import typer

import triptych as tt
from triptych.exporting.export import ExportResult
from triptych.exporting.targets import TARGETS, target

NETWORKS = ["custom", "cnn", "lenet-bn"]
HEADINGS = (
    "target",
    "network",
    "file size",
    "largest difference",
    "bound",
    "verdict",
    "differing predictions",
)


def trained(network: str, data: tt.Dataset, runs: Path) -> Path:
    """Return the folder of a training of one epoch."""
    folder = runs / network
    if not folder.exists():
        described = tt.zoo.get(network, data.shape, len(data.classes))
        recipe = tt.Recipe(epochs=1, batch_size=64, optimizer=tt.optimizers.Adam())
        result = tt.train("torch", described, recipe, data, runs=runs)
        assert result.folder is not None
        result.folder.rename(folder)
    return folder


def row(network: str, result: ExportResult) -> list[str]:
    """Return the cells of a row."""
    verification = result.verification
    bound = f"{verification.bound:.1e}"
    if target(result.target).quantized:
        bound = f"accuracy {verification.accuracy:.2%} of {verification.reference_accuracy:.2%}"
    return [
        f"`{result.target}`",
        network,
        f"{result.size / 1000:,.0f} kB",
        f"{verification.largest:.1e}",
        bound,
        verification.verdict,
        f"{verification.differing:,} of {verification.samples:,}",
    ]


def main(
    data: Annotated[str, typer.Option(help="Data set by name, or a path.")] = "digits",
    networks: Annotated[str, typer.Option(help="Named networks.")] = ",".join(NETWORKS),
    targets: Annotated[str, typer.Option(help="Names of targets.")] = ",".join(TARGETS),
    web_runtime: Annotated[Path | None, typer.Option(help="onnxruntime-web, for web.")] = None,
    runs: Annotated[Path, typer.Option(help="Where the runs are made.")] = Path("export-runs"),
) -> None:
    """Print the table."""
    dataset = tt.load_data(data)
    print("| " + " | ".join(HEADINGS) + " |")
    print("|---|---|---:|---:|---:|---|---:|", flush=True)
    for network in networks.split(","):
        folder = trained(network, dataset, runs)
        chosen = targets.split(",")
        for result in tt.iter_export(folder, chosen, data=dataset, web_runtime=web_runtime):
            print("| " + " | ".join(row(network, result)) + " |", flush=True)


if __name__ == "__main__":
    typer.run(main)
