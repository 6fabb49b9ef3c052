"""The process of one worker of a group, ``python -m triptych.scale.worker MODULE``.

It answers the messages of `triptych.process.server`; its engines take their part of every step.
"""

import os
import sys
import threading
import time
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..core import registry
from ..core.engine import NativeWorkers
from ..core.state import State
from ..process import protocol, server
from ..process.machine import LOOPBACK
from ..process.protocol import Message
from ..spec.network import Network
from ..spec.recipe import Recipe
from .all_reduce import ProcessGroup
from .causes import Replay, SerialSimulation, StepMistakes
from .messages import STATE_PREFIX
from .native import NativeParallelEngine
from .parallel import ParallelEngine

SECONDS_BETWEEN_LOOKS = 1.0  # whether the parent still runs


class ShardWorker(server.Worker):
    """Holds the engines of one worker of a group.

    Without a group it simulates: it computes the parts of all workers one after the other.
    """

    def __init__(self) -> None:
        super().__init__(self.create_parallel)
        self.group: ProcessGroup | None = None
        self.native: NativeWorkers | None = None
        self.handlers |= {"join": self.join, "digest": self.digest, "simulate": self.simulate}

    def join(self, request: Message) -> Message:
        """Join the group of ``workers`` as number ``rank``, by the file ``rendezvous``.

        If ``native`` names an engine, its framework joins the workers, too.
        """
        values = request.values
        rank = values["rank"]
        workers = values["workers"]
        native = values["native"]
        rendezvous = Path(values["rendezvous"])
        self.group = ProcessGroup(rank, workers, rendezvous, always=native is not None)
        if native is not None:
            all_reduce = self.group.all_reduce
            self.native = registry.join_native(native, rank, workers, all_reduce, LOOPBACK)
        return Message({}, {})

    def create_parallel(
        self, name: str, network: Network, recipe: Recipe, **where: Any
    ) -> ParallelEngine | NativeParallelEngine:
        """Build an engine that computes its part of every step."""
        group = self.group
        if group is None:
            replay = Replay()
            engine: Any = registry.create(name, network, recipe, all_reduce=replay, **where)
            return ParallelEngine(engine, 0, 1, replay)
        if self.native is not None:
            registry.check_shared_masks(network, recipe)
            engine = self.native.create(network, recipe, **where)
            return NativeParallelEngine(engine, network, recipe, group.rank, group.workers)
        # One worker alone has the whole batch, so its layers have nothing to add.
        all_reduce = group.all_reduce if group.workers > 1 else None
        engine = registry.create(name, network, recipe, all_reduce=all_reduce, **where)
        return ParallelEngine(engine, group.rank, group.workers, group.all_reduce)

    def digest(self, request: Message) -> Message:
        """Return the SHA-256 of the state of the engine ``key``."""
        return Message({"digest": state_digest(self._engine(request).state())}, {})

    def simulate(self, request: Message) -> Message:
        """Make a step of ``workers`` workers with ``mistakes``; return the state after it."""
        values = request.values
        parallel: Any = self._engine(request)
        data = self._device_split(request)
        simulation = SerialSimulation(parallel.engine, parallel.all_reduce, data.data, data.samples)
        before = protocol.below(request.arrays, STATE_PREFIX)
        (plan,) = protocol.unpack_plans(request.arrays)
        mistakes = StepMistakes(**values["mistakes"])
        return Message({}, simulation.step(before, plan, values["workers"], mistakes))


def state_digest(state: State) -> str:
    """Return the SHA-256 of the names and the bits of a state, in hexadecimal digits."""
    digest = sha256()
    for name, array in state.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def end_with_parent() -> None:
    """End this process when its parent has ended, also while it waits for another worker.

    Windows keeps the number of a parent that has ended; there the end of the requests ends it.
    """
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    import_module(sys.argv[1])  # all engines are then built at about the same time
    server.main(ShardWorker())
