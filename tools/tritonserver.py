"""Install NVIDIA's Triton Inference Server for the tests that compare ``triptych serve`` with it.

    python tools/tritonserver.py

The wheel of PyTriton holds the server for Linux on x86-64, and its Python backend. It is installed
with ONNX Runtime of the version that is installed here, in an environment of its own in
``.certify/``, because it needs an older NumPy. Half a gigabyte.
"""

import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / ".certify" / "tritonserver"
PACKAGES = ("nvidia-pytriton==0.7.0", f"onnxruntime=={version('onnxruntime')}")


def main() -> int:
    """Install it; return the exit status."""
    venv.create(FOLDER, clear=True, with_pip=True)
    command = [FOLDER / "bin" / "python", "-m", "pip", "install", "--quiet", *PACKAGES]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
