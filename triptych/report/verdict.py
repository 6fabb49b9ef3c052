"""The verdict on a comparison in words: what was proved, and who was the fastest."""

from typing import Any

from ..core import registry
from .units import scientific

REASONS = "The reasons are below the table “The proof”."
MOST_NAMES = 3  # as many rows are listed by name in a heading
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


def heading(rows: list[Row]) -> str:
    """Return the heading of the page: how many implementations ran."""
    ran = [row for row in rows if not row["failed"]]
    if len(ran) == 1:
        return f"One network in {ran[0]['label']}"
    return f"One network, {number_word(len(ran))} implementations"


def number_word(count: int) -> str:
    """Return a number as it is written in a sentence."""
    return NUMBERS[count] if count < len(NUMBERS) else f"{count:,}"


def listed(labels: list[str]) -> str:
    """Return names as a sentence lists them: with commas, and "and" before the last one."""
    if len(labels) < 2:
        return "".join(labels)
    return f"{', '.join(labels[:-1])} and {labels[-1]}"


def headline(run: dict[str, Any], dtype: str, reasons: str = REASONS) -> dict[str, Any]:
    """Return the result of the proof.

    Parameters
    ----------
    run : dict
        One of ``runs`` in results.json.
    dtype : str
        Of the recipe.
    reasons : str
        Where a reader finds why a row is not proved equal, as a sentence.

    Returns
    -------
    dict
        ``equal``, True, False, or None where there was nothing to compare; ``big`` and ``small``,
        the sentences.
    """
    ran = [row for row in run["rows"].values() if not row["failed"]]
    compared = [row for row in ran if not row["as_announced"]]
    broken = [row for row in compared if not row["proved"]]
    if len(ran) < 2:
        name = listed([row["label"] for row in ran])
        small = f"There was nothing to compare it with. {_advice_for_one_row(run)}"
        return {"equal": None, "big": f"Only {name} ran", "small": small}
    if broken:
        return {"equal": False} | _not_proved(broken, compared, reasons)
    return {"equal": True} | _proved(run, ran, compared, dtype)


def _proved(run: dict[str, Any], ran: list[Row], compared: list[Row], dtype: str) -> dict[str, str]:
    """Return the two sentences for rows that are all proved equal."""
    proofs = [row["float64"] for row in compared if row["float64"]]
    largest = max((proof["largest"] for proof in proofs), default=0.0)
    steps = min((proof["steps"] for proof in proofs), default=0)
    small = (
        f"In {steps} training steps in float64 (numbers of 64 bits), no weight, gradient or value "
        f"of the optimizer differed from NumPy's by more than {scientific(largest)} of the largest "
        "value of its kind. Differences up to 1e−11 count as equal."
    )
    noun = "engines" if _all_default(run) else "rows"
    big = f"Both {noun} are equal"
    if len(compared) > 2:
        big = f"All {number_word(len(compared))} {noun} are equal"
    announced = [row["label"] for row in ran if row["as_announced"]]
    if announced:
        big = f"{len(compared)} of {len(compared)} {dtype} rows are equal"
        verb = "rounds" if len(announced) == 1 else "round"
        small += f" {listed(announced)} {verb} more by design."
    failed = [row["label"] for row in run["rows"].values() if row["failed"]]
    if failed:
        small += f" {listed(failed)} did not run."
    return {"big": big, "small": small}


def _all_default(run: dict[str, Any]) -> bool:
    """Return whether each row is an engine in its default backend, so that a row is an engine."""
    return all(key == row["engine"] for key, row in run["rows"].items())


def _not_proved(broken: list[Row], compared: list[Row], reasons: str) -> dict[str, str]:
    """Return the two sentences for rows of which some are not proved equal."""
    if len(broken) == len(compared):
        small = f"{reasons} No speeds are compared."
        return {"big": "Nothing is proved equal", "small": small}
    labels = [row["label"] for row in broken]
    names = f"{len(broken)} of {len(compared)} rows"
    if len(labels) <= MOST_NAMES:
        names = listed(labels)
    verb = "is" if len(labels) == 1 else "are"
    small = f"{reasons} No speed ratio is given for a row that is not proved equal."
    return {"big": f"{names} {verb} not proved equal", "small": small}


def _advice_for_one_row(run: dict[str, Any]) -> str:
    """Return what to do for a comparison of more than one engine."""
    reasons = [row["failed"].rstrip(".") for row in run["rows"].values() if row["failed"]]
    if reasons:
        return f"{'. '.join(reasons)}."
    present = {row["engine"] for row in run["rows"].values()}
    others = [
        entry
        for name, entry in registry.entries().items()
        if name not in present and not entry.optional
    ]
    missing = [f"{entry.label} ({entry.install})" for entry in others if not entry.installed]
    if missing:
        return f"Install {' or '.join(missing)}, then run triptych compare again."
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
        interval = "the 95 % interval of its ratio to every other row excludes 1"
        return f"{label} was the fastest here: {interval}."
    timed = [row for row in run["rows"].values() if row.get("step") and row["proved"]]
    if len(timed) < 2:
        return "There was nothing to compare the time with."
    if busy:
        return (
            "No row is named the fastest: other programs used the machine during the measurement. "
            "Run it again on an idle machine."
        )
    return (
        "No row is named the fastest: the differences are not larger than the uncertainty "
        "of the measurement."
    )


def speed(row: Row, reference: Row) -> str:
    """Return how fast a row is compared with the first one."""
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
