"""A state in a file: safetensors with the network, recipe and provenance as JSON metadata.

safetensors itself accepts flipped bits, so the file carries a SHA-256 of all its bytes but the
digest itself. Where a run can go on from a state, its provenance holds the position under
``training``.
"""

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load, save

from ..core.files import (
    BLANK_DIGEST,
    check_seal,
    opened,
    read_safetensors_header,
    refusing,
    seal,
    write,
)
from ..core.state import State, arrays_of, check
from ..errors import TriptychError, one_line
from ..spec.network import Network
from ..spec.recipe import Recipe

# Format 2: the digest is of the arrays and the position alone. Format 1: the same, and rmsprop's
# rho is called decay.
FORMAT = 3
FORMATS = (1, 2, 3)

STATE = "state.safetensors"  # the name of a state's file, in a folder of its own
LONGEST_HEADER = 100_000_000  # bytes of JSON in a state, as safetensors itself has it


class NotFiniteError(TriptychError):
    """A state that is whole, of a training that diverged."""


def save_state(
    path: Path, state: State, network: Network, recipe: Recipe, provenance: dict[str, Any]
) -> str:
    """Write weights and slots with all that is needed to use them; return the SHA-256."""
    header = {
        "sha256": BLANK_DIGEST.decode(),  # first, so that nothing of the user's comes before it
        "format": FORMAT,
        "order": list(state),
        "network": network.to_json(),
        "recipe": recipe.to_json(),
        "provenance": provenance,
    }
    arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
    content, digest = seal(save(arrays, {"triptych": json.dumps(header)}))
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
        text = read_safetensors_header(file, size, LONGEST_HEADER)
        header = json.loads(json.loads(text)["__metadata__"]["triptych"])
        written = header["format"]
        if written not in FORMATS or isinstance(written, bool):
            known = ", ".join(map(str, FORMATS))
            raise TriptychError(
                f"{path}: written in format {one_line(written, 40)}; this version reads formats "
                f"{known}"
            )
        network = Network.from_json(header["network"])
        recipe = Recipe.from_json(_renamed(header["recipe"]) if written == 1 else header["recipe"])
        # Before any memory is taken for the arrays: a small file may name a network that no memory
        # holds.
        expected = arrays_of(network, recipe)
        needed = (
            8
            + len(text)
            + sum(prod(array.shape) * array.dtype.itemsize for array in expected.values())
        )
        if size != needed:
            raise TriptychError(
                f"it has {size:,} bytes, where its network and optimizer need {needed:,}"
            )
        file.seek(0)
        content = file.read(size)
        arrays = load(content)
        state = {name: arrays[name] for name in header["order"]}
        if len(arrays) != len(state):
            raise TriptychError(f"it has {len(arrays)} arrays and an order of {len(state)}")
        if written == FORMAT:
            check_seal(path, content, header["sha256"])
        elif header["sha256"] != _old_digest(written, state, header["provenance"]):
            raise TriptychError(
                f"{path}: the SHA-256 of its arrays does not match, so the file is damaged"
            )
        if not all(np.isfinite(array).all() for array in state.values()):
            raise NotFiniteError(f"{path}: holds NaN or infinite weights")
        if not isinstance(header["provenance"], dict):
            raise TriptychError("its provenance is not an object")
        return SavedState(
            check(state, network, recipe, expected),
            network,
            recipe,
            header["provenance"],
            header["sha256"],
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
