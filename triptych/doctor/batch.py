"""The shared batch: an npz file with ``x``, ``x2``, …, ``y`` and ``val_loss``."""

from pathlib import Path

import numpy as np

from ..importing.arrays import NUMBERS, open_weights
from .frameworks.adapter import ModelError
from .observation import Array, Arrays, inputs_of

LARGEST = 2**30  # bytes of all arrays
KINDS = NUMBERS + "b"  # of dtypes
WIDEST = 8  # bytes of a number
ADVICE = "np.savez('batch.npz', x=inputs, y=targets)"


def read_batch(path: Path) -> Arrays:
    """Read a batch.

    Parameters
    ----------
    path : Path
        An npz or safetensors file.

    Returns
    -------
    dict of str to ndarray
        Its arrays by name.

    Raises
    ------
    TriptychError
        If the file is damaged, too large, holds Python objects, or has no ``x``.
    """
    file = open_weights(path, LARGEST, kinds=KINDS)
    batch = {name: _native(file.read(array)) for name, array in file.arrays.items()}
    check_batch(batch, str(path))
    return batch


def checked(batch: str | Path | Arrays | None) -> Arrays:
    """Return a batch, read from a file if it is the name of one.

    Parameters
    ----------
    batch : str, Path, or dict of str to ndarray
        A file or the arrays; None is an error.

    Raises
    ------
    TriptychError
        If there is no batch, or it cannot be used.
    """
    if batch is None:
        raise ModelError(f"a batch is needed, an npz file: {ADVICE}")
    if isinstance(batch, str | Path):
        return read_batch(Path(batch))
    arrays = {name: _native(np.asarray(array)) for name, array in batch.items()}
    check_batch(arrays, "batch")
    return arrays


def _native(array: Array) -> Array:
    """Return an array whose bytes are in the order of this machine."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _samples(array: Array) -> int:
    return len(array) if array.ndim else 0


def check_batch(batch: Arrays, where: str) -> None:
    """Raise `ModelError` if a batch cannot be used.

    Parameters
    ----------
    batch : dict of str to ndarray
        Its arrays.
    where : str
        Where they are from, for messages.
    """
    for name, array in batch.items():
        if array.dtype.kind not in KINDS or array.dtype.itemsize > WIDEST:
            raise ModelError(
                f"{where}: {name} is of type {array.dtype}; give floats of at most 64 bits, whole "
                "numbers, or booleans"
            )
    if "x" not in batch:
        held = ", ".join(sorted(batch)) or "nothing"
        raise ModelError(f"{where}: has no array x, but {held}; write it with {ADVICE}")
    samples = _samples(batch["x"])
    if not samples:
        raise ModelError(f"{where}: x has no samples; its first axis must be the batch")
    for name in inputs_of(batch):
        if not np.isfinite(batch[name]).all():
            raise ModelError(
                f"{where}: {name} has NaN or infinity; choose samples with numbers only"
            )
        if _samples(batch[name]) != samples:
            raise ModelError(
                f"{where}: {name} has {_samples(batch[name])} samples, x has {samples}; "
                "all inputs must be of one batch"
            )
