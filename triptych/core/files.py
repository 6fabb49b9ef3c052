"""Files that leave the program: whole or not at all, and no pickle; and files that come back, which may be damaged.

A state is one safetensors file with the network, recipe and provenance as JSON metadata. safetensors itself accepts
flipped bits, so the file carries a SHA-256 of all its bytes but the digest itself. Where a run can go on from a state,
its provenance holds the position under ``training``.
"""

import json
import math
import os
import re
import secrets
import stat
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from safetensors.numpy import load, save

from ..errors import TriptychError, one_line
from ..spec.network import Network
from ..spec.recipe import Recipe
from .state import State, arrays_of, check

FORMAT = 3  # 2: its digest is of the arrays and the position alone; 1: that, and rmsprop's rho is called decay
FORMATS = (1, 2, 3)

LONGEST_HEADER = 100_000_000  # bytes of JSON in a state, as safetensors itself has it
LARGEST_TEXT = 2**30  # bytes of any other file that is read as a whole

_BLANK = b"0" * 64  # where a file's digest is put
_PART = re.compile(r"\.(state\.safetensors|events\.jsonl|history\.csv|results\.json)\.[a-z0-9_]{8}")


class NotFiniteError(TriptychError):
    """A state that is whole, of a training that diverged."""


def write(path: Path, content: bytes | str) -> None:
    """Write a file so that a kill at any moment leaves the old one whole: temporary name, flush, rename."""
    if isinstance(content, str):
        content = content.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with naming(path):  # a temporary name tells the user nothing
        try:
            with part.open("xb") as file:  # made with the permissions that the user's umask leaves
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    if hasattr(os, "O_DIRECTORY"):  # the rename itself is on disk only when its folder is
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def naming(path: Path) -> Generator[None]:
    """Put a file's name into an `OSError`; that of a full disk has none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
            error.filename2 = None
        raise


def refuse_links(folder: Path) -> None:
    """Raise `TriptychError` where a folder of a run folder is a link, which may lead out of it."""
    for name in ("last", "best"):
        if (folder / name).is_symlink():
            raise TriptychError(
                f"{folder / name}: a link, where a folder is needed; put the folder itself in its place"
            )


def sweep(folder: Path) -> None:
    """Delete what a kill in the middle of `write` left in a run folder; call it only when no other process writes there."""
    for inside in (folder, folder / "last", folder / "best"):
        for path in inside.glob(".*"):
            if _PART.fullmatch(path.name):
                path.unlink(missing_ok=True)


@contextmanager
def refusing(path: Path, what: str) -> Generator[None]:
    """Turn whatever goes wrong while a file is read into one line that names it.

    A damaged or forged file can make any line fail that works with its content, so every exception is meant.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it should be, with an article.

    Raises
    ------
    TriptychError
        Instead of any other exception.
    """
    try:
        yield
    except OSError as error:
        raise TriptychError(
            one_line(f"{path}: cannot be read ({error.strerror or error})")
        ) from None
    except MemoryError:
        raise TriptychError(
            one_line(f"{path}: does not fit into the memory of this machine")
        ) from None
    except TriptychError as error:
        message = str(error)
        if not message.startswith(one_line(path)):
            message = f"{path}: not {what}, or damaged ({message})"
        raise type(error)(one_line(message)) from None
    except Exception as error:
        raise TriptychError(
            one_line(
                f"{path}: not {what}, or damaged ({type(error).__name__}: {one_line(error, 100)})"
            )
        ) from None


@contextmanager
def opened(path: Path) -> Generator[BinaryIO]:
    """Open a regular file for reading; a pipe or a device, which may never end, is refused.

    Raises
    ------
    OSError
        Where it cannot be opened.
    TriptychError
        Where it is no regular file.
    """
    # It is looked at before it is opened, because opening a pipe waits for somebody to write into it.
    if not stat.S_ISREG(path.stat().st_mode):
        raise TriptychError(f"{path}: not a regular file")
    with path.open("rb") as file:
        yield file


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file of at most 1 GiB.

    Raises
    ------
    OSError
        Where it cannot be read.
    TriptychError
        Where it is no regular file, or too large.
    """
    with opened(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > LARGEST_TEXT:
            raise TriptychError(
                f"{path}: has {size:,} bytes, where at most {LARGEST_TEXT:,} are read"
            )
        return file.read(LARGEST_TEXT)


def to_json(value: Any, **options: Any) -> str:
    """Return strict JSON: NaN and infinities, which JSON does not know, become null."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(value), allow_nan=False, **options)


def seal(content: bytes) -> tuple[bytes, str]:
    """Put a file's own SHA-256 into it.

    Parameters
    ----------
    content : bytes
        With 64 zeros in a row where the digest belongs, for the first time.

    Returns
    -------
    tuple of (bytes, str)
        The content, and the digest in hexadecimal digits: of all bytes, with the zeros where it is put.
    """
    at = content.index(_BLANK)
    digest = sha256(content).hexdigest()
    return b"".join((content[:at], digest.encode(), content[at + len(_BLANK) :])), digest


def check_seal(path: Path, content: bytes, digest: Any) -> None:
    """Raise `TriptychError` unless `digest` is what `seal` put into this content of a file."""
    if isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest):
        at = content.find(digest.encode())
        h = sha256(memoryview(content)[: max(at, 0)])
        h.update(_BLANK)
        h.update(memoryview(content)[at + len(_BLANK) :])
        if at >= 0 and h.hexdigest() == digest:
            return
    raise TriptychError(
        f"{path}: its SHA-256 does not match, so the file is damaged or was changed"
    )


def save_state(
    path: Path, state: State, network: Network, recipe: Recipe, provenance: dict[str, Any]
) -> str:
    """Write weights and slots with all that is needed to use them; return the SHA-256 that the file carries."""
    about = {
        "sha256": _BLANK.decode(),  # first, so that nothing of the user's comes before it
        "format": FORMAT,
        "order": list(state),
        "network": network.to_json(),
        "recipe": recipe.to_json(),
        "provenance": provenance,
    }
    arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
    content, digest = seal(save(arrays, {"triptych": json.dumps(about)}))
    write(path, content)
    return digest


class SavedState(NamedTuple):
    """What a state file holds.

    Attributes
    ----------
    state : dict of str to ndarray
    network : Network
    recipe : Recipe
    provenance : dict
        What it came from.
    sha256 : str
        The digest that the file carries, in hexadecimal digits.
    """

    state: State
    network: Network
    recipe: Recipe
    provenance: dict[str, Any]
    sha256: str


def load_state(path: Path) -> tuple[State, Network, Recipe, dict[str, Any]]:
    """Read what `save_state` wrote: (state, network, recipe, provenance).

    Raises
    ------
    TriptychError
        Where the file is missing, damaged, not ours, or does not fit the network it names.
    """
    return read_state(path)[:4]


def read_state(path: Path) -> SavedState:
    """Read what `save_state` wrote, in this format or an older one.

    Raises
    ------
    TriptychError
        Where the file is missing, damaged, not ours, or does not fit the network it names.
    """
    with refusing(path, "a state that triptych wrote"), opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(LONGEST_HEADER, size - 8):
            raise TriptychError(
                f"its header of {length:,} bytes does not fit into a file of {size:,}"
            )
        about = json.loads(json.loads(file.read(length))["__metadata__"]["triptych"])
        written = about["format"]
        if written not in FORMATS or isinstance(written, bool):
            known = ", ".join(map(str, FORMATS))
            raise TriptychError(
                f"{path}: written in format {one_line(written, 40)}; this version reads formats {known}"
            )
        network = Network.from_json(about["network"])
        recipe = Recipe.from_json(_renamed(about["recipe"]) if written == 1 else about["recipe"])
        # Before any memory is taken for the arrays: a small file may name a network that no memory holds.
        expected = arrays_of(network, recipe)
        needed = (
            8
            + length
            + sum(prod(array.shape) * array.dtype.itemsize for array in expected.values())
        )
        if size != needed:
            raise TriptychError(
                f"it has {size:,} bytes, where its network and optimizer need {needed:,}"
            )
        file.seek(0)
        content = file.read(size)
        arrays = load(content)
        state = {name: arrays[name] for name in about["order"]}
        if len(arrays) != len(state):
            raise TriptychError(f"it has {len(arrays)} arrays and an order of {len(state)}")
        if written == FORMAT:
            check_seal(path, content, about["sha256"])
        elif about["sha256"] != _old_digest(written, state, about["provenance"]):
            raise TriptychError(
                f"{path}: the SHA-256 of its arrays does not match, so the file is damaged"
            )
        if not all(np.isfinite(array).all() for array in state.values()):
            raise NotFiniteError(f"{path}: holds NaN or infinite weights")
        if not isinstance(about["provenance"], dict):
            raise TriptychError("its provenance is not an object")
        return SavedState(
            check(state, network, recipe, expected),
            network,
            recipe,
            about["provenance"],
            about["sha256"],
        )


def _renamed(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe of format 1 with the names of today."""
    optimizer = {
        "rho" if key == "decay" else key: value for key, value in recipe["optimizer"].items()
    }
    return recipe | {"optimizer": optimizer}


def _old_digest(written: int, state: State, provenance: Mapping[str, Any]) -> str:
    """Return the digest of formats 1 and 2: of the arrays, and in format 2 of the position."""
    h = sha256()
    for name, array in state.items():
        h.update(f"{name} {array.dtype} {array.shape}\n".encode())
        h.update(np.asarray(array, order="C").tobytes())
    if written > 1 and "training" in provenance:
        h.update(json.dumps(provenance["training"], sort_keys=True).encode())
    return h.hexdigest()


class _LogFile:
    """A file of TensorBoard's, whose failures are passed over: a thread writes it, and a report or a resume makes it anew."""

    def __init__(self, path: str) -> None:
        self._file = open(path.removeprefix(_LOGS), "wb")  # noqa: SIM115 - tensorboardX closes it

    def write(self, data: bytes) -> None:
        with suppress(OSError):
            self._file.write(data)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()


class _LogFiles:
    """What tensorboardX calls for paths that begin with `_LOGS`."""

    def open(self, path: str) -> _LogFile:
        return _LogFile(path)

    def directory_check(self, path: str) -> None:
        Path(path.removeprefix(_LOGS)).mkdir(parents=True, exist_ok=True)


_LOGS = "triptych:"


def summary_writer(folder: Path) -> Any:
    """Return a SummaryWriter for a folder, without the logs that are there: two in one folder would be drawn twice."""
    modules: dict[str, Any] = sys.modules
    hidden = (
        modules.setdefault("torch", None) is None
    )  # tensorboardX imports PyTorch if it can, for tensors: it takes over a second
    try:
        from tensorboardX import SummaryWriter
        from tensorboardX.record_writer import register_writer_factory
    finally:
        if hidden:
            del modules["torch"]
    for old in folder.glob("events.out.tfevents.*"):
        if old.is_symlink() or old.is_file():
            old.unlink()
    register_writer_factory(_LOGS.rstrip(":"), _LogFiles())
    return SummaryWriter(f"{_LOGS}{folder}")
