"""Files that leave the program, whole or not at all; and files that come back, which may be damaged."""

import json
import math
import os
import re
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import TriptychError, one_line

LARGEST_TEXT = 2**30  # bytes of any other file that is read as a whole

BLANK_DIGEST = b"0" * 64  # where a file's digest is put
_SPECIAL = {stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
_PART = re.compile(r"\.(state\.safetensors|events\.jsonl|history\.csv|results\.json)\.[a-z0-9_]{8}")


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


def kind_of(path: Path) -> str:
    """Return what a path leads to: ``file``, ``folder``, ``named pipe``, ``socket`` or ``device``.

    Raises
    ------
    OSError
        The path leads to nothing, or may not be looked at.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return _SPECIAL.get(stat.S_IFMT(mode), "device")


def is_regular(path: Path) -> bool:
    """Return whether a path leads to a regular file: to no folder, pipe or device, and not to nothing."""
    try:
        return kind_of(path) == "file"
    except (OSError, ValueError):
        return False


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
    if kind_of(path) != "file":
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
    at = content.index(BLANK_DIGEST)
    digest = sha256(content).hexdigest()
    return b"".join((content[:at], digest.encode(), content[at + len(BLANK_DIGEST) :])), digest


def check_seal(path: Path, content: bytes, digest: Any) -> None:
    """Raise `TriptychError` unless `digest` is what `seal` put into this content of a file."""
    if isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest):
        at = content.find(digest.encode())
        h = sha256(memoryview(content)[: max(at, 0)])
        h.update(BLANK_DIGEST)
        h.update(memoryview(content)[at + len(BLANK_DIGEST) :])
        if at >= 0 and h.hexdigest() == digest:
            return
    raise TriptychError(
        f"{path}: its SHA-256 does not match, so the file is damaged or was changed"
    )
