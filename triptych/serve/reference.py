"""The reference engine in the place of ONNX Runtime."""

from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import registry
from ..core.split import Split
from ..core.state import cast
from ..training.trained import TrainedRun
from .reader import describe


class ReferenceRuntime:
    """A network in the reference engine; one request is computed at a time.

    Parameters
    ----------
    path : Path
        The run.

    Raises
    ------
    TriptychError
        If it cannot be read.
    """

    platform = "triptych"

    def __init__(self, path: Path) -> None:
        run = TrainedRun.read(path)
        name = registry.REFERENCE
        self.description = describe(run)
        self.label = f"{registry.entry(name).label} {np.__version__}"
        recipe = replace(run.recipe, dtype="float32")
        self._engine = registry.create(name, run.network, recipe)
        self._engine.load(cast(run.state, "float32"))
        self._lock = Lock()

    def logits(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Return the logits of images."""
        unlabelled = Split(images, np.zeros(len(images), np.int32))
        with self._lock:
            return self._engine.logits(self._engine.upload(unlabelled))
