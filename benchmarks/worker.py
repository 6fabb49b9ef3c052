"""A contestant's own process: the worker of `triptych.bench`, which here builds peers too."""

from importlib import import_module
from typing import Any

from triptych import engines
from triptych.bench import worker
from triptych.network import Network
from triptych.recipe import Recipe


def create(engine: str, network: Network, recipe: Recipe, *, device: str, backend: str) -> Any:
    """Build an engine, or the peer of that name where the engine has no such backend."""
    if backend in engines.entry(engine).backends:
        return engines.create(engine, network, recipe, device=device, backend=backend)
    return import_module(f"benchmarks.peers.{engine}_{backend}").Engine(network, recipe, device=device, backend=backend)


if __name__ == "__main__":
    worker.main(create)
