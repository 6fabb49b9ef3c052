"""Requests that were changed at random: refused or answered, and never an error of the server."""

import json
import random
import time
from collections import Counter
from typing import Any

import numpy as np
import psutil
import pytest
from support.damage import mutated_request
from support.serving import Answer, RunningServer

pytestmark = pytest.mark.process

MUTANTS = 100
MOST_SECONDS = 1.0
MOST_EXTRA_BYTES = 200 * 2**20
IMAGES = np.full((2, 4, 3, 1), 0.25, "<f4")


def requests() -> list[tuple[str, bytes, dict[str, str]]]:
    """Return whole requests: path, body and headers."""
    rows = json.dumps({"instances": IMAGES.tolist(), "signature_name": "probabilities"})
    column = json.dumps({"inputs": {"images": IMAGES.tolist()}})
    tensor: dict[str, Any] = {"name": "images", "datatype": "FP32", "shape": list(IMAGES.shape)}
    plain = json.dumps({"id": "a", "inputs": [tensor | {"data": IMAGES.ravel().tolist()}]})
    size = {"parameters": {"binary_data_size": IMAGES.nbytes}}
    header = json.dumps({"inputs": [tensor | size], "outputs": [{"name": "logits"}]}).encode()
    length = {"Inference-Header-Content-Length": str(len(header))}
    return [
        ("/v1/models/small:predict", rows.encode(), {}),
        ("/v1/models/small:predict", column.encode(), {}),
        ("/v2/models/small/infer", plain.encode(), {}),
        ("/v2/models/small/infer", header + IMAGES.tobytes(), length),
    ]


def check(answer: Answer) -> None:
    if answer.status == 200:
        assert b"NaN" not in answer.body
    else:
        assert answer.status == 400, answer.body
        assert len(answer.error) <= 300


@pytest.mark.parametrize("which", range(len(requests())))
def test_mutants(server: RunningServer, which: int):
    run(server, which, MUTANTS // len(requests()))


@pytest.mark.slow
@pytest.mark.parametrize("which", range(len(requests())))
def test_many_mutants(server: RunningServer, which: int, scale: int):
    run(server, which, 10 * MUTANTS * scale)


def run(server: RunningServer, which: int, count: int) -> None:
    """Ask a server with changed requests, and check all answers."""
    path, body, headers = requests()[which]
    chance = random.Random(which)
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    statuses: Counter[int] = Counter()
    for _ in range(count):
        started = time.monotonic()
        answer = server.ask(path, mutated_request(body, chance), headers)
        assert time.monotonic() - started < MOST_SECONDS
        check(answer)
        statuses[answer.status] += 1
    assert statuses[400] > count / 3
    assert process.memory_info().rss - before < MOST_EXTRA_BYTES
    assert server.errors == []
