"""Servers of ``triptych serve`` in processes of their own, and runs to serve."""

import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from support import commands

from triptych.core.registry import REFERENCE
from triptych.core.state import initial
from triptych.spec.network import Network
from triptych.spec.recipe import DType, Recipe
from triptych.training import checkpoint
from triptych.training.inference import compute_logits
from triptych.training.saved import read_trained


def save_run(
    folder: Path,
    network: Network,
    seed: int = 0,
    dtype: DType = "float32",
    data: dict[str, Any] | None = None,
) -> Path:
    """Write the folder of a finished run with the weights before the first step; return it.

    Parameters
    ----------
    folder, network, seed, dtype
        Of the run.
    data : dict, optional
        What is recorded of its data.
    """
    recipe = Recipe(1, seed=seed, dtype=dtype)
    path = folder / "last" / checkpoint.STATE
    provenance = {} if data is None else {"data": data}
    checkpoint.save_state(path, initial(network, recipe), network, recipe, provenance)
    (folder / "results.json").touch()
    return folder


def reference_logits(run: Path, images: np.ndarray) -> np.ndarray:
    """Return the logits that the reference engine computes."""
    saved = read_trained(run)
    return compute_logits(saved.network, saved.recipe, saved.state, images, engine=REFERENCE)


@dataclass
class Answer:
    """What a server has answered."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one line of an error; it is checked to be one."""
        message = json.loads(self.body)["error"]
        assert list(self.json) == ["error"]
        assert message
        assert message.isprintable()
        assert b"Traceback" not in self.body
        return message


@dataclass
class RunningServer:
    """A server that accepts requests."""

    process: subprocess.Popen[str]
    url: str
    errors: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Host and port."""
        return self.url.removeprefix("http://")

    def ask(
        self,
        path: str,
        content: Any = None,
        headers: dict[str, str] | None = None,
        method: str | None = None,
    ) -> Answer:
        """Send a request: GET, or POST with bytes or with an object that becomes JSON."""
        if content is not None and not isinstance(content, bytes):
            content = json.dumps(content).encode()
        request = urllib.request.Request(
            self.url + path, content, headers or {}, method=method or None
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return Answer(response.status, response.read(), dict(response.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), dict(error.headers))

    def stop(self) -> int:
        """Send SIGTERM, and return the exit status."""
        self.process.terminate()
        return self.process.wait(timeout=20)


@contextmanager
def running(*arguments: str, cwd: Path, **variables: str) -> Generator[RunningServer]:
    """Run ``triptych serve`` on a free port, until the end of the block."""
    command = (*commands.TRIPTYCH, "serve", *arguments)
    with started(*command, cwd=cwd, env=commands.environment(cwd, **variables)) as server:
        yield server


@contextmanager
def started(*command: str, cwd: Path, env: dict[str, str]) -> Generator[RunningServer]:
    """Run a command of this Python that serves, on a free port, until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, *command, "--port", "0"],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    line = process.stdout.readline()
    if not line.startswith("Serving at "):
        process.wait(timeout=20)
        raise AssertionError(f"no server: {line!r}, {process.stderr.read()}")
    server = RunningServer(process, line.split()[2].rstrip(","))
    reader = threading.Thread(target=lambda: server.errors.extend(process.stderr or ()))
    reader.start()
    try:
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join(timeout=5)
        process.stdout.close()
        process.stderr.close()
