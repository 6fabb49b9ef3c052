"""A server under load from connections that stay open, as programs and proxies use them."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from support import serving
from support.serving import RunningServer

from triptych.spec import zoo

pytestmark = [pytest.mark.process, pytest.mark.slow]

NETWORK = zoo.dense("classic", [10])
IMAGE = np.random.default_rng(0).random((28, 28, 1)).round(3)
MOST_GROWTH = 8 * 2**20  # bytes


class Client:
    """A connection that sends the same request a number of times.

    Parameters
    ----------
    server : RunningServer
        The server that is asked.
    outcomes : Counter
        Counts the answers of all clients by their status.
    """

    def __init__(self, server: RunningServer, outcomes: Counter[int]) -> None:
        self.server = server
        self.outcomes = outcomes
        body = json.dumps({"instances": [IMAGE.tolist()]}).encode()
        head = "POST /v1/models/classic:predict HTTP/1.1\r\nHost: test\r\n"
        self.request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def ask(self, times: int) -> None:
        host, port = self.server.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(times):
            writer.write(self.request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            _, _, rest = head.partition("content-length: ")
            await reader.readexactly(int(rest.split()[0]))
            self.outcomes[int(head.split()[1])] += 1
        writer.close()
        await writer.wait_closed()


def ask(server: RunningServer, connections: int, requests: int) -> Counter[int]:
    """Send requests on several connections; return how often each status was answered."""
    outcomes: Counter[int] = Counter()

    async def run() -> None:
        clients = [Client(server, outcomes) for _ in range(connections)]
        await asyncio.gather(*(client.ask(requests // connections) for client in clients))

    asyncio.run(run())
    return outcomes


def test_no_answer_is_an_error_and_memory_does_not_grow(tmp_path: Path, scale: int):
    serving.save_run(tmp_path / "run", NETWORK)
    with serving.running("run", cwd=tmp_path) as server:
        process = psutil.Process(server.process.pid)
        assert set(ask(server, 64, 3200)) == {200}
        before = process.memory_info().rss
        outcomes = ask(server, 64, 12_800 * scale)
        assert outcomes == {200: 12_800 * scale}
        assert process.memory_info().rss - before < MOST_GROWTH
        assert server.stop() == 0
    assert server.errors == []


def test_too_many_connections_are_told_to_wait(tmp_path: Path):
    serving.save_run(tmp_path / "run", NETWORK)
    with serving.running("run", "--max-concurrency", "16", cwd=tmp_path) as server:
        outcomes = ask(server, 64, 6400)
        assert set(outcomes) == {200, 503}
        assert outcomes[200] > 100
        assert server.stop() == 0


def test_runs_that_change_again_and_again_do_not_fill_the_memory(tmp_path: Path):
    run = serving.save_run(tmp_path / "run", NETWORK)
    with serving.running("run", cwd=tmp_path) as server:
        process = psutil.Process(server.process.pid)

        def reload(times: int) -> None:
            for _ in range(times):
                seen = len(server.errors)
                (run / "last" / "state.safetensors").touch()
                serving.commands.wait_until(lambda seen=seen: len(server.errors) > seen, 20)

        reload(6)
        before = process.memory_info().rss
        reload(12)
        assert process.memory_info().rss - before < MOST_GROWTH
