"""report.html: one file, offline, from a run folder alone."""

import base64
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import files, registry
from ..data.dataset import DIGITS
from ..parity.float32 import PROBE_ROWS
from ..process.search_path import load_matplotlib
from ..spec.layers import ReLU
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..training import checkpoint, misclassified
from ..training.run_folder import read_log, read_results
from . import crossover, slots
from .answers import answers
from .colors import style
from .curves import POINTS, curves
from .units import milliseconds

ASSETS = Path(__file__).parent / "assets"
UNITS = 16  # hidden units shown of each row
INVISIBLE = (
    1 / 64
)  # a smaller difference of two weights, over the largest weight, is not seen in a picture
FEW_NAMES = 3  # as many rows are listed by name in a heading
LISTED = 5  # of the most frequent confusions
BUSY_SHARE = 0.9  # of the wall time: with less processor time a row had to wait
NUMBERS = (
    "none",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)

Row = dict[str, Any]
Picture = NDArray[np.uint8]


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
    network = Network.from_json(results["network"])
    recipe = Recipe.from_json(results["recipe"])
    styles = {key: style(row["engine"], row["backend"]) for key, row in run["rows"].items()}
    drawn_as = {
        key: {"name": row["label"], "color": styles[key].css, "dash": styles[key].dash}
        for key, row in run["rows"].items()
    }
    events = (event for event in read_log(folder)[0] if event.get("seed") == run["seed"])
    drawn = curves(events, drawn_as)
    prefix = f"seed-{run['seed']}/" if len(results["runs"]) > 1 else ""
    busy = is_busy(run)
    reference = next(iter(run["rows"].values()))
    rows = [
        row
        | {"key": key, "color": styles[key].css, "speed": "" if busy else _speed(row, reference)}
        for key, row in run["rows"].items()
    ]
    pictures = misclassified.are_pictures(run["data"]["image"])
    samples = "image" if pictures else "sample"
    step = [
        _interval(run["rows"][key], drawn_as[key], times)
        for key, times in drawn.pop("times").items()
        if run["rows"][key].get("step")
    ]
    kinds = _kinds(rows, recipe)
    for row in rows:
        row["state"] = (
            _largest([row["float64"]["worst"].get(kind, 0) for kind in kinds["own"]])
            if row["float64"]
            else None
        )
    flips = drawn.pop("flips")
    classes = run["data"].get("class_names", DIGITS)
    confusions = _confusions(rows, classes)
    known = crossover.of(
        results,
        {key: {name: line[name] for name in ("name", "color")} for key, line in drawn_as.items()},
    )
    data = drawn | {
        "step": {"x": "ms a step", "rows": step},
        "map": known and known["panels"],
        "confusion": [
            {"classes": classes, "samples": samples}
            | {name: group[name] for name in ("counts", "changed")}
            for group in confusions
        ],
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"ms": milliseconds, "sci": _scientific}
    charts = (
        (ASSETS / "charts.js").read_text(encoding="utf-8").replace("export function", "function")
    )
    script = f"\n{charts}\n{(ASSETS / 'page.js').read_text(encoding='utf-8')}"
    page = environment.get_template("report.html").render(
        results=results,
        run=run,
        rows=rows,
        dtype=recipe.dtype,
        many=sum(not row["failed"] for row in rows) > 1,
        heading=_heading(rows),
        headline=headline(run, recipe.dtype),
        fastest=fastest(run, busy),
        kinds=kinds,
        slots=slots.described(recipe.optimizer),
        answers=answers(results),
        flips=_flips(flips, drawn_as, network, run["data"]["train"]) if flips else None,
        ulps=any(series.get("faint") for series in drawn["apart"]["series"]),
        apart=not all(series.get("faint") for series in drawn["apart"]["series"]),
        classes=classes,
        confusions=confusions,
        mistakes=_mistakes(folder / f"{prefix}{misclassified.FILE}", run["rows"], classes),
        samples=samples,
        units=_units(folder, prefix, rows) if pictures else [],
        looks_for="what a hidden unit looks for"
        if len(network.parameters) > 2
        else "what a class looks for",
        loss_note=_loss_note(run["steps"]),
        map=known,
        style=_safe((ASSETS / "style.css").read_text(encoding="utf-8")),
        script=_safe(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_safe(files.to_json(data).replace("<", "\\u003c")),
    )
    files.write(folder / "report.html", page)
    return folder / "report.html"


def _safe(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _heading(rows: list[Row]) -> str:
    ran = [row for row in rows if not row["failed"]]
    if len(ran) == 1:
        return f"One network in {ran[0]['label']}"
    return f"One network, {_number(len(ran))} implementations"


def _number(count: int) -> str:
    """Return a number as it is written in a sentence."""
    return NUMBERS[count] if count < len(NUMBERS) else f"{count:,}"


def _names(labels: list[str]) -> str:
    """Return names as a sentence lists them."""
    if len(labels) < 2:
        return "".join(labels)
    return f"{', '.join(labels[:-1])} and {labels[-1]}"


def headline(run: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Return what the proof came to.

    Parameters
    ----------
    run : dict
        One of ``runs`` in results.json.
    dtype : str
        Of the recipe.

    Returns
    -------
    dict
        ``equal``, True, False, or None where there was nothing to compare; ``big`` and ``small``, the
        sentences.
    """
    ran = [row for row in run["rows"].values() if not row["failed"]]
    failed = [row["label"] for row in run["rows"].values() if row["failed"]]
    announced = [row["label"] for row in ran if row["as_announced"]]
    compared = [row for row in ran if not row["as_announced"]]
    broken = [row for row in compared if not row["proved"]]
    if len(ran) < 2:
        name = _names([row["label"] for row in ran])
        return {
            "equal": None,
            "big": f"Only {name} ran",
            "small": f"There was nothing to compare it with. {_missing(run)}",
        }
    if broken:
        return {"equal": False} | _not_proved(broken, compared)
    checked = [row["float64"] for row in compared if row["float64"]]
    largest = max((found["largest"] for found in checked), default=0.0)
    steps = min((found["steps"] for found in checked), default=0)
    small = (
        f"In {steps} training steps in float64 (numbers of 64 bits), no weight, gradient or value of the optimizer differed from NumPy's "
        f"by more than {_scientific(largest)} of the largest value of its kind. Differences up to 1e−11 count as equal."
    )
    noun = "engines" if _all_default(run) else "rows"
    big = (
        f"All {_number(len(compared))} {noun} are equal"
        if len(compared) > 2
        else f"Both {noun} are equal"
    )
    if announced:
        big = f"{len(compared)} of {len(compared)} {dtype} rows are equal"
        small += (
            f" {_names(announced)} {'rounds' if len(announced) == 1 else 'round'} more by design."
        )
    if failed:
        small += f" {_names(failed)} did not run."
    return {"equal": True, "big": big, "small": small}


def _all_default(run: dict[str, Any]) -> bool:
    """Return whether each row is an engine in its default backend, so that "engine" says the same as "row"."""
    return all(key == row["engine"] for key, row in run["rows"].items())


def _not_proved(broken: list[Row], compared: list[Row]) -> dict[str, str]:
    labels = [row["label"] for row in broken]
    if len(broken) == len(compared):
        return {
            "big": "Nothing is proved equal",
            "small": "The reasons are below the table “The proof”. No speeds are compared.",
        }
    names = _names(labels) if len(labels) <= FEW_NAMES else f"{len(broken)} of {len(compared)} rows"
    verb = "is" if len(labels) == 1 else "are"
    return {
        "big": f"{names} {verb} not proved equal",
        "small": "The reasons are below the table “The proof”. No speed ratio is given for a row that is not proved equal.",
    }


def _missing(run: dict[str, Any]) -> str:
    """Return what to do for a comparison of more than one engine."""
    failed = [row["failed"].rstrip(".") for row in run["rows"].values() if row["failed"]]
    if failed:
        return f"{'. '.join(failed)}."
    present = {row["engine"] for row in run["rows"].values() if not row["failed"]}
    others = [
        entry
        for name, entry in registry.entries().items()
        if name not in present and not entry.optional
    ]
    absent = [f"{entry.label} ({entry.install})" for entry in others if not entry.installed]
    if absent:
        return f"Install {' or '.join(absent)}, then run triptych compare again."
    return "Run triptych compare with at least one more engine."


def is_busy(run: dict[str, Any]) -> bool:
    """Return whether other programs used the machine so much that no winner is named."""
    if "busy" in run:
        return bool(run["busy"])
    shares = [row["cpu_share"] for row in run["rows"].values() if row.get("cpu_share") is not None]
    return not run["fastest"] and any(share < BUSY_SHARE for share in shares)


def fastest(run: dict[str, Any], busy: bool) -> str:
    """Return the sentence on who was the fastest."""
    if run["fastest"]:
        label = run["rows"][run["fastest"]]["label"]
        return f"{label} was the fastest here: the 95 % interval of its ratio to every other row excludes 1."
    timed = [row for row in run["rows"].values() if row.get("step") and row["proved"]]
    if len(timed) < 2:
        return "There was nothing to compare the time with."
    if busy:
        return "No row is named the fastest: other programs used the machine during the measurement. Run it again on an idle machine."
    return "No row is named the fastest: the differences are not larger than the uncertainty of the measurement."


def _speed(row: Row, reference: Row) -> str:
    ratio = row["ratio"]
    if row["failed"]:
        return ""
    if not ratio:
        return "speed not measured" if row["proved"] else "no speed ratio without proof"
    if row["engine"] == reference["engine"] and row["backend"] == reference["backend"]:
        return "the reference"
    if ratio["low"] <= 1 <= ratio["high"]:
        return f"as fast as {reference['label']}, within the uncertainty"
    if ratio["median"] > 1:
        return f"{ratio['median']:.2f} times as long as {reference['label']}"
    return f"{1 / ratio['median']:.2f} times as fast as {reference['label']}"


def _interval(row: Row, line: dict[str, str], times: list[float]) -> dict[str, Any]:
    """Return one row of the chart of step times, in milliseconds."""
    figures = {name: row["step"][name] * 1e3 for name in ("low", "median", "high")}
    return {
        "name": line["name"],
        "color": line["color"],
        "values": [float(f"{time:.4g}") for time in times],
    } | figures


def _kinds(rows: list[Row], recipe: Recipe) -> dict[str, list[str]]:
    """Return the kinds of arrays that were compared in float64: ``shared`` by all optimizers, and the optimizer's ``own``."""
    found = list(
        dict.fromkeys(kind for row in rows if row["float64"] for kind in row["float64"]["worst"])
    )
    own = [kind for kind in found if kind in slots.described(recipe.optimizer)]
    return {"shared": sorted((kind for kind in found if kind not in own), key=_order), "own": own}


def _largest(figures: list[float | None]) -> float | None:
    """Return the largest figure; None, which is what is not finite in JSON, is larger than all."""
    finite = [figure for figure in figures if figure is not None]
    return max(finite, default=0.0) if len(finite) == len(figures) else None


def _order(kind: str) -> int:
    """Return the place of a kind in the order of computation."""
    order = ("outputs", "loss", "gradients", "weights", "buffers")
    return order.index(kind) if kind in order else len(order)


def _flips(
    flips: dict[str, Any], rows: dict[str, dict[str, str]], network: Network, samples: int
) -> dict[str, Any] | None:
    of = min(PROBE_ROWS, samples) * sum(
        int(np.prod(p.output_shape)) for p in network.places if isinstance(p.layer, ReLU)
    )
    if not of or not flips["rows"]:
        return None
    text = ", ".join(f"{rows[key]['name']} {n:,}" for key, n in flips["rows"].items())
    return {"of": of, "text": text, "ulps": ", ".join(f"{n:,}" for n in flips["twins"])}


def _loss_note(steps: int) -> str:
    steps_a_point = -(-steps // POINTS)
    if steps_a_point > 1:
        return f"Each point is the mean of {steps_a_point} steps."
    return "Each point is a step."


def _grouped(
    rows: list[Row], values: list[Any], same: Callable[[Any, Any], bool]
) -> list[dict[str, Any]]:
    """Return the rows in groups of equal values, each with its ``title``, its ``value`` and its ``first`` row."""
    groups: list[dict[str, Any]] = []
    for row, value in zip(rows, values, strict=True):
        group = next((group for group in groups if same(group["value"], value)), None)
        if group is None:
            groups.append({"value": value, "rows": [row]})
        else:
            group["rows"].append(row)
    for group in groups:
        others = [row["label"] for row in rows if row not in group["rows"]]
        group["title"] = _group_title([row["label"] for row in group["rows"]], others)
    return groups


def _group_title(members: list[str], others: list[str]) -> str:
    """Return the words for a group of rows among others, by their labels."""
    if not others and len(members) > 1:
        return (
            "the same in both" if len(members) == 2 else f"the same in all {_number(len(members))}"
        )
    if len(members) > FEW_NAMES >= len(others):
        return f"the same in all but {_names(others)}"
    return _names(members)


def _confusions(rows: list[Row], classes: list[str]) -> list[dict[str, Any]]:
    """Return each confusion matrix that differs from the others, once, with the rows that have it."""
    shown = [row for row in rows if row["confusion"]]
    groups = _grouped(shown, [row["confusion"] for row in shown], lambda one, other: one == other)
    for group in groups:
        counts = np.array(group["value"])
        first = np.array(groups[0]["value"])
        mistaken = counts * (1 - np.eye(len(counts), dtype=int))
        order = np.argsort(-mistaken, axis=None, kind="stable")[:LISTED]
        places = [divmod(int(at), len(counts)) for at in order if mistaken.flat[at]]
        group["counts"] = group["value"]
        group["changed"] = np.argwhere(counts != first).tolist()
        group["frequent"] = [
            f"{classes[i]} taken for {classes[j]} ({counts[i, j]})" for i, j in places
        ]
    return groups


def _mistakes(path: Path, rows: dict[str, Row], classes: list[str]) -> dict[str, Any] | None:
    """Return the misclassified images with their captions, or None where the run folder has no readable file of them."""
    found = misclassified.load(path)
    if found is None or not _fits(found, rows, classes):
        return None
    images: list[dict[str, Any]] = []
    for at, pixels in enumerate(found.images):
        predicted = {key: int(values[at]) for key, values in found.predictions.items()}
        said: dict[int, list[str]] = {}
        for key, label in predicted.items():
            said.setdefault(label, []).append(rows[key]["label"])
        images.append(
            {
                "png": _png(pixels[..., 0] if pixels.shape[-1] == 1 else pixels),
                "index": int(found.index[at]),
                "true": classes[int(found.labels[at])],
                "said": [(classes[label], labels) for label, labels in said.items()],
            }
        )
    differ = sum(len(image["said"]) > 1 for image in images)
    return {
        "images": images,
        "wrong": found.wrong,
        "differ": differ,
        "rows": len(found.predictions),
    }


def _fits(found: misclassified.Mistakes, rows: dict[str, Row], classes: list[str]) -> bool:
    """Return whether all rows and classes of the misclassified images are those of the run."""
    labels = np.concatenate([found.labels, *found.predictions.values()])
    return set(found.predictions) <= set(rows) and bool(
        ((labels >= 0) & (labels < len(classes))).all()
    )


def _units(folder: Path, prefix: str, rows: list[Row]) -> list[dict[str, Any]]:
    """Return the pictures of the first hidden units' weights: once for all rows whose pictures look the same."""
    shown: list[Row] = []
    pictures: list[NDArray[np.float64]] = []
    count = 0
    for row in rows:
        found = (
            None
            if row["failed"]
            else _weights(folder / f"{prefix}{row['key']}" / "state.safetensors")
        )
        if found is not None:
            shown.append(row)
            count = found.shape[-1]
            pictures.append(found[..., :UNITS])

    def same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
        return one.shape == other.shape and bool(np.abs(one - other).max(initial=0) <= INVISIBLE)

    groups = _grouped(shown, pictures, same)
    for group in groups:
        group["count"] = count
        group["images"] = [
            _png(_blue_to_red(group["value"][..., unit]))
            for unit in range(group["value"].shape[-1])
        ]
    return groups


def _weights(path: Path) -> NDArray[np.float64] | None:
    """Return each unit's weights over its own largest, in [-1, 1], shape (height, width, units), or None where there are none."""
    if not path.exists():
        return None
    try:
        state, network, _, _ = checkpoint.load_state(path)
    except checkpoint.NotFiniteError:  # there is nothing to see
        return None
    kernel = next(iter(state.values())).astype(np.float64)
    image = network.input_shape if len(network.input_shape) == 3 else (1, *network.input_shape, 1)
    if kernel.ndim != 4 and kernel.shape[0] != np.prod(image):
        return None
    pictures = kernel.reshape(*(kernel.shape[:3] if kernel.ndim == 4 else image), -1).mean(axis=2)
    largest = np.abs(pictures).max(axis=(0, 1))
    return pictures / np.where(largest == 0, 1, largest)


def _blue_to_red(picture: NDArray[np.float64]) -> Picture:
    load_matplotlib()
    from matplotlib import colormaps

    return (colormaps["bwr"](0.5 + 0.5 * picture)[..., :3] * 255).astype(np.uint8)


def _png(pixels: Picture) -> str:
    """Return a small picture as PNG in base64, with at most 64 colours."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(64).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _scientific(value: float | None) -> str:
    if value is None:  # NaN and infinity are null in JSON
        return "not finite"
    return "0" if value == 0 else f"{value:.1e}".replace("e-0", "e−").replace("e-", "e−")
