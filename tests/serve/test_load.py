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

from tools import load
from triptych.spec import zoo

pytestmark = [pytest.mark.process, pytest.mark.slow]

NETWORK = zoo.dense("classic", [10])
IMAGE = np.random.default_rng(0).random((28, 28, 1)).round(3)
BODY = json.dumps({"instances": [IMAGE.tolist()]}).encode()
MOST_GROWTH = 8 * 2**20  # bytes


def ask(server: RunningServer, connections: int, requests: int) -> Counter[int]:
    """Send requests on several connections; return how often each status was answered."""
    port = int(server.address.split(":")[1])
    request = load.post("/v1/models/classic:predict", BODY)
    return asyncio.run(load.ask(port, request, connections, requests)).statuses


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
