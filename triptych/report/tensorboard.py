"""TensorBoard event files, one folder an engine, so that ``tensorboard --logdir runs`` shows them overlaid."""

from pathlib import Path
from typing import Any

from ..errors import TriptychError
from ..training.run_folder import read_log, read_results
from ..training.tensorboard import summary_writer


def write(folder: Path) -> None:
    """Write loss, accuracy and step time of every row that results.json names, from the log.

    Raises
    ------
    TriptychError
        Where the folder holds no comparison, or the folder of a row is a link.
    """
    runs = read_results(folder)["runs"]
    rows = {run["seed"]: list(run["rows"]) for run in runs}
    writers: dict[str, Any] = {}

    def writer(seed: int, row: str) -> Any:
        parts = [f"seed-{seed}", row] if len(runs) > 1 else [row]
        name = "/".join(parts)
        if name not in writers:
            place = folder
            for part in parts:
                place = place / part
                if (
                    place.is_symlink()
                ):  # it may lead out of the run folder, where nothing may be deleted or written
                    raise TriptychError(
                        f"{place}: a link, where the folder of a row is needed; remove it"
                    )
            writers[name] = summary_writer(place)
        return writers[name]

    events, _ = read_log(folder)
    try:
        for event in events:
            seed: Any = event.get("seed")
            if (
                event["type"] == "block"
                and event.get("row") in rows.get(seed, ())
                and event["training"]
            ):
                first = event["step"] - event["steps"] + 1
                for i, loss in enumerate(event["losses"]):
                    if loss is None:  # not finite
                        continue
                    writer(seed, event["row"]).add_scalar("loss", loss, first + i)
                writer(seed, event["row"]).add_scalar(
                    "ms_per_step", event["seconds"] * 1e3, event["step"]
                )
            elif event["type"] == "evaluation":
                for row, found in event["rows"].items():
                    if row in rows.get(seed, ()) and found.get("accuracy") is not None:
                        writer(seed, row).add_scalar("accuracy", found["accuracy"], event["step"])
    finally:
        for each in writers.values():
            each.close()
