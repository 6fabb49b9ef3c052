"""One side of a comparison, in a process of its own or in this one."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, Protocol, TypeVar

from ..bench.rounds import Elapsed
from ..process import machine
from ..process.client import WorkerProcess
from ..process.protocol import Message
from .frameworks.adapter import ModelError, Unsupported
from .model_file import Parts
from .observation import (
    Arrays,
    Call,
    Change,
    Description,
    Observation,
    Updates,
    array_names,
)
from .side_file import SideFile
from .worker import AVERAGES, SideWorker

T = TypeVar("T")

WORKER = "triptych.doctor.worker"

# The frameworks' default dtypes belong to the process, so that one side of it answers at a time.
_LOCAL = Lock()


class Ask(Protocol):
    """Sends one request to a `triptych.doctor.worker.SideWorker` and returns its reply."""

    def __call__(self, do: str, arrays: Arrays | None = None, **values: Any) -> Message:
        """Send what is to be done, with its arrays and further entries."""
        ...


class LiveSide:
    """A user's model, in another process or in this one.

    Its methods are those of `triptych.doctor.frameworks.adapter.Adapter`, with the dtype in
    addition: ``native`` is what the user wrote, ``float64`` the same in double precision.

    Parameters
    ----------
    name : str
        ``A`` or ``B``, for messages.
    ask : callable
        Sends a request to where the model is.
    """

    is_recorded = False

    def __init__(self, name: str, ask: Ask) -> None:
        self.name = name
        self._send = ask

    def _ask(self, do: str, arrays: Arrays | None = None, **values: Any) -> Message:
        reply = self._send(do, arrays, **values)
        if "refused" in reply.values:
            refusal = Unsupported if reply.values["unsupported"] else ModelError
            raise refusal(reply.values["refused"])
        return reply

    def open(self, file: SideFile) -> None:
        """Run the user's file, or read what else the model is in.

        Raises
        ------
        ModelError
            If the file raises an error, has no such function, or cannot be read.
        """
        self._ask("open", None, **file.to_json())

    def description(self, dtype: str = "native") -> Description:
        """Return what this side consists of."""
        return Description.from_json(self._ask("description", dtype=dtype).values)

    def inputs(self, batch: Arrays, dtype: str = "native") -> Arrays:
        """Return what the model gets after the user's preprocessing."""
        return self._ask("inputs", batch, dtype=dtype).arrays

    def weights(self, dtype: str = "native") -> Arrays:
        """Return all weights and buffers."""
        return self._ask("weights", dtype=dtype).arrays

    def lost(self, *, training: bool) -> dict[str, float]:
        """Return nothing: what rounding does to this side is measured by running it again."""
        return {}

    def changeable(self) -> "LiveSide":
        """Return this side: its settings can be changed."""
        return self

    def recording(self) -> None:
        """Return that this side is no recording: it can be run and changed."""
        return

    def framework_weights(self, dtype: str = "native") -> Arrays:
        """Return all weights by the framework's names, in its layout."""
        return self._ask("framework_weights", dtype=dtype).arrays

    def load(self, weights: Arrays, dtype: str = "native") -> None:
        """Set weights and buffers."""
        self._ask("load", weights, dtype=dtype)

    def separate(self, paths: Sequence[str], dtype: str = "native") -> None:
        """Show attention layers as the dense layers that they consist of."""
        self._ask("separate", paths=list(paths), dtype=dtype)

    def observe(
        self,
        inputs: Arrays,
        *,
        training: bool,
        targets: Arrays | None = None,
        forced: Arrays | None = None,
        dropout: bool = False,
        dtype: str = "native",
    ) -> Observation:
        """Run the model once."""
        arrays = joined(inputs=inputs, targets=targets or {}, forced=forced or {})
        reply = self._ask("observe", arrays, training=training, dropout=dropout, dtype=dtype)
        calls = tuple(Call(**call) for call in reply.values["calls"])
        return Observation(calls, reply.arrays)

    def loss(self, outputs: Arrays, targets: Arrays, dtype: str = "native") -> Arrays:
        """Return the user's loss for given outputs, and its gradient."""
        return self._ask("loss", joined(outputs=outputs, targets=targets), dtype=dtype).arrays

    def update(self, gradients: Sequence[Arrays], dtype: str = "native") -> Updates:
        """Apply gradients one by one with a new optimizer."""
        arrays = joined(**{str(step): each for step, each in enumerate(gradients)})
        reply = self._ask("update", arrays, steps=len(gradients), dtype=dtype)
        weights = tuple(array_names(reply.arrays, str(step)) for step in range(len(gradients)))
        return Updates(
            weights,
            tuple(reply.values["rates"]),
            array_names(reply.arrays, AVERAGES),
            tuple(reply.values["shares"]),
            reply.values["per_epoch"],
        )

    def train(
        self, inputs: Arrays, targets: Arrays, steps: int, dtype: str = "native"
    ) -> tuple[Arrays, list[float]]:
        """Make training steps; return weights and losses."""
        arrays = joined(inputs=inputs, targets=targets)
        reply = self._ask("train", arrays, steps=steps, dtype=dtype)
        return reply.arrays, reply.values["losses"]

    def rates(self, updates: int, dtype: str = "native") -> list[float]:
        """Return the learning rate of each update."""
        return self._ask("rates", updates=updates, dtype=dtype).values["rates"]

    def metric(self, outputs: Arrays, targets: Arrays, dtype: str = "native") -> float:
        """Return the user's metric."""
        arrays = joined(outputs=outputs, targets=targets)
        return self._ask("metric", arrays, dtype=dtype).values["metric"]

    def epochs(self, validation_losses: Iterable[float], dtype: str = "native") -> dict[str, Any]:
        """Simulate epochs."""
        losses = [float(loss) for loss in validation_losses]
        return self._ask("epochs", validation_losses=losses, dtype=dtype).values

    def batches(self, batch: Arrays, dtype: str = "native") -> list[Arrays]:
        """Return the batches of one epoch."""
        reply = self._ask("batches", batch, dtype=dtype)
        return [array_names(reply.arrays, str(n)) for n in range(reply.values["batches"])]

    def change(self, changes: Sequence[Change], dtype: str = "native") -> None:
        """Apply changes until `restore`."""
        self._ask("change", changes=[change.to_json() for change in changes], dtype=dtype)

    def restore(self, dtype: str = "native") -> None:
        """Undo all changes."""
        self._ask("restore", dtype=dtype)

    def begin_timing(self, batch: Arrays, weights: Arrays) -> tuple[dict[str, Any], Arrays]:
        """Make the first calls of what is timed; see `triptych.doctor.clock.Clock.begin`."""
        reply = self._ask("begin_timing", joined(batch=batch, weights=weights))
        return reply.values, reply.arrays

    def time(self, part: str, steps: int) -> Elapsed:
        """Make some equal calls, which are timed in the process of the model."""
        values = self._ask("time", part=part, steps=steps).values
        return Elapsed(values["wall_s"], values["cpu_s"], steps)


class SideProcess:
    """The process of a user's file, or of another file with a model.

    Parameters
    ----------
    name : str
        ``A`` or ``B``, for messages.
    file : SideFile
        What it opens.
    threads : int
        The number of threads of the process.
    """

    def __init__(self, name: str, file: SideFile, *, threads: int = 1) -> None:
        self.name = name
        self._file = file
        self._process = WorkerProcess(name, (WORKER,), machine.environment(threads, "cpu"))

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def start(self) -> LiveSide:
        """Open the file and return the side.

        Raises
        ------
        ModelError
            If the file raises an error, or cannot be read.
        """
        self._process.greet()
        side = LiveSide(self.name, self._process.ask)
        side.open(self._file)
        return side

    def close(self) -> None:
        """End the process."""
        self._process.close()


def local_side(name: str, parts: Parts) -> LiveSide:
    """Return a side whose model is in this process.

    Parameters
    ----------
    name : str
        ``A`` or ``B``, for messages.
    parts : Parts
        What makes the model.
    """
    worker = SideWorker()
    worker.parts = parts

    def ask(do: str, arrays: Arrays | None = None, **values: Any) -> Message:
        with _LOCAL:
            return worker.answer(Message({"do": do} | values, arrays or {}))

    return LiveSide(name, ask)


def both(first: Callable[[], T], second: Callable[[], T]) -> tuple[T, T]:
    """Call two functions at the same time, each of which waits for a process."""
    threads = ThreadPoolExecutor(2)
    waits = True
    try:
        one = threads.submit(first)
        other = threads.submit(second)
        return one.result(), other.result()
    except BaseException as error:
        # After Ctrl-C a process may never answer; it is ended by what has started it.
        waits = isinstance(error, Exception)
        raise
    finally:
        threads.shutdown(wait=waits)


def joined(**groups: Arrays) -> Arrays:
    """Return all arrays of several groups, each name with the name of its group before it."""
    return {
        f"{group}/{name}": array
        for group, arrays in groups.items()
        for name, array in arrays.items()
    }
