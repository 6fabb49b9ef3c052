"""The worker process, ``python -m triptych.process.server MODULE``: see `triptych.process.client`.

It holds the engines of one framework and answers one message at a time on its standard streams.
Times are taken here, around `run` and `wait` alone, so that no measurement contains a message.
"""

import sys
import time
from importlib import import_module

_before = time.perf_counter()
if __name__ == "__main__":
    # The framework comes first, so that the time of its import does not contain anything of ours.
    import_module(sys.argv[1])
IMPORT_SECONDS = time.perf_counter() - _before

import os
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import IO, Any, Protocol, cast

from .. import plugins
from ..core import registry
from ..core.engine import DeviceSplit, Engine, UpdatingEngine
from ..core.memory import failure_line
from ..core.split import Split
from ..errors import SpecError, TriptychError
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..spec.registry import UnknownName
from . import machine, protocol
from .protocol import Message

CreateEngine = Callable[..., Engine]  # with the parameters of `registry.create`
Handler = Callable[[Message], Message]

ADVICE = (
    "they know the classes of installed plug-ins (entry points of the group triptych.plugins, "
    "see CONTRIBUTING.md), but no class that a script or notebook registers"
)


class Answering(Protocol):
    """What answers the messages of a process."""

    def answer(self, request: Message) -> Message:
        """Answer one request."""
        ...


class Worker:
    """Holds the engines and the splits that it was sent.

    Parameters
    ----------
    create : callable
        Builds an engine: `triptych.core.registry.create`, or a function with its parameters.

    Attributes
    ----------
    handlers : dict of str to callable
        The function that answers each kind of request, by the request's entry ``do``.
    """

    def __init__(self, create: CreateEngine) -> None:
        self.create = create
        self.engines: dict[str, Engine] = {}
        self.splits: dict[str, Split] = {}
        self.dtypes: dict[str, str] = {}  # by the key of the engine
        # All engines of a worker are of one framework on one device, so those of one dtype share
        # the data on the device: by dtype and name of the split.
        self.device_splits: dict[tuple[str, str], DeviceSplit] = {}
        self.handlers: dict[str, Handler] = {
            "build": self.build,
            "drop": self.drop,
            "split": self.take_split,
            "upload": self.upload,
            "load": self.load,
            "state": self.state,
            "run": self.run,
            "update": self.update,
            "logits": self.logits,
            "trace": self.trace,
            "memory": self.memory,
            "reset_memory": self.reset_memory,
        }

    def answer(self, request: Message) -> Message:
        """Answer one request."""
        return self.handlers[request.values["do"]](request)

    def build(self, request: Message) -> Message:
        """Build an engine from ``engine``, ``backend``, ``device``, ``network`` and ``recipe``."""
        values = request.values
        before = time.perf_counter()
        network, recipe = _read_descriptions(values)
        engine = self.create(
            values["engine"],
            network,
            recipe,
            device=values["device"],
            backend=values["backend"],
        )
        seconds = time.perf_counter() - before
        self.engines[values["key"]] = engine
        self.dtypes[values["key"]] = values["recipe"]["dtype"]
        return Message({"build_s": seconds, "device": engine.device}, {})

    def drop(self, request: Message) -> Message:
        """Forget the engine ``key``, and the data that no other engine uses."""
        key = request.values["key"]
        del self.engines[key]
        del self.dtypes[key]
        used = set(self.dtypes.values())
        for dtype, name in list(self.device_splits):
            if dtype not in used:
                del self.device_splits[dtype, name]
        return Message({}, {})

    def take_split(self, request: Message) -> Message:
        """Keep the split ``name``."""
        images = request.arrays["images"]
        self.splits[request.values["name"]] = Split(images, request.arrays["labels"])
        return Message({}, {})

    def upload(self, request: Message) -> Message:
        """Copy the split ``name`` to the device, in the dtype of the engine ``key``."""
        key = request.values["key"]
        name = request.values["name"]
        before = time.perf_counter()
        if (self.dtypes[key], name) not in self.device_splits:
            uploaded = self.engines[key].upload(self.splits[name])
            self.device_splits[self.dtypes[key], name] = uploaded
        return Message({"upload_s": time.perf_counter() - before}, {})

    def load(self, request: Message) -> Message:
        """Load a state into the engine ``key``."""
        self._engine(request).load(request.arrays)
        return Message({}, {})

    def state(self, request: Message) -> Message:
        """Return the state of the engine ``key``."""
        return Message({}, self._engine(request).state())

    def run(self, request: Message) -> Message:
        """Run plans in the engine ``key`` with the split ``name``, and time them."""
        engine = self._engine(request)
        data = self._device_split(request)
        plans = protocol.unpack_plans(request.arrays)
        wall_before = time.perf_counter()
        cpu_before = time.process_time()
        for plan in plans:
            engine.run(data, plan)
        losses = engine.wait()
        wall_seconds = time.perf_counter() - wall_before
        cpu_seconds = time.process_time() - cpu_before
        return Message({"wall_s": wall_seconds, "cpu_s": cpu_seconds}, {"losses": losses})

    def update(self, request: Message) -> Message:
        """Make an update in the engine ``key`` from the gradients that were sent."""
        engine = cast(UpdatingEngine, self._engine(request))
        engine.update(request.arrays, request.values["rate"])
        return Message({}, {})

    def logits(self, request: Message) -> Message:
        """Return the logits of the split ``name`` in the engine ``key``."""
        logits = self._engine(request).logits(self._device_split(request))
        return Message({}, {"logits": logits})

    def trace(self, request: Message) -> Message:
        """Return the trace of one step, with the outputs of the layers if ``outputs`` is true."""
        (plan,) = protocol.unpack_plans(request.arrays)
        data = self._device_split(request)
        outputs = request.values["outputs"]
        return Message({}, self._engine(request).trace(data, plan, outputs=outputs))

    def memory(self, request: Message) -> Message:
        """Return the peak of this process's memory, and its BLAS libraries."""
        del request
        return Message(asdict(machine.memory_use()), {})

    def reset_memory(self, request: Message) -> Message:
        """Start the peak anew."""
        del request
        machine.reset_peak_memory()
        return Message({}, {})

    def _engine(self, request: Message) -> Engine:
        return self.engines[request.values["key"]]

    def _device_split(self, request: Message) -> DeviceSplit:
        dtype = self.dtypes[request.values["key"]]
        return self.device_splits[dtype, request.values["name"]]


def _read_descriptions(values: dict[str, Any]) -> tuple[Network, Recipe]:
    """Return the network and the recipe of a request.

    Raises
    ------
    SpecError
        If a name is unknown here, though the coordinator knows it.
    """
    try:
        return Network.from_json(values["network"]), Recipe.from_json(values["recipe"])
    except UnknownName as error:
        reasons = "; ".join(plugins.left_out)
        raise SpecError(
            f"{error.named} is unknown in worker processes: {reasons or ADVICE}"
        ) from None


def answered(worker: Answering, request: Message) -> Message:
    """Answer one request; a failure is the reply's ``error``, with its ``kind``."""
    try:
        return worker.answer(request)
    except Exception as error:
        # Every failure is reported to the coordinator, which decides what it means for the row.
        kind = "user" if isinstance(error, TriptychError) else "crash"
        traceback.print_exc()
        return Message({"error": failure_line(error), "kind": kind}, {})


def serve(
    worker: Answering, requests: IO[bytes], replies: IO[bytes], import_seconds: float
) -> None:
    """Send the time that the framework's import took, then answer until the coordinator ends."""
    protocol.send(replies, {"import_s": import_seconds})
    while True:
        try:
            request = protocol.receive(requests)
        except EOFError:
            return
        reply = answered(worker, request)
        protocol.send(replies, reply.values, reply.arrays)


def main(worker: Answering | None = None) -> None:
    """Serve on the standard streams."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a framework prints goes to the log, not into the replies
    sys.stdin.close()
    serve(worker or Worker(registry.create), requests, replies, IMPORT_SECONDS)


if __name__ == "__main__":
    main()
