"""A worker of a training: an actor of Ray Train, with an engine for its part of every step."""

import socket
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ...core import registry
from ...core.engine import NativeWorkers
from ...data.streaming.packing import unpack_stream
from ...errors import EngineError
from ...process import server
from ...process.machine import LOOPBACK
from ...process.protocol import Message
from ...spec.network import Network
from ...spec.recipe import Recipe
from ...training.feeding import StreamFeed, planner_of
from ..all_reduce import Meeting, ProcessGroup
from ..messages import LOST
from ..parallel import StreamPart
from ..worker import ShardWorker

# What the first worker answers alone: the others have the same.
OF_THE_FIRST = ("state", "logits", "trace")
SECONDS_FOR_THE_CAUSE = 5.0  # in which Ray finds out which worker has ended, if another misses it

_group = 0
_rendezvous: Path | Meeting | None = None
_listener: socket.socket | None = None


class TrainingWorker(ShardWorker):
    """Answers the requests to one worker of a training.

    Parameters
    ----------
    group : ProcessGroup
        The workers that compute together.
    native : NativeWorkers or None
        The same workers, joined by their framework.
    """

    def __init__(self, group: ProcessGroup, native: NativeWorkers | None = None) -> None:
        super().__init__()
        self.group = group
        self.native = native
        self._all_reduce = group.all_reduce
        self.handlers["stream"] = self.stream

    def upload(self, request: Message) -> Message:
        """Copy the split ``name`` to the device, and keep no other copy."""
        reply = super().upload(request)
        self.splits.pop(request.values["name"], None)
        return reply

    def stream(self, request: Message) -> Message:
        """Read the split ``name`` from its files: this worker's part of each step from ``step`` on.

        Where ``step`` is null, all samples are read whenever they are evaluated.
        """
        values = request.values
        key = values["key"]
        (split,) = unpack_stream(values["packed"], request.arrays)
        feed = None
        if values["step"] is not None:
            network = Network.from_json(values["network"])
            planner = planner_of(network, Recipe.from_json(values["recipe"]), split)
            parallel: Any = self.engines[key]
            where = (values["step"], parallel.rank, parallel.workers)
            feed = StreamFeed(parallel.engine, split, planner, *where)
        self.device_splits[self.dtypes[key], values["name"]] = StreamPart(split, feed)
        return Message({}, {})

    def run(self, request: Message) -> Message:
        """Run plans; ``cpu_s`` is the processor time of all workers."""
        reply = super().run(request)
        used = np.array([reply.values["cpu_s"]])
        total = self._all_reduce(used)
        return Message(reply.values | {"cpu_s": float(total[0])}, reply.arrays)


def listen(host: str) -> int:
    """Listen at a free port of this node, for the first contact; return the port."""
    global _listener
    _listener = socket.create_server((host, 0))
    return _listener.getsockname()[1]


def node_address() -> str:
    """Return the address of the node on which this worker is, as Ray knows it."""
    from ray.util import get_node_ip_address

    return get_node_ip_address()


def prepare(group: int, rendezvous: str | tuple[str, int]) -> None:
    """Take in the number of the group, and how its workers find each other.

    Parameters
    ----------
    group : int
        As of `triptych.scale.training.mailbox.Mailbox.begin`.
    rendezvous : str or tuple of (str, int)
        The path of a file on this machine, or an address and a port of the first worker.
    """
    global _group, _rendezvous
    _group = group
    if isinstance(rendezvous, str):
        _rendezvous = Path(rendezvous)
    else:
        host, port = rendezvous
        _rendezvous = Meeting(host, port, node_address(), _listener)


def train(settings: dict[str, Any]) -> None:
    """Answer requests until the group ends; Ray Train calls it in every worker.

    Parameters
    ----------
    settings : dict
        ``mailbox``: the actor; ``engine``: its name; ``native``: whether its framework adds the
        gradients.

    Raises
    ------
    EngineError
        If a framework is not installed, or another worker has ended.
    """
    import ray
    import ray.train

    mailbox = settings["mailbox"]
    import_module(registry.entry(settings["engine"]).requires)
    context = ray.train.get_context()
    rank = context.get_world_rank()
    assert _rendezvous is not None
    workers = context.get_world_size()
    with_others = ProcessGroup(rank, workers, _rendezvous)
    native = None
    if settings["native"]:
        address = LOOPBACK if isinstance(_rendezvous, Path) else node_address()
        native = registry.join_native(
            settings["engine"], rank, workers, with_others.all_reduce, address
        )
    worker = TrainingWorker(with_others, native)
    number = 0
    while request := ray.get(mailbox.request.remote(_group, number)):
        number += 1
        message = Message(*ray.get(request[0]))
        if rank and message.values["do"] in OF_THE_FIRST:
            continue
        reply = server.answered(worker, message)
        if reply.values.get("error") == LOST:
            time.sleep(SECONDS_FOR_THE_CAUSE)
            raise EngineError(LOST)
        if rank == 0 or "error" in reply.values:
            answer = ray.put((reply.values, reply.arrays))
            ray.get(mailbox.answer.remote(_group, [answer]))
        del request, message, reply  # arrays of theirs are memory of the object store
