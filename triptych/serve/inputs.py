"""What a client sends a network: the numbers that it computes with, or what becomes them here."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..core.split import scaled
from ..data.dataset import Standardised
from ..exporting.names import INPUT
from .errors import RequestError
from .reading import Description
from .runtimes import Floats

# Names of the Open Inference Protocol.
FLOAT = "FP32"
DOUBLE = "FP64"
BYTE = "UINT8"
DTYPES = {FLOAT: np.dtype("<f4"), DOUBLE: np.dtype("<f8"), BYTE: np.dtype("u1")}
ROWS = "rows"  # of a table, as they are in it
# How far pixels may be outside of those of the training, as a share of their range. Resampling
# with bicubic interpolation exceeds them by less; pixels from -1 to 1 or 0 to 255 by more.
EXCESS = 0.25


@dataclass(frozen=True)
class Input(ABC):
    """A tensor that clients send.

    Attributes
    ----------
    shape : tuple of int
        Of one sample.
    name : str
        What clients call it.
    datatypes : tuple of str
        Which ones it may have. Numbers of JSON that come without a datatype have the first one.
    """

    shape: tuple[int, ...]
    name: ClassVar[str]
    datatypes: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def wanted(self) -> str:
        """What it must be, for messages."""

    @property
    def limits(self) -> tuple[float, float] | None:
        """Between which numbers floats must be; None if any finite ones are taken."""
        return None

    @abstractmethod
    def prepare(self, samples: NDArray[Any]) -> Floats:
        """Return what the network takes of samples, shape (n, h, w, c).

        Parameters
        ----------
        samples : ndarray of one of the datatypes, n samples of the shape
            All numbers are finite.

        Raises
        ------
        RequestError
            400 if the network was not trained with such numbers.
        """


@dataclass(frozen=True)
class Images(Input):
    """Images: pixels as the network computes with them, or bytes.

    Attributes
    ----------
    pixels : tuple of two floats, or None
        The smallest and the largest pixel of the training; None if they are not known.
    """

    pixels: tuple[float, float] | None
    name: ClassVar[str] = INPUT
    datatypes: ClassVar[tuple[str, ...]] = (FLOAT, BYTE)

    @property
    def wanted(self) -> str:
        """What it must be, for messages."""
        return f"images of shape {_shape_text(self.shape)}"

    @property
    def limits(self) -> tuple[float, float] | None:
        """A range around the pixels of the training; None if they are not known."""
        if self.pixels is None:
            return None
        lowest, highest = self.pixels
        excess = EXCESS * (highest - lowest)
        return lowest - excess, highest + excess

    def prepare(self, samples: NDArray[Any]) -> Floats:
        """Return images in float32; bytes are divided by 255."""
        images = scaled(samples, "float32")
        if self.limits is not None:
            least = float(images.min())
            most = float(images.max())
            if least < self.limits[0]:
                self._refuse(least)
            if most > self.limits[1]:
                self._refuse(most)
        return images

    def _refuse(self, pixel: float) -> None:
        assert self.pixels is not None
        lowest, highest = self.pixels
        advice = "divide bytes by 255" if self.pixels == (0, 1) else "prepare them as these were"
        raise RequestError(
            400,
            f"{INPUT!r} holds {pixel:g}, but the pixels of the training are from {lowest:g} to "
            f"{highest:g}; {advice}",
        )


@dataclass(frozen=True)
class StandardisedRows(Input):
    """Rows of a table, standardised by the client."""

    name: ClassVar[str] = INPUT
    datatypes: ClassVar[tuple[str, ...]] = (FLOAT,)

    @property
    def wanted(self) -> str:
        """What it must be, for messages."""
        shape = _shape_text(self.shape)
        return f"standardised rows of shape {shape} (send others under the name {ROWS!r})"

    def prepare(self, samples: NDArray[Any]) -> Floats:
        """Return the rows."""
        return samples.astype(np.float32)


@dataclass(frozen=True)
class RawRows(Input):
    """Rows of a table as they are in it.

    Attributes
    ----------
    standardised : Standardised
        The mean and deviation of the training data, by which they are standardised.
    """

    standardised: Standardised
    name: ClassVar[str] = ROWS
    datatypes: ClassVar[tuple[str, ...]] = (DOUBLE, FLOAT)

    @property
    def wanted(self) -> str:
        """What it must be, for messages."""
        return f"rows of shape {_shape_text(self.shape)}"

    def prepare(self, samples: NDArray[Any]) -> Floats:
        """Return the rows standardised: in float64, as in the training, then in float32."""
        with np.errstate(over="ignore"):
            rows = self.standardised.standardise(samples).astype(np.float32)
        is_finite = np.isfinite(rows).all(axis=1)
        if not is_finite.all():
            raise RequestError(
                400,
                f"{ROWS!r}: row {int(np.argmin(is_finite)):,} (from 0) is too far from the mean "
                "of the training data to be standardised",
            )
        return rows.reshape(len(rows), 1, 1, -1)


def inputs_of(network: Description) -> dict[str, Input]:
    """Return by their names what a trained network takes; a request has one of them."""
    shape = network.input_shape
    if network.standardised is None:
        return {INPUT: Images(shape, network.pixels)}
    standardised = Standardised.from_json(network.standardised)
    rows = RawRows((len(standardised.names),), standardised)
    return {INPUT: StandardisedRows(shape), ROWS: rows}


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"(n, {', '.join(map(str, shape))})"
