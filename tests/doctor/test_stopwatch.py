"""The measurement of two sides, with sides whose times are known."""

import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from triptych import compare_models
from triptych.bench import rounds
from triptych.bench.rounds import Elapsed
from triptych.doctor import stopwatch
from triptych.doctor.clock import Clock
from triptych.doctor.frameworks.adapter import ModelError, UserCalls
from triptych.doctor.model_file import ModelFile
from triptych.doctor.stopwatch import Contestant, Measurement, Proof, why_not

PIDS = {"a": 11, "b": 12}


class TimedSide:
    """A side whose calls take a known time."""

    def __init__(self, seconds: float, cpu_share: float = 1.0) -> None:
        self.seconds = seconds
        self.cpu_share = cpu_share
        self.asked: list[tuple[str, int]] = []

    def time(self, part: str, calls: int) -> Elapsed:
        self.asked.append((part, calls))
        wall = self.seconds * calls
        return Elapsed(wall, wall * self.cpu_share, calls)


def contestant(name: str, side: Any, proof: Any = None) -> Contestant:
    process: Any = SimpleNamespace(pid=PIDS[name])
    made = Contestant(name, process, proof or Proof({}, {}, {}, random=False))
    made.side = side
    made.first = {
        "threads": 1,
        "code": {"training": "step()", "inference": "model(x)"},
        "first_seconds": {"training": 3.0, "inference": 1.0},
    }
    return made


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The share of the machine that other programs use; nothing sleeps."""
    share = {"share": 0.0}
    monkeypatch.setattr(rounds.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(rounds.machine, "cpu_seconds", lambda pid: 0.0)
    watch = SimpleNamespace(share=lambda: share["share"])
    monkeypatch.setattr(rounds, "Watch", lambda pids: watch)
    return share


def measured(a: TimedSide, b: TimedSide) -> Any:
    measurement = Measurement([contestant("a", a), contestant("b", b)], "training", 0.0)
    list(measurement.events())
    return measurement.result()


def test_the_ratio_is_that_of_b_to_a_and_the_faster_side_is_named(others: Any) -> None:
    a = TimedSide(2.0**-10)
    b = TimedSide(2.5 * 2.0**-10)
    part = measured(a, b)
    assert part.ratio.median == 2.5
    assert (part.a.seconds.median, part.b.seconds.median) == (2.0**-10, 2.5 * 2.0**-10)
    assert part.faster == "a"
    assert part.rounds == 15
    assert (part.a.code, part.a.first_seconds) == ("step()", 3.0)
    assert "B takes 2.5 times as long as A (2.5 to 2.5, 15 rounds); A is faster" in part.sentence
    # Both make the calls that fill 50 ms on the faster side: 15 rounds and one to warm up.
    assert a.asked == b.asked == [("training", 3)] + 16 * [("training", 52)]


def test_on_a_busy_machine_nobody_is_faster(others: Any) -> None:
    others["share"] = 0.4
    part = measured(TimedSide(0.001), TimedSide(0.0025))
    assert part.ratio.median == pytest.approx(2.5)
    assert part.faster is None
    assert "other programs used 40% of it" in part.busy
    assert "no side is called faster" in part.sentence


def test_a_side_without_a_processor_makes_the_machine_busy(others: Any) -> None:
    part = measured(TimedSide(0.001), TimedSide(0.0025, cpu_share=0.5))
    assert part.faster is None
    assert "B 50%" in part.busy


def test_heavy_steps_get_fewer_rounds(others: Any) -> None:
    a = TimedSide(30.0)
    part = measured(a, TimedSide(31.0))
    assert part.rounds == 6
    assert len(a.asked) == 1 + 1 + 6


@pytest.mark.parametrize("change", [{}, {"scale": 2.0}])
def test_steps_that_the_diagnosis_has_not_seen_are_not_timed(change: dict[str, float]) -> None:
    before = {"fc/kernel": np.ones((2, 2))}
    moved = {"fc/kernel": np.full((2, 2), 0.9)}
    after = {"fc/kernel": 1 - 0.1 * change.get("scale", 1.0) * np.ones((2, 2))}
    proof = Proof(before, {"fc/kernel": np.ones((2, 2))}, moved, random=False)
    first = {"threads": 1, "code": {"training": "train_on_batch"}}
    side = SimpleNamespace(begin_timing=lambda batch, weights: (first, after))
    checked = contestant("b", side, proof)
    if not change:
        checked.begin({})
        return
    with pytest.raises(ModelError, match=r"B: train_on_batch does not compute .* 1\.0e\+00 apart"):
        checked.begin({})


class CountingAdapter:
    """An adapter whose weight is moved by each step."""

    def __init__(self) -> None:
        self.weight = 0.0
        self.modes: list[bool] = []
        self.starts: list[float] = []

    def inputs(self, batch: Any) -> Any:
        return {"input": batch["x"]}

    def load(self, weights: Any) -> None:
        self.weight = float(weights["w/value"])

    def weights(self) -> Any:
        return {"w/value": np.array(self.weight)}

    def user_calls(self, inputs: Any, targets: Any) -> UserCalls:
        def train() -> None:
            self.starts.append(self.weight)
            self.weight += 1

        step = train if targets else None
        return UserCalls(step, lambda: None, self.modes.append, "step()", "model(x)", 1)


def test_the_clock_starts_every_block_with_the_same_weights() -> None:
    adapter: Any = CountingAdapter()
    batch = {"x": np.zeros(2), "y": np.zeros(2)}
    clock = Clock(adapter, batch, {"w/value": np.array(5.0)})
    values, after = clock.begin()
    assert after == {"w/value": 8.0}  # three steps
    assert values["code"] == {"training": "step()", "inference": "model(x)"}
    assert set(values["first_seconds"]) == {"training", "inference"}
    adapter.starts.clear()
    adapter.modes.clear()
    for _ in range(2):
        clock.run("training", 4)
    clock.run("inference", 4)
    assert adapter.starts == [5, 6, 7, 8] * 2
    assert adapter.modes == [True, True, False]


def test_without_targets_there_is_no_training_step() -> None:
    adapter: Any = CountingAdapter()
    clock = Clock(adapter, {"x": np.zeros(2)}, {"w/value": np.array(5.0)})
    values, after = clock.begin()
    assert after == {}
    assert set(values["code"]) == {"inference"}


FILE = ModelFile(Path("a.py"))
REASONS = [
    ("equal", FILE, ""),
    ("rounding", FILE, ""),
    ("differ", FILE, "the two sides differ"),
    ("undecided", FILE, "not proved equal"),
    ("equal", None, "B is not FILE.py"),
]


@pytest.mark.parametrize(("verdict", "file", "reason"), REASONS)
def test_only_equal_files_are_timed(verdict: Any, file: Any, reason: str) -> None:
    why = why_not(verdict, [FILE, file])
    assert reason in why
    assert bool(why) is bool(reason)


SIDE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(20, 30)
        self.out = nn.Linear(30, 3)

    def forward(self, x):
        h = torch.relu(self.hidden(x))
        for _ in range(REPEATS):
            h = -(-h)  # no effect
        return self.out(h)


def build():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"model": model, "loss": nn.CrossEntropyLoss(LABELS), "optimizer": optimizer}
"""


def written(path: Path, repeats: int, loss: str = "") -> str:
    text = textwrap.dedent(SIDE).replace("REPEATS", str(repeats)).replace("LABELS", loss)
    path.write_text(text)
    return str(path)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.framework
def test_a_model_that_does_more_takes_longer_and_a_faulty_one_is_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # While other tests run, the machine does not become calm.
    monkeypatch.setattr(stopwatch, "SECONDS_OF_PATIENCE", 0.0)
    random = np.random.default_rng(0)
    batch = {
        "x": random.normal(size=(32, 20)).astype(np.float32),
        "y": random.integers(3, size=32),
    }
    quick = written(tmp_path / "quick.py", 0)
    slow = written(tmp_path / "slow.py", 400)
    for a, b, expected in ((quick, slow, True), (slow, quick, False)):
        diagnosis = compare_models(a, b, batch)
        assert diagnosis.verdict in ("equal", "rounding")
        assert diagnosis.timing
        assert [part.part for part in diagnosis.timing.parts] == ["training", "inference"]
        for part in diagnosis.timing.parts:
            assert (part.ratio.median > 2) is expected
            assert (part.ratio.low > 1) is expected
            assert part.faster in (None, "a" if expected else "b")
    faulty = written(tmp_path / "faulty.py", 0, "label_smoothing=0.1")
    diagnosis = compare_models(quick, faulty, batch)
    assert diagnosis.verdict == "differ"
    assert diagnosis.timing
    assert "the two sides differ" in diagnosis.timing.reason
    assert diagnosis.to_json()["timing"]["parts"] == []
