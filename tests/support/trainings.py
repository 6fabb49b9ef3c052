"""Small trainings in this process, and what they came to."""

import csv
from pathlib import Path

from triptych.core.events import BlockTrained
from triptych.data.dataset import Dataset
from triptych.spec import zoo
from triptych.spec.optimizers import Adam
from triptych.spec.recipe import Recipe
from triptych.training import checkpoint, run_folder
from triptych.training.session import Session, Settings

NETWORK = zoo.dense("tiny", [4], 0.2)
RECIPE = Recipe(3, 64, Adam(), validation=0.1)
PER_EPOCH = 23  # ceil(1455 / 64)


def trained(
    root: Path, dataset: Dataset, recipe: Recipe = RECIPE, until: int | None = None, network=NETWORK
) -> Path:
    """Train in this process, to the end or until a step; return the run folder."""
    settings = Settings("numpy", "eager")
    running = Session(settings, network, recipe, dataset, root)
    for event in running.events():
        if until is not None and isinstance(event, BlockTrained) and event.step >= until:
            running.training.stop()
    assert running.folder
    return running.folder


def states(folder: Path) -> dict[str, dict[str, bytes]]:
    """The bytes of every array."""
    loaded = {
        name: checkpoint.load_state(folder / name / "state.safetensors")[0]
        for name in ("last", "best")
    }
    return {
        name: {key: array.tobytes() for key, array in kept.items()} for name, kept in loaded.items()
    }


def outcome(folder: Path) -> dict:
    """What a finished run came to, without times."""
    results = run_folder.read_results(folder, "train")
    kept = {
        key: results[key]
        for key in (
            "steps",
            "stopped",
            "best_epoch",
            "tested_epoch",
            "accuracy",
            "confusion",
            "recipe",
        )
    }
    with (folder / "history.csv").open(newline="") as file:
        kept["lines"] = [line[:-1] for line in csv.reader(file)]
    kept["history"] = [
        {key: value for key, value in epoch.items() if "seconds" not in key}
        for epoch in results["history"]
    ]
    return kept


def check_log(folder: Path, epochs: int) -> None:
    """Every step and epoch is told once, in order."""
    events = run_folder.read_events(folder)
    assert len(events) == len((folder / "events.jsonl").read_text().splitlines())
    spans = [
        (event["step"] - event["steps"], event["step"])
        for event in events
        if event["type"] == "block"
    ]
    assert [first for first, _ in spans] == [0, *(after for _, after in spans[:-1])]
    assert [event["epoch"] for event in events if event["type"] == "epoch"] == list(
        range(1, epochs + 1)
    )
