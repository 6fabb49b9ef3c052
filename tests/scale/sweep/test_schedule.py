"""Which cell runs when, and what happens to cells whose worker or node ends; without Ray."""

from collections.abc import Collection
from typing import Any

import pytest

from triptych.core.events import CellEnded, CellRetried, CellStarted, Event
from triptych.scale.sweep.schedule import MOST_ATTEMPTS, Node, TaskLost, run_cells

ONE = Node("1", "one", 2)
OTHER = Node("2", "other", 4)


def cells(count: int, *, timed: bool = False, threads: int = 1) -> list[dict[str, Any]]:
    kind = "t" if timed else "c"
    return [
        {"key": f"{kind}{number}", "timed": timed, "threads": threads, "network_json": {}}
        for number in range(count)
    ]


class Simulated:
    """A cluster that ends tasks in the order of their beginning.

    Parameters
    ----------
    *machines : Node
        Its nodes.
    lost : dict of str to int, optional
        How often the task of a cell is lost, by the cell's key.
    failing : collection of str
        The keys of cells that fail.
    """

    def __init__(
        self, *machines: Node, lost: dict[str, int] | None = None, failing: Collection[str] = ()
    ) -> None:
        self.machines = list(machines)
        self.lost = dict(lost or {})
        self.failing = failing
        self.submitted: list[tuple[str, Node | None]] = []
        self.most_at_once = 0
        self.alone_with: list[set[str]] = []

    def nodes(self) -> list[Node]:
        return list(self.machines)

    def submit(self, cell: dict[str, Any], alone_on: Node | None) -> int:
        self.submitted.append((cell["key"], alone_on))
        return len(self.submitted) - 1

    def next_ended(self, tasks: Collection[int]) -> int:
        self.most_at_once = max(self.most_at_once, len(tasks))
        self.alone_with.append({self.submitted[task][0] for task in tasks})
        return min(tasks)

    def result(self, task: int) -> dict[str, Any]:
        key, node = self.submitted[task]
        if self.lost.get(key, 0):
            self.lost[key] -= 1
            if node is not None and self.lost[key] == 0 and key.endswith("!"):
                self.machines.remove(node)
            raise TaskLost("the worker process has ended")
        if key in self.failing:
            return {"status": "failed", "error": "too large"}
        return {"status": "finished", "accuracy": 0.5}


def ended(events: list[Event]) -> dict[str, dict[str, Any]]:
    records = [event.cell for event in events if isinstance(event, CellEnded)]
    assert len({record["key"] for record in records}) == len(records)
    return {record["key"]: record for record in records}


def test_each_cell_runs_once_and_as_many_at_a_time_as_there_are_processors() -> None:
    cluster = Simulated(ONE, OTHER)
    events = list(run_cells(cluster, cells(20)))
    assert [key for key, _ in cluster.submitted] == [f"c{number}" for number in range(20)]
    assert cluster.most_at_once == 6
    assert {record["status"] for record in ended(events).values()} == {"finished"}
    assert len(ended(events)) == 20


def test_a_cell_with_two_threads_has_two_processors() -> None:
    cluster = Simulated(ONE, OTHER)
    list(run_cells(cluster, cells(20, threads=2)))
    assert cluster.most_at_once == 3


def test_a_timed_cell_has_its_node_to_itself_and_begins_after_all_others() -> None:
    cluster = Simulated(ONE, OTHER)
    events = list(run_cells(cluster, [*cells(3, timed=True), *cells(4)]))
    keys = [key for key, _ in cluster.submitted]
    assert keys == ["c0", "c1", "c2", "c3", "t0", "t1", "t2"]
    assert [node for _, node in cluster.submitted[:4]] == [None] * 4
    assert [node for _, node in cluster.submitted[4:6]] == [ONE, OTHER]
    for together in cluster.alone_with:
        timed = {key for key in together if key.startswith("t")}
        assert not timed or timed == together  # no other cell meanwhile
        assert len(timed) <= 2  # one on each node
    started = {event.cell: event.node for event in events if isinstance(event, CellStarted)}
    assert started["c0"] == ""
    assert started["t0"] == "one"


def test_a_cell_that_fails_keeps_its_error_and_the_others_go_on() -> None:
    records = ended(list(run_cells(Simulated(ONE, failing=["c1"]), cells(3))))
    assert records["c1"]["status"] == "failed"
    assert records["c1"]["error"] == "too large"
    assert [records[key]["status"] for key in ("c0", "c2")] == ["finished"] * 2
    assert "network_json" not in records["c0"]


def test_a_cell_whose_worker_ends_is_run_again() -> None:
    events = list(run_cells(Simulated(ONE, lost={"c0": 1}), cells(3)))
    (retried,) = [event for event in events if isinstance(event, CellRetried)]
    assert (retried.cell, retried.attempt) == ("c0", 2)
    assert ended(events)["c0"]["status"] == "finished"
    assert ended(events)["c0"]["runs"] == 2
    assert ended(events)["c1"]["runs"] == 1


def test_a_cell_whose_worker_always_ends_has_failed() -> None:
    cluster = Simulated(ONE, lost={"c0": 100})
    records = ended(list(run_cells(cluster, cells(3))))
    assert records["c0"]["status"] == "failed"
    assert records["c0"]["error"] == (
        f"the worker process has ended, {MOST_ATTEMPTS} times in a row"
    )
    assert [key for key, _ in cluster.submitted].count("c0") == MOST_ATTEMPTS
    assert records["c2"]["status"] == "finished"


def test_a_node_that_has_gone_gets_no_more_timed_cells() -> None:
    timed = [*cells(5, timed=True), {"key": "t!", "timed": True, "threads": 1}]
    cluster = Simulated(ONE, OTHER, lost={"t!": 1})
    records = ended(list(run_cells(cluster, [timed[-1], *timed[:-1]])))
    assert {record["status"] for record in records.values()} == {"finished"}
    assert cluster.machines == [OTHER]
    after = [node for _, node in cluster.submitted[2:]]
    assert set(after) == {OTHER}


@pytest.mark.parametrize("timed", [False, True])
def test_cells_for_which_no_node_is_large_enough_fail(timed: bool) -> None:
    records = ended(list(run_cells(Simulated(ONE), cells(2, timed=timed, threads=3))))
    assert len(records) == 2
    for record in records.values():
        assert record["status"] == "failed"
        assert "as many processors as the cell has threads" in record["error"]
