"""Messages between the coordinator and a worker: a JSON object and named arrays. No pickle.

A message is one safetensors blob after its length, which is an unsigned integer of 8 bytes.
"""

import json
import struct
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

import numpy as np
from safetensors.numpy import load, save

from ..core.plan import Plan
from ..core.state import State

Values = dict[str, Any]  # what JSON can hold


class Message(NamedTuple):
    """What one side sends to the other.

    Attributes
    ----------
    values : dict
        A JSON object.
    arrays : dict of str to ndarray
        Named arrays.
    """

    values: Values
    arrays: State


def send(stream: IO[bytes], values: Values, arrays: State | None = None) -> None:
    """Write one message and flush."""
    arrays = arrays or {}
    # safetensors sorts its tensors by name and stores memory as it is: so the order is sent, too,
    # and the arrays are made contiguous.
    header = {"message": json.dumps(values), "order": json.dumps(list(arrays))}
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    blob = save(contiguous, header)
    stream.write(struct.pack("<Q", len(blob)))
    stream.write(blob)
    stream.flush()


def receive(stream: IO[bytes]) -> Message:
    """Read one message.

    Raises
    ------
    EOFError
        If the other side has ended.
    """
    (size,) = struct.unpack("<Q", _read(stream, 8))
    blob = _read(stream, size)
    (length,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + length])["__metadata__"]
    arrays = load(blob)
    names = json.loads(header["order"])
    return Message(json.loads(header["message"]), {name: arrays[name] for name in names})


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def pack_plans(plans: Sequence[Plan]) -> State:
    """Return plans as named arrays."""
    arrays: State = {}
    for number, plan in enumerate(plans):
        arrays[f"{number}/rates"] = plan.rates
        if plan.indices is not None:
            arrays[f"{number}/indices"] = plan.indices
        for name, mask in plan.dropout_masks.items():
            arrays[f"{number}/mask/{name}"] = mask
        for name, drawn in plan.augmentations.items():
            arrays[f"{number}/augmentation/{name}"] = drawn
    return arrays


def unpack_plans(arrays: State) -> list[Plan]:
    """Return the plans that `pack_plans` packed."""
    plans: list[Plan] = []
    while f"{len(plans)}/rates" in arrays:
        number = len(plans)
        plan = Plan(
            arrays[f"{number}/rates"],
            arrays.get(f"{number}/indices"),
            below(arrays, f"{number}/mask/"),
            below(arrays, f"{number}/augmentation/"),
        )
        plans.append(plan)
    return plans


def below(arrays: State, prefix: str) -> State:
    """Return the arrays whose names begin with a prefix, by their names without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
