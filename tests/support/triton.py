"""NVIDIA's ``tritonserver``, as ``tools/tritonserver.py`` installs it.

The wheel holds the server and its Python backend, and not the one of ONNX Runtime. So the exported
``model.onnx`` is run by ONNX Runtime in the Python backend. All else of the exported repository is
read by Triton as it is.
"""

import os
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy, copytree

from support.commands import ROOT
from support.serving import RunningServer

INSTALLED = ROOT / ".certify" / "tritonserver"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = INSTALLED / "lib" / f"python{PYTHON}" / "site-packages"
SERVER = PACKAGES / "pytriton" / "tritonserver"
LIBRARIES = PACKAGES / "nvidia_pytriton.libs"
BINARY = SERVER / "bin" / "tritonserver"
STUB = "triton_python_backend_stub"  # the program in which a model of the Python backend runs
SECONDS_TO_START = 120
SECONDS_BETWEEN_LOOKS = 0.1
PLATFORM = 'platform: "onnxruntime_onnx"'
PYTHON_BACKEND = 'backend: "python"\ninstance_group [ { kind: KIND_CPU } ]'
MODEL = """\
from pathlib import Path

import onnxruntime
import triton_python_backend_utils as utils


class TritonPythonModel:
    def initialize(self, arguments):
        path = Path(arguments["model_repository"], arguments["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        images = utils.get_input_tensor_by_name(request, "images").as_numpy()
        (logits,) = self.session.run(["logits"], {"images": images})
        return utils.InferenceResponse([utils.Tensor("logits", logits)])
"""


def use_python_backend(repository: Path) -> None:
    """Change the one model of an exported repository so that the Python backend runs it."""
    (configuration,) = repository.glob("*/config.pbtxt")
    text = configuration.read_text()
    assert PLATFORM in text
    configuration.write_text(text.replace(PLATFORM, PYTHON_BACKEND))
    (configuration.parent / "1" / "model.py").write_text(MODEL)


@contextmanager
def running(repository: Path, folder: Path, port: int) -> Generator[RunningServer]:
    """Run Triton until the end of the block.

    Parameters
    ----------
    repository : Path
        The models.
    folder : Path
        For its backends, and for ``triton.log``, which gets what it prints.
    port : int
        A free port of this machine.
    """
    backends = folder / "backends"
    copytree(SERVER / "backends" / "python", backends / "python")
    copy(SERVER / "python_backend_stubs" / PYTHON / STUB, backends / "python")
    for program in (BINARY, backends / "python" / STUB):
        program.chmod(0o755)
    command = [
        BINARY,
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        "--http-address=127.0.0.1",
        f"--http-port={port}",
        "--allow-grpc=false",
        "--allow-metrics=false",
    ]
    log = folder / "triton.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=_environment(), stdout=output, stderr=subprocess.STDOUT, text=True
        )
        try:
            server = RunningServer(process, f"http://127.0.0.1:{port}")
            _wait_until_ready(server, log)
            yield server
        finally:
            process.terminate()
            process.wait(timeout=60)


def _environment() -> dict[str, str]:
    """Return the variables by which the Python backend runs in Triton's own environment."""
    libraries = [sysconfig.get_config_var("LIBDIR"), str(LIBRARIES)]
    path = [str(INSTALLED / "bin"), os.environ["PATH"]]
    return os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "PATH": os.pathsep.join(path),
    }


def _wait_until_ready(server: RunningServer, log: Path) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and server.process.poll() is None:
        try:
            urllib.request.urlopen(f"{server.url}/v2/health/ready", timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(SECONDS_BETWEEN_LOOKS)
    raise AssertionError(f"Triton did not start: {log.read_text()[-2000:]}")
