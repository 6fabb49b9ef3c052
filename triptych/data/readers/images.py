"""Image files into one array: every size and colour settled, what cannot be read named or left out."""

import io
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.split import Split
from ...errors import DataError, one_line
from .. import checks
from ..checks import check_varied
from ..reading import Found, Options, Progress
from .content import CONVERT, HEAD_BYTES, JPEG, PNG, Content, content_of, read_head

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
FORMAT_NAMES = "PNG, JPEG, BMP, GIF, WebP, PPM or TIFF"
GREY = ("1", "L", "LA", "La")  # Pillow's modes of one colour channel
PALETTES = ("P", "PA")
PAGED = ("GIF", "TIFF", "PNG", "WEBP")  # formats whose files can hold several pictures
PHOTOMETRIC, DNG_VERSION = 262, 50706  # tags of TIFF
PIXELS = 2**24  # of one image, before it is scaled
EVERY = 50  # images between two reports of progress
LIMIT = (
    checks.LIMIT - 2**28
)  # bytes of the decoded images: one image and what decodes it come on top
MOST_LEFT_OUT = 100_000  # images that --skip-unreadable may leave out
DARK = 32  # the highest pixel of a set that is taken for a mistake in its range
CONTRAST = 64  # by which a shape must differ from its ground, of 255

# How the names of files end that this reader reads, in small letters.
ENDINGS_READ = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tif", ".tiff"),
)
# Cameras' raw files are TIFF files inside, whose first picture is a small preview.
RAW_PHOTOGRAPHS = (".nef", ".cr2", ".cr3", ".arw", ".dng", ".orf", ".pef", ".rw2", ".raf", ".srw")

SKIP = ", or leave such images out: --skip-unreadable"
MEND = "mend or remove it"
USUAL_BITS = (1, 8, 10, 12, 14)  # in use by masks, cameras and scanners that write 16


@dataclass(frozen=True)
class Missing:
    """A sample without an image: why, and what to do."""

    why: str
    remedy: str


# What to call it; the file, its content, nothing where there should be an image, or why there is none.
Sample = tuple[str, Path | bytes | Missing | None]


class _UnreadableError(Exception):
    """Why an image cannot be read, and what to do: `remedy`; `useful` where it must not be thrown away."""

    def __init__(self, why: str, remedy: str = MEND, useful: bool = False) -> None:
        super().__init__(why)
        self.remedy, self.useful = remedy, useful

    @property
    def advice(self) -> str:
        return self.remedy + ("" if self.useful else SKIP)


@dataclass(frozen=True)
class _Rules:
    """How pixels become whole numbers from 0 to 255, the same for every image of a set.

    Attributes
    ----------
    bits : int
        In use by images of 16 bits.
    ground : int, optional
        The grey, 0 or 255, on which an image is put whose shape is only in its transparency. Without it, transparency is dropped.
    """

    bits: int = 16
    ground: int | None = None


@dataclass
class _Seen:
    """What the images of a set turned out to be like, in one pass over them.

    Attributes
    ----------
    deep, highest : int
        Images of 16 bits and one channel, and the highest value in them.
    deep_colour, highest_colour : int
        Images of 16 bits and several channels, and the highest value in the upper 8 bits, which are all that Pillow gives.
    transparent, hidden : int
        Images of which some pixel is transparent; those of them of one colour, so that only transparency shows a shape.
    on_white, on_black : int
        The least contrast that a hidden shape has on either ground.
    pages : int
        Files with more than one picture.
    """

    deep: int = 0
    highest: int = 0
    deep_colour: int = 0
    highest_colour: int = 0
    transparent: int = 0
    hidden: int = 0
    on_white: int = 255
    on_black: int = 255
    pages: int = 0

    def rules(self, path: Path) -> _Rules:
        """Return how the set is to be read, or raise `DataError` where that is not certain."""
        return _Rules(self._bits(path), self._ground(path))

    def _bits(self, path: Path) -> int:
        name = one_line(path)
        if self.deep_colour and self.highest_colour < 64:
            raise DataError(
                f"{name}: colours of 16 bits of which only the lower are in use; save the images with 8 bits a channel, from 0 to 255"
            )
        used = self.highest.bit_length()
        if not self.highest or used >= 15:
            return 16
        if 1 < used < 8:
            raise DataError(
                f"{name}: images of 16 bits with no pixel over {self.highest}; save them with 8 bits, from 0 to 255"
            )
        return next(bits for bits in USUAL_BITS if bits >= used)

    def _ground(self, path: Path) -> int | None:
        if not self.hidden:
            return None
        if self.on_white >= CONTRAST:
            return 255
        if self.on_black >= CONTRAST:
            return 0
        raise DataError(
            f"{one_line(path)}: the shape of {self.hidden:,} images is only in their transparency, "
            "and some are light, some dark; put all on one ground and save them without transparency"
        )

    def notes(self, rules: _Rules) -> list[str]:
        """Return what was decided, for a person."""
        found: list[str] = []
        if self.hidden:
            ground = "white" if rules.ground else "black"
            found.append(
                f"{_images(self.hidden)} a shape only in the transparency: put on a {ground} ground"
            )
        if dropped := self.transparent - self.hidden:
            found.append(f"{_images(dropped)} transparent pixels: the transparency is dropped")
        if rules.bits < 16:
            highest = 2**rules.bits - 1
            use = "is in use" if rules.bits == 1 else "are in use"
            found.append(
                f"{_images(self.deep)} 16 bits a pixel, of which {rules.bits} {use}: 0 to {highest:,} become 0 to 255"
            )
        if self.pages:
            found.append(
                f"{_images(self.pages, 'file')} more than one picture: the first of each is read"
            )
        return found


def found(
    path: Path,
    samples: Callable[[], Iterable[Sample]],
    labels: NDArray[np.int32],
    training: int,
    classes: tuple[str, ...],
    options: Options,
    progress: Progress | None,
    notes: tuple[str, ...] = (),
) -> Found:
    """Decode samples and return them as splits.

    Parameters
    ----------
    path : Path
        What an error is about.
    samples : callable
        Gives the samples anew at each call, an iterable of (str, Path or bytes or Missing or None): they are
        read a second time where the whole set has shown that its pixels mean something else than usual.
    labels : ndarray of int32, shape (n,)
        In the order of `samples`.
    training : int
        How many of them, from the first, are for training; n where a test set is still to be split off.
    classes : tuple of str
    options : Options
    progress : callable, optional
    notes : tuple of str
        What is known about the set before it is decoded.

    Raises
    ------
    DataError
        Naming the first image that cannot be read or has another size, or the class that has too few.
    """
    name = one_line(path)
    seen = _Seen()
    images, kept, left_out = _decode(samples(), len(labels), options, progress, _Rules(), seen)
    n, labels = int(kept[:training].sum()), labels[kept]
    whole = training == len(kept)
    if not n or not (whole or len(labels) > n):
        raise DataError(f"{name}: no {'test' if n else 'training'} image is left; {left_out[0]}")
    rules = seen.rules(path)
    if rules != _Rules():
        del images
        images, kept, left_out = _decode(samples(), len(kept), options, progress, rules, _Seen())
    train, test = Split(images[:n], labels[:n]), Split(images[n:], labels[n:])
    check_varied(Path(name), train.labels, classes)
    counts = np.bincount(train.labels, minlength=len(classes))
    for label in np.unique(labels):
        if counts[label] < 1 + whole:
            enough = (
                "of which one could be set aside for testing; give at least 2"
                if whole
                else "but some in the test set"
            )
            raise DataError(
                f"{name}: class {classes[label]!r} has {counts[label] or 'no'} training image{'s' * (not whole)}, {enough}"
            )
    notes = (*notes, *seen.notes(rules), *_stretched(images), *_plausible(images))
    return Found(train, None if whole else test, classes, tuple(left_out), notes)


def _images(count: int, what: str = "image") -> str:
    return f"1 {what} has" if count == 1 else f"{count:,} {what}s have"


def _stretched(images: NDArray[np.uint8]) -> list[str]:
    """Multiply masks by 255, in place: a set of which every pixel is 0 or 1. Return a line where it was one."""
    if images[0].max() > 1 or images.max() != 1 or images.min() != 0:
        return []
    images *= 255
    return ["pixels 0 and 1 read as 0 and 255"]


def _plausible(images: NDArray[np.uint8]) -> list[str]:
    """Return a line where every pixel of every image has one colour, or all are nearly black."""
    first = images[0, 0, 0]
    if not (images[0] != first).any() and not (images != first).any():
        return [
            f"every pixel of every image is {' '.join(map(str, first.tolist()))}: there is nothing to learn from"
        ]
    if (highest := int(images.max())) < DARK:
        return [
            f"no pixel is over {highest} of 255: nearly black; save the images again with their whole range from 0 to 255"
        ]
    return []


def _decode(
    samples: Iterable[Sample],
    count: int,
    options: Options,
    progress: Progress | None,
    rules: _Rules,
    seen: _Seen,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], list[str]]:
    """Return images (k, h, w, 1 or 3), which of the samples they are, bool of shape (count,), and why each of the others is not."""
    images, first, k = np.empty((0, 0, 0, 1), np.uint8), "", 0
    kept = np.zeros(count, bool)
    left_out: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # Pillow's, about metadata; too many pixels are refused below
        for at, (where, content) in enumerate(samples):
            if progress and at % EVERY == 0:
                progress(at, count)
            try:
                pixels = _pixels(content, options.size, rules, seen)
            except _UnreadableError as error:
                if not options.skip_unreadable:
                    raise DataError(f"{where}: {error}; {error.advice}") from None
                left_out.append(f"{where}: {error}" + (f"; {error.remedy}" if error.useful else ""))
                if len(left_out) > MOST_LEFT_OUT:
                    raise DataError(
                        f"{left_out[0]}; over {MOST_LEFT_OUT:,} images cannot be read"
                    ) from None
                continue
            if not first:
                images, first = np.empty(_bounded(where, (count, *pixels.shape)), np.uint8), where
            h, w = images.shape[1:3]
            if pixels.shape[:2] != (h, w):
                size = "×".join(map(str, pixels.shape[:2]))
                raise DataError(
                    f"{where}: an image of {size}, where {first} has {h}×{w}; scale all to one size, as with --size {h}x{w}"
                )
            if (
                pixels.shape[2] > images.shape[3]
            ):  # the first in colour: those before become RGB, too
                grey = images[:k]
                images = np.empty(_bounded(where, (count, *pixels.shape)), np.uint8)
                images[:k] = grey
            images[k] = pixels
            kept[at] = True
            k += 1
    return images[:k], kept, left_out


def _bounded(where: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return `shape` if so many bytes are within the limit."""
    if (size := int(np.prod(shape, dtype=object))) > LIMIT:
        n, h, w, _ = shape
        raise DataError(
            f"{where}: {n:,} images of {h}×{w} take {size:,} bytes, over the limit of {LIMIT:,}; give a smaller --size"
        )
    return shape


def _pixels(
    content: Path | bytes | Missing | None,
    size: tuple[int, int] | None,
    rules: _Rules,
    seen: _Seen,
) -> NDArray[np.uint8]:
    """Return one image, uint8 of shape (h, w, 1) where it is grey, else (h, w, 3); the first picture of a file."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(content, Missing):
        raise _UnreadableError(content.why, content.remedy, useful=True)
    try:
        if not (content.stat().st_size if isinstance(content, Path) else content):
            raise _UnreadableError("no bytes where an image is needed")
        with _opened(content) as file:
            if file.format == "TIFF" and (_tag(file, DNG_VERSION) or _is_raw(content)):
                raise _UnreadableError(
                    "a camera's raw file, of which only the preview can be read",
                    CONVERT,
                    useful=True,
                )
            if file.width * file.height > PIXELS:
                raise _UnreadableError(
                    f"claims {file.height:,}×{file.width:,} pixels, over the limit of {PIXELS:,}"
                )
            pixels = _whole_numbers(file, rules, seen)
            checked = file.format == "PNG"
        if checked:
            with _opened(content) as file:
                file.verify()  # the checksums, which reading the pixels passes over
        if size and pixels.shape[:2] != size:
            image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
            pixels = np.asarray(
                image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            )  # averages where it shrinks
        return np.atleast_3d(pixels)
    except _UnreadableError:
        raise
    except UnidentifiedImageError:
        raise _unidentified(content) from None
    except Image.DecompressionBombError:
        raise _UnreadableError(f"claims far more pixels than the limit of {PIXELS:,}") from None
    except Exception as error:  # a decoder that meets garbage may raise anything
        why = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise _UnreadableError(f"cannot be read ({one_line(' '.join(why.split()), 100)})") from None


def _opened(content: Path | bytes | None) -> Any:
    """Open an image file without reading its pixels yet."""
    from PIL import Image

    return Image.open(
        content if isinstance(content, Path) else io.BytesIO(content or b""), formats=FORMATS
    )


def _tag(file: Any, number: int) -> Any:
    return file.tag_v2.get(number)


def _is_raw(content: Path | bytes | None) -> bool:
    return isinstance(content, Path) and content.suffix.lower() in RAW_PHOTOGRAPHS


def _unidentified(content: Path | bytes | None) -> _UnreadableError:
    """Return what a file is that is no image of a known format."""
    head = read_head(content) if isinstance(content, Path) else (content or b"")[:HEAD_BYTES]
    damaged_png = b"IDAT" in head  # whatever its beginning looks like now
    found = None if damaged_png else content_of(head)
    if found in (PNG, JPEG):  # damaged, as it cannot be read
        found = None
    if not found and isinstance(content, Path) and head:
        found = _other_image(content)
    needed = f"not a {FORMAT_NAMES} image"
    if not found:
        return _UnreadableError(needed)
    return _UnreadableError(f"{needed}, but {found.what}", found.remedy, found.useful)


def _other_image(path: Path) -> Content | None:
    """Return the format of an image that is not read here, by the end of its name, or None."""
    from PIL import Image

    suffix = path.suffix.lower()
    if suffix in RAW_PHOTOGRAPHS:
        return Content(f"a camera's raw file ({suffix})", CONVERT)
    Image.init()
    known = Image.registered_extensions().get(suffix)
    if known is None or suffix in ENDINGS_READ:
        return None
    return Content(f"an image of the format {known}", CONVERT)


def _whole_numbers(file: Any, rules: _Rules, seen: _Seen) -> NDArray[np.uint8]:
    """Return the pixels of an open image, uint8 of shape (h, w, 1 or 3), and count in `seen` what it is like."""
    mode, raw = file.mode, _raw_mode(file)
    pages = False
    with suppress(Exception):  # a second picture that is damaged
        pages = file.format in PAGED and bool(getattr(file, "is_animated", False))
    is_deep = mode.startswith(("I", "F"))
    pixels = _deep(file, raw, rules, seen) if is_deep else _coloured(file, mode, raw, rules, seen)
    seen.pages += pages
    return pixels


def _raw_mode(file: Any) -> str:
    """Return how a file stores its pixels, in Pillow's words, such as ``RGB;16B``."""
    if not file.tile:
        return ""
    stored = file.tile[0][3]
    return str(stored[0] if isinstance(stored, tuple) else stored)


def _coloured(file: Any, mode: str, raw: str, rules: _Rules, seen: _Seen) -> NDArray[np.uint8]:
    """Return the pixels of an image of 8 bits a channel; grey if its kind is, or every colour of its palette that occurs."""
    grey = mode in GREY or raw.startswith("LA;16")
    alpha = None
    if file.has_transparency_data:
        whole = np.asarray(file.convert("RGBA"))
        pixels, alpha = whole[..., :3], whole[..., 3]
    elif mode in GREY:
        pixels = np.asarray(file.convert("L"))[..., None]
    else:
        pixels = np.asarray(file.convert("RGB"))
    if ";16" in raw:
        seen.deep_colour += 1
        seen.highest_colour = max(seen.highest_colour, int(pixels.max()))
    if alpha is not None and alpha.min() < 255:
        seen.transparent += 1
        first = pixels[0, 0]
        if alpha.min() < alpha.max() and (pixels == first).all():
            seen.hidden += 1
            seen.on_white = min(seen.on_white, 255 - int(first.min()))
            seen.on_black = min(seen.on_black, int(first.max()))
            if rules.ground is not None:
                pixels, grey = _on_ground(pixels, alpha, rules.ground), True
    if pixels.shape[2] == 3 and (grey or mode in PALETTES) and _is_grey(pixels):
        return pixels[..., :1]
    return pixels


def _on_ground(
    pixels: NDArray[np.uint8], alpha: NDArray[np.uint8], ground: int
) -> NDArray[np.uint8]:
    """Return pixels (h, w, 3) over a grey: (pixel·alpha + ground·(255 - alpha))/255, rounded."""
    over = alpha[..., None].astype(np.uint32)
    return ((pixels * over + ground * (255 - over) + 127) // 255).astype(np.uint8)


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def _deep(file: Any, raw: str, rules: _Rules, seen: _Seen) -> NDArray[np.uint8]:
    """Return the pixels of an image of one channel and more than 8 bits, uint8 of shape (h, w, 1): v·255/highest, rounded.

    Pillow's own way clips. A PPM file and a TIFF file of 12 bits name their range; of any other the whole set decides.
    """
    if file.mode == "F":
        raise _UnreadableError(
            "its pixels are fractions", "save it with 8 or 16 bits a pixel", useful=True
        )
    if file.format == "TIFF" and _tag(file, PHOTOMETRIC) == 0:
        raise _UnreadableError(
            "16 bits a pixel with 0 for white", "save it as a PNG with 0 for black", useful=True
        )
    values = np.asarray(file)[..., None]
    if values.min() < 0 or values.max() > 65535:
        raise _UnreadableError(
            "its pixels are not from 0 to 65535", "save it with 8 or 16 bits a pixel", useful=True
        )
    bits = rules.bits
    if raw == "I;12":
        bits = 12
    elif (
        file.format == "PPM" and raw != "I;16B"
    ):  # scaled to 16 bits by the range that the file names
        bits = 16
    else:
        seen.deep += 1
        seen.highest = max(seen.highest, int(values.max()))
    most = 2**bits - 1
    return ((values.astype(np.uint32) * 255 + most // 2) // most).astype(np.uint8)
