"""Writing an export: into a temporary folder, verified there, then renamed.

While a process exports to a folder it holds a lock, ``.NAME.lock`` next to the folder. All that is
not finished is in ``.NAME.new-XXXXXXXX``, also next to it: the model, and the files that the fresh
processes are given.
"""

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..core.files import locked, read_bytes, to_json
from ..core.split import Split
from ..errors import TriptychError, one_line
from ..version import __version__
from .model import TrainedModel
from .names import INPUT, OUTPUT
from .process import write_exported
from .targets import Target
from .verification import Reference, Verification, verify_export
from .web import complete, find_runtime
from .web_runtime import WebRuntime

DESCRIPTION = "export.json"
EXPORTS = "export"  # the folder of a run folder with a folder for each target
FAULTY = "-faulty"  # after the name of a folder: a wrong export that does not replace a right one
LONGEST_VERDICT = 20  # characters
_TEMPORARY = r"\.{}\.(new|old)-[0-9a-f]{{8}}"  # with the name of the folder

OnStage = Callable[[str, int, int], None]  # what is being done, samples done, samples in all


@dataclass(frozen=True)
class ExportResult:
    """An exported model and its verification.

    Attributes
    ----------
    target : str
        The name of the target.
    folder : Path
        The folder with the model and ``export.json``.
    file : Path
        The model: a file, or the file by which a folder is known.
    size : int
        Bytes of all files of the model.
    seconds : float
        Of writing and verifying.
    verification : Verification
        What its runtime computed, compared with float64.
    earlier : Path or None
        The folder of an earlier export that this one does not replace, because it is wrong.
    """

    target: str
    folder: Path
    file: Path
    size: int
    seconds: float
    verification: Verification
    earlier: Path | None

    @property
    def verdict(self) -> str:
        """``rounding``, ``precision`` or ``formula``; see `Verification`."""
        return self.verification.verdict


def export_model(
    target: Target,
    folder: Path,
    model: TrainedModel,
    reference: Reference,
    test: Split,
    on_stage: OnStage = lambda stage, done, total: None,
    *,
    web_runtime: WebRuntime | None = None,
) -> ExportResult:
    """Write a model for a target, verify it, and put it in place of an earlier export.

    An export that is wrong does not replace one that is not: it gets a folder next to it, whose
    name ends with ``-faulty``.

    Parameters
    ----------
    target : Target
        The target; its packages must be installed.
    folder : Path
        Where the export goes, for example ``RUN/export/onnx``.
    model : TrainedModel
        What is exported.
    reference : Reference
        What the export is compared with.
    test : Split
        The test split.
    on_stage : callable, optional
        Called with what is being done, ``writing`` or ``verifying``, the samples that are done and
        their number.
    web_runtime : WebRuntime, optional
        The runtime of the browser, for a target that is a page.

    Raises
    ------
    TriptychError
        If the model cannot be written, or its runtime cannot load it. An earlier export is then
        unchanged.
    """
    target.check_installed()
    _check_replaceable(folder)
    with _refusing(folder), _locked(folder), _temporary_folder(folder) as new:
        result = _write(target, folder, new, model, reference, test, on_stage, web_runtime)
        _flush(new)
        _replace(result.folder, new)
    return result


def _write(
    target: Target,
    folder: Path,
    new: Path,
    model: TrainedModel,
    reference: Reference,
    test: Split,
    on_stage: OnStage,
    web_runtime: WebRuntime | None,
) -> ExportResult:
    """Write an export into the folder `new`, which is to replace the result's, and verify it."""
    started = time.monotonic()
    on_stage("writing", 0, 0)
    write_exported(target, new, model)
    if target.is_page:
        complete(new, model, reference, test, web_runtime or find_runtime(None))
    files = [path for path in sorted(new.rglob("*")) if path.is_file()]
    digests = {path.relative_to(new).as_posix(): _digest(path) for path in files}
    size = sum(path.stat().st_size for path in files)
    report = partial(on_stage, "verifying")
    verification = verify_export(target, new, model, reference, test, report)
    seconds = time.monotonic() - started
    place = _place(folder, verification)
    result = ExportResult(
        target=target.name,
        folder=place,
        file=place / target.path_of(model.network),
        size=size,
        seconds=seconds,
        verification=verification,
        earlier=None if place == folder else folder,
    )
    _write_description(new, result, digests, model, target.note)
    return result


def _place(folder: Path, verification: Verification) -> Path:
    """Return where an export goes: to its folder, or next to a right one if it is wrong."""
    earlier = read_description(folder)
    if verification.passed or earlier is None or earlier.get("verdict") == "formula":
        return folder
    place = folder.with_name(folder.name + FAULTY)
    _check_replaceable(place)
    clean_up(place)
    return place


def _write_description(
    new: Path, result: ExportResult, digests: dict[str, str], model: TrainedModel, note: str
) -> None:
    """Write ``export.json``.

    Parameters
    ----------
    new : Path
        The folder that is not in its place yet.
    result : ExportResult
        What came of the export.
    digests : dict of str to str
        The SHA-256 of each file by its path in the folder.
    model : TrainedModel
        What was exported.
    note : str
        That of the target.
    """
    description = {
        "target": result.target,
        **result.verification.to_json(),
        "seconds": round(result.seconds, 3),
        "file": result.file.relative_to(result.folder).as_posix(),
        "size": result.size,
        "sha256": digests,
        "input": {"name": INPUT, "shape": ["batch", *model.network.input_shape]} | model.input,
        "output": {"name": OUTPUT, "classes": model.classes},
        "network": model.network.name,
        "engine": model.engine,
        "state_sha256": model.sha256,
        "triptych": __version__,
        "note": note.format(folder="FOLDER"),
    }
    text = to_json(description, indent=1)
    (new / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return sha256(path.read_bytes()).hexdigest()


def _check_replaceable(folder: Path) -> None:
    """Raise `TriptychError` if something other than an export is at a path."""
    if folder.is_symlink():
        raise TriptychError(f"{folder}: a link, where a folder is needed; give another --out")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise TriptychError(f"{folder}: not a folder; give another --out")
    if any(folder.iterdir()) and not (folder / DESCRIPTION).is_file():
        raise TriptychError(
            f"{folder}: holds files that no export wrote (there is no {DESCRIPTION}); "
            "give another --out"
        )


@contextmanager
def _refusing(folder: Path) -> Generator[None]:
    """Turn an error of the disk into a `TriptychError` that names the folder."""
    try:
        yield
    except BrokenPipeError:  # of the callback's output
        raise
    except OSError as error:
        reason = error.strerror or error
        raise TriptychError(f"{folder}: cannot be written ({reason}); nothing is changed") from None


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Keep other processes from exporting to a folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    busy = (
        f"{folder}: another process is exporting to this folder; wait until it has ended, "
        "or give another --out"
    )
    with locked(folder.with_name(f".{folder.name}.lock"), busy):
        yield


@contextmanager
def _temporary_folder(folder: Path) -> Generator[Path]:
    """Make an empty folder in a temporary one next to the final one; delete both at the end."""
    clean_up(folder)
    temporary = folder.with_name(f".{folder.name}.new-{secrets.token_hex(4)}")
    new = temporary / folder.name
    new.mkdir(parents=True)
    try:
        yield new
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Write all files of a folder to the disk."""
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
            continue
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _replace(folder: Path, new: Path) -> None:
    """Put a folder in the place of another one."""
    if not folder.exists():
        os.rename(new, folder)
        return
    old = folder.with_name(f".{folder.name}.old-{secrets.token_hex(4)}")
    os.rename(folder, old)
    try:
        # If the process is killed here, `clean_up` brings the old folder back.
        os.rename(new, folder)
    except BaseException:
        os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def clean_up(folder: Path) -> None:
    """Delete what killed exports to a folder have left; bring back what one was replacing.

    The caller must make sure that no other process exports to the folder.
    """
    pattern = re.compile(_TEMPORARY.format(re.escape(folder.name)))
    for path in folder.parent.glob(".*"):
        match = pattern.fullmatch(path.name)
        if not match or not path.is_dir() or path.is_symlink():
            continue
        if match[1] == "old" and not folder.exists():
            os.rename(path, folder)
        else:
            shutil.rmtree(path, ignore_errors=True)


def read_description(folder: Path) -> dict[str, Any] | None:
    """Return what ``export.json`` of a folder holds, or None if there is none that can be read."""
    try:
        description = json.loads(read_bytes(folder / DESCRIPTION))
    except (OSError, ValueError, RecursionError, TriptychError):
        return None
    return description if isinstance(description, dict) else None


def exports_in(run: Path) -> dict[str, str]:
    """Return the verdict on each export in a run folder, by the name of its target."""
    verdicts: dict[str, str] = {}
    for path in sorted((run / EXPORTS).glob(f"*/{DESCRIPTION}")):
        verdict = (read_description(path.parent) or {}).get("verdict")
        verdicts[path.parent.name] = one_line(verdict or "cannot be read", LONGEST_VERDICT)
    return verdicts
