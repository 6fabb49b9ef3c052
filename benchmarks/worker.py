"""A contestant's own process: the worker of `triptych.process`, which also builds peers and is pinned."""

import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from triptych.core import registry
from triptych.core.state import State
from triptych.process import machine, server
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

    def infer(self, arrays: State, key: str, name: str, times: int) -> server.Reply:
        """Compute the logits of a split so many times."""
        engine = self.engines[key]
        data = self._native(key, name)
        wall = time.perf_counter()
        cpu = time.process_time()
        for _ in range(times):
            engine.logits(data)
        wall = time.perf_counter() - wall
        cpu = time.process_time() - cpu
        return {"wall_s": wall, "cpu_s": cpu}, {}

    def kernel(self, arrays: State, module: str) -> server.Reply:
        """Return what this process computes products with, as far as its framework tells."""
        if module != "torch":
            return {"kernel": ", ".join(machine.blas())}, {}
        import torch

        library = "MKL" if torch.backends.mkl.is_available() else "no MKL"
        instructions = torch.backends.cpu.get_cpu_capability()
        kernel = f"{library}, {instructions}, {torch.get_num_threads()} threads"
        return {"kernel": kernel}, {}

    def product_rate(self, arrays: State, module: str) -> server.Reply:
        """Measure the rate of products."""
        from .floor import product_rate

        return {"rate": product_rate(module)}, {}

    def copy_rate(self, arrays: State, size: int) -> server.Reply:
        """Measure the rate of copies of so many bytes."""
        from .floor import copy_rate

        return {"rate": copy_rate(size)}, {}


if __name__ == "__main__":
    import_module(sys.argv[1])  # on any core, because many contestants import at the same time
    pin(int(os.environ["OMP_NUM_THREADS"]))
    server.main(Worker(create))
