"""Splits and datasets: pixels or numbers, and labels, with digests."""

from dataclasses import asdict, dataclass
from functools import cached_property
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.split import Split
from ..errors import DataError, counted, one_line
from .published import DIGITS
from .reading import PLAIN

IMAGES_FOR_BOX = 1000


@dataclass(frozen=True)
class Standardised:
    """How the columns of a table were brought to a mean of 0 and a deviation of 1.

    Attributes
    ----------
    names : tuple of str
        Of the columns.
    mean, deviation : ndarray of float64, shape (features,)
        Of the training split. The deviation of a constant column counts as 1.
    lowest, highest : float
        The range of all training values before.
    """

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    lowest: float
    highest: float

    @classmethod
    def by(cls, train: Split, names: tuple[str, ...], source: str) -> "Standardised":
        """Take mean and deviation of a training split, float64 of shape (n, 1, 1, features).

        Raises
        ------
        DataError
            Naming `source` and the column whose numbers are too large or too close to each other.
        """
        table = train.images.reshape(len(train), -1)
        lowest = table.min(axis=0)
        highest = table.max(axis=0)
        constant = lowest == highest
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.where(constant, lowest, table.mean(axis=0))
            deviation = np.where(constant, 1.0, table.std(axis=0))
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and deviation.all()):
            is_good = np.isfinite(mean) & np.isfinite(deviation) & (deviation != 0)
            at = int(np.argmin(is_good))
            numbers = f"its numbers, {lowest[at]:g} to {highest[at]:g}"
            raise DataError(
                f"{source}: column {one_line(names[at], 40)!r}: {numbers}, "
                "have no mean or deviation in float64; scale them"
            )
        return cls(names, mean, deviation, float(lowest.min()), float(highest.max()))

    @classmethod
    def from_json(cls, data: Any) -> "Standardised":
        """Read what `describe` returned; the range of the training values is not in it.

        Raises
        ------
        DataError
            If the three lists are not of one length, or a number is not finite.
        """
        names = tuple(map(str, data["names"]))
        mean = np.array(data["mean"], np.float64)
        deviation = np.array(data["deviation"], np.float64)
        if not mean.shape == deviation.shape == (len(names),):
            raise DataError("names, means and deviations of its columns are not as many")
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and deviation.all()):
            raise DataError("a mean or deviation of its columns is not finite, or 0")
        return cls(names, mean, deviation, nan, nan)

    def standardise(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return (x - mean) / deviation for each column; the columns are the last axis."""
        return (rows - self.mean) / self.deviation

    def applied(self, split: Split) -> Split:
        """Return a split with standardised rows."""
        return Split(self.standardise(split.images), split.labels)

    def describe(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "names": list(self.names),
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
        }


@dataclass(frozen=True)
class PixelFacts:
    """What a person, or a program that reads drawings, must know of the training images.

    Attributes
    ----------
    shape : tuple of int
        (h, w, c).
    count : int
        How many images were looked at.
    are_bytes : bool
        Whether pixels are whole numbers from 0 to 255.
    lowest, highest, mean : float
        Of all pixels.
    limits : list of float
        As of `pixel_range`.
    blank : int
        How many images have the same value everywhere.
    border : float
        As of `border_mean`.
    box : int
        As of `box_of`.
    """

    shape: tuple[int, ...]
    count: int
    are_bytes: bool
    lowest: float
    highest: float
    mean: float
    limits: list[float]
    blank: int
    border: float
    box: int

    @classmethod
    def of(cls, images: NDArray[Any]) -> "PixelFacts":
        """Look at images, uint8 or floats of shape (n, h, w, c)."""
        rows = images.reshape(len(images), -1)
        return cls(
            shape=images.shape[1:],
            count=len(images),
            are_bytes=images.dtype == np.uint8,
            lowest=float(images.min()),
            highest=float(images.max()),
            mean=float(images.mean()),
            limits=pixel_range(images),
            blank=int((rows.max(axis=1) == rows.min(axis=1)).sum()),
            border=border_mean(images),
            box=box_of(images),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the facts as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "PixelFacts":
        """Read what `to_json` wrote."""
        values: dict[str, Any] = data | {"shape": tuple(data["shape"])}
        return cls(**values)


@dataclass(frozen=True)
class Origin:
    """How a data set was loaded, so that it can be loaded again.

    Attributes
    ----------
    source : str
        The name or path that `triptych.data.loading.load` was given.
    reading : dict
        The options that it was given, as JSON.
    """

    source: str
    reading: dict[str, Any]


@dataclass(frozen=True)
class Dataset:
    """A training and a test split.

    Attributes
    ----------
    name : str
        What to call it in a table.
    source : str
        Where it came from, for a person.
    train, test : Split
    classes : tuple of str
        What the labels 0, 1, 2 … stand for.
    left_out : tuple of str
        Which images could not be read, and why: a line each.
    notes : tuple of str
        What a person should know of how the data was read.
    warnings : tuple of str
        What is probably wrong with the data, and what to do about it.
    table : Standardised, optional
        Where the samples are rows of a table and not images.
    origin : Origin, optional
        How it was loaded; None for a data set that was made from arrays.
    known : PixelFacts, optional
        Of images that are not in memory.
    """

    name: str
    source: str
    train: Split
    test: Split
    classes: tuple[str, ...] = DIGITS
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    table: Standardised | None = None
    origin: Origin | None = None
    known: PixelFacts | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample: of an image (h, w, c), of a row of a table (1, 1, features)."""
        return self.known.shape if self.known else self.train.images.shape[1:]

    @cached_property
    def facts(self) -> PixelFacts:
        """What is known of the training images; they are looked at once."""
        return self.known or PixelFacts.of(self.train.images)

    def describe(self) -> dict[str, Any]:
        """Return what a result must say about its data, as JSON."""
        if self.table is None:
            of_kind: dict[str, Any] = {
                "border": self.facts.border,
                "pixels": self.facts.limits,
                "box": self.facts.box,
            }
        else:
            of_kind = {"standardised": self.table.describe()}
        if self.known is not None:
            order = self.train.order
            of_kind["streamed"] = {"window": order.window if order else len(self.train)}
        return {
            "name": self.name,
            "source": self.source,
            "train": len(self.train),
            "test": len(self.test),
            "left_out": len(self.left_out),
            "classes": len(self.classes),
            "class_names": list(self.classes),
            "image": list(self.shape),
            "train_sha256": self.train.digest,
            "test_sha256": self.test.digest,
            "notes": [*self.notes, *self.warnings],
        } | of_kind

    def provenance(self) -> dict[str, Any]:
        """Return what a state records of its data, to describe it and to load it again, as JSON."""
        origin = self.origin or Origin("", PLAIN.to_json())
        return {"data": self.describe(), "source": origin.source, "reading": origin.reading}

    def summary(self) -> str:
        """Return lines for a person: which data it is, how it was read, and what is in it."""
        counts = f"{len(self.train):,} training and {len(self.test):,} test {self._samples()}"
        line = f"Data: {self.name}, {counts}, {len(self.classes)} classes ({self.source})."
        if self.left_out:
            verb = "is" if len(self.left_out) == 1 else "are"
            line += f" {len(self.left_out):,} more cannot be read, and {verb} left out."
        if self.name in ("digits", "mnist_test"):
            line += " For the whole of MNIST: triptych data fetch mnist"
        if self.notes:
            line += f"\n  As read: {'; '.join(self.notes)}."
        line += f"\n  In it: {self.plausibility()}."
        for warning in self.warnings:
            line += f"\n  Warning: {warning}."
        return line

    @property
    def kind(self) -> str:
        """What one sample is, in the plural: ``images``, or ``rows`` of a table."""
        return "images" if self.table is None else "rows"

    def _samples(self) -> str:
        """Return what the samples are, and their size."""
        height, width, channels = self.shape
        if self.table is not None:
            features = counted(channels, "feature")
            return f"rows of {features}, standardised by the training rows"
        size = f"{height}×{width}"
        if channels > 1:
            size += f"×{channels}"
        return f"images of {size}"

    def plausibility(self) -> str:
        """Return one line from which a person sees whether the data was read rightly.

        It contains the range and the mean of the training values, the share of samples that have
        one value everywhere, and the sizes of the smallest and the largest class.
        """
        if self.table is None:
            values = self._range_of_pixels()
        else:
            values = self._range_of_table(self.table)
        return f"{values}; {self._class_sizes()}"

    def _range_of_pixels(self) -> str:
        """Return the range and mean of the training pixels, and how many images are blank."""
        facts = self.facts
        limits = f"{facts.lowest:.4g} to {facts.highest:.4g}"
        if facts.are_bytes and facts.highest < 255:
            limits += " of 255"
        return f"pixels {limits}, mean {facts.mean:.4g}; {self._blank()}"

    def _range_of_table(self, table: Standardised) -> str:
        """Return the range and mean of the training numbers, and how many columns are constant."""
        mean = float(table.mean.mean())
        text = f"numbers {table.lowest:.4g} to {table.highest:.4g} as written, mean {mean:.4g}"
        constant = int((self.train.images == 0).all(axis=0).sum())
        if not constant:
            return text
        return f"{text} ({counted(constant, 'constant column')})"

    def _class_sizes(self) -> str:
        """Return how many training samples the smallest and the largest class have."""
        counts = np.bincount(self.train.labels, minlength=len(self.classes))
        small = int(counts.argmin())
        large = int(counts.argmax())
        if counts[small] == counts[large]:
            return f"{counts[small]:,} training samples of every class"
        sizes = f"{self._size(counts, small)} to {self._size(counts, large)}"
        return f"training samples of a class: {sizes}"

    def _size(self, counts: NDArray[np.intp], label: int) -> str:
        return f"{counts[label]:,} ({one_line(self.classes[label], 24)})"

    def _blank(self) -> str:
        """Return how many training images have the same value everywhere."""
        blank = self.facts.blank
        if not blank:
            return "no image is blank"
        if blank == self.facts.count:
            return "every image is blank"
        return f"{blank:,} images are blank ({100 * blank / self.facts.count:.2g} %)"


def pixel_range(images: NDArray[Any]) -> list[float]:
    """Return the smallest and the largest pixel that a network is given: 0 and 1, or beyond.

    Parameters
    ----------
    images : ndarray of uint8 or floats, shape (n, h, w, c)
        Bytes are divided by 255.
    """
    if images.dtype.kind != "f":
        return [0.0, 1.0]
    return [min(0.0, float(images.min())), max(1.0, float(images.max()))]


def border_mean(images: NDArray[Any]) -> float:
    """Return the mean of the outermost pixels of images, from 0 to 255.

    It tells light shapes on a dark ground from dark shapes on a light one.

    Parameters
    ----------
    images : ndarray of uint8 or floats from 0 to 1, shape (n, h, w, c)
    """
    total, count = border_sum(images)
    mean = total / count
    return round(mean * 255 if images.dtype.kind == "f" else mean, 2)


def border_sum(images: NDArray[Any]) -> tuple[float, int]:
    """Return the sum of the outermost pixels of images (n, h, w, c), and their number."""
    rows = images[:, [0, -1]]
    columns = images[:, 1:-1, [0, -1]]
    total = float(rows.sum(dtype=np.float64)) + float(columns.sum(dtype=np.float64))
    return total, rows.size + columns.size


def box_of(images: NDArray[Any]) -> int:
    """Return the pixels of the box into which drawings are scaled: 20 for MNIST.

    It is the longer side of the area with ink, the median of at most 1,000 training images.

    Parameters
    ----------
    images : ndarray of uint8 or floats, shape (n, h, w, c)
        Pixels without ink are 0.
    """
    step = -(-len(images) // IMAGES_FOR_BOX)
    ink = np.any(images[::step] != 0, axis=3)
    sides = np.maximum(_extents(np.any(ink, axis=2)), _extents(np.any(ink, axis=1)))
    return max(1, int(np.median(sides)))


def _extents(lines: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the distance from the first to the last true value of each row, both included."""
    last = lines.shape[1] - lines[:, ::-1].argmax(axis=1)
    return np.where(lines.any(axis=1), last - lines.argmax(axis=1), 0)
