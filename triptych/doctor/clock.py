"""The clock in the process of a side: it times what a user runs, and nothing around it."""

import time
from typing import Any

from .frameworks.adapter import Adapter, UserCalls
from .observation import Arrays, targets_in

STEPS_OF_PROOF = 3  # whose weights are compared with those of the diagnosis


class Clock:
    """Times the training step and the inference of one side.

    Parameters
    ----------
    adapter : Adapter
        The side, as written.
    batch : dict of str to ndarray
        The shared batch.
    weights : dict of str to ndarray
        The weights that every block starts with.
    """

    def __init__(self, adapter: Adapter, batch: Arrays, weights: Arrays) -> None:
        self._adapter = adapter
        self._weights = weights
        inputs = adapter.inputs(batch)
        adapter.load(weights)
        self._calls: UserCalls = adapter.user_calls(inputs, targets_in(batch) or None)

    def begin(self) -> tuple[dict[str, Any], Arrays]:
        """Make the first calls.

        Returns
        -------
        values : dict
            ``threads``; by the part, ``code`` and ``first_seconds``.
        weights : dict of str to ndarray
            After `STEPS_OF_PROOF` training steps; empty without training.
        """
        calls = self._calls
        code = {"inference": calls.infer_code}
        first = {}
        after: Arrays = {}
        if calls.train is not None:
            code["training"] = calls.train_code
            first["training"] = self.run("training", 1)["wall_s"]
            self._steps("training", STEPS_OF_PROOF - 1)
            after = self._adapter.weights()
        first["inference"] = self.run("inference", 1)["wall_s"]
        return {"threads": calls.threads, "code": code, "first_seconds": first}, after

    def run(self, part: str, steps: int) -> dict[str, float]:
        """Make some equal calls, from the first weights.

        Returns
        -------
        dict
            ``wall_s`` and ``cpu_s``, the wall time and the processor time of all, in seconds.
        """
        self._adapter.load(self._weights)
        return self._steps(part, steps)

    def _steps(self, part: str, steps: int) -> dict[str, float]:
        self._calls.set_training(part == "training")
        call = self._calls.train if part == "training" else self._calls.infer
        assert call
        wall_before = time.perf_counter()
        cpu_before = time.process_time()
        for _ in range(steps):
            call()
        wall_seconds = time.perf_counter() - wall_before
        cpu_seconds = time.process_time() - cpu_before
        return {"wall_s": wall_seconds, "cpu_s": cpu_seconds}
