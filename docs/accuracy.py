"""Test accuracy over seeds, as Markdown: ``python docs/accuracy.py --network fast --seeds 5 --data mnist``.

Every run is a ``triptych train`` of its own, one after the other. One that the folder holds already, finished and with the
same network, recipe and data, is not made again: what was stopped goes on with the same command.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Any

import typer

from triptych.core import files
from triptych.core.selection import EngineSpec, specs
from triptych.data import loading as data
from triptych.errors import TriptychError
from triptych.spec import zoo
from triptych.spec.recipe import Recipe
from triptych.training.run_folder import read_results


def expected(
    network: str, spec: EngineSpec, threads: int, seed: int, source: str
) -> dict[str, Any]:
    """Return what the results of one run must say of it, as JSON reads it."""
    dataset = data.load(source, seed)
    said = {
        "engine": spec.engine,
        "backend": spec.backend,
        "threads": threads,
        "network": zoo.get(network, dataset.shape, len(dataset.classes)).to_json(),
        "recipe": Recipe.from_json(zoo.recipe(network) | {"seed": seed}).to_json(),
        "data": dataset.describe(),
    }
    return json.loads(files.to_json(said))


def spec_of(name: str) -> EngineSpec:
    """Return the row of that name, for example torch or torch/bf16."""
    return specs([name])[-1]


def finished(root: Path, said: dict[str, Any]) -> dict[str, Any] | None:
    """Return the results of such a run in `root`, if there is one."""
    for path in sorted(root.glob("*-train*/results.json")):
        results = read_results(path.parent, "train")
        if results | said == results:
            return results
    return None


def main(
    network: Annotated[str, typer.Option(help="One that has a recipe of its name.")],
    source: Annotated[str, typer.Option("--data")],
    chosen: Annotated[
        str, typer.Option("--engines", help="ENGINE or ENGINE/BACKEND, with commas between.")
    ] = "numpy,torch,tensorflow",
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 0.")] = 5,
    threads: int = 1,
    runs: Path = Path("runs"),
) -> None:
    print(
        f"| `{network}` | mean | min–max | training, CPU-s (median) | seeds 0–{seeds - 1} |\n|---|---|---|---|---|"
    )
    for spec in map(spec_of, chosen.split(",")):
        found: list[dict[str, Any]] = []
        for seed in range(seeds):
            said = expected(network, spec, threads, seed, source)
            results = finished(runs, said)
            if results is None:
                options = {
                    "backend": spec.backend,
                    "network": network,
                    "data": source,
                    "seed": seed,
                    "threads": threads,
                    "runs": runs,
                }
                given = [
                    part for name, value in options.items() for part in (f"--{name}", str(value))
                ]
                subprocess.run(
                    [sys.executable, "-m", "triptych", "train", spec.engine, *given],
                    check=True,
                    stdout=sys.stderr,
                )
                results = finished(runs, said)
            assert results is not None
            found.append(results)
        values = [100 * results["accuracy"]["value"] for results in found]
        each, seconds = (
            " · ".join(f"{value:.2f}" for value in values),
            median(results["cpu_seconds"] for results in found),
        )
        print(
            f"| {spec.label} | {mean(values):.2f} % | {min(values):.2f}–{max(values):.2f} | {seconds:.1f} | {each} |",
            flush=True,
        )


try:
    typer.run(main)
except TriptychError as error:
    sys.exit(f"accuracy: {error}")
except subprocess.CalledProcessError as error:
    sys.exit(error.returncode)  # it has said why
