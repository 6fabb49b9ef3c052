"""The folder in which downloads, decoded images and calibrations are kept."""

import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def cache_folder() -> Path:
    """Return the folder of downloads: ``$TRIPTYCH_DATA``, or the user's cache folder."""
    set_by_user = os.environ.get("TRIPTYCH_DATA")
    if set_by_user:
        return Path(set_by_user)
    from platformdirs import user_cache_path

    return user_cache_path("triptych")


def place_of(folder: Path, path: Path, settings: Any) -> Path:
    """Return the npz file in which a folder keeps what was made of a source.

    It is one for each source and `settings`, so that a source that changes leaves nothing behind.
    """
    whole = path.resolve()
    return folder / f"{whole.name}-{digest_of(str(whole), settings)[:16]}.npz"


def digest_of(*parts: Any) -> str:
    """Return a SHA-256 of values with a ``repr``, in hexadecimal digits."""
    return sha256(repr(parts).encode()).hexdigest()


def load_or_make(read: Callable[[], T], make: Callable[[], T], write: Callable[[T], None]) -> T:
    """Return what was made before, or make it now and keep it.

    Parameters
    ----------
    read : callable
        Returns what was kept. Whatever it raises means that it must be made anew: it is missing, or
        out of date, or damaged in any way.
    make : callable
        Makes it.
    write : callable
        Keeps it. On a full or read-only disk it is made again next time.
    """
    with suppress(Exception):
        return read()
    made = make()
    with suppress(OSError):
        write(made)
    return made
