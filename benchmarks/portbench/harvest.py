"""Specimens rebuilt from public threads and books: the pairs in ``harvested``.

Each folder has both programs, ``truth.json`` with the address of the thread, and ``batch.py``. Its
functions draw the arrays, so that no data set is kept: ``arrays(random)`` returns those of the
batch, and ``weights(random)``, where there is one, those that the programs load.
"""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

from triptych.errors import TriptychError

from .batch import generator, pack
from .faults.kind import OUTSIDE
from .judge import EQUAL_VERDICTS

FOLDER = Path(__file__).parent / "harvested"
FILES = ("torch_side.py", "keras_side.py", "truth.json")
# Functions of batch.py, and the files that hold what they draw.
DRAWN = {"arrays": "batch.npz", "weights": "weights.npz"}


def names() -> list[str]:
    """Return the names of the specimens, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("*/truth.json"))


def truth(name: str) -> dict[str, Any]:
    """Return what is known about a specimen."""
    return json.loads((FOLDER / name / "truth.json").read_text())


def missing(facts: dict[str, Any], answer: dict[str, Any]) -> list[str]:
    """Return what an answer lacks.

    Parameters
    ----------
    facts : dict
        The truth of a specimen.
    answer : dict
        What a tool wrote.

    Returns
    -------
    list of str
        The texts of differences that no finding names. Where nothing differs, the findings and the
        verdict that say otherwise.
    """
    if not facts["differences"]:
        acquitted = answer["verdict"] in EQUAL_VERDICTS and not answer["findings"]
        return [] if acquitted else [f"the verdict is {answer['verdict']}"]
    return [
        difference["text"]
        for difference in facts["differences"]
        if not any(_names_it(finding, difference, facts) for finding in answer["findings"])
    ]


def _names_it(finding: dict[str, Any], difference: dict[str, str], facts: dict[str, Any]) -> bool:
    """Return whether a finding names a difference.

    One that is outside of the catalogue is named by its stage, with a cause that is not harmless.
    """
    if difference["cause"] != OUTSIDE:
        return finding["cause"] == difference["cause"]
    return finding["stage"] == difference["stage"] and finding["cause"] not in facts["also"]


def draw(name: str) -> dict[str, bytes]:
    """Return the files with the arrays of a specimen.

    Parameters
    ----------
    name : str
        Of the specimen.

    Returns
    -------
    dict of str to bytes
        ``batch.npz``, and ``weights.npz`` where the programs load weights. The same every time.
    """
    functions: dict[str, Any] = runpy.run_path(str(FOLDER / name / "batch.py"))
    return {
        file: pack(functions[function](generator(f"harvested/{name}/{function}")))
        for function, file in DRAWN.items()
        if function in functions
    }


def write_pairs(out: Path, chosen: tuple[str, ...] = ()) -> list[Path]:
    """Write specimens in the form of generated pairs, which `score` takes.

    Parameters
    ----------
    out : Path
        Where the folders are written.
    chosen : tuple of str
        Names of specimens; empty means all.

    Returns
    -------
    list of Path
        The folders.

    Raises
    ------
    TriptychError
        If there is no specimen of a name.
    """
    known = names()
    for name in chosen:
        if name not in known:
            raise TriptychError(f"specimen {name!r} is unknown; known are {', '.join(known)}")
    folders: list[Path] = []
    for name in chosen or known:
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            shutil.copyfile(FOLDER / name / file, folder / file)
        for file, content in draw(name).items():
            (folder / file).write_bytes(content)
        folders.append(folder)
    return folders
