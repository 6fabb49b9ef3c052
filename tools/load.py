"""Measure ``triptych serve`` on this machine: start, memory, requests per second, latency.

    python tools/load.py RUN
    python tools/load.py RUN --requests 100000     does the memory grow?

Client and server share the processors, so the figures are lower bounds.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from triptych.process import machine

NAME = "measured"  # of the model in URLs
REQUESTS_OF_A_TABLE_ROW = 5_000
CONNECTIONS = (8, 64)
WARM_UP_REQUESTS = 500
MB = 1e6


@dataclass
class Answers:
    """What several connections got.

    Attributes
    ----------
    statuses : Counter of int
        How often each status was answered.
    seconds : list of float
        From the start of each request to the end of its answer.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


def post(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """Return a whole request with a body."""
    fields = {"Host": "test", "Content-Length": str(len(body))} | (headers or {})
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def ask(port: int, request: bytes, connections: int, requests: int) -> Answers:
    """Send a request again and again.

    Parameters
    ----------
    port : int
        Of a server on this machine.
    request : bytes
        What is sent.
    connections : int
        That stay open; on each the next request follows the answer to the one before.
    requests : int
        In all.
    """
    answers = Answers()

    async def connection(times: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(times):
            started = time.perf_counter()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, _, rest = head.partition(b"\r\ncontent-length: ")
            await reader.readexactly(int(rest.split()[0]))
            answers.seconds.append(time.perf_counter() - started)
            answers.statuses[int(head.split()[1])] += 1
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(connection(requests // connections) for _ in range(connections)))
    return answers


def requests_for(shape: list[int]) -> dict[str, bytes]:
    """Return a request for one image in each form."""
    image = np.random.default_rng(0).random((1, *shape), np.float32).round(3)
    rows = json.dumps({"instances": image.tolist()}).encode()
    tensor: dict[str, Any] = {"name": "images", "datatype": "FP32", "shape": list(image.shape)}
    tensor["parameters"] = {"binary_data_size": image.nbytes}
    outputs = [{"name": "logits", "parameters": {"binary_data": True}}]
    header = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    length = {"Inference-Header-Content-Length": str(len(header))}
    return {
        "JSON": post(f"/v1/models/{NAME}:predict", rows),
        "binary": post(f"/v2/models/{NAME}/infer", header + image.tobytes(), length),
    }


def get(port: int, path: str) -> Any:
    """Return the JSON at a path."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.load(answer)


@contextmanager
def running(run: Path) -> Generator[tuple[psutil.Popen, int]]:
    """Serve a run until the end of the block; return the process and its port."""
    command = [sys.executable, "-m", "triptych", "serve", f"{NAME}={run}", "--port", "0"]
    process = psutil.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if not line:
            sys.exit(process.wait())
        yield process, int(line.split(",")[0].rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()


def describe_memory(process: psutil.Process) -> str:
    """Return the resident size of a process."""
    return f"{process.memory_info().rss / MB:.1f} MB resident"


def describe_rate(answers: Answers, seconds: float) -> str:
    """Return how many answers came, and how long they took."""
    median, late = np.percentile(answers.seconds, [50, 99]) * 1e3
    rate = len(answers.seconds) / seconds
    statuses = ", ".join(f"{status}: {count:,}" for status, count in answers.statuses.items())
    return f"{rate:,.0f} requests/s, median {median:.1f} ms, p99 {late:.1f} ms; {statuses}"


def measure(run: Path, requests: int) -> None:
    """Print all figures."""
    started = time.monotonic()
    with running(run) as (process, port):
        get(port, "/v2/health/ready")  # it listens already, so this waits until it answers
        clock = time.monotonic() - started
        used = process.cpu_times()
        reading = used.children_user + used.children_system
        print(f"ready after {clock:.2f} s by the clock", end=", ")
        print(f"{used.user + used.system:.2f} s of its processor time", end=", ")
        print(f"{reading:.2f} s of the process that reads the run")
        print(f"after the start: {describe_memory(process)}", flush=True)
        model = get(port, "/v1/models")["models"][0]["versions"][0]
        forms = requests_for(model["input_shape"])
        for form, request in forms.items():
            measure_rates(form, request, port)
        print(f"after these requests: {describe_memory(process)}", flush=True)
        if requests:
            begun = time.perf_counter()
            answers = asyncio.run(ask(port, forms["JSON"], CONNECTIONS[0], requests))
            print(f"JSON, again: {describe_rate(answers, time.perf_counter() - begun)}")
            print(f"at the end: {describe_memory(process)}")


def measure_rates(form: str, request: bytes, port: int) -> None:
    """Print how many answers come with few and many connections."""
    asyncio.run(ask(port, request, CONNECTIONS[0], WARM_UP_REQUESTS))
    for connections in CONNECTIONS:
        begun = time.perf_counter()
        answers = asyncio.run(ask(port, request, connections, REQUESTS_OF_A_TABLE_ROW))
        rate = describe_rate(answers, time.perf_counter() - begun)
        print(f"{form}, {connections} connections: {rate}", flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run folder or a state file")
    parser.add_argument("--requests", type=int, default=0, help="more requests at the end")
    options = parser.parse_args()
    print(f"{machine.processor()}, {machine.processors()} processors")
    measure(options.run, options.requests)


if __name__ == "__main__":
    main()
