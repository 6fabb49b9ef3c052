"""The rule when a machine is busy, and what follows from it, on made-up blocks."""

from types import SimpleNamespace

import numpy as np
import pytest

from triptych.bench import load, timing
from triptych.bench.comparison import Comparison, Settings
from triptych.bench.contestants import Row, valid_rounds
from triptych.bench.results import FEWEST, counted_rounds, notes
from triptych.bench.rounds import Block
from triptych.core import registry
from triptych.core.selection import EngineSpec, specs
from triptych.spec import zoo
from triptych.spec.recipe import Recipe

ROUNDS = 15


def row(engine: str, shares: list[float], device: str = "cpu", disturbance: float = 0.0) -> Row:
    """Return a row with a block of each round, of a tenth of a second."""
    made = Row(EngineSpec(engine, "eager"))
    made.engine = SimpleNamespace(device=device)
    made.remote = SimpleNamespace(pid=1)
    made.blocks = [Block(number, 0.1, share, disturbance) for number, share in enumerate(shares)]
    return made


def comparison(
    rows: list[Row], others: dict[int, float], patience: float = 60.0
) -> SimpleNamespace:
    """Return what the rules read of a comparison."""
    made = SimpleNamespace(rows=rows, live=rows, others=others, patience=patience, block_steps=1)
    made.settings = SimpleNamespace(threads=1, recipe=SimpleNamespace(random="matched"))
    made.reference = rows[0]
    made.witness = SimpleNamespace(pid=2)
    made.calm_rounds = load.calm_rounds(rows, valid_rounds(rows), others)
    return made


def test_a_calm_machine_counts_every_round():
    calm = comparison(
        [row("numpy", [1.0] * ROUNDS), row("torch", [0.95] * ROUNDS)],
        dict.fromkeys(range(ROUNDS), 0.05),
    )
    assert counted_rounds(calm) == (set(range(ROUNDS)), None)


@pytest.mark.parametrize(
    ("share", "others", "said"),
    [
        (0.49, 0.0, "share of the time with a processor: PyTorch 49%"),
        (1.0, 0.62, "other programs used 62% of it"),
        (
            0.49,
            0.62,
            "other programs used 62% of it; share of the time with a processor: PyTorch 49%",
        ),
    ],
)
def test_a_busy_machine_has_a_reason(share: float, others: float, said: str):
    rows = [row("numpy", [1.0] * ROUNDS), row("torch", [share] * ROUNDS)]
    busy = comparison(rows, dict.fromkeys(range(ROUNDS), others))
    assert counted_rounds(busy) == (set(range(ROUNDS)), said)
    assert any(
        said in note and "no row is named the fastest" in note
        for note in notes(busy, *counted_rounds(busy))
    )


def test_only_calm_rounds_count_where_there_are_enough():
    others = {number: 0.5 if number < ROUNDS - FEWEST else 0.0 for number in range(ROUNDS)}
    rows = [row("numpy", [1.0] * ROUNDS), row("torch", [1.0] * ROUNDS)]
    some = comparison(rows, others)
    assert counted_rounds(some) == (set(range(ROUNDS - FEWEST, ROUNDS)), None)
    assert (
        f"{ROUNDS - FEWEST} of {ROUNDS} rounds were left out: other programs used the machine meanwhile"
        in notes(some, *counted_rounds(some))
    )
    one_more = others | {ROUNDS - 1: 0.5}
    assert counted_rounds(comparison(rows, one_more))[1] == "other programs used 50% of it"


def test_a_row_on_another_device_may_wait():
    """A processor that waits for a GPU is idle, and not taken away."""
    rows = [row("numpy", [1.0] * ROUNDS), row("torch", [0.1] * ROUNDS, device="cuda")]
    assert counted_rounds(comparison(rows, {})) == (set(range(ROUNDS)), None)


def test_a_disturbed_round_is_not_valid_however_calm():
    rows = [row("numpy", [1.0] * ROUNDS), row("torch", [1.0] * ROUNDS, disturbance=0.06)]
    assert counted_rounds(comparison(rows, {})) == (set(), None)


def waited(
    monkeypatch: pytest.MonkeyPatch, busy: comparison, looks: list[float]
) -> tuple[list[dict], bool]:
    """Let a busy comparison wait, on a clock that only the looks move; return its events and whether calm came."""
    now = [0.0]

    def look(seconds: float, pids: list[int]) -> float:
        assert pids == [2, 1, 1]  # the witness and the rows are not others
        now[0] += seconds
        return looks.pop(0)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(load, "others_now", look)
    events = []
    going = timing._calm(busy, ROUNDS - 1)
    while True:
        try:
            events.append(next(going))
        except StopIteration as end:
            return events, end.value


def test_it_waits_until_the_machine_is_calm(monkeypatch):
    rows = [row("numpy", [0.5] * ROUNDS), row("torch", [0.5] * ROUNDS)]
    busy = comparison(rows, {})
    events, calm = waited(monkeypatch, busy, [0.9, 0.3, 0.05])
    assert calm
    assert [event["others"] for event in events] == [None, 0.9, 0.3]
    assert [event["seconds"] for event in events] == pytest.approx([60, 59, 58])
    assert busy.patience == pytest.approx(57)


def test_it_waits_no_longer_than_it_may(monkeypatch):
    busy = comparison(
        [row("numpy", [0.5] * ROUNDS), row("torch", [0.5] * ROUNDS)], {}, patience=2.5
    )
    events, calm = waited(monkeypatch, busy, [0.9, 0.9, 0.9])
    assert not calm
    assert len(events) == 3
    assert busy.patience == pytest.approx(0)
    assert waited(monkeypatch, busy, []) == ([], False)


def test_it_does_not_wait_after_a_calm_round(monkeypatch):
    calm = comparison([row("numpy", [1.0] * ROUNDS), row("torch", [1.0] * ROUNDS)], {})
    assert waited(monkeypatch, calm, []) == ([], True)


def test_one_row_has_no_ratio_to_wait_for(monkeypatch):
    assert waited(monkeypatch, comparison([row("numpy", [0.5] * ROUNDS)], {}), []) == ([], False)


@pytest.mark.slow
@pytest.mark.skipif(not registry.entry("torch").installed, reason="PyTorch is not installed")
def test_a_comparison_on_a_busy_machine_names_no_winner(monkeypatch, digits):
    """A whole comparison, in which the machine says that others use 62 % of it."""
    monkeypatch.setattr(load.Watch, "share", lambda _: 0.62)
    monkeypatch.setattr(load, "others_now", lambda *_: 0.62)
    settings = Settings(zoo.get("classic"), Recipe(2), specs(["torch"]), patience=0.01)
    busy = Comparison(digits, settings)
    events = list(busy.events())
    (result,) = (event["result"] for event in events if event["type"] == "result")
    assert "other programs used 62% of it" in result["busy"]
    assert result["fastest"] is None
    assert result["rounds"]["calm"] == 0
    assert result["rounds"]["valid"] >= FEWEST
    assert result["rows"]["torch"]["ratio"]["median"] > 0  # shown, and marked
    assert [event["others"] for event in events if event["type"] == "waiting"][:2] == [None, 0.62]
    assert busy.patience <= 0
    assert not any(event["calm"] for event in events if event["type"] == "round")


def test_a_watch_sees_what_another_process_uses():
    """A busy process that is not ours counts, and the same process does not if it is ours."""
    import subprocess
    import sys

    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before = load.machine.cpu_seconds(busy.pid)
        foreign, own = load.Watch(), load.Watch([busy.pid])
        while load.machine.cpu_seconds(busy.pid) - before < 0.5:
            pass
        found = foreign.share(), own.share()
    finally:
        busy.kill()
        busy.wait()
    assert found[0] > found[1]
    assert np.isfinite(found).all()
