"""The crossover map in a report: for the images and the optimizer of a run, where its machine is calibrated."""

from typing import Any

from ..advise import calibration, plot
from ..advise.advice import Advisor
from ..advise.workload import arithmetic
from ..errors import TriptychError
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..training.misclassified import are_pictures
from .colors import style

Rows = dict[str, dict[str, str]]


def of(results: dict[str, Any], rows: Rows) -> dict[str, Any] | None:
    """Return the map for a run of images, or None where there is no calibration of the run's machine here.

    Parameters
    ----------
    results : dict
        A run's.
    rows : dict of str to dict
        By row of the run: ``name`` and ``color``.

    Returns
    -------
    dict or None
        ``networks``, how many were timed; ``note``, what has changed since, or None; ``absent``, the rows
        that the map cannot name, each with the reason; ``remark``, how the map compares with what the run
        measured, or None; ``panels``.
    """
    shape = tuple(results["network"]["input_shape"])
    try:
        found = calibration.load(calibration.path(results["threads"]), results["threads"])
        advisor = Advisor(found)
    except TriptychError:
        return None
    devices = {row["device"] for run in results["runs"] for row in run["rows"].values()} - {None}
    if (
        found.processor != results["machine"]["processor"]
        or len(shape) != 3
        or not are_pictures(shape)
        or devices - {"cpu"}
    ):
        return None
    others = [spec for spec in found.rows if spec.key in advisor.fitted and spec.key not in rows]
    all_rows = rows | {
        spec.key: {"name": spec.label, "color": style(spec.engine, spec.backend).css}
        for spec in others
    }
    recipe = Recipe.from_json(results["recipe"])
    return {
        "networks": len(found.samples),
        "note": calibration.aged(found),
        "absent": advisor.absent(),
        "remark": _remark(results, recipe, advisor),
        "panels": [
            panel | {"rows": all_rows} for panel in plot.panels(advisor, shape, recipe.optimizer)
        ],
    }


def _remark(results: dict[str, Any], recipe: Recipe, advisor: Advisor) -> str | None:
    """Return a sentence on the fastest row of the run and the row that the map expects, or None where the run names none."""
    run = results["runs"][0]
    fastest = run.get("fastest")
    if not fastest:
        return None
    measured = run["rows"][fastest]["label"]
    if fastest not in advisor.named:
        return f"This comparison measured {measured} as the fastest; the map does not include it."
    step = arithmetic(Network.from_json(results["network"]), recipe, run["batch"])
    expected = advisor.advise(step).fastest
    names = " or ".join(advisor.calibration.label(key) for key in expected)
    if fastest in expected:
        return f"For this run's own network the map expects {names}; this comparison measured {measured} as the fastest."
    return (
        f"For this run's own network the map expects {names}, but this comparison measured {measured} as the fastest. "
        "The measurement counts: the map is an estimate from other networks."
    )
