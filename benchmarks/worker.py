"""A contestant's own process: the worker of `triptych.bench`, which here builds peers too, is pinned, and can do a few things more."""

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
    """Build an engine, or the peer of that name where the engine has no such backend."""
    if backend in registry.entry(engine).backends:
        return registry.create(engine, network, recipe, device=device, backend=backend)
    module = import_module(f"benchmarks.peers.{engine}_{backend.partition('-')[0]}")
    return module.Engine(network, recipe, device=device, backend=backend)


def pin(threads: int) -> None:
    """Keep this process, with the threads that it has by now, on the last cores, one for each of `threads`, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[-threads:]
        for task in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


class Worker(server.Worker):
    def infer(self, arrays: State, key: str, name: str, times: int) -> server.Reply:
        """Compute a split's logits so many times."""
        engine, native = self.engines[key], self._native(key, name)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            engine.logits(native)
        return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}, {}

    def kernel(self, arrays: State, module: str) -> server.Reply:
        """Say what this process computes products with, as far as its framework tells."""
        if module == "torch":
            import torch

            library = "MKL" if torch.backends.mkl.is_available() else "no MKL"
            return {
                "kernel": f"{library}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
            }, {}
        return {"kernel": ", ".join(machine.blas())}, {}

    def product_rate(self, arrays: State, module: str) -> server.Reply:
        from .floor import product_rate

        return {"rate": product_rate(module)}, {}

    def copy_rate(self, arrays: State, size: int) -> server.Reply:
        from .floor import copy_rate

        return {"rate": copy_rate(size)}, {}


if __name__ == "__main__":
    import_module(sys.argv[1])  # on any core, because many contestants import at the same time
    pin(int(os.environ["OMP_NUM_THREADS"]))
    server.main(Worker(create))
