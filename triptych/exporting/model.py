"""What is exported, and what every exporter offers."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from typing import cast as cast_type

import numpy as np
from numpy.typing import NDArray

from ..core import registry
from ..core.engine import FrameworkEngine
from ..core.split import scaled
from ..core.state import State, cast
from ..data.dataset import Dataset
from ..spec.network import Network
from ..spec.recipe import Recipe

Images = NDArray[np.float32]
Logits = NDArray[Any]

CALIBRATION_IMAGES = 200  # of the training split, evenly spaced
JOINED = "+"  # between the names of layers that a runtime computes as one


@dataclass(frozen=True)
class TrainedModel:
    """A trained network in float32, as it is exported.

    Attributes
    ----------
    network : Network
        What was trained.
    recipe : Recipe
        How it was trained; its dtype is float32.
    state : dict of str to ndarray
        Weights, buffers and optimizer slots, in the canonical layout.
    engine : str
        The engine that trained it.
    sha256 : str
        The digest of the file that the state was read from; empty if it was read from none.
    calibration : ndarray of float32, shape (n, h, w, c)
        Training images, from which a quantized export learns the ranges of its numbers.
    classes : list of str
        What the classes are called.
    input : dict
        What a user has to do with images or rows before they are given to the model.
    """

    network: Network
    recipe: Recipe
    state: State
    engine: str
    sha256: str
    calibration: Images
    classes: list[str]
    input: dict[str, Any]

    @classmethod
    def of(
        cls,
        network: Network,
        recipe: Recipe,
        state: State,
        data: Dataset,
        *,
        engine: str | None,
        sha256: str = "",
    ) -> "TrainedModel":
        """Return the model of a state of any dtype.

        Parameters
        ----------
        network, recipe, state
            As in `TrainedModel`.
        data : Dataset
            What it was trained with.
        engine : str, optional
            The engine that trained it; by default the reference.
        sha256 : str
            The digest of the state file.

        Raises
        ------
        SpecError
            If the data does not fit the network.
        """
        network.check_fits(data.shape, len(data.classes))
        images = data.train.images
        chosen = np.linspace(0, len(images) - 1, min(CALIBRATION_IMAGES, len(images)), dtype=int)
        if data.table is None:
            preparation: dict[str, Any] = {"pixels": "0 to 1: bytes divided by 255"}
        else:
            preparation = {"standardised": data.table.describe()}
        return cls(
            network=network,
            recipe=replace(recipe, dtype="float32"),
            state=cast(state, "float32"),
            engine=engine or registry.REFERENCE,
            sha256=sha256,
            calibration=scaled(images[chosen], "float32"),
            classes=list(data.classes),
            input=preparation,
        )


def native_model(engine: str, model: TrainedModel) -> Any:
    """Return a network as the model of an engine's framework, in evaluation mode.

    Parameters
    ----------
    engine : str
        The name of an engine with a framework.
    model : TrainedModel
        What is exported.
    """
    built = cast_type(FrameworkEngine, registry.create(engine, model.network, model.recipe))
    built.load(model.state)
    return built.native_model()


class LoadedModel(Protocol):
    """An exported model in its runtime."""

    version: str  # of the runtime

    def logits(self, images: Images) -> Logits:
        """Return the logits of a batch, shape (n, classes)."""
        ...


class LayeredModel(LoadedModel, Protocol):
    """An exported model in a runtime that shows the outputs of layers."""

    def layer_outputs(self, images: Images, layers: list[str]) -> State:
        """Return the outputs of the layers that the runtime shows.

        Parameters
        ----------
        images : ndarray of float32, shape (n, h, w, c)
            The input.
        layers : list of str
            The names of the network's layers, in the order of computation.

        Returns
        -------
        dict of str to ndarray
            By the name of the layer; of layers that the runtime computes as one, by their names
            with ``+`` between them. Images are (n, h, w, channels).
        """
        ...


class Exporter(Protocol):
    """What a target needs: a function that writes a model, and one that loads it again."""

    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write the model into an empty folder."""
        ...

    def load(self, folder: Path) -> LoadedModel:
        """Load what `write` wrote with the target's own runtime."""
        ...
