"""The race, with contestants that only count."""

import pytest

from triptych.bench import rounds
from triptych.bench.rounds import Block, Dropout, Elapsed, RoundOver, Turn, race, valid_rounds
from triptych.errors import EngineError

PIDS = {"a": 11, "b": 12, "c": 13}


@pytest.fixture
def asleep(monkeypatch) -> list[float]:
    """No process uses processor time, and nothing sleeps: the seconds are only noted."""
    slept = []
    monkeypatch.setattr(rounds.time, "sleep", slept.append)
    monkeypatch.setattr(rounds.machine, "cpu_seconds", lambda _: 0.0)
    return slept


def act(contestant: str, steps: int) -> Elapsed:
    return Elapsed(0.5, 0.25, steps)


def turns(items: list) -> list[str]:
    return [item.contestant for item in items if isinstance(item, Turn)]


def test_the_order_rotates_and_everybody_is_idle_before_each_block(asleep):
    items = list(race("abc", act, [1, 1, 1, 1], pid=PIDS.get))
    assert turns(items) == [*"abc", *"bca", *"cab", *"abc"]
    assert asleep == [rounds.IDLE_SECONDS] * 12
    over = [item for item in items if isinstance(item, RoundOver)]
    assert [item.number for item in over] == [0, 1, 2, 3]
    assert all(item.others >= 0 for item in over)


def test_times_are_those_of_one_step(asleep):
    (turn, _) = race("a", act, [10], pid=PIDS.get)
    assert (turn.job, turn.block) == (10, Block(0, 0.05, 0.5, 0.0))
    (turn, _) = race("a", act, [10], pid=PIDS.get, processor_time=True)
    assert turn.block.seconds == 0.025


def test_processor_time_of_others_and_bystanders_is_the_disturbance(asleep, monkeypatch):
    used = dict.fromkeys([*PIDS.values(), 99], 0.0)
    monkeypatch.setattr(rounds.machine, "cpu_seconds", used.__getitem__)

    def disturbed(contestant: str, steps: int) -> Elapsed:
        used[PIDS[contestant]] += 0.5  # its own time is no disturbance
        used[PIDS["c"]] += 0.1
        used[99] += 0.05
        return Elapsed(0.5, 0.5, steps)

    items = list(race("ac", disturbed, [1], pid=PIDS.get, bystanders=[99]))
    assert [item.block.disturbance for item in items[:2]] == pytest.approx([0.3, 0.1])


def test_a_contestant_that_fails_is_out_and_the_others_go_on(asleep):
    def fails(contestant: str, number: int) -> Elapsed:
        if contestant == "b" and number == 1:
            raise EngineError("no more")
        return Elapsed(1, 1)

    items = list(race("abc", fails, range(3), pid=PIDS.get))
    (out,) = [item for item in items if isinstance(item, Dropout)]
    assert (out.contestant, str(out.error)) == ("b", "no more")
    assert turns(items) == [*"abc", *"ca", *"ac"]


def test_a_contestant_that_rests_misses_its_turn(asleep):
    items = list(race("ab", act, range(1, 3), pid=lambda _: None, resting="b".__eq__))
    assert turns(items) == ["a", "a"]


def test_rounds_are_drawn_when_they_begin(asleep):
    """So what has been measured decides whether there is another one."""
    measured = []

    def until_enough():
        while len(measured) < 2:
            yield 1

    race_until_enough = race("a", act, until_enough(), pid=PIDS.get)
    measured.extend(item.number for item in race_until_enough if isinstance(item, RoundOver))
    assert measured == [0, 1]


def test_a_round_counts_if_nobody_was_disturbed_in_it():
    calm = [Block(number, 0.1, 1.0, 0.05) for number in range(3)]
    disturbed = [Block(0, 0.1, 1.0, 0.0), Block(1, 0.1, 1.0, 0.06)]
    assert valid_rounds({"a": calm, "b": disturbed}) == {0}
    assert valid_rounds({}) == set()
