"""The process of one side: ``python -P -m triptych.doctor.worker``. See `triptych.doctor.side`.

It runs the user's file, or reads a file with a model, and holds the model as written and, where it
allows this, in float64.
"""

import traceback
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TriptychError
from ..process import server
from ..process.protocol import Message
from .clock import Clock
from .frameworks.adapter import Adapter, Unsupported, adapter_for, imported_adapters
from .model_file import Parts, describe
from .observation import Arrays, Change, Observation, Updates, array_names
from .repeats import check_repeats
from .side_file import from_json

Handler = Callable[[Adapter, Message], Message]

AVERAGES = "averages"  # what is before the names of averaged weights


class SideWorker:
    """Answers the messages of a `triptych.doctor.side.LiveSide`."""

    def __init__(self) -> None:
        self.parts: Parts | None = None
        self.adapters: dict[str, Adapter] = {}
        self.handlers: dict[str, Handler] = {
            "description": _description,
            "inputs": _inputs,
            "weights": _weights,
            "framework_weights": _framework_weights,
            "load": _load,
            "separate": _separate,
            "observe": self._observe,
            "loss": _loss,
            "update": _update,
            "train": _train,
            "rates": _rates,
            "metric": _metric,
            "epochs": _epochs,
            "batches": _batches,
            "change": _change,
            "restore": _restore,
            "begin_timing": self._begin_timing,
            "time": self._time,
        }
        self.clock: Clock | None = None
        self.repeated: set[str] = set()  # the dtypes in which the model was run again

    def answer(self, request: Message) -> Message:
        """Answer one request; if it cannot be answered, the reply has the entry ``refused``."""
        path = str(self.parts.path if self.parts else request.values.get("file", ""))
        try:
            return self._answer(request)
        except Unsupported as error:
            return _refusal(str(error), unsupported=True)
        except TriptychError as error:
            message = str(error)
            return _refusal(message if message.startswith(path) else f"{path}: {message}")
        except (Exception, SystemExit) as error:
            # The user's model, loss or metric raised it, or the adapter met something new.
            traceback.print_exc()
            return _refusal(f"{path}: {describe(error, Path(path).resolve())}")

    def _answer(self, request: Message) -> Message:
        values = request.values
        if values["do"] == "open":
            self.parts = from_json(values).run()
            return Message({}, {})
        assert self.parts
        dtype = values.get("dtype", "native")
        with _precision(dtype):
            if dtype not in self.adapters:
                with _building():
                    parts = self.parts.make()
                self.adapters[dtype] = adapter_for(parts, dtype)
            return self.handlers[values["do"]](self.adapters[dtype], request)

    def _observe(self, adapter: Adapter, request: Message) -> Message:
        values = request.values
        inputs = array_names(request.arrays, "inputs")
        forced = array_names(request.arrays, "forced")
        observation = adapter.observe(
            inputs,
            training=values["training"],
            targets=array_names(request.arrays, "targets") or None,
            forced=forced or None,
            dropout=values["dropout"],
        )
        dtype = values["dtype"]
        if not (values["training"] or forced or dtype in self.repeated):
            self.repeated.add(dtype)
            check_repeats(observation, adapter.repeat(inputs), dtype)
        return Message(pack_calls(observation), observation.arrays)

    def _begin_timing(self, adapter: Adapter, request: Message) -> Message:
        arrays = request.arrays
        self.clock = Clock(adapter, array_names(arrays, "batch"), array_names(arrays, "weights"))
        return Message(*self.clock.begin())

    def _time(self, adapter: Adapter, request: Message) -> Message:
        assert self.clock
        return Message(self.clock.run(request.values["part"], request.values["steps"]), {})


def _refusal(message: str, *, unsupported: bool = False) -> Message:
    return Message({"refused": message, "unsupported": unsupported}, {})


@contextmanager
def _within(name: str) -> Generator[None]:
    """Enter the context managers of a name of all imported adapters that have one."""
    with ExitStack() as contexts:
        for module in imported_adapters():
            contexts.enter_context(getattr(module, name, nullcontext)())
        yield


def _building() -> AbstractContextManager[None]:
    """Build a model with the same names of layers each time."""
    return _within("building")


def _precision(dtype: str) -> AbstractContextManager[None]:
    """Make new arrays and weights of every imported framework double, or leave it as it is."""
    return _within("double_precision") if dtype == "float64" else nullcontext()


def _description(adapter: Adapter, request: Message) -> Message:
    return Message(adapter.description().to_json(), {})


def _inputs(adapter: Adapter, request: Message) -> Message:
    return Message({}, adapter.inputs(request.arrays))


def _weights(adapter: Adapter, request: Message) -> Message:
    return Message({}, adapter.weights())


def _framework_weights(adapter: Adapter, request: Message) -> Message:
    return Message({}, adapter.framework_weights())


def _load(adapter: Adapter, request: Message) -> Message:
    adapter.load(request.arrays)
    return Message({}, {})


def _separate(adapter: Adapter, request: Message) -> Message:
    adapter.separate(request.values["paths"])
    return Message({}, {})


def pack_calls(observation: Observation) -> dict[str, Any]:
    """Return the calls of an observation as plain values."""
    return {"calls": [vars(call) for call in observation.calls]}


def _loss(adapter: Adapter, request: Message) -> Message:
    outputs = array_names(request.arrays, "outputs")
    return Message({}, adapter.loss(outputs, array_names(request.arrays, "targets")))


def _update(adapter: Adapter, request: Message) -> Message:
    steps = request.values["steps"]
    updates = adapter.update([array_names(request.arrays, str(step)) for step in range(steps)])
    values = {
        "rates": list(updates.rates),
        "shares": list(updates.shares),
        "per_epoch": updates.per_epoch,
    }
    averages = {f"{AVERAGES}/{name}": array for name, array in updates.averages.items()}
    return Message(values, pack_updates(updates) | averages)


def pack_updates(updates: Updates) -> Arrays:
    """Return the weights after each update, each name with the number of the update before it."""
    return {
        f"{step}/{name}": array
        for step, weights in enumerate(updates.weights)
        for name, array in weights.items()
    }


def _train(adapter: Adapter, request: Message) -> Message:
    inputs = array_names(request.arrays, "inputs")
    targets = array_names(request.arrays, "targets")
    weights, losses = adapter.train(inputs, targets, request.values["steps"])
    return Message({"losses": losses}, weights)


def _rates(adapter: Adapter, request: Message) -> Message:
    return Message({"rates": adapter.rates(request.values["updates"])}, {})


def _metric(adapter: Adapter, request: Message) -> Message:
    outputs = array_names(request.arrays, "outputs")
    targets = array_names(request.arrays, "targets")
    return Message({"metric": float(adapter.metric(outputs, targets))}, {})


def _epochs(adapter: Adapter, request: Message) -> Message:
    return Message(adapter.epochs(request.values["validation_losses"]), {})


def _batches(adapter: Adapter, request: Message) -> Message:
    arrays: Arrays = {}
    batches = adapter.batches(request.arrays)
    for number, batch in enumerate(batches):
        for name, array in batch.items():
            arrays[f"{number}/{name}"] = np.asarray(array)
    return Message({"batches": len(batches)}, arrays)


def _change(adapter: Adapter, request: Message) -> Message:
    adapter.change([Change(**change) for change in request.values["changes"]])
    return Message({}, {})


def _restore(adapter: Adapter, request: Message) -> Message:
    adapter.restore()
    return Message({}, {})


if __name__ == "__main__":
    server.main(SideWorker())
