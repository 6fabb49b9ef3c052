"""Files: written completely or not at all, and read with checks, because they may be damaged."""

import json
import math
import os
import re
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import TriptychError, one_line

LARGEST_TEXT = 2**30  # bytes: `read_bytes` refuses a larger file

BLANK_DIGEST = b"0" * 64  # the placeholder that `seal` replaces by the digest
_SPECIAL = {stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
_PART = re.compile(r"\.(state\.safetensors|events\.jsonl|history\.csv|results\.json)\.[a-z0-9_]{8}")


def write(path: Path, content: bytes | str) -> None:
    """Write a file: under a temporary name, which is then changed to the final one.

    If the process is killed at any moment, either the old file or the new one is there, complete.
    """
    if isinstance(content, str):
        content = content.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with naming(path):  # a message with the temporary name would not help the user
        try:
            with part.open("xb") as file:  # with the permissions of the user's umask
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    if hasattr(os, "O_DIRECTORY"):  # the new name is on disk only after the folder is
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def naming(path: Path) -> Generator[None]:
    """Set the file name of an `OSError`; the error of a full disk, for example, has none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
            error.filename2 = None
        raise


def refuse_links(folder: Path) -> None:
    """Raise `TriptychError` if a subfolder of a run folder is a link, which may lead out of it."""
    for name in ("last", "best"):
        if (folder / name).is_symlink():
            raise TriptychError(
                f"{folder / name}: a link, where a folder is needed; "
                "put the folder itself in its place"
            )


def sweep(folder: Path) -> None:
    """Delete the temporary files in a run folder, which `write` leaves when it is killed.

    The caller must make sure that no other process writes into the folder.
    """
    for inside in (folder, folder / "last", folder / "best"):
        for path in inside.glob(".*"):
            if _PART.fullmatch(path.name):
                path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, busy: str) -> Generator[None]:
    """Hold a lock file, which only one process can do at a time; the file stays.

    Parameters
    ----------
    path : Path
        The lock file, in a folder that exists.
    busy : str
        The message if another process holds it.

    Raises
    ------
    TriptychError
        If another process holds it, or the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise TriptychError(busy) from None
    except OSError as error:
        reason = error.strerror or error
        raise TriptychError(f"{path.parent}: cannot be written to ({reason})") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def refusing(path: Path, what: str) -> Generator[None]:
    """Turn every exception into a `TriptychError` of one line that names the file.

    A damaged or forged file can raise any exception in the code that reads it.

    Parameters
    ----------
    path : Path
        The file that is read.
    what : str
        What the file should be, with an article, for example ``a run folder``.

    Raises
    ------
    TriptychError
        If the code in the ``with`` block raises an exception.
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
    """Return what is at a path: ``file``, ``folder``, ``named pipe``, ``socket`` or ``device``.

    Links are followed.

    Raises
    ------
    OSError
        If nothing is there, or the user has no permission to see it.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return _SPECIAL.get(stat.S_IFMT(mode), "device")


def is_regular(path: Path) -> bool:
    """Return whether a regular file is at a path; links are followed."""
    try:
        return kind_of(path) == "file"
    except (OSError, ValueError):
        return False


@contextmanager
def opened(path: Path) -> Generator[BufferedReader]:
    """Open a regular file for reading; a pipe or a device, which may never end, is refused.

    Raises
    ------
    OSError
        If the file cannot be opened.
    TriptychError
        If it is not a regular file.
    """
    # The check comes before `open`, which would wait until another process writes to a pipe.
    if kind_of(path) != "file":
        raise TriptychError(f"{path}: not a regular file")
    with path.open("rb") as file:
        yield file


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file of at most 1 GiB.

    Raises
    ------
    OSError
        If the file cannot be read.
    TriptychError
        If it is not a regular file, or is too large.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_TEXT:
            raise TriptychError(
                f"{path}: has {size:,} bytes, where at most {LARGEST_TEXT:,} are read"
            )
        return file.read(size)  # more would be allocated before it is known to be there


def read_safetensors_header(file: BinaryIO, size: int, longest: int) -> bytes:
    """Return the header of a safetensors file, JSON, if its length fits into the file.

    Parameters
    ----------
    file : file
        Open for reading, at its beginning. It is left behind the header.
    size : int
        Bytes of the whole file.
    longest : int
        Bytes that the header may have.

    Raises
    ------
    TriptychError
        If the file claims a longer header.
    """
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(longest, size - 8):
        raise TriptychError(f"its header of {length:,} bytes does not fit into a file of {size:,}")
    return file.read(length)


def to_json(value: Any, **options: Any) -> str:
    """Return strict JSON; NaN and infinities, which do not exist in JSON, become null."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(value), allow_nan=False, **options)


def seal(content: bytes) -> tuple[bytes, str]:
    """Put the SHA-256 of a file's content into the content itself.

    Parameters
    ----------
    content : bytes
        The first 64 zeros in a row are the place of the digest.

    Returns
    -------
    tuple of (bytes, str)
        The content with the digest in it, and the digest in hexadecimal digits. The digest is that
        of the content that was given, with the zeros in it.
    """
    at = content.index(BLANK_DIGEST)
    digest = sha256(content).hexdigest()
    return b"".join((content[:at], digest.encode(), content[at + len(BLANK_DIGEST) :])), digest


def check_seal(path: Path, content: bytes, digest: Any) -> None:
    """Raise `TriptychError` unless `digest` is the one that `seal` put into this content."""
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
