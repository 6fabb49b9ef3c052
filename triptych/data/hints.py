"""What a file or folder that cannot be read probably is, and what to do about it."""

import os
import re
import shlex
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError, one_line

HEAD_BYTES = 1024  # of a file, from which its kind is told
DEPTH = 3  # folders below the one that was given
FOLDERS = 500  # looked into at most
# Systems leave these in folders, in letters of either size, and names that begin with a dot.
LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r", "@eadir", "$recycle.bin")

PICKLE = "a pickle, which can run any code when it is read"
CONVERT = "convert it to PNG or JPEG"
FETCH_AGAIN = "fetch it again"
SAVE_NPZ = "save its arrays as an .npz with x_train, y_train, x_test, y_test"
UNPACK = "unpack it and give the folder"


@dataclass(frozen=True)
class Content:
    """What the first bytes of a file show.

    Attributes
    ----------
    what : str
        The kind of file, with its article.
    remedy : str
        What to do where an image, or a file of another kind, was needed.
    useful : bool
        Whether it is good data of another format, which must not be thrown away.
    """

    what: str
    remedy: str
    useful: bool = True


_ARCHIVE = Content("an archive", UNPACK)
_HEIC = Content("a HEIC photograph", CONVERT)
_IDX = Content("a file of MNIST's IDX format", "give the folder with its four files to --data")
# The first bytes, from which offset, and what they mean. All are long enough not to occur by chance.
_SIGNATURES: tuple[tuple[int, bytes, Content], ...] = (
    (4, b"ftypheic", _HEIC),
    (4, b"ftypheix", _HEIC),
    (4, b"ftyphevc", _HEIC),
    (4, b"ftypmif1", _HEIC),
    (4, b"ftypmsf1", _HEIC),
    (4, b"ftypavif", Content("an AVIF image", CONVERT)),
    (4, b"ftyp", Content("a video or another MP4 file", CONVERT)),
    (0, b"\0\0\0\x0cjP  ", Content("a JPEG 2000 image", CONVERT)),
    (0, b"\xff\x4f\xff\x51", Content("a JPEG 2000 image", CONVERT)),
    (0, b"\0\0\0\x0cJXL ", Content("a JPEG XL image", CONVERT)),
    (0, b"8BPS\0\1", Content("a Photoshop file", CONVERT)),
    (0, b"\0\0\1\0\1\0", Content("an icon file", CONVERT)),
    (0, b"\x76\x2f\x31\x01", Content("an OpenEXR image", CONVERT)),
    (0, b"qoif", Content("a QOI image", CONVERT)),
    (0, b"SIMPLE  =", Content("a FITS file", CONVERT)),
    (128, b"DICM", Content("a DICOM file", CONVERT)),
    (0, b"%PDF-", Content("a PDF file", CONVERT)),
    (0, b"\0\0\x08\x03", _IDX),
    (0, b"\0\0\x08\x01", _IDX),
    (0, b"\x93NUMPY", Content("a NumPy array", SAVE_NPZ)),
    (0, b"\x89HDF\r\n\x1a\n", Content("an HDF5 file", f"read it with h5py and {SAVE_NPZ}")),
    (0, b"MATLAB 5.0", Content("a MATLAB file", f"read it with scipy.io.loadmat and {SAVE_NPZ}")),
    (0, b"PAR1", Content("a Parquet file", "give it to --data by itself")),
    (0, b"ARROW1", Content("an Arrow file", "write it as Parquet: Dataset.to_parquet")),
    (0, b"version https://git-lfs", Content("a pointer of Git LFS", "get the file itself: git lfs pull")),
    (0, b"PK\x03\x04", _ARCHIVE),
    (0, b"Rar!\x1a\x07", _ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (257, b"ustar", _ARCHIVE),
    (0, b"\x1f\x8b\x08", Content("a gzipped file", "gunzip it")),
    (0, b"BZh9", Content("a bzip2 file", "unpack it")),
    (0, b"\xfd7zXZ\0", Content("an xz file", "unpack it")),
    (0, b"SQLite format 3\0", Content("an SQLite database", SAVE_NPZ)),
    (0, b"\x80\x02}q", Content(PICKLE, SAVE_NPZ)),
    (0, b"\x80\x04\x95", Content(PICKLE, SAVE_NPZ)),
    (0, b"\x80\x05\x95", Content(PICKLE, SAVE_NPZ)),
)
_HTML = Content("an HTML page", FETCH_AGAIN, useful=False)
_SVG = Content("an SVG drawing", CONVERT)
TEXT = Content("a text file", "remove it", useful=False)

# By the end of the name, where the content need not be looked at.
_ENDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    ((".pkl.gz", ".pkl", ".pickle", ".joblib", ".pkl.bz2"), PICKLE, SAVE_NPZ),
    ((".pt", ".pth", ".ckpt"), PICKLE, SAVE_NPZ),
    ((".mat",), "a MATLAB file", f"read it with scipy.io.loadmat and {SAVE_NPZ}"),
    ((".h5", ".hdf5"), "an HDF5 file", f"read it with h5py and {SAVE_NPZ}"),
    ((".npy",), "one array without labels", "save images and labels in one .npz: numpy.savez(FILE, x=…, y=…)"),
    ((".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz", ".zip", ".7z", ".rar"), "an archive", UNPACK),
    ((".arrow", ".feather"), "an Arrow file", "write it as Parquet: Dataset.to_parquet"),
    ((".arff",), "an ARFF file", "save it as a CSV with a column label"),
    ((".tsv", ".tab"), "a table with tabs", "save it as a CSV with commas"),
    ((".xls", ".xlsx", ".ods"), "a spreadsheet", "save it as a CSV"),
    ((".json", ".jsonl"), "a JSON file", SAVE_NPZ),
    ((".tfrecord", ".tfrecords"), "a TFRecord file", SAVE_NPZ),
    ((".gz", ".bz2", ".xz", ".zst"), "a compressed file", "unpack it"),
    ((".html", ".htm"), "an HTML page", FETCH_AGAIN),
)
_WEB = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp")
_SCANS = (".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tif", ".tiff")
_READ = (*_WEB, *_SCANS)
_PICTURES = (*_READ, ".heic", ".heif", ".avif", ".jp2", ".svg", ".ico", ".tga")
# They are TIFF files inside, whose first picture is a small preview.
RAW_PHOTOGRAPHS = (".nef", ".cr2", ".cr3", ".arw", ".dng", ".orf", ".pef", ".rw2", ".raf", ".srw")


def brief(names: list[str], most: int = 5) -> str:
    """Return the first names with commas between them, and how many there are in all where there are more."""
    text = ", ".join(one_line(name, 40) for name in names[:most])
    return text if len(names) <= most else f"{text} … ({len(names):,} in all)"


def regular(path: Path) -> bool:
    """Return whether a path leads to a regular file: no pipe, no device, no folder."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def content(head: bytes) -> Content | None:
    """Return what the first bytes of a file show, or None where that is unknown."""
    for offset, signature, found in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return found
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if re.match(rb"<(!doctype html|html|head|body|script)\b", start):
        return _HTML
    if start.startswith((b"<svg", b"<?xml")):
        return _SVG if b"<svg" in start else TEXT
    return TEXT if _is_text(head) else None


def other_image(path: Path) -> Content | None:
    """Return the format of an image that is not read here, by the end of its name, or None."""
    from PIL import Image

    end = path.suffix.lower()
    if end in RAW_PHOTOGRAPHS:
        return Content(f"a camera's raw file ({end})", CONVERT)
    Image.init()
    known = Image.registered_extensions().get(end)
    if known is None or end in _READ:
        return None
    return Content(f"an image of the format {known}", CONVERT)


def head(path: Path, count: int = HEAD_BYTES) -> bytes:
    """Return the first bytes of a regular file; of anything else, and where it cannot be read, none."""
    if not regular(path):
        return b""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""


def of_file(path: Path, known: str) -> str:
    """Return what is wrong with a file that no reader knows, and what to do.

    Parameters
    ----------
    path : Path
    known : str
        The ends of names that are read, for a person.
    """
    if not regular(path):
        return f"{one_line(path)}: not a regular file; one of {known} is needed, or a folder"
    name = path.name.lower()
    needed = f"unknown kind of file; one of {known} is needed, or a folder"
    if re.fullmatch(r".*idx\d-(ubyte|int)(\.gz)?", name):
        return f"{one_line(path)}: {needed}; this is one of MNIST's files: give their folder, {_quoted(path.parent)}"
    if re.fullmatch(r"(data_batch_\d|test_batch)(\.bin)?", name):
        return f"{one_line(path)}: {needed}; this is one of CIFAR-10's files: give their folder, {_quoted(path.parent)}"
    if name.endswith(_PICTURES):
        return f"{one_line(path)}: {needed}; this is one image: give a folder with a folder of images for each class"
    for ends, what, remedy in _ENDS:
        if name.endswith(ends):
            return f"{one_line(path)}: {needed}; this is {what}: {remedy}{_by_name(name)}"
    if found := content(head(path)):
        remedy = "" if found is TEXT else f": {found.remedy}"
        return f"{one_line(path)}: {needed}; this is {found.what}{remedy}"
    return f"{one_line(path)}: {needed}"


def of_folder(path: Path, signs: list[str]) -> str:
    """Return what is wrong with a folder that no reader knows, and what to do.

    Parameters
    ----------
    path : Path
    signs : list of str
        What the readers looked for.
    """
    if better := instead(path):
        return better
    lacking = f"{one_line(path)}: nothing in this folder that can be read"
    needed = ", ".join(f"no {sign}" for sign in signs)
    files = [item for item in _visible(path) if regular(item)]
    names = {item.name.lower() for item in files}
    pictures = [item for item in files if item.name.lower().endswith(_PICTURES)]
    if {"train", "test", "meta"} <= names:
        return f"{one_line(path)}: CIFAR-100's Python version is {PICKLE}; needed is its binary version, with train.bin and test.bin"
    if not _visible(path):
        return f"{lacking}: {needed}; it is empty"
    if pictures and len(pictures) * 2 > len(files):
        above = path.resolve().parent
        if _is_image_layout(above):
            whole = above.parent if _is_image_layout(above.parent) else above
            return f"{lacking}; this is the folder of one class: use --data {_quoted(whole)}"
        return f"{lacking}; its images must be in a folder for each class: CLASS/IMAGE"
    if any(name.endswith(".parquet") for name in names):
        return f"{lacking}; name one of its Parquet files, or the folder above if that holds the folders train and test"
    for ends, what, remedy in _ENDS:
        if odd := next((item for item in files if item.name.lower().endswith(ends)), None):
            other = beside(path)
            return f"{lacking}; {one_line(odd.name, 60)} is {what}: {other or remedy}{'' if other else _by_name(odd.name)}"
    return f"{lacking}: {needed}"


def hiding(name: str, path: Path) -> str:
    """Return that a file or folder hides the data set of its name, and how to get that."""
    from . import fetch

    what = "folder" if path.is_dir() else "file"
    here = f"--data {name} means the {what} {one_line(path)} in the working directory"
    if name in fetch.PUBLISHED:
        first = "" if len(fetch.here(name)) == fetch.PUBLISHED[name].count else f"triptych data fetch {name}, then "
        return f"{here}; for the data set {name}: {first}--data {_quoted(fetch.cache() / name)}"
    return f"{here}; for the data set {name} rename the {what} or work in another folder"


@contextmanager
def hidden(name: str, path: Path) -> Generator[None]:
    """Add to what is wrong with a file or folder that it hides the data set of its name."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{error}; {hiding(name, path)}") from None


def beside(path: Path) -> str | None:
    """Return advice to use the folder ``raw`` next to ``processed``, as torchvision leaves them, if there is one."""
    raw = path.resolve().parent / "raw"
    return f"use --data {_quoted(raw)}" if path.resolve() != raw and _format_of(raw) else None


def instead(root: Path) -> str | None:
    """Return where in a folder the data is that it seems to hold, or None.

    For a folder that was read as folders of images in vain: one too high, or of another kind.
    """
    if (root / "dataset_dict.json").is_file() or (root / "state.json").is_file():
        return (
            f"{one_line(root)}: a data set as save_to_disk writes it, in Arrow files; write each split as Parquet: "
            "load_from_disk(FOLDER)['train'].to_parquet('train.parquet'), and test.parquet likewise"
        )
    found = list(_inside(root))
    if not found:
        return None
    labels = list(dict.fromkeys(label for label, _ in found))
    folders = [folder for _, folder in found]
    names = [one_line(folder.relative_to(root), 60) for folder in folders]
    if len(folders) > 1 and all(re.search(r"idx\d-ubyte", folder.name) for folder in folders):
        return f"{one_line(root)}: MNIST's files are in folders of their own names ({brief(names, 2)}); move the four files into one folder"
    if len(folders) > 1:
        return f"{one_line(root)}: this folder holds {' and '.join(labels)} in {brief(names)}; give one of them to --data"
    from . import cifar

    if pickled := cifar.pickled(folders[0]):
        return pickled
    return f"{one_line(root)}: this folder holds {labels[0]} in {names[0]}; use --data {_quoted(folders[0])}"


def images_inside(root: Path) -> str | None:
    """Return where below a folder there are folders of images for each class, if that is one place only."""
    found = [folder for folder in _below(root) if _is_image_layout(folder)]
    top = [folder for folder in found if not any(other in folder.parents for other in found)]
    return f"use --data {_quoted(top[0])}" if len(top) == 1 else None


def _visible(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in found if not path.name.startswith(".") and path.name.lower() not in LITTER]


def _below(root: Path) -> Iterator[Path]:
    """Yield the folders below one, the nearest first, without following links."""
    level, left = [root], FOLDERS
    for _ in range(DEPTH):
        deeper: list[Path] = []
        for folder in level:
            if len(deeper) < left:
                deeper += _folders(folder)
        level = deeper[:left]
        left -= len(level)
        yield from level


def _folders(folder: Path) -> list[Path]:
    """Return the folders in one; without a look at each file, of which there may be very many."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if not name.startswith(".") and name.lower() not in LITTER]


def _inside(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the data of other formats below a folder: what it is, and where; only of the level at which any is found."""
    depth = None
    for folder in _below(root):
        level = len(folder.relative_to(root).parts)
        if depth is not None and level > depth:
            return
        if label := _format_of(folder):
            depth = level
            yield label, folder


def _format_of(folder: Path) -> str:
    """Return what a folder holds, if that is anything but folders of images."""
    from . import FORMATS

    labels = {"IDX": "MNIST's own files", "Parquet": "Parquet files"}
    for form in FORMATS:
        try:
            if form.name != "image files" and form.fits(folder):
                return labels.get(form.name, form.name if form.name.endswith("files") else f"{form.name} files")
        except OSError:
            return ""
    return ""


def _is_image_layout(folder: Path) -> bool:
    """Return whether the first folders in it begin with an image, or hold such folders: classes, or ``train`` and ``test``."""
    inside = [path for path in _visible(folder) if path.is_dir()][:2]
    if len(inside) < 2:
        return False
    if all(_begins_with_an_image(path) for path in inside):
        return True
    deeper = [[path for path in _visible(part) if path.is_dir()][:2] for part in inside]
    names = {path.name.lower() for path in inside}
    parts = names <= {"train", "training", "test", "testing", "val", "valid", "validation"}
    return parts and all(classes and all(_begins_with_an_image(path) for path in classes) for classes in deeper)


def _begins_with_an_image(folder: Path) -> bool:
    return any(path.name.lower().endswith(_PICTURES) for path in _visible(folder)[:3])


def _is_text(head: bytes) -> bool:
    if not head or b"\0" in head:
        return False
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not only the last character, cut off by the length of the head
            return False
        text = head[: error.start].decode()
    return all(c.isprintable() or c in "\t\r\n\f\ufeff" for c in text)


def _by_name(name: str) -> str:
    """Return how to get the data set that a file name speaks of."""
    from . import fetch

    plain = name.lower().replace("-", "").replace("_", "")
    for known in sorted(fetch.PUBLISHED, key=len, reverse=True):
        if known.replace("-", "") in plain:
            return f"; or: triptych data fetch {known}"
    return ""


def _quoted(path: Path) -> str:
    return one_line(shlex.quote(str(path)))
