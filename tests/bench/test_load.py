"""The rule when a machine is busy, and what follows from it, on made-up blocks."""

import numpy as np
import pytest
from support.engines import needs_torch

from triptych.bench import load, timing
from triptych.bench.comparison import compare_rows
from triptych.bench.contestants import Settings
from triptych.bench.results import notes_on_rounds
from triptych.bench.rounds import Block
from triptych.bench.validity import FEWEST_ROUNDS, Rounds, RowBlocks
from triptych.core.selection import specs
from triptych.spec import zoo
from triptych.spec.recipe import Recipe

ROUNDS = 15


def row(
    label: str, shares: list[float], device: str = "cpu", disturbance: float = 0.0
) -> RowBlocks:
    """Return a row with a block of each round, of a tenth of a second."""
    blocks = [Block(number, 0.1, share, disturbance) for number, share in enumerate(shares)]
    return RowBlocks(label, device, blocks)


def rounds_of(*rows: RowBlocks, others: dict[int, float] | None = None) -> Rounds:
    return Rounds({row.label: row for row in rows}, others or {})


def test_a_calm_machine_counts_every_round():
    calm = rounds_of(
        row("NumPy", [1.0] * ROUNDS),
        row("PyTorch", [0.95] * ROUNDS),
        others=dict.fromkeys(range(ROUNDS), 0.05),
    )
    assert (calm.counted, calm.busy) == (set(range(ROUNDS)), None)


@pytest.mark.parametrize(
    ("share", "others", "reason"),
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
def test_a_busy_machine_has_a_reason(share: float, others: float, reason: str):
    busy = rounds_of(
        row("NumPy", [1.0] * ROUNDS),
        row("PyTorch", [share] * ROUNDS),
        others=dict.fromkeys(range(ROUNDS), others),
    )
    assert (busy.counted, busy.busy) == (set(range(ROUNDS)), reason)
    assert any(
        reason in note and "no row is named the fastest" in note for note in notes_on_rounds(busy)
    )


def test_only_calm_rounds_count_where_there_are_enough():
    others = {number: 0.5 if number < ROUNDS - FEWEST_ROUNDS else 0.0 for number in range(ROUNDS)}
    rows = [row("NumPy", [1.0] * ROUNDS), row("PyTorch", [1.0] * ROUNDS)]
    some = rounds_of(*rows, others=others)
    assert (some.counted, some.busy) == (set(range(ROUNDS - FEWEST_ROUNDS, ROUNDS)), None)
    left_out = f"{ROUNDS - FEWEST_ROUNDS} of {ROUNDS} rounds were left out"
    assert f"{left_out}: other programs used the machine meanwhile" in notes_on_rounds(some)
    one_more = others | {ROUNDS - 1: 0.5}
    assert rounds_of(*rows, others=one_more).busy == "other programs used 50% of it"


def test_a_row_on_another_device_may_wait():
    """A processor that waits for a GPU is idle, and not taken away."""
    rows = [row("NumPy", [1.0] * ROUNDS), row("PyTorch", [0.1] * ROUNDS, device="cuda")]
    rounds = rounds_of(*rows)
    assert (rounds.counted, rounds.busy) == (set(range(ROUNDS)), None)


def test_a_disturbed_round_is_not_valid_even_if_it_is_calm():
    rows = [row("NumPy", [1.0] * ROUNDS), row("PyTorch", [1.0] * ROUNDS, disturbance=0.06)]
    rounds = rounds_of(*rows)
    assert (rounds.counted, rounds.busy) == (set(), None)


def waited(
    monkeypatch: pytest.MonkeyPatch, rounds: Rounds, looks: list[float], patience: float = 60.0
) -> tuple[list, bool, float]:
    """Let a busy comparison wait, on a clock that only the looks move.

    Return its events, whether the machine became calm, and the patience that is left.
    """
    now = [0.0]
    ours = [2, 1, 1]  # the witness and the rows are not others

    def look(seconds: float, pids: list[int]) -> float:
        assert pids == ours
        now[0] += seconds
        return looks.pop(0)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(load, "others_now", look)
    events = []
    waiting = timing.wait_for_calm(rounds, ROUNDS - 1, patience, ours)
    while True:
        try:
            events.append(next(waiting))
        except StopIteration as end:
            return events, *end.value


def test_it_waits_until_the_machine_is_calm(monkeypatch):
    busy = rounds_of(row("NumPy", [0.5] * ROUNDS), row("PyTorch", [0.5] * ROUNDS))
    events, calm, patience = waited(monkeypatch, busy, [0.9, 0.3, 0.05])
    assert calm
    assert [event.others for event in events] == [None, 0.9, 0.3]
    assert [event.seconds for event in events] == pytest.approx([60, 59, 58])
    assert patience == pytest.approx(57)


def test_it_waits_no_longer_than_it_may(monkeypatch):
    busy = rounds_of(row("NumPy", [0.5] * ROUNDS), row("PyTorch", [0.5] * ROUNDS))
    events, calm, patience = waited(monkeypatch, busy, [0.9, 0.9, 0.9], patience=2.5)
    assert not calm
    assert len(events) == 3
    assert patience == pytest.approx(0)
    assert waited(monkeypatch, busy, [], patience) == ([], False, patience)


def test_it_does_not_wait_after_a_calm_round(monkeypatch):
    calm = rounds_of(row("NumPy", [1.0] * ROUNDS), row("PyTorch", [1.0] * ROUNDS))
    assert waited(monkeypatch, calm, []) == ([], True, 60.0)


def test_one_row_has_no_ratio_to_wait_for(monkeypatch):
    assert waited(monkeypatch, rounds_of(row("NumPy", [0.5] * ROUNDS)), []) == ([], False, 60.0)


@pytest.mark.slow
@needs_torch
def test_a_comparison_on_a_busy_machine_names_no_winner(monkeypatch, digits):
    """A whole comparison, in which the machine says that others use 62 % of it."""
    monkeypatch.setattr(load.Watch, "share", lambda _: 0.62)
    monkeypatch.setattr(load, "others_now", lambda *_: 0.62)
    settings = Settings(zoo.get("classic"), Recipe(2), specs(["torch"]), patience=0.01)
    events = [event.to_json() for event in compare_rows(digits, settings)]
    (result,) = (event["result"] for event in events if event["type"] == "result")
    assert "other programs used 62% of it" in result["busy"]
    assert result["fastest"] is None
    assert result["rounds"]["calm"] == 0
    assert result["rounds"]["valid"] >= FEWEST_ROUNDS
    assert result["rows"]["torch"]["ratio"]["median"] > 0  # shown, and marked
    assert [event["others"] for event in events if event["type"] == "waiting"][:2] == [None, 0.62]
    assert not any(event["calm"] for event in events if event["type"] == "round")


def test_a_watch_sees_what_another_process_uses():
    """A busy process that is not ours counts, and the same process does not if it is ours."""
    import subprocess
    import sys

    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before = load.machine.cpu_seconds(busy.pid)
        foreign = load.Watch()
        ours = load.Watch([busy.pid])
        while load.machine.cpu_seconds(busy.pid) - before < 0.5:
            pass
        shares = foreign.share(), ours.share()
    finally:
        busy.kill()
        busy.wait()
    assert shares[0] > shares[1]
    assert np.isfinite(shares).all()
