"""Messages between coordinator and worker: a JSON object and named arrays, as one safetensors blob. No pickle."""

import json
import struct
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from safetensors.numpy import load, save

from ..core.plan import Plan
from ..core.state import State

Message = dict[str, Any]


def send(stream: IO[bytes], message: Message, arrays: State | None = None) -> None:
    """Write one message and flush."""
    arrays = arrays or {}
    # safetensors sorts its tensors and stores what lies in memory: keep the order, and make it contiguous.
    header = {"message": json.dumps(message), "order": json.dumps(list(arrays))}
    blob = save({name: np.asarray(a, order="C") for name, a in arrays.items()}, header)
    stream.write(struct.pack("<Q", len(blob)))
    stream.write(blob)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[Message, State]:
    """Read one message.

    Raises
    ------
    EOFError
        Where the other side has ended.
    """
    prefix = stream.read(8)
    if len(prefix) < 8:
        raise EOFError
    size = struct.unpack("<Q", prefix)[0]
    blob = stream.read(size)
    if len(blob) < size:
        raise EOFError
    (length,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + length])["__metadata__"]
    arrays = load(blob)
    return json.loads(header["message"]), {
        name: arrays[name] for name in json.loads(header["order"])
    }


def pack_plans(plans: Sequence[Plan]) -> State:
    """Return plans as named arrays."""
    arrays: State = {}
    for i, plan in enumerate(plans):
        arrays[f"{i}/rate"] = plan.rates
        if plan.indices is not None:
            arrays[f"{i}/order"] = plan.indices
        arrays |= {f"{i}/keep/{name}": mask for name, mask in plan.dropout_masks.items()}
        arrays |= {f"{i}/augment/{name}": drawn for name, drawn in plan.augmentations.items()}
    return arrays


def unpack_plans(arrays: State) -> list[Plan]:
    """Return the plans that `pack_plans` packed."""
    plans: list[Plan] = []
    while (start := f"{len(plans)}/") + "rate" in arrays:
        keep, augment = (
            {
                name.removeprefix(part): drawn
                for name, drawn in arrays.items()
                if name.startswith(part)
            }
            for part in (f"{start}keep/", f"{start}augment/")
        )
        plans.append(Plan(arrays[f"{start}rate"], arrays.get(f"{start}order"), keep, augment))
    return plans
