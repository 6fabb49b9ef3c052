"""The crossover map in a report: for the images and the optimizer of a run, where its machine is calibrated."""

from typing import Any

from ..advise import calibration, chart
from ..advise.advice import Advisor
from ..errors import TriptychError
from ..recipe import Recipe
from .figures import COLORS

Rows = dict[str, dict[str, str]]


def of(results: dict[str, Any], rows: Rows) -> dict[str, Any] | None:
    """Return both panels and from how many networks they are, or None where there is no calibration of the run's machine here.

    Parameters
    ----------
    results : dict
        A run's.
    rows : dict of str to dict
        Name and colour of each of its rows; other rows have colours of their own.
    """
    shape = tuple(results["network"]["input_shape"])
    try:
        found = calibration.load(calibration.path(results["threads"]), results["threads"])
        advisor = Advisor(found)
    except TriptychError:
        return None
    devices = {row["device"] for run in results["runs"] for row in run["rows"].values()} - {None}
    if found.processor != results["machine"]["processor"] or len(shape) != 3 or devices - {"cpu"}:
        return None
    others = [key for key in advisor.fitted if key not in rows]
    all_rows = rows | {key: {"name": found.label(key), "color": f"var(--c{i % len(COLORS)})"} for i, key in enumerate(others, len(rows))}
    drawn = chart.panels(advisor, shape, Recipe.from_json(results["recipe"]).optimizer)
    return {"networks": len(found.samples), "note": calibration.aged(found), "panels": [panel | {"rows": all_rows} for panel in drawn]}
