"""One side of a comparison, in a process of its own."""

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import EngineError
from ..process import machine
from ..process.client import RowFailed, WorkerProcess
from .frameworks.adapter import ModelError
from .observation import (
    Arrays,
    Call,
    Change,
    Description,
    Observation,
    Updates,
    array_names,
)

WORKER = "triptych.doctor.worker"


class LiveSide:
    """A user's file in a process of its own.

    Its methods are those of `triptych.doctor.frameworks.adapter.Adapter`, with the dtype in
    addition: ``native`` is what the user wrote, ``float64`` the same in double precision.

    Parameters
    ----------
    name : str
        ``A`` or ``B``, for messages.
    file : str
        ``FILE.py`` or ``FILE.py:FUNCTION``.
    threads : int
        The number of threads of its process.
    """

    def __init__(self, name: str, file: str, *, threads: int = 1) -> None:
        self.name = name
        self.file = file
        self._process = WorkerProcess(name, (WORKER,), machine.environment(threads, "cpu"))

    def start(self) -> None:
        """Run the user's file.

        Raises
        ------
        ModelError
            If the file raises an error.
        """
        self._process.greet()
        self._ask("run_file", file=self.file)

    def _ask(self, do: str, arrays: Arrays | None = None, **values: Any) -> Any:
        try:
            return self._process.ask(do, arrays, **values)
        except RowFailed:
            raise
        except EngineError as error:
            raise ModelError(str(error)) from None

    def description(self, dtype: str = "native") -> Description:
        """Return what this side consists of."""
        return Description.from_json(self._ask("description", dtype=dtype).values)

    def inputs(self, batch: Arrays, dtype: str = "native") -> Arrays:
        """Return what the model gets after the user's preprocessing."""
        return self._ask("inputs", batch, dtype=dtype).arrays

    def weights(self, dtype: str = "native") -> Arrays:
        """Return all weights and buffers."""
        return self._ask("weights", dtype=dtype).arrays

    def load(self, weights: Arrays, dtype: str = "native") -> None:
        """Set weights and buffers."""
        self._ask("load", weights, dtype=dtype)

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
        return Updates(weights, tuple(reply.values["rates"]))

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

    def close(self) -> None:
        """End the process."""
        self._process.close()


def joined(**groups: Arrays) -> Arrays:
    """Return all arrays of several groups, each name with the name of its group before it."""
    return {
        f"{group}/{name}": array
        for group, arrays in groups.items()
        for name, array in arrays.items()
    }
