"""The shared batch: an npz file with ``x``, ``x2``, …, ``y`` and ``val_loss``."""

from pathlib import Path

import numpy as np

from ..importing.arrays import open_weights
from .frameworks.adapter import ModelError
from .observation import Arrays, inputs_of

LARGEST = 2**30  # bytes of all arrays
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
    file = open_weights(path, LARGEST)
    batch = {name: file.read(array) for name, array in file.arrays.items()}
    _check(batch, str(path))
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
    arrays = {name: np.asarray(array) for name, array in batch.items()}
    _check(arrays, "batch")
    return arrays


def _check(batch: Arrays, where: str) -> None:
    """Raise an error if a batch cannot be used."""
    if "x" not in batch:
        held = ", ".join(sorted(batch)) or "nothing"
        raise ModelError(f"{where}: has no array x, but {held}; write it with {ADVICE}")
    samples = len(batch["x"]) if batch["x"].ndim else 0
    if not samples:
        raise ModelError(f"{where}: x has no samples; its first axis must be the batch")
    for name in inputs_of(batch):
        if len(batch[name]) != samples:
            raise ModelError(
                f"{where}: {name} has {len(batch[name])} samples, x has {samples}; "
                "all inputs must be of one batch"
            )
