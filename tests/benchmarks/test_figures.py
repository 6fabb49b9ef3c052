"""What is computed and text of measurements, from made-up ones."""

from dataclasses import replace

import pytest

from benchmarks.floor import Floor, inference_work, training_work
from benchmarks.memory import Memory, predicted
from benchmarks.timing import Line, Settings, Timing
from triptych.bench import load
from triptych.bench.load import Watch
from triptych.spec import zoo
from triptych.spec.optimizers import SGD, optimizer
from triptych.spec.recipe import Recipe

TIMES = [1.0, 1.1, 0.9]
LINES = [
    Line("numpy", "", True, TIMES),
    Line("torch-plain", "", False, [2.0, 2.2, 1.8]),
    Line("torch-bf16", "", True, TIMES, "reduced"),
    Line("torch-plain-bf16", "", False, [3.0, 3.3, 2.7], "reduced"),
    Line("numpy-sklearn", "", False, TIMES, "unproved"),
]
TIMING = Timing(
    "R1", "a job", Settings(threads=1), 0.5, LINES, "equal", "a step", Floor(10, 10, 100.0, 1000.0)
)


def test_ratios_are_of_the_same_rank_and_the_peers_time_over_ours():
    assert [(e["workload"], e["engine"], e["peer"], e["ratio"]) for e in TIMING.entries()] == [
        ("R1", "numpy", "torch-plain", pytest.approx(2)),
        ("R1 reduced", "torch-bf16", "torch-plain-bf16", pytest.approx(3)),
    ]
    assert all(
        set(e) == {"workload", "engine", "peer", "threads", "ratio", "low", "high"}
        for e in TIMING.entries()
    )


def test_each_rank_has_a_table_of_its_own():
    text = "\n".join(TIMING.text())
    ranked, reduced, unproved = (
        text.split("\n\n  in reduced")[0],
        text.split("in reduced")[1],
        text.split("not proved")[1],
    )
    assert "torch-plain-bf16" not in ranked
    assert "2.00 [2.00, 2.00]" in ranked
    assert "3.00 [3.00, 3.00]" in reduced
    assert "10.0" in ranked  # times the floor of 0.1 s
    assert "times as fast" not in unproved


def test_wall_times_of_a_busy_machine_are_refused():
    busy = replace(TIMING, settings=Settings(threads=2))
    assert (busy.ok, busy.entries()) == (False, [])
    (line,) = list(busy.text())[1:]
    assert line == (
        "  no ratio: others used more than 5%, so wall times mean nothing; "
        "let the machine come to rest"
    )
    quiet = replace(busy, others=0.01)
    assert (quiet.ok, len(quiet.entries())) == (True, 2)


def test_what_others_use_is_the_machines_time_without_ours(monkeypatch):
    clock, machine, ours = iter([0.0, 10.0]), iter([100.0, 109.0]), iter([5.0, 11.0])
    monkeypatch.setattr(load.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(load, "_machine_seconds", lambda: next(machine))
    monkeypatch.setattr(Watch, "_our_seconds", lambda _: next(ours))
    monkeypatch.setattr(load.os, "cpu_count", lambda: 2)
    assert Watch().share() == pytest.approx((9 - 6) / (10 * 2))


NETWORK = zoo.dense(
    "tiny", [3], shape=(2, 2, 1), classes=2
)  # 4-3-2: 12 + 3 + 6 + 2 = 23 parameters


def test_the_floor_of_a_training_step_by_hand():
    operations, size = training_work(NETWORK, Recipe(1, 5, optimizer("adam")), 100)
    assert operations == 2 * 5 * (2 * 12 + 3 * 6)  # the first layer has no gradient of its input
    assert size == 4 * (5 * 4 + 2 * 3 * 23)  # the images; weights and two slots, read and written
    assert training_work(NETWORK, Recipe(1, "full", SGD()), 100)[1] == 4 * (100 * 4 + 2 * 23)


def test_the_floor_of_inference_by_hand():
    assert inference_work(NETWORK, 1) == (2 * (12 + 6), 4 * (4 + 23))


def test_the_floor_is_the_larger_of_computing_and_moving():
    assert Floor(1000, 10, 100.0, 10.0).seconds == 10
    assert Floor(10, 1000, 100.0, 10.0).seconds == 100


def test_memory_by_hand():
    memory = predicted(NETWORK, Recipe(1, 5, optimizer("adam")), 100)
    outputs = 3 + 3 + 2  # hidden, ReLU, logits
    assert (memory.images, memory.stored) == (4 * 400, 400)
    assert memory.activations == 4 * 5 * (4 + 2 * outputs)
    assert memory.state == 4 * 23 * 4  # weights, gradients, two slots


@pytest.mark.usefixtures("numpy_alone")
def test_memory_is_flat_over_epochs():
    workload = Memory(
        "few images", {"R1": (zoo.dense("R1", [10]), Recipe(1, "full", SGD(0.1)))}, 4_000
    )
    (usage,) = workload.measure("memory", Settings())
    (used,) = usage.used
    assert used.peak >= usage.predicted.images
    assert max(used.epochs) - min(used.epochs) < usage.predicted.needed / 2
    assert (usage.entries(), usage.ok) == ([], True)
    assert any(line.strip().startswith("numpy") for line in usage.text())
