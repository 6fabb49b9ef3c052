"""The mailbox between the driver and the workers, without Ray."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from triptych.scale.training.mailbox import Mailbox


def run(steps: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(steps, 10))


async def settle() -> None:
    """Let all tasks run until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_every_worker_gets_every_request_and_the_first_answer_counts():
    async def steps() -> None:
        mailbox = Mailbox(2)
        group = await mailbox.begin()
        for number in range(3):
            asked = asyncio.create_task(mailbox.ask([number]))
            assert await mailbox.request(group, number) == [number]
            await mailbox.answer(group, ["first"])
            await mailbox.answer(group, ["second"])
            assert await asked == ["first"]
            # A worker may be late.
            assert await mailbox.request(group, number) == [number]

    run(steps())


def test_a_request_waits_for_the_first_group_and_the_one_after_a_loss():
    async def steps() -> None:
        mailbox = Mailbox(1)
        asked = asyncio.create_task(mailbox.ask(["build"]))
        await settle()
        first = await mailbox.begin()
        assert await mailbox.request(first, 0) == ["build"]
        await mailbox.lose("worker 1 of 1 has ended")
        assert await asked == "worker 1 of 1 has ended"
        again = asyncio.create_task(mailbox.ask(["build again"]))
        await settle()
        # A worker of the lost group gets nothing of what is for the next one.
        assert await mailbox.request(first, 0) is None
        assert await mailbox.request(first, 1) is None
        await mailbox.answer(first, ["too late"])
        second = await mailbox.begin()
        assert second != first
        assert await mailbox.request(second, 0) == ["build again"]
        await mailbox.answer(second, ["done"])
        assert await again == ["done"]

    run(steps())


def test_a_loss_between_two_requests_is_told_at_the_next_one():
    """The driver would else ask new workers for what only the lost ones have."""

    async def steps() -> None:
        mailbox = Mailbox(1)
        first = await mailbox.begin()
        waiting = asyncio.create_task(mailbox.request(first, 0))
        await settle()
        await mailbox.lose("lost")
        await mailbox.lose("another reason, which comes later")
        assert await waiting is None
        second = await mailbox.begin()
        assert await mailbox.ask(["run"]) == "lost"
        asked = asyncio.create_task(mailbox.ask(["build"]))
        assert await mailbox.request(second, 0) == ["build"]
        await mailbox.answer(second, ["built"])
        assert await asked == ["built"]

    run(steps())


def test_a_group_that_replaces_another_without_notice_is_a_loss():
    async def steps() -> None:
        mailbox = Mailbox(1)
        await mailbox.begin()
        asked = asyncio.create_task(mailbox.ask(["run"]))
        await settle()
        await mailbox.begin()
        assert await asked == "the workers were started again"

    run(steps())
