"""Run folders that are written and not trained: any rows, any outcome."""

from pathlib import Path
from typing import Any

import numpy as np

from triptych.core import registry
from triptych.spec import zoo
from triptych.spec.optimizers import optimizer
from triptych.spec.recipe import Recipe
from triptych.training import checkpoint
from triptych.training.run_folder import Run

OUTCOME = {
    "steps": 50,
    "worst": {"outputs": 1e-15, "loss": 1e-15, "gradients": 2e-15, "weights": 3e-15},
}
STEPS = 40
BLOCKS = 15


def row(engine: str, backend: str, **changes: Any) -> dict[str, Any]:
    """One row of results.json, proved equal, unless the changes say otherwise."""
    entry = registry.entry(engine)
    default = backend == entry.default_backend
    made = {
        "engine": engine,
        "backend": backend,
        "label": entry.label if default else f"{entry.label} {backend}",
        "mode": entry.backends[backend],
        "argued": entry.argued,
        "device": "cpu",
        "failed": None,
        "proved": True,
        "unproved": None,
        "as_announced": False,
        "float64": OUTCOME | {"largest": 3e-15, "divergence": None},
        "blocks": {"steps": 80, "worst": {"weights": 0.0}, "largest": 0.0, "divergence": None},
        "float32": {"verdict": "rounding", "error": 8.9e-7, "own": 8.7e-7, "factor": 1.01},
        "seconds": {"import": 1.0, "build": 0.2, "transfer": 0.01, "first_step": 1.5},
        "peak_bytes": 400 * 2**20,
        "blas": ["openblas 0.3.31 Haswell, 1 threads"],
        "accuracy": {"value": 0.95, "right": 171, "of": 180, "low": 0.91, "high": 0.97},
        "confusion": (18 * np.eye(10, dtype=int)).tolist(),
        "differing_predictions": 0,
        "weights_apart": 4.8e-7,
        "loss": 0.1,
        "training_seconds": 0.5,
        "step": {
            "median": 0.001,
            "low": 0.00098,
            "high": 0.00103,
            "unstable": False,
            "rounds": BLOCKS,
        },
        "warm_up": [0.002],
        "cpu_share": 1.0,
        "ratio": {"median": 1.5, "low": 1.4, "high": 1.6},
    }
    return made | changes


def key(engine: str, backend: str) -> str:
    """The key of a row in results.json."""
    return engine if backend == registry.entry(engine).default_backend else f"{engine}-{backend}"


def every_row() -> dict[str, dict[str, Any]]:
    """All engines in all backends; those of reduced precision are as announced."""
    rows: dict[str, dict[str, Any]] = {}
    for name, entry in registry.entries().items():
        for backend in entry.backends:
            rows[key(name, backend)] = row(name, backend)
            if backend in entry.reduced:
                unproved = (
                    "computes in reduced precision: 1661.8 times NumPy's own float32 error "
                    "(at most 4 is rounding)"
                )
                rows[key(name, backend)] |= {
                    "proved": False,
                    "unproved": unproved,
                    "as_announced": True,
                    "ratio": None,
                }
    return rows


def results(
    rows: dict[str, dict[str, Any]], recipe: Recipe | None = None, **changes: Any
) -> dict[str, Any]:
    """results.json of a run with these rows; the changes are to its only seed."""
    network = zoo.get("classic")
    recipe = recipe or Recipe()
    run = {
        "seed": 0,
        "title": "784-10-10: a title",
        "parameters": network.parameter_count,
        "data": {
            "name": "digits",
            "source": "made",
            "train": 1617,
            "test": 180,
            "left_out": 0,
            "classes": 10,
            "class_names": list("0123456789"),
            "image": [28, 28, 1],
            "train_sha256": "0" * 64,
            "test_sha256": "1" * 64,
        },
        "steps": STEPS,
        "block_steps": 100,
        "batch": 1617,
        "drawing_seconds": 1e-6,
        "rounds": {"timed": BLOCKS, "valid": BLOCKS},
        "fastest": next(iter(rows)),
        "rows": rows,
        "notes": [],
    }
    machine = {
        "processor": "Acme",
        "cores": 2,
        "system": "Linux",
        "python": "3.11",
        "load": 0.1,
        "versions": {"numpy": "2"},
    }
    return {
        "created": "2026-01-01T00:00:00Z",
        "machine": machine,
        "network": network.to_json(),
        "recipe": recipe.to_json(),
        "threads": 1,
        "runs": [run | changes],
        "spread": None,
    }


def with_optimizer(
    rows: dict[str, dict[str, Any]], name: str
) -> tuple[dict[str, dict[str, Any]], Recipe]:
    """The rows of a run with an optimizer: each of its slots has a figure of its own."""
    recipe = Recipe(optimizer=optimizer(name))
    own = [*recipe.optimizer.slots, *(["step"] if recipe.optimizer.counts_steps else [])]
    figures = {slot: (i + 1) * 1e-16 for i, slot in enumerate(own)}
    return {
        each: found | {"float64": found["float64"] | {"worst": OUTCOME["worst"] | figures}}
        for each, found in rows.items()
    }, recipe


def events(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Events of a training: losses, block times, and evaluations of which the first finds no
    difference.
    """
    found: list[dict[str, Any]] = []
    for number in range(BLOCKS):
        for each in rows:
            block = {
                "type": "block",
                "seed": 0,
                "row": each,
                "round": number,
                "step": number,
                "steps": 1,
            }
            found.append(
                block
                | {
                    "training": True,
                    "timed": True,
                    "seconds": 0.001 + 1e-5 * number,
                    "losses": [2.0 / (number + 1)],
                }
            )
    others = list(rows)[1:]
    for step, apart in ((0, 0.0), (20, 1e-7), (STEPS, 2e-7)):
        looks = {each: {"accuracy": 0.9} for each in rows}
        for each in others:
            looks[each] |= {"apart": apart, "flips": 0}
        twins = [{"apart": apart + 1e-8, "flips": 0}] * 3
        found.append({"type": "evaluation", "seed": 0, "step": step, "rows": looks, "twins": twins})
    return found


def folder(root: Path, made: dict[str, Any]) -> Path:
    """Write a run folder with these results, and return it."""
    with Run.create(root, "compare") as run:
        rows = made["runs"][0]["rows"]
        for event in events({name: found for name, found in rows.items() if not found["failed"]}):
            run.log(event)
        run.save_results(made)
    return run.folder


def state(at: Path, name: str, scale: float = 1.0) -> None:
    """Write a row's state: the first weights of the classic network, times a factor."""
    from triptych.core.state import initial

    network, recipe = zoo.get("classic"), Recipe()
    arrays = {
        name: (array * scale).astype(array.dtype)
        for name, array in initial(network, recipe).items()
    }
    checkpoint.save_state(at / name / "state.safetensors", arrays, network, recipe, {})
