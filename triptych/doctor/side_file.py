"""What a side is read from: the user's code, a run folder of Triptych, or an ONNX file."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import registry
from ..errors import EngineError
from .frameworks.adapter import ModelError
from .model_file import ModelFile, Parts

if TYPE_CHECKING:
    from ..training.trained import TrainedRun


@dataclass(frozen=True)
class RunFolder:
    """A run folder, or a state file of one.

    Attributes
    ----------
    path : Path
        The folder or file.
    engine : str
        Which engine computes; empty for that of the run.
    """

    path: Path
    engine: str = ""

    def run(self) -> Parts:
        """Read the run and return what makes the model.

        Raises
        ------
        TriptychError
            If there is no such run, or it is damaged.
        """
        from ..training.trained import TrainedRun

        run = TrainedRun.read(self.path)
        return Parts(self.path, lambda: trained_model(run, self.engine))

    def to_json(self) -> dict[str, str]:
        """Return plain values; see `from_json`."""
        return {"kind": "run", "path": str(self.path), "part": self.engine}


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file.

    Attributes
    ----------
    path : Path
        The file.
    """

    path: Path

    def run(self) -> Parts:
        """Read the file and return what makes the model.

        Raises
        ------
        TriptychError
            If it is damaged, or has what is not read; or a package is missing.
        """
        missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
        if missing:
            raise ModelError(
                f"{self.path}: {missing[0]} is not installed: pip install {missing[0]}"
            )
        from .frameworks.onnx.reading import read

        model = read(self.path)
        return Parts(self.path, lambda: model)

    def to_json(self) -> dict[str, str]:
        """Return plain values; see `from_json`."""
        return {"kind": "onnx", "path": str(self.path), "part": ""}


REFERENCE = "numpy"  # the engine where a run does not tell its own

SideFile = ModelFile | RunFolder | OnnxFile


def from_json(values: dict[str, Any]) -> SideFile:
    """Return the file that `to_json` has described."""
    path = Path(values["path"])
    if values["kind"] == "run":
        return RunFolder(path, values["part"])
    if values["kind"] == "onnx":
        return OnnxFile(path)
    return ModelFile(path, values["part"])


def trained_model(run: "TrainedRun", engine: str = "") -> dict[str, Any]:
    """Return the parts of a side that is a trained network.

    Parameters
    ----------
    run : TrainedRun
        The network.
    engine : str
        Which engine computes; empty for that of the run.
    """
    from .frameworks.network.adapter import Trained

    return {"model": Trained(run, engine or run.engine or REFERENCE)}


def parse(text: str) -> SideFile:
    """Return what a text names.

    ``FILE.py``, ``FILE.py:FUNCTION``, ``RUN``, ``RUN:ENGINE`` or ``FILE.onnx``.

    Raises
    ------
    ModelError
        If there is no such file or folder, or no such engine.
    """
    if Path(text).suffix == ".onnx" and Path(text).is_file():
        return OnnxFile(Path(text))
    if _may_be_run(Path(text)):
        return RunFolder(Path(text))
    name, colon, engine = text.rpartition(":")
    if colon and _may_be_run(Path(name)):
        try:
            registry.entry(engine)
        except EngineError as error:
            raise ModelError(f"{text}: {error}") from None
        return RunFolder(Path(name), engine)
    return ModelFile.parse(text)


def _may_be_run(path: Path) -> bool:
    """Return whether a path is that of a run folder or state file, as far as names tell."""
    return path.is_dir() or (path.suffix == ".safetensors" and path.is_file())
