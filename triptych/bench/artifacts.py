"""What a comparison writes into its run folder, in addition to its events.

The folder gets results.json, the trained state of every row, and the images that rows classify
wrongly.
"""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from ..core.events import PaceMeasured
from ..errors import TriptychError
from ..process import machine
from ..training import misclassified
from ..training.run_folder import Run, read_events
from ..version import __version__
from .contestants import Settings
from .results import Comparison, spread

FIRST_OF_INTEREST = PaceMeasured.type  # the event after which a run folder is worth keeping


@contextmanager
def kept_if_begun(run: Run) -> Generator[Run]:
    """Use a run, and remove its folder if an error ends the comparison before its first steps.

    Parameters
    ----------
    run : Run
        Newly made; its folder holds only its events.
    """
    try:
        with run:
            yield run
    except TriptychError:
        if not any(event["type"] == FIRST_OF_INTEREST for event in read_events(run.folder)):
            (run.folder / "events.jsonl").unlink()
            run.folder.rmdir()
        raise


def save_states(run: Run, comparison: Comparison, prefix: str) -> None:
    """Write the trained state of every row, and the images that rows classify wrongly.

    Parameters
    ----------
    run : Run
        The folder.
    comparison : Comparison
        The complete comparison of one seed.
    prefix : str
        The seed's own folder with a slash, or an empty string. The states are in
        ``<prefix><row>/state.safetensors``.
    """
    trained = comparison.timed.trained
    predictions = {key: row.predictions for key, row in trained.items()}
    path = run.folder / f"{prefix}{misclassified.FILE}"
    misclassified.save(path, comparison.dataset.test, predictions)
    settings = comparison.settings
    provenance = {
        "triptych": __version__,
        "machine": machine.describe(),
        **comparison.dataset.provenance(),
    }
    for spec in comparison.live:
        run.save_state(
            prefix + spec.key,
            trained[spec.key].state,
            settings.network,
            settings.recipe,
            provenance | {"engine": spec.engine, "backend": spec.backend},
        )


def save(run: Run, settings: Settings, results: list[dict[str, Any]]) -> None:
    """Write results.json.

    Parameters
    ----------
    run : Run
        The folder.
    settings : Settings
        Those of the first seed.
    results : list of dict
        What `triptych.bench.results.result` returned for each seed.
    """
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
