"""A contestant's own process: a worker that also builds peers, and that is pinned to cores."""

import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from triptych.core import registry
from triptych.process import machine, server
from triptych.process.protocol import Message
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe


def create(engine: str, network: Network, recipe: Recipe, *, device: str, backend: str) -> Any:
    """Build an engine, or the peer of that name if the engine has no such backend."""
    if backend in registry.entry(engine).backends:
        return registry.create(engine, network, recipe, device=device, backend=backend)
    module = import_module(f"benchmarks.peers.{engine}_{backend.partition('-')[0]}")
    return module.Engine(network, recipe, device=device, backend=backend)


def pin(threads: int) -> None:
    """Keep all threads of this process on the last `threads` cores, if the system can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[-threads:]
        for task in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


class Worker(server.Worker):
    """Answers a few more messages than the worker of a comparison."""

    def __init__(self) -> None:
        super().__init__(create)
        self.handlers |= {
            "infer": self.infer,
            "kernel": self.kernel,
            "product_rate": self.product_rate,
            "copy_rate": self.copy_rate,
        }

    def infer(self, request: Message) -> Message:
        """Compute the logits of the split ``name`` in the engine ``key``, ``times`` times."""
        engine = self._engine(request)
        data = self._device_split(request)
        wall_before = time.perf_counter()
        cpu_before = time.process_time()
        for _ in range(request.values["times"]):
            engine.logits(data)
        wall_seconds = time.perf_counter() - wall_before
        cpu_seconds = time.process_time() - cpu_before
        return Message({"wall_s": wall_seconds, "cpu_s": cpu_seconds}, {})

    def kernel(self, request: Message) -> Message:
        """Return what this process computes products with, as far as its framework tells."""
        return Message({"kernel": self._kernel(request.values["module"])}, {})

    def _kernel(self, module: str) -> str:
        if module == "torch":
            import torch

            library = "MKL" if torch.backends.mkl.is_available() else "no MKL"
            capability = torch.backends.cpu.get_cpu_capability()
            return f"{library}, {capability}, {torch.get_num_threads()} threads"
        return ", ".join(machine.blas())

    def product_rate(self, request: Message) -> Message:
        """Return how fast large products are, in operations per second."""
        from .floor import product_rate

        return Message({"rate": product_rate(request.values["module"])}, {})

    def copy_rate(self, request: Message) -> Message:
        """Return how fast memory is copied, in bytes per second."""
        from .floor import copy_rate

        return Message({"rate": copy_rate(request.values["size"])}, {})


if __name__ == "__main__":
    import_module(sys.argv[1])  # on any core, because many contestants import at the same time
    pin(int(os.environ["OMP_NUM_THREADS"]))
    server.main(Worker())
