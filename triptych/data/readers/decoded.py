"""Decoded images, kept in the cache folder, so that only the first run waits for them."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...core.split import Split
from ..cache import cache_folder, digest_of, load_or_make, place_of
from ..reading import Contents, Options

VERSION = 3  # raised when the same files would be decoded differently
TEXTS = ("classes", "left_out", "notes")  # the fields of `Contents` that are lines, in its order


def folder() -> Path:
    """Return where decoded images are kept."""
    return cache_folder() / "decoded"


def load_or_decode(
    path: Path, options: Options, digest: str, decode: Callable[[], Contents]
) -> Contents:
    """Return what was decoded before, or decode it now and keep it.

    Parameters
    ----------
    path : Path
        The source.
    options : Options
    digest : str
        Of the source's content; what was kept under another is decoded anew.
    decode : callable
    """
    from PIL import __version__ as pillow

    place = place_of(folder(), path, options)
    key = digest_of(VERSION, pillow, digest)
    return load_or_make(
        partial(_read, place, key), decode, lambda contents: _write(place, contents, key)
    )


def _read(place: Path, key: str) -> Contents:
    with place.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        header = json.loads(archive["about"].tobytes())
        if header["key"] != key:
            raise ValueError("other content")
        train, test = (
            Split(archive[f"{name}_images"], archive[f"{name}_labels"])
            for name in ("train", "test")
        )
    if [train.digest, test.digest] != header["sha256"]:
        raise ValueError("damaged")
    texts = (tuple(header[name]) for name in TEXTS)
    return Contents(train, test if len(test) else None, *texts)


def _write(place: Path, contents: Contents, key: str) -> None:
    """Write an .npz: images and labels of both splits, and JSON about them.

    The test split may be empty. The file goes to the disk array by array, without a copy in memory.
    A file cut off by a crash fails its SHA-256.
    """
    train = contents.train
    test = contents.test or Split(train.images[:0], train.labels[:0])
    header: dict[str, Any] = {"key": key, "sha256": [train.digest, test.digest]}
    header |= {name: getattr(contents, name) for name in TEXTS}
    arrays: dict[str, Any] = {
        "train_images": train.images,
        "train_labels": train.labels,
        "test_images": test.images,
        "test_labels": test.labels,
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(f".{os.getpid()}-{place.name}")
    try:
        with unfinished.open("wb") as file:
            np.savez(file, about=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)
        os.replace(unfinished, place)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
