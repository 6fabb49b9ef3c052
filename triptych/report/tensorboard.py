"""TensorBoard event files, one folder an engine, so that ``tensorboard --logdir runs`` shows them overlaid."""

from pathlib import Path
from typing import Any

from ..files import summary_writer


def write(folder: Path, events: list[dict[str, Any]]) -> None:
    """Write loss, accuracy and step time of every row of a run."""
    seeds = {event["seed"] for event in events}
    writers: dict[str, Any] = {}

    def writer(event: dict[str, Any], row: str) -> Any:
        name = f"seed-{event['seed']}/{row}" if len(seeds) > 1 else row
        if name not in writers:
            writers[name] = summary_writer(folder / name)
        return writers[name]

    try:
        for event in events:
            if event["type"] == "block" and event["training"]:
                first = event["step"] - event["steps"] + 1
                for i, loss in enumerate(event["losses"]):
                    if loss is None:  # not finite
                        continue
                    writer(event, event["row"]).add_scalar("loss", loss, first + i)
                writer(event, event["row"]).add_scalar("ms_per_step", event["seconds"] * 1e3, event["step"])
            elif event["type"] == "evaluation":
                for row, found in event["rows"].items():
                    writer(event, row).add_scalar("accuracy", found["accuracy"], event["step"])
    finally:
        for each in writers.values():
            each.close()
