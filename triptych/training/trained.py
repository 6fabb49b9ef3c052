"""A trained network from a run folder, with what is needed to use it: its engine and its data."""

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from ..core import files
from ..core.state import State
from ..data.dataset import Dataset, Standardised
from ..data.reading import Options
from ..errors import TriptychError
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..spec.validation import is_number, is_whole
from .saved import read_trained


@dataclass(frozen=True)
class TrainedRun:
    """A trained network, and where it came from.

    Attributes
    ----------
    path : Path
        What was read: a run folder, a folder of it with a state, or a state file.
    network : Network
        What was trained.
    recipe : Recipe
        How it was trained.
    state : dict of str to ndarray
        Weights, buffers and optimizer slots, in the canonical layout.
    sha256 : str
        The digest of the state file.
    engine : str or None
        The engine that trained it; None if the file does not say so.
    source : str or None
        The name or path of the data; None if the file does not say so.
    reading : Options
        The options with which the data was read.
    data : dict
        What `Dataset.describe` returned; may be empty.
    """

    path: Path
    network: Network
    recipe: Recipe
    state: State
    sha256: str
    engine: str | None
    source: str | None
    reading: Options
    data: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "TrainedRun":
        """Read the state that predictions are made with; see `read_trained`.

        Raises
        ------
        TriptychError
            If there is no such state, or it is damaged.
        """
        saved = read_trained(path)
        provenance = saved.provenance
        with files.refusing(path, "a state that triptych wrote"):
            data = provenance.get("data", {})
            if not isinstance(data, dict):
                raise TriptychError("its data is not an object")
            reading = Options()
            if "reading" in provenance:
                reading = Options.from_json(provenance["reading"])
        return cls(
            path=path,
            network=saved.network,
            recipe=saved.recipe,
            state=saved.state,
            sha256=saved.sha256,
            engine=_text(provenance.get("engine")),
            source=_text(provenance.get("source")),
            reading=reading,
            data=data,
        )

    @property
    def folder(self) -> Path:
        """The run folder, or the folder of the state file."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def classes(self) -> list[str]:
        """What the classes are called; by default their numbers."""
        if self.names_classes:
            return [str(name) for name in self.data["class_names"]]
        return [str(number) for number in range(self.network.classes)]

    @property
    def names_classes(self) -> bool:
        """Whether the names of the classes are recorded."""
        names = self.data.get("class_names")
        return isinstance(names, list) and len(names) == self.network.classes

    @property
    def is_table(self) -> bool:
        """Whether the network was trained with the rows of a table."""
        return "standardised" in self.data

    @property
    def standardised(self) -> Standardised | None:
        """How the columns of the training data were standardised; None for images.

        Raises
        ------
        TriptychError
            If what is recorded makes no sense.
        """
        if not self.is_table:
            return None
        with files.refusing(self.path, "a state that triptych wrote"):
            return Standardised.from_json(self.data["standardised"])

    @property
    def border(self) -> float | None:
        """The mean of the outermost pixels of the training images, 0 to 255; None if unknown."""
        border: Any = self.data.get("border")
        return float(border) if is_number(border) else None

    @property
    def pixels(self) -> tuple[float, float] | None:
        """The smallest and the largest pixel that the training gave the network, if known."""
        pixels: Any = self.data.get("pixels")
        if not isinstance(pixels, list) or len(pixels) != 2 or not all(map(is_number, pixels)):
            return None
        lowest, highest = map(float, pixels)
        return (lowest, highest) if 0 < highest - lowest < inf else None

    @property
    def box(self) -> int | None:
        """The pixels of the box into which a drawing is scaled; None if they are not known."""
        box: Any = self.data.get("box")
        return box if is_whole(box) and box > 0 else None

    def check_data(self, dataset: Dataset) -> None:
        """Raise `TriptychError` if the network cannot classify a data set's samples."""
        self.network.check_fits(dataset.shape, len(dataset.classes))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value and "\0" not in value else None
