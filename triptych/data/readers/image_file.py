"""The pixels of one image file, and why a file has none that can be read."""

import io
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import one_line
from .content import CONVERT, HEAD_BYTES, JPEG, PNG, content_of, read_head
from .content import Content as Kind
from .image_survey import Rules, Survey

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")  # in Pillow's words
FORMAT_NAMES = "PNG, JPEG, BMP, GIF, WebP, PPM or TIFF"
# How the names of such files end, in small letters.
ENDINGS_READ = (
    ".png",
    ".apng",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".bmp",
    ".dib",
    ".gif",
    ".webp",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".pfm",
    ".tif",
    ".tiff",
)
# Cameras' raw files are TIFF files inside, whose first picture is a small preview.
RAW_PHOTOGRAPHS = (".nef", ".cr2", ".cr3", ".arw", ".dng", ".orf", ".pef", ".rw2", ".raf", ".srw")
GREY_MODES = ("1", "L", "LA", "La")  # Pillow's modes of one colour channel
PALETTE_MODES = ("P", "PA")
PAGED_FORMATS = ("GIF", "TIFF", "PNG", "WEBP")  # whose files can hold several pictures
TAG_PHOTOMETRIC = 262  # of TIFF
TAG_ORIENTATION = 274  # of EXIF: which side is up, where 1 is as it is stored
TAG_DNG_VERSION = 50706  # of TIFF
MOST_PIXELS = 2**24  # of one image, before it is scaled
MEND = "mend or remove it"
SKIP = ", or leave such images out: --skip-unreadable"


@dataclass(frozen=True)
class Missing:
    """A sample without an image.

    Attributes
    ----------
    why : str
    remedy : str
        What to do.
    """

    why: str
    remedy: str


# A file, its bytes, its pixels (h, w, 1 or 3), why there is none, or nothing.
Content = Path | bytes | NDArray[np.uint8] | Missing | None


def size_of(content: Content) -> int:
    """Return the bytes that an image takes in memory as it is stored; 0 of a file on disk."""
    if isinstance(content, bytes):
        return len(content)
    return content.nbytes if isinstance(content, np.ndarray) else 0


class UnreadableError(Exception):
    """Why an image cannot be read, and what to do.

    Attributes
    ----------
    remedy : str
    useful : bool
        Whether it is good data of another format, which must not be thrown away.
    """

    def __init__(self, why: str, remedy: str = MEND, useful: bool = False) -> None:
        super().__init__(why)
        self.remedy = remedy
        self.useful = useful

    @property
    def advice(self) -> str:
        """What to do, as the end of a message."""
        return self.remedy if self.useful else self.remedy + SKIP


def read_image(
    content: Content,
    size: tuple[int, int] | None,
    rules: Rules,
    survey: Survey,
) -> NDArray[np.uint8]:
    """Return one image, the first picture of a file.

    Parameters
    ----------
    content : Path, bytes, ndarray, Missing or None
        The file, its bytes, its pixels as they are, or why there is none.
    size : tuple of (h, w), optional
        To which the image is scaled.
    rules : Rules
    survey : Survey
        Counts what the image is like.

    Returns
    -------
    ndarray of uint8, shape (h, w, 1) where the image is grey, else (h, w, 3)

    Raises
    ------
    UnreadableError
        There is no image, or a damaged one.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(content, Missing):
        raise UnreadableError(content.why, content.remedy, useful=True)
    if isinstance(content, np.ndarray):
        survey.count_size(content.shape[:2], size)
        return scaled(content, size)
    try:
        _refuse_empty(content)
        pixels = _decoded(content, rules, survey)
        survey.count_size(pixels.shape[:2], size)
        return scaled(pixels, size)
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise _unidentified(content) from None
    except Image.DecompressionBombError:
        why = f"claims far more pixels than the limit of {MOST_PIXELS:,}"
        raise UnreadableError(why) from None
    except Exception as error:  # a decoder that meets garbage may raise anything
        raise UnreadableError(f"cannot be read ({_reason(error)})") from None


def _refuse_empty(content: Path | bytes | None) -> None:
    size = content.stat().st_size if isinstance(content, Path) else len(content or b"")
    if size == 0:
        raise UnreadableError("no bytes where an image is needed")


def _decoded(content: Path | bytes | None, rules: Rules, survey: Survey) -> NDArray[np.uint8]:
    """Return the pixels of an image, uint8 of shape (h, w, 1 or 3)."""
    with _opened(content) as file:
        is_tiff = file.format == "TIFF"
        if is_tiff and (_tag(file, TAG_DNG_VERSION) or _is_raw_photograph(content)):
            why = "a camera's raw file, of which only the preview can be read"
            raise UnreadableError(why, CONVERT, useful=True)
        if file.width * file.height > MOST_PIXELS:
            claim = f"claims {file.height:,}×{file.width:,} pixels"
            raise UnreadableError(f"{claim}, over the limit of {MOST_PIXELS:,}")
        pixels = _whole_numbers(file, rules, survey)
        survey.turned += _is_turned(file)
        is_png = file.format == "PNG"
    if is_png:  # Pillow checks the checksums of the pixels only in a file that was just opened
        with _opened(content) as file:
            file.verify()
    return pixels


def _is_turned(file: Any) -> bool:
    """Return whether a camera noted that an image must be turned; not where the note is damaged."""
    with suppress(Exception):
        return file.getexif().get(TAG_ORIENTATION, 1) in range(2, 9)
    return False


def scaled(pixels: NDArray[np.uint8], size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Return pixels (h, w, 1 or 3) in another size, bilinear; it averages where it shrinks."""
    from PIL import Image

    if size is None or pixels.shape[:2] == size:
        return pixels
    height, width = size
    is_grey = pixels.shape[2] == 1
    image = Image.fromarray(pixels.squeeze(2) if is_grey else pixels)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.atleast_3d(np.asarray(resized))


def _reason(error: Exception) -> str:
    """Return in a few words what an error of a decoder means."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return one_line(" ".join(text.split()), 100)


def _opened(content: Path | bytes | None) -> Any:
    """Open an image file without reading its pixels yet."""
    from PIL import Image

    source = content if isinstance(content, Path) else io.BytesIO(content or b"")
    return Image.open(source, formats=FORMATS)


def _tag(file: Any, number: int) -> Any:
    """Return the value of a tag of a TIFF file, None without it."""
    return file.tag_v2.get(number)


def _is_raw_photograph(content: Path | bytes | None) -> bool:
    return isinstance(content, Path) and content.suffix.lower() in RAW_PHOTOGRAPHS


def _unidentified(content: Path | bytes | None) -> UnreadableError:
    """Return what a file is that is no image of a known format."""
    head = read_head(content) if isinstance(content, Path) else (content or b"")[:HEAD_BYTES]
    is_damaged_png = b"IDAT" in head  # whatever its beginning looks like now
    kind = None if is_damaged_png else content_of(head)
    if kind in (PNG, JPEG):  # damaged, as it cannot be read
        kind = None
    if not kind and isinstance(content, Path) and head:
        kind = _other_image(content)
    needed = f"not a {FORMAT_NAMES} image"
    if not kind:
        return UnreadableError(needed)
    return UnreadableError(f"{needed}, but {kind.what}", kind.remedy, kind.useful)


def _other_image(path: Path) -> Kind | None:
    """Return the format of an image that is not read here, by the end of its name, or None."""
    from PIL import Image

    suffix = path.suffix.lower()
    if suffix in RAW_PHOTOGRAPHS:
        return Kind(f"a camera's raw file ({suffix})", CONVERT)
    Image.init()
    known = Image.registered_extensions().get(suffix)
    if known is None or suffix in ENDINGS_READ:
        return None
    return Kind(f"an image of the format {known}", CONVERT)


def _whole_numbers(file: Any, rules: Rules, survey: Survey) -> NDArray[np.uint8]:
    """Return the pixels of an open image, uint8 of shape (h, w, 1 or 3).

    It also counts in `survey` what the image is like.
    """
    mode = file.mode
    raw = _raw_mode(file)
    has_pages = _has_pages(file)
    read = _deep if mode.startswith(("I", "F")) else _coloured
    pixels = read(file, mode, raw, rules, survey)
    survey.pages += has_pages  # only where its pixels can be read
    return pixels


def _has_pages(file: Any) -> bool:
    """Return whether a file holds several pictures; not where a second one is damaged."""
    with suppress(Exception):
        return file.format in PAGED_FORMATS and bool(getattr(file, "is_animated", False))
    return False


def _raw_mode(file: Any) -> str:
    """Return how a file stores its pixels, in Pillow's words, such as ``RGB;16B``."""
    if not file.tile:
        return ""
    stored = file.tile[0][3]
    return str(stored[0] if isinstance(stored, tuple) else stored)


def _coloured(file: Any, mode: str, raw: str, rules: Rules, survey: Survey) -> NDArray[np.uint8]:
    """Return the pixels of an image of 8 bits a channel.

    It is grey, (h, w, 1), if its kind is, or if every colour of its palette that occurs is a grey.
    """
    is_grey = mode in GREY_MODES or raw.startswith("LA;16")
    alpha = None
    if file.has_transparency_data:
        channels = np.asarray(file.convert("RGBA"))
        pixels = channels[..., :3]
        alpha = channels[..., 3]
    elif mode in GREY_MODES:
        pixels = np.asarray(file.convert("L"))[..., None]
    else:
        pixels = np.asarray(file.convert("RGB"))
    if ";16" in raw:
        survey.deep_colour += 1
        survey.highest_colour = max(survey.highest_colour, int(pixels.max()))
    if alpha is not None and alpha.min() < 255:
        survey.transparent += 1
        if _hides_shape(pixels, alpha):
            _count_hidden(pixels, survey)
            if rules.ground is not None:
                pixels = _on_ground(pixels, alpha, rules.ground)
                is_grey = True
    may_be_grey = is_grey or mode in PALETTE_MODES
    if pixels.shape[2] == 3 and may_be_grey and _has_equal_channels(pixels):
        return pixels[..., :1]
    return pixels


def _hides_shape(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> bool:
    """Return whether all pixels have one colour and only their transparency differs."""
    return bool(alpha.min() < alpha.max() and (pixels == pixels[0, 0]).all())


def _count_hidden(pixels: NDArray[np.uint8], survey: Survey) -> None:
    """Count an image whose shape is only in its transparency, and its contrast on both grounds."""
    color = pixels[0, 0]
    survey.hidden += 1
    survey.on_white = min(survey.on_white, 255 - int(color.min()))
    survey.on_black = min(survey.on_black, int(color.max()))


def _on_ground(
    pixels: NDArray[np.uint8], alpha: NDArray[np.uint8], ground: int
) -> NDArray[np.uint8]:
    """Return pixels (h, w, 3) over a grey: (pixel·alpha + ground·(255 - alpha)) / 255, rounded."""
    weight = alpha[..., None].astype(np.uint32)
    return ((pixels * weight + ground * (255 - weight) + 127) // 255).astype(np.uint8)


def _has_equal_channels(pixels: NDArray[np.uint8]) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def _deep(file: Any, mode: str, raw: str, rules: Rules, survey: Survey) -> NDArray[np.uint8]:
    """Return the pixels of an image of one channel and more than 8 bits, uint8 of shape (h, w, 1).

    A value v becomes v·255/highest, rounded, where Pillow's own way clips. A PPM file and a TIFF
    file of 12 bits name their range; of any other file the whole set decides.
    """
    if mode == "F":
        why = "its pixels are fractions"
        raise UnreadableError(why, "save it with 8 or 16 bits a pixel", useful=True)
    if file.format == "TIFF" and _tag(file, TAG_PHOTOMETRIC) == 0:
        why = "16 bits a pixel with 0 for white"
        raise UnreadableError(why, "save it as a PNG with 0 for black", useful=True)
    values = np.asarray(file)[..., None]
    if values.min() < 0 or values.max() > 65535:
        why = "its pixels are not from 0 to 65535"
        raise UnreadableError(why, "save it with 8 or 16 bits a pixel", useful=True)
    if raw == "I;12":
        bits = 12
    elif file.format == "PPM" and raw != "I;16B":
        bits = 16  # Pillow has scaled it by the range that the file names
    else:
        bits = rules.bits
        survey.deep += 1
        survey.highest = max(survey.highest, int(values.max()))
    highest = 2**bits - 1
    return ((values.astype(np.uint32) * 255 + highest // 2) // highest).astype(np.uint8)
