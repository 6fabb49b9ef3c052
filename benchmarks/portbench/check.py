"""The checker: it trains both programs of a pair from equal weights, and measures every stage.

It runs the programs as written, and those in which faults are undone, in float64. Where the effect
is small, it runs the programs as written in float32, too, so that rounding does not hide it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from .batch import pack
from .draw import Drawn, anchors
from .faults.kind import STAGES, Kind
from .measures import at_stage, measures
from .workers import Workers

LEAST_EFFECT = 100  # times the rounding of the pair in which the fault is undone
# Running variances of a correct pair differ by n / (n - 1) already, which is not rounding.
LEAST_EFFECT_OF_BUFFERS = 8
ROUNDING_64 = 1e-15  # the least that counts as rounding in float64
ROUNDING_32 = {"update": 1e-5, "gradient": 2e-6}  # in float32, where the fixed pair is not run
ROUNDING_32_ELSEWHERE = 3e-7
# A correct pair may differ by this much in float64. Keras keeps learning rates and other
# constants in float32; with Adam this moves the first steps by 7e-6 of their length.
EQUAL = {"data": 1e-6, "update": 3e-5, "buffers": 1e-6, "schedule": 1e-5}
EQUAL_ELSEWHERE = 1e-7
SMALL_EFFECT = 3e-3  # below it, the programs are run in float32, too
LEAST_BEFORE = 1e-7  # a smaller difference at an earlier stage does not count
DTYPES = ("float64", "float32")
Measures = dict[str, float]


@dataclass
class Checked:
    """What the checker measured of a pair.

    Attributes
    ----------
    effect : dict
        Measures by variant and dtype, for example ``effect["correct"]["float64"]["loss"]``.
    problems : list of str
        Why the pair is not what its truth says; empty if it is.
    """

    effect: dict[str, dict[str, Measures]] = field(default_factory=dict[str, dict[str, Measures]])
    problems: list[str] = field(default_factory=list[str])


def check(drawn: Drawn, workers: Workers, folder: Path) -> Checked:
    """Measure a pair, and compare with what it should be.

    Parameters
    ----------
    drawn : Drawn
        The pair.
    workers : Workers
        The processes that run programs.
    folder : Path
        An empty folder for the variants' files.
    """
    checked = Checked()
    results: dict[tuple[str, str, str], Path] = {}
    for variant, programs in drawn.programs.items():
        if variant == "correct" and not drawn.kinds:
            continue
        place = folder / variant.replace(" ", "-")
        _write(drawn, variant, place)
        rows = anchors(drawn.pairs[variant], programs)
        pair = drawn.pairs[variant]
        heads = (pair.torch.head, pair.keras.head)
        for dtype in DTYPES:
            if dtype == "float32" and not _is_small(drawn, variant, checked):
                continue
            paths = _run(drawn, variant, place, rows, dtype, workers, results)
            found = measures(_read(paths[0]), _read(paths[1]), heads)
            checked.effect.setdefault(variant, {})[dtype] = found
    _judge(drawn, checked)
    return checked


def _is_small(drawn: Drawn, variant: str, checked: Checked) -> bool:
    """Return whether rounding in float32 might hide a fault of the pair as written."""
    if variant != "as written" or not drawn.kinds:
        return False
    effects = [_effect(checked, variant, kind) for kind in drawn.kinds]
    return min(effects) < SMALL_EFFECT


def _effect(checked: Checked, variant: str, kind: Kind) -> float:
    """Return the effect of a fault in float64, where it shows."""
    return max(_value(checked, variant, stage) for stage in (kind.stage, *kind.accept))


def _write(drawn: Drawn, variant: str, place: Path) -> None:
    place.mkdir(parents=True)
    for framework, program in drawn.programs[variant].items():
        (place / f"{framework}_side.py").write_text(program.text)
    (place / "batch.npz").write_bytes(pack(drawn.arrays))
    if drawn.loaded is not None:
        (place / "weights.npz").write_bytes(pack(drawn.loaded))


def _run(
    drawn: Drawn,
    variant: str,
    place: Path,
    rows: list[dict[str, Any]],
    dtype: str,
    workers: Workers,
    results: dict[tuple[str, str, str], Path],
) -> tuple[Path, Path]:
    """Run both programs, except those that another variant has run already."""
    paths: list[Path] = []
    start = ""  # the weights that the Keras side takes over
    for framework in ("torch", "keras"):
        key = (start + drawn.programs[variant][framework].text, framework, dtype)
        if key not in results:
            out = place / f"{framework}-{dtype}.npz"
            job = {"folder": str(place), "dtype": dtype, "anchors": rows, "out": str(out),
                   "torch": str(paths[0]) if paths else ""}  # fmt: skip
            results[key] = workers.run(framework, job)
        paths.append(results[key])
        start = _digest(paths[0])
    return paths[0], paths[1]


def _digest(path: Path) -> str:
    """Return a digest of the first weights that a program had."""
    digest = sha256()
    for name, array in _read(path).items():
        if name.startswith("weights/"):
            digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def _judge(drawn: Drawn, checked: Checked) -> None:
    """Fill in the problems."""
    if not drawn.kinds:
        checked.effect["correct"] = checked.effect["as written"]
    stages = [stage for stage in STAGES if stage not in drawn.correct.not_compared]
    for stage in stages:
        if stage == "buffers" and "D20" in drawn.correct.also:
            continue
        value = _value(checked, "correct", stage)
        if value > EQUAL.get(stage, EQUAL_ELSEWHERE):
            checked.problems.append(f"the correct pair differs at {stage}: {value:.1e}")
    for place, kind in enumerate(drawn.kinds):
        # A fault is measured where it is the only one.
        variant = "as written" if len(drawn.kinds) == 1 else f"without {2 - place}"
        # The stage of one fault may be among those that the other one leaves out.
        own = STAGES.index(kind.stage)
        before = [stage for stage in stages if STAGES.index(stage) < own]
        _judge_fault(kind, variant, before, checked)


def _judge_fault(kind: Kind, variant: str, before: list[str], checked: Checked) -> None:
    """Add what is wrong with one fault; ``before`` are the stages before its own."""
    stages = (kind.stage, *kind.accept)  # data that the model itself prepares shows in forward
    ratios = {"float64": max(_ratio(checked, variant, stage) for stage in stages)}
    if "float32" in checked.effect["as written"]:
        ratios["float32"] = max(_ratio_32(checked, stage) for stage in stages)
    least = LEAST_EFFECT_OF_BUFFERS if kind.stage == "buffers" else LEAST_EFFECT
    for dtype, ratio in ratios.items():
        if ratio < least:
            text = f"{kind.name}: {ratio:.1e} times rounding at {kind.stage} in {dtype}"
            checked.problems.append(text)
    for stage in before:
        if stage in kind.accept:
            continue
        ratio = _ratio(checked, variant, stage)
        if ratio >= LEAST_EFFECT and _value(checked, variant, stage) > LEAST_BEFORE:
            checked.problems.append(f"{kind.name}: differs before, at {stage}: {ratio:.1e}")


def _value(checked: Checked, variant: str, stage: str) -> float:
    return at_stage(checked.effect[variant]["float64"], stage)


def _ratio(checked: Checked, variant: str, stage: str) -> float:
    """Return how often the rounding of the correct pair goes into a difference, in float64."""
    rounding = max(at_stage(checked.effect["correct"]["float64"], stage), ROUNDING_64)
    return _value(checked, variant, stage) / rounding


def _ratio_32(checked: Checked, stage: str) -> float:
    """Return how often usual rounding goes into a difference of the pair as written, in float32."""
    rounding = ROUNDING_32.get(stage, ROUNDING_32_ELSEWHERE)
    return at_stage(checked.effect["as written"]["float32"], stage) / rounding
