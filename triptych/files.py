"""Files that leave the program: whole or not at all, and no pickle.

A state is one safetensors file with the network, recipe and provenance as JSON metadata and a SHA-256 of its tensors,
because safetensors itself accepts flipped bits. Where a run can go on from it, its provenance holds the position under
``training``, and the SHA-256 is of that, too.
"""

import json
import math
import os
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .errors import TriptychError
from .network import Network
from .recipe import Recipe
from .state import State, check

FORMAT = 2  # 1 had other names for the optimizers' numbers


def write(path: Path, content: bytes | str) -> None:
    """Write a file so that a kill at any moment leaves the old one whole: temporary name, flush, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)  # a full disk does not say what was written
        raise
    if hasattr(os, "O_DIRECTORY"):  # the rename itself is on disk only when its folder is
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def to_json(value: Any, **options: Any) -> str:
    """Return strict JSON: NaN and infinities, which JSON does not know, become null."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(value), allow_nan=False, **options)


def save_state(path: Path, state: State, network: Network, recipe: Recipe, provenance: dict[str, Any]) -> None:
    """Write weights and slots with all that is needed to use them."""
    about = {
        "format": FORMAT,
        "order": list(state),
        "sha256": _digest(state, provenance),
        "network": network.to_json(),
        "recipe": recipe.to_json(),
        "provenance": provenance,
    }
    write(path, save({name: np.asarray(a, order="C") for name, a in state.items()}, {"triptych": json.dumps(about)}))


def load_state(path: Path) -> tuple[State, Network, Recipe, dict[str, Any]]:
    """Read what `save_state` wrote: (state, network, recipe, provenance).

    Raises
    ------
    TriptychError
        Where the file is missing, damaged, not ours, or does not fit the network it names.
    """
    try:
        blob = path.read_bytes()
        length = int.from_bytes(blob[:8], "little")
        about = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"]["triptych"])
        arrays = load(blob)
        if about["format"] != FORMAT:
            raise TriptychError(f"{path}: written in format {about['format']}; this version reads format {FORMAT}")
        state = {name: arrays[name] for name in about["order"]}
        if len(arrays) != len(state) or _digest(state, about["provenance"]) != about["sha256"]:
            raise TriptychError(f"{path}: the SHA-256 of its arrays does not match; the file is damaged")
        network, recipe = Network.from_json(about["network"]), Recipe.from_json(about["recipe"])
        if not all(np.isfinite(a).all() for a in state.values()):
            raise TriptychError(f"{path}: holds NaN or infinite weights")
        return check(state, network, recipe), network, recipe, about["provenance"]
    except OSError as error:
        raise TriptychError(f"{path}: cannot be read ({error.strerror})") from None
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TriptychError(f"{path}: not a state that triptych wrote, or damaged ({type(error).__name__})") from None


def _digest(state: State, provenance: dict[str, Any]) -> str:
    h = sha256()
    for name, array in state.items():
        h.update(f"{name} {array.dtype} {array.shape}\n".encode())
        h.update(np.asarray(array, order="C").tobytes())
    if "training" in provenance:
        h.update(json.dumps(provenance["training"], sort_keys=True).encode())
    return h.hexdigest()


def summary_writer(folder: Path) -> Any:
    """Return a SummaryWriter for a folder, without the logs that are there: two in one folder would be drawn twice."""
    modules: dict[str, Any] = sys.modules
    hidden = modules.setdefault("torch", None) is None  # tensorboardX imports PyTorch if it can, for tensors: it takes over a second
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hidden:
            del modules["torch"]
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    return SummaryWriter(str(folder))
