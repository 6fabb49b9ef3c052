"""Generates pairs: draws them, checks that they are what their truth says, and writes folders."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from triptych.errors import TriptychError

from ..progress import progress
from .batch import pack
from .check import Checked, check
from .draw import Drawn, draw
from .families import FAMILIES
from .faults.kind import STAGES, Kind, Unsuitable
from .faults.registry import KINDS, catalogued, outside
from .style import Style
from .truth import SOURCE, truth
from .workers import JobError, Workers

OUTSIDE_EVERY = 10  # one of so many pairs has a fault outside of the catalogue
MOST_DRAWS = 400  # per pair
MOST_CHECKS = 12  # per pair; then other kinds of faults are drawn
MOST_KINDS = 4
OTHER_KINDS = 10_000  # added to a pair's number, so that other kinds are drawn


@dataclass(frozen=True)
class Order:
    """What is to be generated.

    Attributes
    ----------
    seed : int
        Everything is drawn with it.
    pairs : int
        How many.
    faults : int
        Faults in each pair: 0, 1 or 2.
    kinds : tuple of str
        Names of the kinds of faults to choose from; empty means all.
    families : tuple of str
        Names of the families to choose from; empty means all.
    """

    seed: int
    pairs: int
    faults: int = 1
    kinds: tuple[str, ...] = ()
    families: tuple[str, ...] = ()


def generate(order: Order, out: Path, checked: bool = True) -> None:
    """Write the pairs of an order, one folder each; a folder that is there already is kept.

    Parameters
    ----------
    order : Order
        What to generate.
    out : Path
        Where the folders are written.
    checked : bool
        Whether both programs of every pair are run, and pairs that do not show their fault are
        drawn again. This takes several seconds for a pair.

    Raises
    ------
    TriptychError
        If no pair can be drawn.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not checked:
        for number in range(order.pairs):
            name, drawn = _first(order, number)
            _write(drawn, None, out / name)
        return
    with Workers() as workers:
        for number in range(order.pairs):
            if any(out.glob(f"{number:04d}-*/truth.json")):
                continue
            drawn, result = _checked(order, number, workers)
            name = folder_name(number, drawn)
            _write(drawn, result, out / name)
            progress(f"{number + 1} of {order.pairs}: {name}")


def check_folder(folder: Path) -> dict[str, list[str]]:
    """Draw the pairs of a folder again, and check that they are what their truth says.

    Parameters
    ----------
    folder : Path
        Pairs that `generate` wrote.

    Returns
    -------
    dict of str to list of str
        What is wrong with each pair, by its name; an empty list if nothing is.

    Raises
    ------
    TriptychError
        If the folder has no generated pairs.
    """
    found: dict[str, list[str]] = {}
    with Workers() as workers:
        for path in sorted(folder.glob("*/truth.json")):
            facts = json.loads(path.read_text())
            if facts.get("source") == SOURCE:
                found[path.parent.name] = _check_again(path.parent, facts, workers)
                progress(f"{path.parent.name}: {'; '.join(found[path.parent.name]) or 'right'}")
    if not found:
        raise TriptychError(f"{folder}: no generated pairs")
    return found


def _check_again(pair: Path, facts: dict[str, Any], workers: Workers) -> list[str]:
    missing = [name for name in facts["kinds"] if name not in KINDS]
    if missing:
        return [f"the kind {missing[0]} is unknown"]
    try:
        drawn = draw([KINDS[name] for name in facts["kinds"]], facts["family"], facts["seed"])
    except Unsuitable as error:
        return [f"drawn differently: {error}"]
    problems = [
        f"{name} is not what is drawn"
        for name, content in _files(drawn).items()
        if not (pair / name).is_file() or (pair / name).read_bytes() != content
    ]
    with tempfile.TemporaryDirectory() as place:
        try:
            return problems + check(drawn, workers, Path(place)).problems
        except JobError as error:
            return [*problems, str(error)]


def _files(drawn: Drawn) -> dict[str, bytes]:
    """Return the files of a pair without its truth."""
    files = {
        f"{framework}_side.py": program.text.encode()
        for framework, program in drawn.programs["as written"].items()
    }
    files["batch.npz"] = pack(drawn.arrays)
    if drawn.loaded is not None:
        files["weights.npz"] = pack(drawn.loaded)
    return files


def folder_name(number: int, drawn: Drawn) -> str:
    """Return the name of a pair's folder, which does not tell what is wrong."""
    return f"{number:04d}-{drawn.pair.theme}"


def _first(order: Order, number: int) -> tuple[str, Drawn]:
    drawn = next(draws(order, number))
    return folder_name(number, drawn), drawn


def _checked(order: Order, number: int, workers: Workers) -> tuple[Drawn, Checked]:
    """Return the first drawn pair that is what its truth says."""
    for drawn in _candidates(order, number):
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = check(drawn, workers, Path(folder))
            except JobError as error:
                progress(f"drawn again: {drawn.seed}: {error}")
                continue
        if not result.problems:
            return drawn, result
        progress(f"drawn again: {drawn.seed}: {'; '.join(result.problems)}")
    raise TriptychError(f"no pair {number} shows its fault after {MOST_CHECKS * MOST_KINDS} draws")


def _candidates(order: Order, number: int) -> Iterator[Drawn]:
    for again in range(MOST_KINDS):
        yield from islice(draws(order, number + again * OTHER_KINDS), MOST_CHECKS)


def draws(order: Order, number: int) -> Iterator[Drawn]:
    """Yield pairs for one number, each with the same kinds of faults where that is possible.

    Raises
    ------
    TriptychError
        If none of the first draws has a place for the faults.
    """
    last = ""
    for attempt in range(MOST_DRAWS):
        seed = f"{order.seed}/{order.faults}/{number}/{attempt}"
        kinds, family = choice(order, number, attempt)
        try:
            yield draw(kinds, family, seed)
        except Unsuitable as error:
            last = str(error)
    raise TriptychError(f"no pair {number} can be drawn: {last}")


def choice(order: Order, number: int, attempt: int) -> tuple[list[Kind], str]:
    """Return the kinds of faults and the family of a pair.

    The kinds come in shuffled rounds, in each of which every kind of the catalogue comes as often
    as its weight tells.
    """
    style = Style(f"{order.seed}/{order.faults}/choice")
    families = order.families or tuple(FAMILIES)
    if order.faults == 0:
        rounds = style.shuffled(f"families {number // len(families)}", families)
        return [], rounds[(number + attempt // 20) % len(families)]
    first = _kind(order, number, style)
    name = f"family {number} {attempt // 4}"
    common = [family for family in first.families if family in families]
    if not common:
        raise TriptychError(f"{first.name} is in none of the families {', '.join(families)}")
    if order.faults == 1:
        return [first], style.pick(name, common)
    family = style.pick(name, common)
    second = _second(first, family, style, f"{number} {attempt}")
    if second is None:
        return [first], family
    kinds = sorted((first, second), key=lambda kind: STAGES.index(kind.stage))
    return kinds, family


def _kind(order: Order, number: int, style: Style) -> Kind:
    inside = _chosen(catalogued(), order.kinds)
    strange = _chosen(outside(), order.kinds)
    if order.faults == 1 and strange and (number % OUTSIDE_EVERY == 0 or not inside):
        place = number // OUTSIDE_EVERY if inside else number
        shuffled = style.shuffled(f"outside {place // len(strange)}", strange)
        return shuffled[place % len(strange)]
    weighted = [kind for kind in inside for _ in range(kind.weight)]
    if not weighted:
        raise TriptychError("no kind of fault is left to choose from")
    shuffled = style.shuffled(f"inside {number // len(weighted)}", weighted)
    return shuffled[number % len(weighted)]


def _chosen(kinds: list[Kind], names: tuple[str, ...]) -> list[Kind]:
    return [kind for kind in kinds if not names or kind.name in names]


def _second(first: Kind, family: str, style: Style, name: str) -> Kind | None:
    """Return a kind that can be in the same pair as the first one."""
    others = [
        kind
        for kind in catalogued()
        if family in kind.families
        and not kind.slots & first.slots
        and kind.cause != first.cause
        and set(kind.tasks) & set(first.tasks)
    ]
    return style.pick(f"second {name}", others) if others else None


def _write(drawn: Drawn, checked: Checked | None, folder: Path) -> None:
    """Write a pair's folder, completely or not at all."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, content in _files(drawn).items():
        (part / name).write_bytes(content)
    facts = truth(drawn, checked)
    (part / "truth.json").write_text(json.dumps(facts, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
