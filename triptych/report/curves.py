"""The curves of a run, from its events: what both the figures and the page draw."""

from collections.abc import Iterable
from typing import Any

import numpy as np

POINTS = 400


def curves(events: Iterable[dict[str, Any]], rows: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return loss, accuracy, weight difference and step times as the chart module takes them.

    Parameters
    ----------
    events : iterable of dict
        Of one seed.
    rows : dict of str to dict
        By row, in the order of drawing: ``name``, ``color`` and ``dash`` of its lines.
    """
    losses: dict[str, list[float]] = {key: [] for key in rows}
    times: dict[str, list[float]] = {key: [] for key in rows}
    looks: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "block" and event["row"] in rows:
            if event["training"]:
                losses[event["row"]] += [_number(loss) for loss in event["losses"]]
            if event["timed"]:
                times[event["row"]].append(event["seconds"] * 1e3)
        elif event["type"] == "evaluation":
            looks.append(event)
    steps = [look["step"] for look in looks]
    present = [key for key in rows if losses[key]]

    def line(key: str, x: list[float], y: list[float]) -> dict[str, Any]:
        return rows[key] | {"x": x, "y": y}

    def looked(key: str, what: str) -> list[float]:
        return [_number(look["rows"].get(key, {}).get(what)) for look in looks]

    twins = [
        {
            "name": f"{rows[present[0]]['name']} + 1 ulp ({i + 1})",
            "color": "var(--twin)",
            "dash": "4 3",
            "faint": True,
        }
        | {"x": steps, "y": [look["twins"][i]["apart"] for look in looks]}
        for i in range(len(looks[0]["twins"]) if looks and present else 0)
    ]
    apart = [line(key, steps, looked(key, "apart")) for key in present[1:]]
    return {
        "loss": {
            "x": "step",
            "y": "loss",
            "from": 0,
            "series": [line(key, *thinned(losses[key])) for key in present],
        },
        "accuracy": {
            "x": "step",
            "y": "accuracy",
            "series": [line(key, steps, looked(key, "accuracy")) for key in present],
        },
        "apart": {
            "x": "step",
            "y": "largest weight difference",
            "log": True,
            "series": apart + twins,
        },
        "times": {key: values for key, values in times.items() if values},
        "flips": {
            "rows": {
                key: int(looks[-1]["rows"][key]["flips"])
                for key in present[1:]
                if key in looks[-1]["rows"]
            },
            "twins": [int(twin["flips"]) for twin in looks[-1]["twins"]],
        }
        if looks
        else None,
    }


def _number(value: float | None) -> float:
    """NaN and infinity are null in JSON; a row that is out has no value at all."""
    return float("nan") if value is None else value


def thinned(values: list[float]) -> tuple[list[float], list[float]]:
    """Return (steps, values), at most 400 points: means over equal stretches, each at the step where it ends."""
    stretch = -(-len(values) // POINTS) or 1
    parts = [values[at : at + stretch] for at in range(0, len(values), stretch)]
    ends = np.cumsum([len(part) for part in parts])
    return [int(end) for end in ends], [float(f"{np.mean(part):.6g}") for part in parts]
