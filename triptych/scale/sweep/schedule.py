"""Which cell runs when: first those that are not timed, side by side; then timed ones, alone.

It knows nothing of Ray, but `Cluster`.
"""

from collections import deque
from collections.abc import Collection, Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...core.events import CellEnded, CellRetried, CellStarted, Event

Json = dict[str, Any]
Task = Hashable

MOST_ATTEMPTS = 3  # of a cell whose worker or node ends; then the cell counts as failed


@dataclass(frozen=True)
class Node:
    """A machine of a cluster.

    Attributes
    ----------
    key : str
        Its number in the cluster.
    name : str
        Its host name or address.
    processors : int
        How many processors it offers to tasks.
    """

    key: str
    name: str
    processors: int


class TaskLost(Exception):
    """A task has no result because its worker or its node has ended; the message is the reason."""


class Cluster(Protocol):
    """What runs tasks: `triptych.scale.sweep.cluster.RayCluster`, or the fake of a test."""

    def nodes(self) -> list[Node]:
        """Return the machines that are there now."""
        ...

    def submit(self, cell: Json, alone_on: Node | None) -> Task:
        """Start a cell, on any node, or with a whole node to itself."""
        ...

    def next_ended(self, tasks: Collection[Any]) -> Any:
        """Wait until one of some tasks has ended, and return it."""
        ...

    def result(self, task: Any) -> Json:
        """Return what an ended task has returned.

        Raises
        ------
        TaskLost
            If its worker or node has ended.
        """
        ...


def run_cells(cluster: Cluster, cells: Sequence[Json]) -> Generator[Event]:
    """Run cells; a cell that fails does not stop the others.

    Parameters
    ----------
    cluster : Cluster
        Where they run.
    cells : sequence of dict
        As `triptych.scale.sweep.grid.Cell.to_json` returns them.

    Yields
    ------
    Event
        `CellStarted`, `CellRetried`, `CellEnded`.
    """
    together = [cell for cell in cells if not cell["timed"]]
    if together:
        threads = max(cell["threads"] for cell in together)
        slots: list[Node | None] = []
        for node in cluster.nodes():
            slots += [None] * (node.processors // threads)
        yield from _Phase(cluster, together, slots).events()
    alone = [cell for cell in cells if cell["timed"]]
    if alone:
        threads = max(cell["threads"] for cell in alone)
        large = [node for node in cluster.nodes() if node.processors >= threads]
        yield from _Phase(cluster, alone, large).events()


class _Phase:
    """Cells that run at the same time, each in a slot: a share of a node, or a whole node."""

    def __init__(
        self, cluster: Cluster, cells: Sequence[Json], slots: Sequence[Node | None]
    ) -> None:
        self.cluster = cluster
        self.waiting = deque(cells)
        self.free = list(slots)
        self.running: dict[Any, tuple[Json, Node | None]] = {}
        self.attempts: dict[str, int] = {}

    def events(self) -> Generator[Event]:
        """Run the cells to their ends."""
        while self.waiting or self.running:
            while self.waiting and self.free:
                yield self._start()
            if not self.running:
                yield from self._give_up()
                return
            task = self.cluster.next_ended(self.running)
            cell, node = self.running.pop(task)
            try:
                record = self.cluster.result(task)
            except TaskLost as lost:
                self._free_again(node)
                yield self._lost(cell, str(lost))
            else:
                self.free.append(node)
                yield CellEnded(_recorded(cell, record, self.attempts[cell["key"]]))

    def _start(self) -> Event:
        cell = self.waiting.popleft()
        node = self.free.pop(0)
        key = cell["key"]
        self.attempts[key] = self.attempts.get(key, 0) + 1
        self.running[self.cluster.submit(cell, node)] = (cell, node)
        return CellStarted(key, "" if node is None else node.name)

    def _free_again(self, node: Node | None) -> None:
        """Give back the slot of a lost task, unless it was a node that is no longer there."""
        if node is None or node in self.cluster.nodes():
            self.free.append(node)

    def _lost(self, cell: Json, why: str) -> Event:
        """Let a cell wait for another attempt, or fail after the last one."""
        attempts = self.attempts[cell["key"]]
        if attempts < MOST_ATTEMPTS:
            self.waiting.append(cell)
            return CellRetried(cell["key"], why, attempts + 1)
        why = f"{why}, {attempts} times in a row"
        return CellEnded(_recorded(cell, {"status": "failed", "error": why}, attempts))

    def _give_up(self) -> Generator[Event]:
        """Let every cell fail that waits while there is no node for it."""
        why = "no node of the cluster has as many processors as the cell has threads"
        for cell in self.waiting:
            attempts = self.attempts.get(cell["key"], 0)
            yield CellEnded(_recorded(cell, {"status": "failed", "error": why}, attempts))


def _recorded(cell: Json, record: Json, attempts: int) -> Json:
    """Return what is recorded of a cell: what it is, and what came of it."""
    labels = {key: value for key, value in cell.items() if not key.endswith("_json")}
    return labels | {"runs": attempts} | record
