"""The actor of Ray between the driver and the workers: requests in order, and one answer to each.

Ray Train starts the workers in groups: if one of them ends, the whole group is replaced. A request
belongs to the group that is there, or to the next one.
"""

import asyncio
from typing import Any

# A reference to an object of Ray, in a list: Ray passes it on as it is and does not fetch it.
Sealed = list[Any]


class Mailbox:
    """Hands requests to the workers of a group, and their answers to the driver.

    All methods run in one event loop.

    Parameters
    ----------
    workers : int
        How many workers a group has.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._group = 0
        self._is_there = False  # whether the group has begun and has not been lost
        self._requests: dict[int, Sealed] = {}  # by their number in the group
        self._takers: dict[int, int] = {}  # how many workers have a request
        self._count = 0  # requests of this group
        self._answer: Sealed | None = None
        self._lost: str | None = None  # why, if the driver does not know it yet
        self._changed = asyncio.Condition()

    async def ask(self, request: Sealed) -> Sealed | str:
        """Post a request; return its answer, or why the group was lost."""
        async with self._changed:
            if not self._lost:
                self._requests[self._count] = request
                self._takers[self._count] = 0
                self._count += 1
                self._changed.notify_all()
                await self._changed.wait_for(lambda: self._answer or self._lost)
            told = self._lost or self._answer
            self._lost = None
            self._answer = None
            assert told
            return told

    async def begin(self) -> int:
        """Open a new group, as its workers have started; return its number."""
        async with self._changed:
            if self._is_there:
                self._end_group("the workers were started again")
            self._group += 1
            self._is_there = True
            self._changed.notify_all()
            return self._group

    async def lose(self, why: str) -> None:
        """End the group because a worker has ended; the driver is told why."""
        async with self._changed:
            if self._is_there:
                self._end_group(why)
                self._changed.notify_all()

    def _end_group(self, why: str) -> None:
        self._is_there = False
        self._lost = why
        self._answer = None
        self._requests.clear()
        self._takers.clear()
        self._count = 0

    async def request(self, group: int, number: int) -> Sealed | None:
        """Wait for a request of a group, counted from 0; return None if the group has ended."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: not self._is_current(group) or number in self._requests
            )
            if not self._is_current(group):
                return None
            request = self._requests[number]
            self._takers[number] += 1
            if self._takers[number] == self._workers:
                del self._requests[number]
                del self._takers[number]
            return request

    async def answer(self, group: int, answer: Sealed) -> None:
        """Hand an answer of a worker to the driver; the first one counts."""
        async with self._changed:
            if self._is_current(group) and self._answer is None:
                self._answer = answer
                self._changed.notify_all()

    def _is_current(self, group: int) -> bool:
        return self._is_there and group == self._group
