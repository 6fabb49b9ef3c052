"""report.html: one file, offline, from a run folder alone."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..bench.result import milliseconds
from ..data.dataset import DIGITS
from ..layers import ReLU
from ..network import Network
from ..parity.rounding import PROBE_ROWS
from ..runs import read_log, read_results
from . import crossover
from .answers import answers
from .curves import curves
from .figures import COLORS

HERE = Path(__file__).parent
UNITS = 16  # hidden units shown of each row


def write(folder: Path) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    Raises
    ------
    TriptychError
        Where the folder holds no finished run.
    """
    import jinja2

    results = read_results(folder)
    run, network = results["runs"][0], Network.from_json(results["network"])
    colors = {key: f"var(--c{i % len(COLORS)})" for i, key in enumerate(run["rows"])}
    labels = {key: row["label"] for key, row in run["rows"].items()}
    drawn = curves((e for e in read_log(folder)[0] if e.get("seed") == run["seed"]), labels, colors)
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
    known = crossover.of(results, {key: {"name": labels[key], "color": colors[key]} for key in labels})
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"ms": milliseconds, "sci": _scientific}
    page = environment.get_template("report.html").render(
        results=results,
        run=run,
        rows=rows,
        units=units,
        kinds=_kinds(rows),
        classes=run["data"].get("class_names", DIGITS),
        headline=_headline(run),
        answers=answers(run),
        flips=_flips(flips, labels, network, run["data"]["train"]) if flips else None,
        looks_for="what a hidden unit looks for" if len(network.parameters) > 2 else "what a class looks for",
        loss_note=_loss_note(run["steps"]),
        map=known,
        style=_safe((HERE / "style.css").read_text(encoding="utf-8")),
        charts=_safe((HERE / "charts.js").read_text(encoding="utf-8").replace("export function", "function")),
        data=_safe(
            files.to_json(drawn | {"step": {"x": "ms a step", "rows": step}, "map": known and known["panels"]}).replace("<", "\\u003c")
        ),
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
    said = f"Fastest here: {fastest}; the interval of every paired ratio excludes 1." if fastest else "None is named the fastest."
    if len(proved) == len(rows) > 1:
        small = f"is the largest difference of weights, gradients or slots, at any of {steps} float64 steps; 1e−11 would be allowed"
        return {"equal": True, "big": f"Equal to {_scientific(largest)}", "small": small, "fastest": said}
    broken = ", ".join(row["label"] for row in rows if not row["proved"])
    return {"equal": False, "big": "Not proved equal", "small": f"{broken}: see the proof below; no ratio is given for it", "fastest": said}


def _speed(row: dict[str, Any], reference: dict[str, Any]) -> str:
    ratio = row["ratio"]
    if not ratio:
        return "speed not measured" if row["proved"] else "speed ratio withheld"
    if row["engine"] == reference["engine"] and row["backend"] == reference["backend"]:
        return "the reference"
    if ratio["low"] <= 1 <= ratio["high"]:
        return f"as fast as {reference['label']}, as far as measured"
    factor = ratio["median"] if ratio["median"] > 1 else 1 / ratio["median"]
    return f"{factor:.2f} times as {'long' if ratio['median'] > 1 else 'fast'} as {reference['label']}"


def _kinds(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(kind for row in rows if row["float64"] for kind in row["float64"]["worst"]))


def _flips(flips: dict[str, Any], labels: dict[str, str], network: Network, samples: int) -> dict[str, Any] | None:
    of = min(PROBE_ROWS, samples) * sum(int(np.prod(p.output_shape)) for p in network.places if isinstance(p.layer, ReLU))
    if not of or not flips["rows"]:
        return None
    text = ", ".join(f"{labels[key]} {n:,}" for key, n in flips["rows"].items())
    twins = ", ".join(f"{n:,}" for n in flips["twins"])
    return {"of": of, "text": f"{text}; twins {twins}" if twins else text}


def _loss_note(steps: int) -> str:
    from .curves import POINTS

    stretch = -(-steps // POINTS)
    return f"Means over {stretch} steps." if stretch > 1 else "Every step."


def _units(path: Path) -> tuple[list[str], int]:
    """Return the first hidden units' weights, or the first filters, as small PNGs, base64, and how many there are."""
    if not path.exists():
        return [], 0
    try:
        state, network, _, _ = files.load_state(path)
    except files.NotFiniteError:  # there is nothing to see
        return [], 0
    kernel = next(iter(state.values()))
    image = network.input_shape if len(network.input_shape) == 3 else (1, *network.input_shape, 1)
    pictures = kernel.reshape(*(kernel.shape[:3] if kernel.ndim == 4 else image), -1).mean(axis=2)
    from matplotlib import colormaps
    from PIL import Image

    images: list[str] = []
    for picture in np.moveaxis(pictures, -1, 0)[:UNITS]:
        scaled = 0.5 + 0.5 * picture / (np.abs(picture).max() or 1)
        buffer = io.BytesIO()
        Image.fromarray((colormaps["bwr"](scaled)[..., :3] * 255).astype(np.uint8)).quantize(64).save(buffer, "PNG", optimize=True)
        images.append(base64.b64encode(buffer.getvalue()).decode())
    return images, kernel.shape[-1]


def _amount(count: int, line: list[int], right: bool) -> int:
    """Return how strongly a cell of a confusion matrix is tinted, in percent; mistakes are made visible."""
    share = count / max(1, sum(line))
    return round(70 * share) if right else min(80, round(12 * (count > 0) + 400 * share))


def _scientific(value: float | None) -> str:
    if value is None:  # NaN and infinity are null in JSON
        return "not finite"
    return "0" if value == 0 else f"{value:.1e}".replace("e-0", "e−").replace("e-", "e−")
