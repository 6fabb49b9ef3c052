"""What a file or folder that cannot be read probably is, and what to do about it."""

import os
import re
import shlex
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import DataError, one_line
from ..cache import cache_folder
from . import content as kinds
from .content import HEAD_BYTES, Content, content_of
from .text import listed

DEPTH = 3  # folders below the one that was given
FOLDERS = 500  # looked into at most
# Systems leave these in folders, in letters of either size, and names that begin with a dot.
LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r", "@eadir", "$recycle.bin")

SAVE_BOTH = "save images and labels in one .npz: numpy.savez(FILE, x=…, y=…)"
# By the end of the name, where the content need not be looked at.
_ENDS: tuple[tuple[tuple[str, ...], Content], ...] = (
    ((".pkl.gz", ".pkl", ".pickle", ".joblib", ".pkl.bz2"), kinds.PICKLED),
    ((".pt", ".pth", ".ckpt"), kinds.PICKLED),
    ((".mat",), kinds.MATLAB),
    ((".h5", ".hdf5"), kinds.HDF5),
    ((".npy",), Content("one array without labels", SAVE_BOTH)),
    ((".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz", ".zip", ".7z", ".rar"), kinds.ARCHIVE),
    ((".arrow", ".feather"), kinds.ARROW),
    ((".arff",), kinds.ARFF),
    ((".tsv", ".tab"), Content("a table with tabs", "save it as a CSV with commas")),
    ((".xls", ".xlsx", ".ods"), kinds.SPREADSHEET),
    ((".json", ".jsonl"), kinds.JSON),
    ((".tfrecord", ".tfrecords"), Content("a TFRecord file", kinds.SAVE_NPZ)),
    ((".gz", ".bz2", ".xz", ".zst"), Content("a compressed file", "unpack it")),
    ((".html", ".htm"), kinds.HTML),
)
_WEB = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp")
_SCANS = (".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tif", ".tiff")
_READ = (*_WEB, *_SCANS)
_PICTURES = (*_READ, ".heic", ".heif", ".avif", ".jp2", ".svg", ".ico", ".tga")
# They are TIFF files inside, whose first picture is a small preview.
RAW_PHOTOGRAPHS = (".nef", ".cr2", ".cr3", ".arw", ".dng", ".orf", ".pef", ".rw2", ".raf", ".srw")


def regular(path: Path) -> bool:
    """Return whether a path leads to a regular file: no pipe, no device, no folder."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def other_image(path: Path) -> Content | None:
    """Return the format of an image that is not read here, by the end of its name, or None."""
    from PIL import Image

    end = path.suffix.lower()
    if end in RAW_PHOTOGRAPHS:
        return Content(f"a camera's raw file ({end})", kinds.CONVERT)
    Image.init()
    known = Image.registered_extensions().get(end)
    if known is None or end in _READ:
        return None
    return Content(f"an image of the format {known}", kinds.CONVERT)


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
    for ends, kind in _ENDS:
        if name.endswith(ends):
            this = f"this is {kind.what}: {kind.remedy}{_by_name(name)}"
            return f"{one_line(path)}: {needed}; {this}"
    if found := content_of(head(path)):
        remedy = "" if found is kinds.TEXT else f": {found.remedy}"
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
        return f"{one_line(path)}: CIFAR-100's Python version is {kinds.PICKLE}; needed is its binary version, with train.bin and test.bin"
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
    for ends, kind in _ENDS:
        if odd := next((item for item in files if item.name.lower().endswith(ends)), None):
            remedy = beside(path) or f"{kind.remedy}{_by_name(odd.name)}"
            return f"{lacking}; {one_line(odd.name, 60)} is {kind.what}: {remedy}"
    return f"{lacking}: {needed}"


def hiding(name: str, path: Path) -> str:
    """Return that a file or folder hides the data set of its name, and how to get that."""
    from .. import download

    what = "folder" if path.is_dir() else "file"
    here = f"--data {name} means the {what} {one_line(path)} in the working directory"
    if name in download.PUBLISHED:
        first = (
            ""
            if len(download.here(name)) == download.PUBLISHED[name].count
            else f"triptych data fetch {name}, then "
        )
        return f"{here}; for the data set {name}: {first}--data {_quoted(cache_folder() / name)}"
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
        own = f"MNIST's files are in folders of their own names ({listed(names, 60)})"
        return f"{one_line(root)}: {own}; move the four files into one folder"
    if len(folders) > 1:
        return f"{one_line(root)}: this folder holds {' and '.join(labels)} in {listed(names)}; give one of them to --data"
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
    return [
        path for path in found if not path.name.startswith(".") and path.name.lower() not in LITTER
    ]


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
    return [
        folder / name
        for name in sorted(names)
        if not name.startswith(".") and name.lower() not in LITTER
    ]


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
    from ..registry import FORMATS

    labels = {"IDX": "MNIST's own files", "Parquet": "Parquet files"}
    for form in FORMATS:
        try:
            if form.name != "image files" and form.fits(folder):
                return labels.get(
                    form.name, form.name if form.name.endswith("files") else f"{form.name} files"
                )
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
    return parts and all(
        classes and all(_begins_with_an_image(path) for path in classes) for classes in deeper
    )


def _begins_with_an_image(folder: Path) -> bool:
    return any(path.name.lower().endswith(_PICTURES) for path in _visible(folder)[:3])


def _by_name(name: str) -> str:
    """Return how to get the data set that a file name speaks of."""
    from .. import download

    plain = name.lower().replace("-", "").replace("_", "")
    for known in sorted(download.PUBLISHED, key=len, reverse=True):
        if known.replace("-", "") in plain:
            return f"; or: triptych data fetch {known}"
    return ""


def _quoted(path: Path) -> str:
    return one_line(shlex.quote(str(path)))
