"""report.html: one file, offline, from a run folder alone."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..runs import read_events, read_results
from .answers import answers
from .curves import curves

HERE = Path(__file__).parent
UNITS = 16  # hidden units shown of each row
PROBE_ROWS = 1_000


def write(folder: Path) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    Raises
    ------
    TriptychError
        Where the folder holds no finished run.
    """
    import jinja2

    results = read_results(folder)
    run = results["runs"][0]
    colors = {key: f"var(--c{i % 7})" for i, key in enumerate(run["rows"])}
    labels = {key: row["label"] for key, row in run["rows"].items()}
    drawn = curves((e for e in read_events(folder) if e["seed"] == run["seed"]), labels, colors)
    prefix = f"seed-{run['seed']}/" if len(results["runs"]) > 1 else ""
    rows, units = list[dict[str, Any]](), 0
    for key, row in run["rows"].items():
        images, units = _units(folder / f"{prefix}{key}" / "state.safetensors") if not row["failed"] else ([], units)
        rows.append(
            row | {"key": key, "color": colors[key], "units": images, "amount": _amount, "speed": _speed(row, rows[0] if rows else row)}
        )
    step = [
        {"name": labels[key], "color": colors[key], "values": [float(f"{t:.4g}") for t in times]}
        | {name: value * 1e3 for name, value in run["rows"][key]["step"].items() if name in ("low", "median", "high")}
        for key, times in drawn.pop("times").items()
        if run["rows"][key].get("step")
    ]
    flips = drawn.pop("flips")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"ms": _milliseconds, "sci": _scientific}
    page = environment.get_template("report.html").render(
        results=results,
        run=run,
        rows=rows,
        units=units,
        kinds=_kinds(rows),
        headline=_headline(run),
        answers=answers(run),
        flips=_flips(flips, labels, results["network"]) if flips else None,
        loss_note=_loss_note(run["steps"]),
        style=_safe((HERE / "style.css").read_text(encoding="utf-8")),
        charts=_safe((HERE / "charts.js").read_text(encoding="utf-8").replace("export function", "function")),
        data=_safe(json.dumps(_finite(drawn | {"step": {"x": "ms a step", "rows": step}})).replace("<", "\\u003c")),
    )
    files.write(folder / "report.html", page)
    return folder / "report.html"


def _safe(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _headline(run: dict[str, Any]) -> dict[str, Any]:
    rows = [row for row in run["rows"].values() if not row["failed"]]
    proved = [row for row in rows if row["proved"]]
    steps = min((row["float64"]["steps"] for row in proved), default=0)
    largest = max((row["float64"]["largest"] for row in proved), default=0.0)
    fastest = run["rows"][run["fastest"]]["label"] if run["fastest"] else None
    said = f"Fastest here: {fastest}; the interval of every paired ratio excludes 1." if fastest else "No difference in speed was measured."
    if len(proved) == len(rows) > 1:
        small = f"is the largest difference of weights, gradients or slots, at any of {steps} float64 steps; 1e−11 would be allowed"
        return {"equal": True, "big": f"Equal to {_scientific(largest)}", "small": small, "fastest": said}
    broken = ", ".join(row["label"] for row in rows if not row["proved"])
    return {"equal": False, "big": "Not proved equal", "small": f"{broken}: see the proof below; no ratio is given for it", "fastest": said}


def _speed(row: dict[str, Any], reference: dict[str, Any]) -> str:
    if not row.get("ratio") or row is reference:
        return "the reference"
    ratio = row["ratio"]
    if ratio["low"] <= 1 <= ratio["high"]:
        return f"as fast as {reference['label']}, as far as measured"
    factor = ratio["median"] if ratio["median"] > 1 else 1 / ratio["median"]
    return f"{factor:.2f} times as {'long' if ratio['median'] > 1 else 'fast'} as {reference['label']}"


def _kinds(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(kind for row in rows if row["float64"] for kind in row["float64"]["worst"]))


def _flips(flips: dict[str, Any], labels: dict[str, str], network: dict[str, Any]) -> dict[str, Any]:
    from ..network import Network, ReLU

    places = Network.from_json(network).places
    of = PROBE_ROWS * sum(int(np.prod(place.output_shape)) for place in places if isinstance(place.layer, ReLU))
    text = ", ".join(f"{labels[key]} {n:,}" for key, n in flips["rows"].items())
    return (
        {"of": of, "text": f"{text}; twins {', '.join(f'{n:,}' for n in flips['twins'])}"} if text else {"of": of, "text": "none compared"}
    )


def _loss_note(steps: int) -> str:
    from .curves import POINTS

    stretch = -(-steps // POINTS)
    return f"Means over {stretch} steps." if stretch > 1 else "Every step."


def _units(path: Path) -> tuple[list[str], int]:
    """Return the first hidden units' weights as small PNGs, base64, and how many units there are."""
    state, network, _, _ = files.load_state(path)
    kernel = next(iter(state.values()))
    h, w, c = network.input_shape if len(network.input_shape) == 3 else (1, *network.input_shape, 1)
    from matplotlib import colormaps
    from PIL import Image

    images: list[str] = []
    for unit in kernel.T[:UNITS]:
        picture = unit.reshape(h, w, c).mean(axis=2)
        scaled = 0.5 + 0.5 * picture / (np.abs(picture).max() or 1)
        buffer = io.BytesIO()
        Image.fromarray((colormaps["bwr"](scaled)[..., :3] * 255).astype(np.uint8)).quantize(64).save(buffer, "PNG", optimize=True)
        images.append(base64.b64encode(buffer.getvalue()).decode())
    return images, kernel.shape[1]


def _amount(count: int, line: list[int], right: bool) -> int:
    """Return how strongly a cell of a confusion matrix is tinted, in percent; mistakes are made visible."""
    share = count / max(1, sum(line))
    return round(70 * share) if right else min(80, round(12 * (count > 0) + 400 * share))


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:,.0f}"


def _scientific(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}".replace("e-0", "e−").replace("e-", "e−")


def _finite(value: Any) -> Any:
    """JSON knows no NaN: null stands for it."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_finite(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return None if isinstance(value, float) and not np.isfinite(value) else value
