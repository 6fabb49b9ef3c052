"""Messages between coordinator and worker: a JSON object and named arrays, as one safetensors blob. No pickle."""

import json
import struct
from typing import IO, Any

import numpy as np
from safetensors.numpy import load, save

from ..plan import Plan
from ..state import State

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
    blob = stream.read(struct.unpack("<Q", prefix)[0])
    (length,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + length])["__metadata__"]
    arrays = load(blob)
    return json.loads(header["message"]), {name: arrays[name] for name in json.loads(header["order"])}


def pack_plan(plan: Plan) -> State:
    """Return a plan as named arrays."""
    order = {} if plan.order is None else {"order": plan.order}
    return {"rate": plan.rate} | order | {f"keep/{name}": mask for name, mask in plan.keep.items()}


def unpack_plan(arrays: State) -> Plan:
    """Return the plan that `pack_plan` packed."""
    keep = {name.removeprefix("keep/"): mask for name, mask in arrays.items() if name.startswith("keep/")}
    return Plan(arrays["rate"], arrays.get("order"), keep)
