"""One engine's own process: ``python -m triptych.process.server``, started and spoken to by `triptych.process.client`.

It answers one message at a time on its standard streams. The stopwatch is here, around `run` and `wait` alone, so that
no message is ever inside a measurement.
"""

import sys
import time
from importlib import import_module

_before = time.perf_counter()
if (
    __name__ == "__main__"
):  # before anything of ours brings NumPy in: the framework's import is timed alone
    import_module(sys.argv[1])
IMPORT_SECONDS = time.perf_counter() - _before

import os
import traceback
from collections.abc import Callable
from typing import IO, Any

from ..core import registry
from ..core.engine import DeviceSplit, Engine
from ..core import memory
from ..core.split import Split
from ..errors import TriptychError
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..core.state import State
from . import machine, protocol

Reply = tuple[protocol.Message, State]
Create = Callable[..., Engine]  # as `engines.create`


class Worker:
    """Holds the engines and splits it was sent; each public method answers one kind of message."""

    def __init__(self, create: Create) -> None:
        self.create = create
        self.engines: dict[str, Engine] = {}
        self.splits: dict[str, Split] = {}
        # By dtype and split: all engines of a worker are of one framework on one device, so they can share their data.
        self.natives: dict[tuple[str, str], DeviceSplit] = {}
        self.dtypes: dict[str, str] = {}

    def build(
        self,
        arrays: State,
        key: str,
        engine: str,
        network: Any,
        recipe: Any,
        device: str,
        backend: str,
    ) -> Reply:
        before = time.perf_counter()
        built = self.create(
            engine,
            Network.from_json(network),
            Recipe.from_json(recipe),
            device=device,
            backend=backend,
        )
        self.engines[key] = built
        self.dtypes[key] = recipe["dtype"]
        return {"build_s": time.perf_counter() - before, "device": built.device}, {}

    def drop(self, arrays: State, key: str) -> Reply:
        del self.engines[key], self.dtypes[key]
        self.natives = {
            k: native for k, native in self.natives.items() if k[0] in self.dtypes.values()
        }
        return {}, {}

    def split(self, arrays: State, name: str) -> Reply:
        self.splits[name] = Split(arrays["images"], arrays["labels"])
        return {}, {}

    def upload(self, arrays: State, key: str, name: str) -> Reply:
        before = time.perf_counter()
        if (self.dtypes[key], name) not in self.natives:
            self.natives[self.dtypes[key], name] = self.engines[key].upload(self.splits[name])
        return {"upload_s": time.perf_counter() - before}, {}

    def load(self, arrays: State, key: str) -> Reply:
        self.engines[key].load(arrays)
        return {}, {}

    def state(self, arrays: State, key: str) -> Reply:
        return {}, self.engines[key].state()

    def run(self, arrays: State, key: str, name: str) -> Reply:
        engine, native, plans = (
            self.engines[key],
            self._native(key, name),
            protocol.unpack_plans(arrays),
        )
        wall, cpu = time.perf_counter(), time.process_time()
        for plan in plans:
            engine.run(native, plan)
        losses = engine.wait()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"wall_s": wall, "cpu_s": cpu}, {"losses": losses}

    def logits(self, arrays: State, key: str, name: str) -> Reply:
        return {}, {"logits": self.engines[key].logits(self._native(key, name))}

    def trace(self, arrays: State, key: str, name: str, outputs: bool) -> Reply:
        (plan,) = protocol.unpack_plans(arrays)
        return {}, self.engines[key].trace(self._native(key, name), plan, outputs=outputs)

    def _native(self, key: str, name: str) -> DeviceSplit:
        return self.natives[self.dtypes[key], name]

    def reset_memory(self, arrays: State) -> Reply:
        machine.reset_peak_memory()
        return {}, {}

    def memory(self, arrays: State) -> Reply:
        return {"peak_bytes": machine.peak_memory(), "blas": machine.blas()}, {}


def serve(worker: Worker, requests: IO[bytes], replies: IO[bytes], import_s: float) -> None:
    """Greet with the time the framework's import took, then answer until the coordinator ends."""
    protocol.send(replies, {"import_s": import_s})
    while True:
        try:
            message, arrays = protocol.receive(requests)
        except EOFError:
            return
        try:
            answer, result = getattr(worker, message.pop("do"))(arrays, **message)
        except Exception as error:  # every failure is reported to the coordinator, which decides what it means for the row
            kind = "user" if isinstance(error, TriptychError) else "crash"
            answer, result = {"error": _brief(error), "kind": kind}, {}
            traceback.print_exc()
        protocol.send(replies, answer, result)


def _brief(error: Exception) -> str:
    if memory.ran_out_of_memory(error):
        return memory.OUT_OF_MEMORY
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return first if isinstance(error, TriptychError) else f"{type(error).__name__}: {first}"[:300]


def main(worker: Worker | None = None) -> None:
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a framework prints goes to the log, not into the replies
    sys.stdin.close()
    serve(worker or Worker(registry.create), requests, replies, IMPORT_SECONDS)


if __name__ == "__main__":
    main()
