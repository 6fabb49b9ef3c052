"""What the first bytes of a file show: which kind of file it is, and what to do with it."""

import re
from dataclasses import dataclass
from pathlib import Path

from ...core.files import is_regular

HEAD_BYTES = 1024  # of a file, from which its kind is found

PICKLE = "a pickle, which can run any code when it is read"
CONVERT = "convert it to PNG or JPEG"
FETCH_AGAIN = "fetch it again"
GIVE_FOLDER = "give a folder with a folder of images for each class"
SAVE_CSV = "save it as a CSV with a column label"
SAVE_NPZ = "save its arrays as an .npz with x_train, y_train, x_test, y_test"


@dataclass(frozen=True)
class Content:
    """A kind of file.

    Attributes
    ----------
    what : str
        The kind, with its article.
    remedy : str
        What to do where a file of another kind was needed.
    useful : bool
        Whether it is good data of another format, which must not be thrown away.
    """

    what: str
    remedy: str
    useful: bool = True


ARCHIVE = Content("an archive", "unpack it and give the file or folder inside")
ARFF = Content("an ARFF file", SAVE_CSV)
ARROW = Content("an Arrow file", "write it as Parquet: Dataset.to_parquet")
BZIP2 = Content("a bzip2 file", "unpack it")
GZIP = Content("a gzipped file", "gunzip it")
HDF5 = Content("an HDF5 file", f"read it with h5py and {SAVE_NPZ}")
HEIC = Content("a HEIC photograph", CONVERT)
HTML = Content("an HTML page", FETCH_AGAIN, useful=False)
IDX = Content("a file of MNIST's IDX format", "give the folder with its four files to --data")
JPEG = Content("a JPEG image", GIVE_FOLDER)
JPEG_2000 = Content("a JPEG 2000 image", CONVERT)
JSON = Content("a JSON file", f"save it as a CSV, or {SAVE_NPZ}", useful=False)
LIBSVM = Content(
    "a LIBSVM file",
    f"read it with sklearn.datasets.load_svmlight_file and {SAVE_NPZ}",
)
LFS = Content("a pointer of Git LFS", "get the file itself: git lfs pull")
NPZ = Content("an .npz archive", "its name must end in .npz; give it to --data by itself")
MATLAB = Content("a MATLAB file", f"read it with scipy.io.loadmat and {SAVE_NPZ}")
MATLAB_HDF5 = Content("a MATLAB file of version 7.3", HDF5.remedy)
PARQUET = Content("a Parquet file", "its name must end in .parquet; give it to --data by itself")
PICKLED = Content(PICKLE, SAVE_NPZ)
PNG = Content("a PNG image", GIVE_FOLDER)
SPREADSHEET = Content("a spreadsheet", "save it as a CSV")
SVG = Content("an SVG drawing", CONVERT)
TEXT = Content("a text file", "remove it", useful=False)
XML = Content("an XML file", FETCH_AGAIN, useful=False)
XZ = Content("an xz file", "unpack it")

# The first bytes, from which offset, and what they mean. No table of numbers begins with them.
_SIGNATURES: tuple[tuple[int, bytes, Content], ...] = (
    (4, b"ftypheic", HEIC),
    (4, b"ftypheix", HEIC),
    (4, b"ftyphevc", HEIC),
    (4, b"ftypmif1", HEIC),
    (4, b"ftypmsf1", HEIC),
    (4, b"ftypavif", Content("an AVIF image", CONVERT)),
    (4, b"ftyp", Content("a video or another MP4 file", CONVERT)),
    (0, b"\0\0\0\x0cjP  ", JPEG_2000),
    (0, b"\xff\x4f\xff\x51", JPEG_2000),
    (0, b"\0\0\0\x0cJXL ", Content("a JPEG XL image", CONVERT)),
    (0, b"\x89PNG", PNG),
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"8BPS\0\1", Content("a Photoshop file", CONVERT)),
    (0, b"\0\0\1\0\1\0", Content("an icon file", CONVERT)),
    (0, b"\x76\x2f\x31\x01", Content("an OpenEXR image", CONVERT)),
    (0, b"qoif", Content("a QOI image", CONVERT)),
    (0, b"SIMPLE  =", Content("a FITS file", CONVERT)),
    (128, b"DICM", Content("a DICOM file", CONVERT)),
    (0, b"%PDF", Content("a PDF file", CONVERT)),
    (0, b"\0\0\x08\x01", IDX),
    (0, b"\0\0\x08\x02", IDX),
    (0, b"\0\0\x08\x03", IDX),
    (0, b"\0\0\x08\x04", IDX),
    (0, b"\x93NUMPY", Content("a NumPy array", SAVE_NPZ)),
    (0, b"\x89HDF", HDF5),
    (0, b"MATLAB 7.3", MATLAB_HDF5),
    (0, b"MATLAB", MATLAB),
    (0, b"PAR1", PARQUET),
    (0, b"ARROW1", ARROW),
    (0, b"\xd0\xcf\x11\xe0", SPREADSHEET),
    (0, b"version https://git-lfs", LFS),
    (0, b"PK\x03\x04", ARCHIVE),
    (0, b"Rar!", ARCHIVE),
    (0, b"7z\xbc\xaf", ARCHIVE),
    (257, b"ustar", ARCHIVE),
    (0, b"\x1f\x8b", GZIP),
    (0, b"BZh", BZIP2),
    (0, b"\xfd7zXZ", XZ),
    (0, b"SQLite", Content("an SQLite database", SAVE_NPZ)),
)
# The first instruction of a pickle, which follows the number of its version.
_PICKLED = re.compile(rb"\x80(?:[\x02\x03][}\])(cXKJMNG\x8a]|[\x04\x05]\x95)")
_BLANKS = dict.fromkeys(map(ord, "\t\r\n\f\ufeff"))  # that are left out of a text
# Names of the first file in a zip archive.
_FIRST_OF_ARRAYS = re.compile(rb"PK\x03\x04.{26}[^/]{1,100}\.npy", re.DOTALL)
_FIRST_OF_OFFICE = re.compile(
    rb"PK\x03\x04.{26}(\[Content_Types\]\.xml|_rels/|xl/|mimetype)", re.DOTALL
)
_LIBSVM = re.compile(rb"[-+]?[\d.]+( \d+:[-+\d.e]+){2,}")
_LIST = re.compile(rb"\[\s*[\[{]")
_PAGE = re.compile(rb"<(!doctype html|html|head|body|script)\b")


def content_of(head: bytes) -> Content | None:
    """Return what kind of file has these first bytes.

    Parameters
    ----------
    head : bytes
        The first `HEAD_BYTES` of a file, or all of a shorter one.

    Returns
    -------
    Content, optional
        None where the kind is unknown; `TEXT` for text of no special kind, such as a CSV.
    """
    text = _is_text(head)
    if _FIRST_OF_ARRAYS.match(head):
        return NPZ
    if _FIRST_OF_OFFICE.match(head):
        return SPREADSHEET
    for offset, signature, kind in _SIGNATURES:
        if text and offset:  # words of a text may look like it
            continue
        if head[offset : offset + len(signature)] == signature:
            return kind
    if _PICKLED.match(head):
        return PICKLED
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return _marked(start, text) or (TEXT if text else None)


def read_head(path: Path, count: int = HEAD_BYTES) -> bytes:
    """Return the first bytes of a regular file; nothing where it is none or cannot be read."""
    if not is_regular(path):
        return b""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""


def mismatch(head: bytes, needed: str) -> str | None:
    """Return what a file is instead of what is needed, and what to do.

    Parameters
    ----------
    head : bytes
        The first bytes of the file, as for `content_of`.
    needed : str
        The kind of file that is needed, with its article.

    Returns
    -------
    str, optional
        None where the kind is unknown, or text of no special kind.
    """
    kind = content_of(head)
    if kind is None or kind is TEXT:
        return None
    return f"not {needed}, but {kind.what}; {kind.remedy}"


def _marked(start: bytes, text: bool) -> Content | None:
    """Return which kind of text with marks a file is.

    Parameters
    ----------
    start : bytes
        The first bytes after blanks, in lower case.
    text : bool
        Whether the first bytes are nothing but text.
    """
    if _PAGE.match(start):
        return HTML
    if start.startswith((b"<svg", b"<?xml")):
        return SVG if b"<svg" in start else XML
    if start.startswith(b"@relation"):
        return ARFF
    if text and start.startswith(b"<"):
        return XML
    if text and (start.startswith(b"{") or _LIST.match(start)):
        return JSON
    if text and _LIBSVM.match(start):
        return LIBSVM
    return None


def _is_text(head: bytes) -> bool:
    """Return whether bytes are UTF-8 without control characters; the last one may be cut off."""
    if not head or b"\0" in head:
        return False
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode()
    return text.translate(_BLANKS).isprintable()
