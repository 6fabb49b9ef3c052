"""The models that are served: by name and version, loaded again when their files change."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.probabilities import softmax
from ..errors import TriptychError
from .errors import RequestError
from .inputs import Input, inputs_of
from .reading import Description, FileVersion, RunReader, file_version, reading
from .runtimes import Floats, Runtime, make_runtime
from .settings import ModelSource, check_name

LOGITS = "logits"
PROBABILITIES = "probabilities"
OUTPUTS = (LOGITS, PROBABILITIES)


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its weights, ready to compute. It never changes.

    Attributes
    ----------
    runtime : Runtime
        What computes its logits.
    inputs : dict of str to Input
        What a request may hold, by name. The first one is what the network computes with.
    """

    runtime: Runtime
    inputs: dict[str, Input]

    @property
    def network(self) -> Description:
        """What is known of the network."""
        return self.runtime.description

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
    reader : RunReader
        Reads it next.

    Raises
    ------
    TriptychError
        If there is no state, or it is damaged, or its name cannot be part of a URL.
    """

    def __init__(self, source: ModelSource, reader: RunReader) -> None:
        self.source = source
        self._files: dict[Path, FileVersion] = {}
        self.loaded = self._load(reader)
        self.problem: str | None = None  # why the newest files are not what is served
        self.name = source.name or self.loaded.network.name
        self.version = 1
        check_name(self.name, source.path)

    def reload(self) -> bool:
        """Load the files again if they have changed; return whether they have.

        The new network replaces the old one only after it was loaded and tried. If that fails,
        the old one stays, and `problem` says why.
        """
        files = {path: file_version(path) for path in self._files}
        if files == self._files:
            return False
        self._files = files
        try:
            with reading([self.source]) as reader:
                self.loaded = self._load(reader)
            self.problem = None
        except TriptychError as error:
            self.problem = str(error)
        return True

    def _load(self, reader: RunReader) -> LoadedNetwork:
        """Load what the reader reads next; raise `TriptychError` if that is impossible."""
        run = reader.read()
        self._files = run.files
        runtime = make_runtime(self.source.path, run)
        return LoadedNetwork(runtime, inputs_of(runtime.description))

    def describe(self) -> dict[str, Any]:
        """Return what a person wants to know, as JSON."""
        network = self.loaded.network
        described: dict[str, Any] = {
            "version": str(self.version),
            "state": "AVAILABLE",
            "network": network.architecture,
            "input_shape": list(network.input_shape),
            "classes": network.class_names,
            "parameters": network.parameters,
            "runtime": self.loaded.runtime.label,
            "run": self.source.path.resolve().name,
            "sha256": network.sha256,
        }
        if network.box:
            described["box"] = network.box
        if network.standardised:
            described["standardised"] = network.standardised
        if self.problem:
            described["problem"] = self.problem
        return described


class ModelRepository:
    """All models by name, each with its versions in ascending order.

    Parameters
    ----------
    sources : sequence of ModelSource
        What is served.
    reader : RunReader
        Reads them in this order.

    Raises
    ------
    TriptychError
        If one of them cannot be loaded.
    """

    def __init__(self, sources: tuple[ModelSource, ...], reader: RunReader) -> None:
        self.models: dict[str, list[ServedModel]] = {}
        for source in sources:
            model = ServedModel(source, reader)
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
