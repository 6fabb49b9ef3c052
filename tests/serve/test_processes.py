"""Whole servers: their end, their workers, runs that change, limits, and what they import."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from math import prod
from pathlib import Path

import numpy as np
import psutil
import pytest
from support import commands, serving
from support.serving import RunningServer, reference_logits

from triptych.spec import zoo
from triptych.spec.layers import Conv2D, Dense, Flatten
from triptych.spec.network import Network
from triptych.training.checkpoint import STATE

pytestmark = pytest.mark.process

SHAPE = (4, 3, 1)
SMALL = zoo.dense("small", [5], shape=SHAPE, classes=3)
ROW = np.full(SHAPE, 0.5).tolist()
PREDICT = "/v1/models/small:predict"
ROUNDING = 1e-6
MOST_BYTES = 95_000_000  # resident, before the first request
MOST_BYTES_OF_REQUESTS = 15_000_000  # that stay after large ones
SLOW_INFER = "/v2/models/slow/infer"
# An image is 1.4 billion multiplications and additions, 0.02 s on a fast processor.
SLOW = zoo.convolutional([64, 256, 256], 3, shape=(96, 96, 1), classes=3)
# An image is 36 billion, in little memory: 60 of them take much longer than a server waits.
SLOWEST = Network(
    "slowest",
    (96, 96, 1),
    (
        Conv2D("first", 64, 3, padding=1),
        Conv2D("second", 64, 31, padding=15),
        Flatten("flatten"),
        Dense("output", 3),
    ),
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return serving.save_run(tmp_path / "run", SMALL)


class Load:
    """Clients that send requests one after the other, each on a connection of its own.

    Parameters
    ----------
    server : RunningServer
        The server that is asked.
    clients : int
        How many ask at the same time.
    """

    def __init__(self, server: RunningServer, clients: int) -> None:
        self.server = server
        self.outcomes: Counter[str] = Counter()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(clients)
        self._clients = [self._pool.submit(self._ask_again_and_again) for _ in range(clients)]

    def _ask_again_and_again(self) -> None:
        host, port = self.server.address.split(":")
        body = f'{{"instances": [{ROW}]}}'
        while not self._stop.is_set():
            connection = HTTPConnection(host, int(port), timeout=20)
            try:
                connection.connect()
            except OSError:  # the server has ended; nothing was sent
                return
            try:
                connection.request("POST", PREDICT, body)
                response = connection.getresponse()
                response.read()
                outcome = str(response.status)
            except (OSError, HTTPException) as error:
                outcome = type(error).__name__
            finally:
                connection.close()
            with self._lock:
                self.outcomes[outcome] += 1

    def stop(self) -> Counter[str]:
        """Let the clients end; return how often each status or error has come."""
        self._stop.set()
        for client in self._clients:
            client.result(timeout=30)
        self._pool.shutdown()
        return self.outcomes


@contextmanager
def loaded(server: RunningServer, clients: int = 4) -> Generator[Load]:
    load = Load(server, clients)
    try:
        yield load
    finally:
        load.stop()


def predictions(server: RunningServer) -> list[list[float]]:
    return server.ask(PREDICT, {"instances": [ROW]}).json["predictions"]


def test_a_run_that_is_not_finished_is_served_with_a_warning(run: Path, tmp_path: Path):
    (run / "results.json").unlink()
    with serving.running(str(run), f"other={run}", cwd=tmp_path) as server:
        assert len(predictions(server)) == 1
        warning = f"This run is not finished; how far it is: triptych show {run}\n"
        assert server.errors == [warning, warning]


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_sigterm_ends_the_server_without_dropping_a_request(
    run: Path, tmp_path: Path, workers: str
):
    with (
        serving.running(str(run), "--workers", workers, cwd=tmp_path) as server,
        loaded(server) as load,
    ):
        commands.wait_until(lambda: load.outcomes["200"] > 20)
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 10
        outcomes = load.stop()
    # A connection that no worker has accepted yet is reset, and not a request in flight.
    assert set(outcomes) <= {"200", "ConnectionResetError"}
    assert outcomes["ConnectionResetError"] <= 4
    assert server.errors == []


def slow_request(network: Network, images: int) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request for black images, sent as bytes."""
    shape = [images, *network.input_shape]
    tensor = {"name": "images", "datatype": "UINT8", "shape": shape}
    content = bytes(prod(shape))
    size = {"parameters": {"binary_data_size": len(content)}}
    header = json.dumps({"inputs": [tensor | size]}).encode()
    return header + content, {"Inference-Header-Content-Length": str(len(header))}


def test_an_answer_that_takes_long_is_finished(tmp_path: Path):
    serving.save_run(tmp_path / "run", SLOW)
    with (
        serving.running("slow=run", cwd=tmp_path) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(server.ask, SLOW_INFER, *slow_request(SLOW, 40))
        time.sleep(0.2)
        assert server.stop() == 0
        assert answer.result().status == 200


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_answer_that_takes_too_long_does_not_delay_the_end(tmp_path: Path, workers: str):
    serving.save_run(tmp_path / "run", SLOWEST)
    with (
        serving.running("slow=run", "--workers", workers, cwd=tmp_path) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        assert server.ask("/v2/health/ready").status == 200
        answer = pool.submit(server.ask, SLOW_INFER, *slow_request(SLOWEST, 60))
        time.sleep(1)
        stopped = time.monotonic()
        assert server.stop() == 0
        assert 6 < time.monotonic() - stopped < 10
        assert answer.result().status == 503
        assert answer.result().error == "the server is stopping; send the request again"
        assert answer.result().headers["retry-after"] == "1"
    assert server.errors == []


def test_ctrl_c_ends_the_server(run: Path, tmp_path: Path):
    with serving.running(str(run), cwd=tmp_path) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=10) == 0
    assert server.errors == []


def workers_of(server: RunningServer) -> list[psutil.Process]:
    """The processes that answer; multiprocessing has one more, which tracks resources."""
    workers = []
    for child in psutil.Process(server.process.pid).children():
        with suppress(psutil.Error):  # a process that has just ended
            if "spawn_main" in " ".join(child.cmdline()):
                workers.append(child)
    return workers


@pytest.mark.slow
def test_a_killed_worker_is_replaced(run: Path, tmp_path: Path):
    with serving.running(str(run), "--workers", "2", cwd=tmp_path) as server:
        assert server.ask(PREDICT, {"instances": [ROW]}).status == 200
        with loaded(server) as load:
            commands.wait_until(lambda: load.outcomes["200"] > 20)
            first, second = workers_of(server)
            first.kill()
            killed = time.monotonic()
            commands.wait_until(
                lambda: {w.pid for w in workers_of(server)} - {first.pid, second.pid}
            )
            assert time.monotonic() - killed < 5
            answered = load.outcomes["200"]
            commands.wait_until(lambda: load.outcomes["200"] > answered + 20)
            outcomes = load.stop()
        lost = outcomes.total() - outcomes["200"]
        assert lost <= 4  # at most one for each client
        assert server.stop() == 0


@pytest.mark.slow
def test_the_server_ends_if_a_new_worker_cannot_load_the_models(run: Path, tmp_path: Path):
    with serving.running(str(run), "--workers", "2", cwd=tmp_path) as server:
        assert server.ask("/v2/health/ready").status == 200
        (run / "last" / STATE).write_bytes(b"damaged")
        workers_of(server)[0].kill()
        assert server.process.wait(timeout=20) == 2
    assert server.errors[-1].startswith("triptych: a worker could not load the models")
    assert not [line for line in server.errors if "Traceback" in line]


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(run: Path, tmp_path: Path):
    with serving.running(str(run), "--workers", "2", cwd=tmp_path) as server:
        assert server.ask("/v2/health/ready").status == 200
        workers = workers_of(server)
        assert len(workers) == 2
        server.process.kill()
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive


@pytest.mark.slow
def test_metrics_are_those_of_all_workers(run: Path, tmp_path: Path):
    with serving.running(str(run), "--workers", "2", cwd=tmp_path) as server:
        for _ in range(30):
            assert server.ask(PREDICT, {"instances": [ROW]}).status == 200
        assert server.ask(PREDICT, {}).status == 400
        lines = server.ask("/metrics").body.decode().splitlines()
        assert server.stop() == 0
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    requests = 'triptych_requests_total{protocol="tensorflow-serving",status="%d"}'
    assert float(values[requests % 200]) == 30
    assert float(values[requests % 400]) == 1
    assert float(values['triptych_predictions_total{model="small",version="1"}']) == 30
    assert float(values['triptych_request_seconds_count{protocol="tensorflow-serving"}']) == 31


def test_a_run_that_changes_is_loaded_without_dropping_a_request(run: Path, tmp_path: Path):
    other = serving.save_run(tmp_path / "other", SMALL, seed=5)
    image = np.full((1, *SHAPE), 0.5, np.float32)
    with serving.running("small=run", cwd=tmp_path) as server:
        np.testing.assert_allclose(predictions(server), reference_logits(run, image), atol=ROUNDING)
        with loaded(server) as load:
            shutil.copy(other / "last" / STATE, run / "last" / "new")
            os.replace(run / "last" / "new", run / "last" / STATE)
            commands.wait_until(lambda: server.errors, 20)
            outcomes = load.stop()
        assert set(outcomes) == {"200"}
        np.testing.assert_allclose(
            predictions(server), reference_logits(other, image), atol=ROUNDING
        )
        (line,) = server.errors
        assert line.startswith("triptych: small version 1: loaded again, ")


def test_a_damaged_run_is_reported_and_the_old_one_stays(run: Path, tmp_path: Path):
    path = run / "last" / STATE
    whole = path.read_bytes()
    with serving.running("small=run", cwd=tmp_path) as server:
        expected = predictions(server)
        path.write_bytes(whole[:-10])
        commands.wait_until(lambda: server.errors, 20)
        assert "its files have changed, but cannot be used" in server.errors[0]
        assert predictions(server) == expected
        (version,) = server.ask("/v1/models").json["models"][0]["versions"]
        assert "bytes" in version["problem"]
        lines = server.ask("/metrics").body.decode()
        reloads = 'triptych_reloads_total{model="small",outcome="refused",version="1"} 1.0'
        assert reloads in lines
        path.write_bytes(whole)
        commands.wait_until(lambda: len(server.errors) > 1, 20)
        assert "loaded again" in server.errors[1]
        assert "problem" not in server.ask("/v1/models").json["models"][0]["versions"][0]
        path.unlink()
        commands.wait_until(lambda: len(server.errors) > 2, 20)
        assert predictions(server) == expected


def test_a_token_is_needed_where_one_is_set(run: Path, tmp_path: Path):
    secret = "a-long-secret"
    with serving.running(str(run), cwd=tmp_path, TRIPTYCH_TOKEN=secret) as server:
        for path in ("/v1/models", "/metrics", "/v2", "/openapi.json", "/nothing"):
            answer = server.ask(path)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert secret not in answer.error
            for wrong in (secret, f"Bearer {secret} ", f"Basic {secret}", "Bearer ä", "Bearer "):
                refused = server.ask(path, headers={"Authorization": wrong.encode("latin-1")})
                assert refused.status == 401
        right = {"Authorization": f"Bearer {secret}"}
        assert server.ask(PREDICT, {"instances": [ROW]}, right).status == 200
        assert server.ask("/v2/health/ready").status == 200
        assert secret not in " ".join(psutil.Process(server.process.pid).cmdline())


def test_a_token_in_a_file(run: Path, tmp_path: Path):
    (tmp_path / "token").write_text("first\n")
    with serving.running(str(run), "--token-file", "token", cwd=tmp_path) as server:
        assert server.ask("/v1/models").status == 401
        assert server.ask("/v1/models", headers={"Authorization": "Bearer first"}).status == 200


def test_limits_of_time_and_concurrency(tmp_path: Path):
    serving.save_run(tmp_path / "run", SLOW)
    request = slow_request(SLOW, 16)
    options = ["--max-seconds", "0.1", "--max-concurrency", "2", "--max-batch", "16"]
    with serving.running("slow=run", *options, cwd=tmp_path) as server:
        late = server.ask(SLOW_INFER, *request)
        assert late.status == 504
        assert late.error == "the answer was not computed within 0.1 s; send fewer images"
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: server.ask(SLOW_INFER, *request), range(16)))
        statuses = {answer.status for answer in answers}
        assert statuses <= {408, 503, 504}  # a busy processor also reads slowly
        busy = next(answer for answer in answers if answer.status == 503)
        assert busy.error == "the server is busy with 2 requests; try again"
        assert busy.headers["retry-after"] == "1"
        assert server.ask("/v2/health/live").status == 200
        host, port = server.address.split(":")
        connection = HTTPConnection(host, int(port), timeout=20)
        connection.putrequest("POST", SLOW_INFER)
        connection.putheader("Content-Length", "10")
        connection.endheaders()
        response = connection.getresponse()
        assert response.status == 408
        assert b"did not arrive within 0.1 s" in response.read()
        connection.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "missing: no such file or folder"),
        (["missing", "--workers", "2"], "missing: no such file or folder"),
        (["a b=run"], "'a b' cannot be the name of a model in a URL"),
        (["small="], "no run after the = sign"),
        (["run", "--host", "no.such.host.invalid"], "cannot listen"),
        (["run", "--token-file", "missing"], "missing: No such file"),
        (["run", "--workers", "0"], "greater than or equal to 1"),
    ],
)
def test_mistakes_are_one_line(run: Path, tmp_path: Path, arguments: list[str], message: str):
    done = commands.run("serve", *arguments, "--port", "0", cwd=tmp_path, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the resident size is another on each system")
def test_a_server_is_small(tmp_path: Path):
    serving.save_run(tmp_path / "run", zoo.get("lenet"))
    body = {"instances": np.zeros((64, 28, 28, 1)).tolist()}
    with serving.running("lenet=run", cwd=tmp_path) as server:
        process = psutil.Process(server.process.pid)
        assert process.memory_info().rss < MOST_BYTES
        for _ in range(20):
            assert server.ask("/v1/models/lenet:predict", body).status == 200
        assert process.memory_info().rss < MOST_BYTES + MOST_BYTES_OF_REQUESTS
        libraries = {Path(mapped.path).name for mapped in process.memory_maps()}
    assert not [name for name in libraries if "torch" in name or "tensorflow" in name]


def test_a_port_that_is_taken(run: Path, tmp_path: Path):
    with serving.running(str(run), cwd=tmp_path) as server:
        port = server.address.split(":")[1]
        done = commands.run("serve", "run", "--port", port, cwd=tmp_path, timeout=60)
    assert done.returncode == 2
    assert "cannot listen (Address already in use); take another --port" in done.stderr


# A fresh process that serves a run, as `triptych serve` does.
SERVE_ONE_IMAGE = """
import json
import sys
from pathlib import Path

from triptych.serve import app, server
from triptych.serve.models import ServedModel
from triptych.serve.reading import reading
from triptych.serve.settings import ModelSource
from triptych.serve.tensorflow_serving import predict

source = ModelSource(Path("run"))
with reading([source]) as reader:
    model = ServedModel(source, reader)
answer = predict(model, json.dumps({"instances": [ROW]}).encode(), 1)
print(json.dumps([model.loaded.runtime.label, answer["predictions"], sorted(sys.modules)]))
"""
# Python runs this file first in every process: the module looks as if it were not installed.
HIDE = """
import importlib.util

find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == HIDDEN else find_spec(name, *rest)
"""
FRAMEWORKS = {"torch", "tensorflow", "keras", "jax", "scipy", "sklearn", "pandas"}
# What the command line and the process that reads the runs need, and the one that serves does not.
UNNEEDED = {"onnx", "google", "safetensors", "psutil", "typer", "rich", "pydantic", "PIL"}


@pytest.mark.parametrize("hidden", ["", "onnxruntime", "onnx"])
def test_no_framework_is_imported(run: Path, tmp_path: Path, hidden: str):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "sitecustomize.py").write_text(f"HIDDEN = {hidden!r}\n{HIDE}")
    path = os.pathsep.join([str(tmp_path / "first"), str(commands.ROOT)])
    code = f"ROW = {ROW}\n{SERVE_ONE_IMAGE}"
    done = commands.run_python("-c", code, cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    label, rows, names = json.loads(done.stdout)
    modules = {name.partition(".")[0] for name in names}
    assert not modules & FRAMEWORKS
    assert label.startswith("NumPy" if hidden else "ONNX Runtime")
    assert bool(modules & UNNEEDED) == bool(hidden)  # the reference engine needs some of them
    image = np.full((1, *SHAPE), 0.5, np.float32)
    np.testing.assert_allclose(rows, reference_logits(run, image), atol=ROUNDING)
