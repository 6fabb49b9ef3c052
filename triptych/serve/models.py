"""The models that are served: by name and version, loaded again when their files change."""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TriptychError
from ..spec.network import Network
from ..training.checkpoint import STATE
from ..training.inference import softmax
from ..training.trained import TrainedRun
from .errors import RequestError
from .inputs import Input, inputs_of
from .runtimes import Floats, Runtime, make_runtime
from .settings import ModelSource, check_name

LOGITS = "logits"
PROBABILITIES = "probabilities"
OUTPUTS = (LOGITS, PROBABILITIES)

# What identifies the content of a file without reading it; None of a file that is not there.
FileVersion = tuple[int, int, int] | None


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its weights, ready to compute. It never changes.

    Attributes
    ----------
    network : Network
        What was trained.
    inputs : dict of str to Input
        What a request may hold, by name. The first one is what the network computes with.
    runtime : Runtime
        What computes its logits.
    sha256 : str
        The digest of the state file.
    class_names : list of str
        What the classes are called.
    standardised : dict or None
        Of a network for rows of a table: with which numbers they must be standardised.
    """

    network: Network
    inputs: dict[str, Input]
    runtime: Runtime
    sha256: str
    class_names: list[str]
    standardised: dict[str, Any] | None

    def predict(self, images: Floats) -> dict[str, Floats]:
        """Return ``logits`` and ``probabilities`` of images (n, h, w, c), each (n, classes).

        Raises
        ------
        RequestError
            400 if a logit is not finite, which JSON could not express.
        """
        logits = self.runtime.logits(images)
        if not np.isfinite(logits).all():
            raise RequestError(400, "the logits of these images are too large for float32")
        return {LOGITS: logits, PROBABILITIES: softmax(logits)}


class ServedModel:
    """A version of a model: the network that is loaded now, and the files it comes from.

    Parameters
    ----------
    source : ModelSource
        What is served.

    Raises
    ------
    TriptychError
        If there is no state, or it is damaged, or its name cannot be part of a URL.
    """

    def __init__(self, source: ModelSource) -> None:
        self.path = source.path
        self._files = _file_versions(source.path)
        self.loaded = load(source.path)
        self.problem: str | None = None  # why the newest files are not what is served
        self.name = source.name or self.loaded.network.name
        self.version = 1
        check_name(self.name, source.path)

    def reload(self) -> bool:
        """Load the files again if they have changed; return whether they have.

        The new network replaces the old one only after it was loaded and tried. If that fails,
        the old one stays, and `problem` says why.
        """
        files = _file_versions(self.path)
        if files == self._files:
            return False
        self._files = files
        try:
            self.loaded = load(self.path)
            self.problem = None
        except TriptychError as error:
            self.problem = str(error)
        return True

    def describe(self) -> dict[str, Any]:
        """Return what a person wants to know, as JSON."""
        network = self.loaded.network
        described: dict[str, Any] = {
            "version": str(self.version),
            "state": "AVAILABLE",
            "network": network.architecture,
            "input_shape": list(network.input_shape),
            "classes": self.loaded.class_names,
            "parameters": network.parameter_count,
            "runtime": self.loaded.runtime.label,
            "run": self.path.resolve().name,
            "sha256": self.loaded.sha256,
        }
        if self.loaded.standardised:
            described["standardised"] = self.loaded.standardised
        if self.problem:
            described["problem"] = self.problem
        return described


def load(path: Path) -> LoadedNetwork:
    """Read a run and load its network.

    Raises
    ------
    TriptychError
        If there is no state, or it is damaged.
    """
    run = TrainedRun.read(path)
    try:
        runtime = make_runtime(run)
    except TriptychError as error:
        raise TriptychError(f"{path}: {error}") from error
    standardised = run.data["standardised"] if run.standardised else None
    return LoadedNetwork(
        network=run.network,
        inputs=inputs_of(run),
        runtime=runtime,
        sha256=run.sha256,
        class_names=run.classes,
        standardised=standardised,
    )


def _file_versions(path: Path) -> tuple[FileVersion, ...]:
    """Return what changes when one of the files changes that a run is read from."""
    folders = (path, path / "last", path / "best")
    return tuple(map(_file_version, (path, *(folder / STATE for folder in folders))))


def _file_version(path: Path) -> FileVersion:
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None  # the time of a folder does not depend on what its files hold
    return status.st_ino, status.st_mtime_ns, status.st_size


class ModelRepository:
    """All models by name, each with its versions in ascending order.

    Parameters
    ----------
    sources : sequence of ModelSource
        What is served.

    Raises
    ------
    TriptychError
        If one of them cannot be loaded.
    """

    def __init__(self, sources: tuple[ModelSource, ...]) -> None:
        self.models: dict[str, list[ServedModel]] = {}
        for source in sources:
            model = ServedModel(source)
            versions = self.models.setdefault(model.name, [])
            versions.append(model)
            model.version = len(versions)

    @property
    def every_version(self) -> list[ServedModel]:
        """Each version of each model."""
        return [model for versions in self.models.values() for model in versions]

    def versions(self, name: str) -> list[ServedModel]:
        """Return all versions of a model; raise `RequestError` 404 if there is none."""
        if name not in self.models:
            names = ", ".join(self.models)
            raise RequestError(404, f"there is no model {name!r} here; served: {names}")
        return self.models[name]

    def find(self, name: str, version: str | None = None) -> ServedModel:
        """Return a version of a model.

        Parameters
        ----------
        name : str
            The model's name.
        version : str, optional
            A number; the latest by default, and for ``0``, which some clients send.

        Raises
        ------
        RequestError
            404 if there is no such model or version.
        """
        versions = self.versions(name)
        if version is None or version == "0":
            return versions[-1]
        for model in versions:
            if str(model.version) == version:
                return model
        raise RequestError(
            404, f"model {name!r} has no version {version!r}; it has 1 to {len(versions)}"
        )
