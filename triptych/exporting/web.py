"""A web page that runs the model in the browser: a folder for any static server, offline.

The page draws digits; a second page runs the test split and judges the result as
`triptych.exporting.verification` does. At export the same WebAssembly runs in Node.js, which npm
needs anyway.
"""

import json
import shutil
import subprocess
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ..core.files import to_json
from ..core.split import Split
from ..data.dataset import box_of
from ..errors import EngineError, TriptychError
from .model import Images, LoadedModel, Logits, TrainedModel
from .names import INPUT, OUTPUT
from .onnx import FILE, OnnxExporter
from .verification import BATCH_SIZES, Reference
from .web_runtime import WebRuntime

ASSETS = Path(__file__).parent / "assets"
PAGE = (
    "index.html",
    "verify.html",
    "base.css",
    "style.css",
    "drawing.js",
    "model.js",
    "index.js",
    "verify.js",
)
NODE_SCRIPT = ASSETS / "run_in_node.mjs"
RUNTIME = "runtime"  # a folder of the export
TEST = "test"  # and another one, with the test split
PAGE_DESCRIPTION = "page.json"


class WebExporter(OnnxExporter):
    """Writes ``model.onnx``, to which `complete` adds the page; loads it in Node.js."""

    def load(self, folder: Path) -> LoadedModel:
        """Load the model with the runtime in the folder."""
        return WebModel(folder)


class WebModel:
    """A model in onnxruntime-web, in Node.js.

    Parameters
    ----------
    folder : Path
        The export.
    """

    def __init__(self, folder: Path) -> None:
        self._classes: int = _read_page(folder)["classes"]
        self._process = subprocess.Popen(
            [node(), NODE_SCRIPT, folder / RUNTIME, folder / FILE, INPUT, OUTPUT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        weakref.finalize(self, _end, self._process)
        assert self._process.stdout
        self.version = self._process.stdout.readline().decode().strip()

    def logits(self, images: Images) -> Logits:
        """Return the logits of a batch, shape (n, classes)."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(np.array(images.shape, "<u4").tobytes())
        self._process.stdin.write(np.ascontiguousarray(images, "<f4").tobytes())
        self._process.stdin.flush()
        size = 4 * len(images) * self._classes
        answer = self._process.stdout.read(size)
        if len(answer) != size:
            raise TriptychError("Node.js has ended before it returned the logits")
        return np.frombuffer(answer, "<f4").reshape(len(images), self._classes)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End Node.js, which stops at the end of its input."""
    process.communicate()


def node() -> str:
    """Return the path of Node.js.

    Raises
    ------
    EngineError
        If it is not installed.
    """
    path = shutil.which("node")
    if path is None:
        raise EngineError(
            "the verification of a web page needs Node.js, which is not installed: "
            "https://nodejs.org, or apt install nodejs npm"
        )
    return path


def find_runtime(given: Path | None) -> WebRuntime:
    """Return the runtime that pages are given; see `WebRuntime.find`.

    Raises
    ------
    TriptychError
        If it is missing, or Node.js is.
    """
    node()
    return WebRuntime.find(given, Path.cwd())


def complete(
    folder: Path, model: TrainedModel, reference: Reference, test: Split, runtime: WebRuntime
) -> None:
    """Add the page, the runtime and the test split to an exported model.

    Parameters
    ----------
    folder : Path
        What `WebExporter` wrote.
    model : TrainedModel
        What was exported.
    reference : Reference
        What the verification page compares with.
    test : Split
        The test split.
    runtime : WebRuntime
        The runtime that is copied.

    Raises
    ------
    OSError
        If a file cannot be written.
    TriptychError
        If the runtime is incomplete.
    """
    for name in PAGE:
        shutil.copyfile(ASSETS / name, folder / name)
    runtime.copy(folder / RUNTIME)
    is_bytes = test.images.dtype == np.uint8
    images = test.images if is_bytes else test.images.astype("<f4")
    (folder / TEST).mkdir()
    (folder / TEST / "images.bin").write_bytes(np.ascontiguousarray(images).tobytes())
    (folder / TEST / "labels.bin").write_bytes(test.labels.astype("<i4").tobytes())
    (folder / TEST / "logits.bin").write_bytes(reference.logits.astype("<f8").tobytes())
    rows, columns, channels = model.network.input_shape
    page = {
        "network": model.network.name,
        "shape": model.network.input_shape,
        "classes": model.network.classes,
        "names": model.classes,
        "draws": channels == 1 and min(rows, columns) > 1,
        "box": box_of(model.calibration),
        "pixels": "uint8" if is_bytes else "float32",
        "samples": len(test),
        "bound": reference.bound,
        "batch_sizes": BATCH_SIZES,
        "input": INPUT,
        "output": OUTPUT,
    }
    (folder / PAGE_DESCRIPTION).write_text(to_json(page, indent=1) + "\n", encoding="utf-8")


def _read_page(folder: Path) -> dict[str, Any]:
    """Return what `complete` wrote of the page."""
    return json.loads((folder / PAGE_DESCRIPTION).read_text(encoding="utf-8"))
