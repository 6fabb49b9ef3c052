"""Measure the test accuracy over several seeds, and print it as a Markdown table.

    python tools/accuracy.py --network fast --seeds 5 --data mnist

Each run is a ``triptych train``. A finished run with the same network, recipe and data is not
repeated, so that the same command continues what was interrupted.
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
    """Return the part of a run's results that identifies the run, as it is read from JSON."""
    dataset = data.load(source, seed)
    identity = {
        "engine": spec.engine,
        "backend": spec.backend,
        "threads": threads,
        "network": zoo.get(network, dataset.shape, len(dataset.classes)).to_json(),
        "recipe": Recipe.from_json(zoo.recipe(network) | {"seed": seed}).to_json(),
        "data": dataset.describe(),
    }
    return json.loads(files.to_json(identity))


def finished(runs: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return the results of a finished run with this identity, if the folder `runs` has one."""
    for path in sorted(runs.glob("*-train*/results.json")):
        results = read_results(path.parent, "train")
        if results | identity == results:
            return results
    return None


def train(
    network: str, spec: EngineSpec, threads: int, seed: int, source: str, runs: Path
) -> dict[str, Any]:
    """Return the results of one training, which is made if it does not exist yet."""
    identity = expected(network, spec, threads, seed, source)
    results = finished(runs, identity)
    if results is None:
        options = {
            "backend": spec.backend,
            "network": network,
            "data": source,
            "seed": seed,
            "threads": threads,
            "runs": runs,
        }
        command = [sys.executable, "-m", "triptych", "train", spec.engine]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        results = finished(runs, identity)
    assert results is not None
    return results


def main(
    network: Annotated[str, typer.Option(help="A network that has a recipe of the same name.")],
    source: Annotated[str, typer.Option("--data")],
    chosen: Annotated[
        str, typer.Option("--engines", help="ENGINE or ENGINE/BACKEND, separated by commas.")
    ] = "numpy,torch,tensorflow",
    seeds: Annotated[int, typer.Option(min=1, help="The number of seeds, from 0.")] = 5,
    threads: int = 1,
    runs: Path = Path("runs"),
) -> None:
    """Print one row for each engine."""
    title = f"| `{network}` | mean | min–max | training, CPU-s (median) | seeds 0–{seeds - 1} |"
    print(f"{title}\n|---|---|---|---|---|")
    for name in chosen.split(","):
        spec = specs([name])[-1]
        results = [train(network, spec, threads, seed, source, runs) for seed in range(seeds)]
        values = [100 * each["accuracy"]["value"] for each in results]
        seconds = median(each["cpu_seconds"] for each in results)
        span = f"{min(values):.2f}–{max(values):.2f}"
        listed = " · ".join(f"{value:.2f}" for value in values)
        print(
            f"| {spec.label} | {mean(values):.2f} % | {span} | {seconds:.1f} | {listed} |",
            flush=True,
        )


if __name__ == "__main__":
    try:
        typer.run(main)
    except TriptychError as error:
        sys.exit(f"accuracy: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)  # the command has printed the reason
