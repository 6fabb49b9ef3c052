"""The workload ``scaling``: what is printed and written, and when a way is left out."""

import psutil
import pytest

from benchmarks import scaling
from benchmarks.scaling import ALONE, MECHANISM, NATIVE, Case, Line, Scaled, group_recipe
from triptych.core.selection import EngineSpec
from triptych.spec import zoo
from triptych.spec.optimizers import SGD
from triptych.spec.recipe import Recipe

CASE = Case(zoo.dense("1 MB", [314]), Recipe(1, 32, SGD(0.1)), 10)
WALL = {ALONE: [2e-3, 2e-3], MECHANISM: [4e-3, 4e-3], NATIVE: [3e-3, 3e-3]}
PROCESSOR = {ALONE: [1e-3, 1e-3], MECHANISM: [2e-3, 2e-3]}


def scaled(others: float) -> Scaled:
    return Scaled(
        "scaling", "two", "torch", "PyTorch", [Line(CASE, WALL, PROCESSOR, [5e-4])], [others]
    )


def test_ratios_are_times_over_that_of_the_mechanism():
    found = {(each["workload"], each["peer"]): each["ratio"] for each in scaled(0.01).entries()}
    assert found == {
        ("scaling 1 MB, wall time", NATIVE): 0.75,
        ("scaling 1 MB, wall time", ALONE): 0.5,
        ("scaling 1 MB, processor time", ALONE): 0.5,
    }
    assert scaled(0.01).ok


def test_on_a_busy_machine_only_processor_times_count():
    busy = scaled(0.5)
    assert not busy.ok
    assert {each["workload"] for each in busy.entries()} == {"scaling 1 MB, processor time"}
    lines = list(busy.text())
    assert "  others used more than 5%: these ratios tell little" in lines
    (wall, processor) = [line.split() for line in lines if line.startswith("  1 MB")]
    assert wall[2:8] == ["1.00", "MB", "2.00", "4.00", "3.00", "0.50"]
    assert processor[4:7] == ["1.00", "2.00", "–"]


def test_two_workers_have_twice_the_batch_of_one():
    assert group_recipe(CASE, dtype="float64") == Recipe(1, 64, SGD(0.1), dtype="float64")
    assert CASE.gradient_bytes == 4 * CASE.network.parameter_count


def test_servers_that_anybody_can_reach_are_not_started(monkeypatch: pytest.MonkeyPatch):
    up = type("Stats", (), {"isup": True})()
    monkeypatch.setattr(psutil, "net_if_stats", lambda: {"lo": up, "eth0": up})
    why = scaling.why_not_native(EngineSpec("tensorflow", "compiled"))
    assert why is not None
    assert "its servers would listen on every network interface" in why
    assert scaling.why_not_native(EngineSpec("torch", "eager")) is None
    monkeypatch.setattr(psutil, "net_if_stats", lambda: {"lo": up})
    assert scaling.why_not_native(EngineSpec("tensorflow", "compiled")) is None
    assert scaling.why_not_native(EngineSpec("numpy", "eager")) is not None
