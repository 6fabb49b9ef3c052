"""What a comparison writes into its run folder, in addition to the events: results, states, misclassified images."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from ..errors import TriptychError
from ..process import machine
from ..training import misclassified
from ..training.run_folder import Run, read_events
from ..version import __version__
from .comparison import Comparison, Settings
from .results import spread

BEGUN = "pace"  # the first event after which a run folder is worth keeping


@contextmanager
def kept_if_begun(run: Run) -> Generator[Run]:
    """Use a run, and remove its folder if a mistake ends the comparison before its first steps are made.

    Parameters
    ----------
    run : Run
        Just made; its folder holds nothing but its events.
    """
    try:
        with run:
            yield run
    except TriptychError:
        if not any(event["type"] == BEGUN for event in read_events(run.folder)):
            (run.folder / "events.jsonl").unlink()
            run.folder.rmdir()
        raise


def save_states(run: Run, comparison: Comparison, prefix: str) -> None:
    """Write the trained state of every row as ``<prefix><row>/state.safetensors``, and the images that rows get wrong."""
    predictions = {
        row.spec.key: row.predictions for row in comparison.live if row.predictions is not None
    }
    misclassified.save(
        run.folder / f"{prefix}{misclassified.FILE}", comparison.dataset.test, predictions
    )
    recipe, network = comparison.settings.recipe, comparison.settings.network
    provenance = {
        "triptych": __version__,
        "data": comparison.dataset.describe(),
        "machine": machine.describe(),
    }
    for row in comparison.live:
        made_by = {"engine": row.spec.engine, "backend": row.spec.backend}
        run.save_state(
            prefix + row.spec.key,
            comparison.states[row.spec.key],
            network,
            recipe,
            provenance | made_by,
        )


def save(run: Run, settings: Settings, results: list[dict[str, Any]]) -> None:
    """Write results.json."""
    run.save_results(
        {
            "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "machine": machine.describe(),
            "network": settings.network.to_json(),
            "recipe": settings.recipe.to_json(),
            "threads": settings.threads,
            "runs": results,
            "spread": spread(results) if len(results) > 1 else None,
        }
    )
