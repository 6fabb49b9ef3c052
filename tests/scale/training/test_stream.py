"""Workers that read streamed data themselves: each its part, and together the single process."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.streams import parquet, streamed

import triptych as tt
from triptych.core import registry, state
from triptych.core.split import Split
from triptych.data.streaming import split
from triptych.data.streaming.packing import pack_stream
from triptych.process.protocol import Message, pack_plans
from triptych.scale.training.worker import TrainingWorker
from triptych.spec import zoo
from triptych.training.feeding import planner_of

WORKERS = 2
NETWORK = zoo.dense("n", [4], 0.2, shape=(6, 5, 3), classes=3)
RECIPE = tt.Recipe(2, 15, tt.optimizers.Adam(), dtype="float64")


class Together:
    """Adds arrays of two threads."""

    def __init__(self) -> None:
        self.workers = WORKERS
        self.barrier = threading.Barrier(WORKERS, timeout=120)
        self.arrays: dict[int, np.ndarray] = {}

    def group(self, rank: int) -> Any:
        def all_reduce(array: np.ndarray) -> np.ndarray:
            self.arrays[rank] = array.copy()
            self.barrier.wait()
            total = self.arrays[0] + self.arrays[1]
            self.barrier.wait()
            return total

        return SimpleNamespace(rank=rank, workers=WORKERS, all_reduce=all_reduce)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(split, "WINDOW_BYTES", 40 * 90)


def request(do: str, arrays: Any = None, **values: Any) -> Message:
    return Message(
        json.loads(json.dumps({"do": do, "key": "k", "name": "d", **values})), arrays or {}
    )


def trained(data: Any, step: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What two workers come to from a step on, and the logits of the first."""
    train = data.train
    planner = planner_of(NETWORK, RECIPE, train)
    first = state.initial(NETWORK, RECIPE)
    together = Together()
    results: dict[int, Any] = {}
    described = {"network": NETWORK.to_json(), "recipe": RECIPE.to_json()}

    def work(rank: int) -> None:
        worker = TrainingWorker(together.group(rank))
        worker.answer(request("build", engine="numpy", backend="eager", device="cpu", **described))
        worker.answer(request("load", first))
        packed, arrays = pack_stream(train)
        worker.answer(request("stream", arrays, packed=packed, step=step, **described))
        for each in list(planner.singles())[step:]:
            worker.answer(request("run", pack_plans([each])))
        packed, arrays = pack_stream(data.test)
        worker.answer(request("stream", arrays, packed=packed, step=None, name="t", **described))
        logits = worker.answer(request("logits", name="t")).arrays["logits"]
        results[rank] = (worker.answer(request("state")).arrays, logits)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, array in results[0][0].items():
        assert array.tobytes() == results[1][0][name].tobytes()
    return results[0]


@pytest.mark.parametrize("step", [0, 9])
def test_two_workers_are_one_process_in_memory(tmp_path, step: int):
    data = streamed(parquet(tmp_path / "set"))
    states, logits = trained(data, step)
    engine = registry.create("numpy", NETWORK, RECIPE)
    engine.load(state.initial(NETWORK, RECIPE))
    whole = engine.upload(Split(data.train.images, data.train.labels))
    for plan in list(planner_of(NETWORK, RECIPE, data.train).singles())[step:]:
        engine.run(whole, plan)
    for name, array in engine.state().items():
        np.testing.assert_allclose(states[name], array, rtol=1e-12, atol=1e-13)
    expected = engine.logits(engine.upload(Split(data.test.images, data.test.labels)))
    np.testing.assert_allclose(logits, expected, rtol=1e-11)
