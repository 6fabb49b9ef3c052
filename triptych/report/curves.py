"""The curves of a run, from its events: what both the figures and the page draw."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MOST_POINTS = 400  # of a line

Line = dict[str, Any]
Event = dict[str, Any]


@dataclass
class _Measured:
    """The figures of one seed.

    Attributes
    ----------
    losses : dict of str to list of float
        By row: the loss of each training step.
    times : dict of str to list of float
        By row: milliseconds of a step, one for each timed block.
    evaluations : list of dict
        The events of that type.
    """

    losses: dict[str, list[float]]
    times: dict[str, list[float]]
    evaluations: list[Event] = field(default_factory=list[Event])


def curves(events: Iterable[Event], rows: dict[str, Line]) -> dict[str, Any]:
    """Return the charts of a run as the chart module takes them.

    Parameters
    ----------
    events : iterable of dict
        Of one seed.
    rows : dict of str to dict
        By row, in the order of drawing: ``name``, ``color`` and ``dash`` of its lines.

    Returns
    -------
    dict
        ``loss``, ``accuracy`` and ``apart``, the largest weight difference: charts. ``times``, by
        row, milliseconds of a step for each block. ``flips``, how many ReLU outputs are on in a row
        and off in the first one at the end: by row, and for the perturbed runs.
    """
    measured = _measured(events, rows)
    evaluations = measured.evaluations
    present = [key for key in rows if measured.losses[key]]
    losses = [_line(rows[key], *thinned(measured.losses[key])) for key in present]
    accuracies = [_line_of(evaluations, rows, key, "accuracy") for key in present]
    differences = [_line_of(evaluations, rows, key, "apart") for key in present[1:]]
    if present:
        differences += _perturbed_lines(evaluations, rows[present[0]]["name"])
    return {
        "loss": {"x": "step", "y": "loss", "from": 0, "series": losses},
        "accuracy": {"x": "step", "y": "accuracy", "series": accuracies},
        "apart": {
            "x": "step",
            "y": "largest weight difference",
            "log": True,
            "series": differences,
        },
        "times": {key: values for key, values in measured.times.items() if values},
        "flips": _flips(evaluations[-1], present[1:]) if evaluations else None,
    }


def _measured(events: Iterable[Event], rows: dict[str, Line]) -> _Measured:
    """Collect the figures of the events."""
    measured = _Measured({key: [] for key in rows}, {key: [] for key in rows})
    for event in events:
        if event["type"] == "evaluation":
            measured.evaluations.append(event)
        if event["type"] != "block" or event["row"] not in rows:
            continue
        if event["training"]:
            measured.losses[event["row"]] += map(_number, event["losses"])
        if event["timed"]:
            measured.times[event["row"]].append(event["seconds"] * 1e3)
    return measured


def _line(row: Line, x: list[float], y: list[float]) -> Line:
    return row | {"x": x, "y": y}


def _line_of(evaluations: list[Event], rows: dict[str, Line], key: str, figure: str) -> Line:
    """Return the line of one figure of a row over the evaluations."""
    steps = [event["step"] for event in evaluations]
    values = [_number(event["rows"].get(key, {}).get(figure)) for event in evaluations]
    return _line(rows[key], steps, values)


def _perturbed_lines(evaluations: list[Event], name: str) -> list[Line]:
    """Return the lines of the runs whose first weights were changed by one ulp."""
    if not evaluations:
        return []
    steps = [event["step"] for event in evaluations]
    style = {"color": "var(--twin)", "dash": "4 3", "faint": True}
    lines: list[Line] = []
    for i in range(len(evaluations[0]["twins"])):
        values = [event["twins"][i]["apart"] for event in evaluations]
        lines.append({"name": f"{name} + 1 ulp ({i + 1})", "x": steps, "y": values} | style)
    return lines


def _flips(evaluation: Event, keys: list[str]) -> dict[str, Any]:
    """Return how many ReLU outputs differ in sign at an evaluation."""
    rows = evaluation["rows"]
    return {
        "rows": {key: int(rows[key]["flips"]) for key in keys if key in rows},
        "twins": [int(run["flips"]) for run in evaluation["twins"]],
    }


def _number(value: float | None) -> float:
    """Return a figure from JSON, where NaN and infinity are null; a row that is out has none."""
    return float("nan") if value is None else value


def steps_of_point(steps: int) -> int:
    """Return over how many steps each point of a line is the mean."""
    return max(1, -(-steps // MOST_POINTS))


def thinned(values: list[float]) -> tuple[list[float], list[float]]:
    """Return at most `MOST_POINTS` points of a line.

    Parameters
    ----------
    values : list of float
        One for each step.

    Returns
    -------
    steps : list of int
        The last step of each chunk of steps; all chunks but the last have one length.
    means : list of float
        The mean over each chunk.
    """
    length = steps_of_point(len(values))
    chunks = [values[at : at + length] for at in range(0, len(values), length)]
    ends = np.cumsum([len(chunk) for chunk in chunks])
    means = [float(f"{np.mean(chunk):.6g}") for chunk in chunks]
    return [int(end) for end in ends], means
