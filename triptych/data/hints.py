"""What a file or folder that cannot be read probably is, and what to do about it."""

import re
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ..core.files import is_regular
from ..errors import DataError, one_line
from .cache import cache_folder
from .download import files_present
from .published import PUBLISHED
from .readers import cifar
from .readers import content as kinds
from .readers.content import Content, content_of, read_head
from .readers.folder import LayoutError
from .readers.text import listed
from .registry import main_suffixes, signs
from .searching import (
    PICTURE_ENDINGS,
    content_of_folder,
    image_layout_below,
    is_image_layout,
    nearest_data,
    visible_entries,
)

SAVE_BOTH = "save images and labels in one .npz: numpy.savez(FILE, x=…, y=…)"
# By the end of the name, where the content need not be looked at.
CONTENT_BY_ENDING: tuple[tuple[tuple[str, ...], Content], ...] = (
    ((".pkl.gz", ".pkl", ".pickle", ".joblib", ".pkl.bz2"), kinds.PICKLED),
    ((".pt", ".pth", ".ckpt"), kinds.PICKLED),
    ((".mat",), kinds.MATLAB),
    ((".h5", ".hdf5"), kinds.HDF5),
    ((".npy",), Content("one array without labels", SAVE_BOTH)),
    ((".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz", ".zip", ".7z", ".rar"), kinds.ARCHIVE),
    ((".arrow", ".feather"), kinds.ARROW),
    ((".arff",), kinds.ARFF),
    ((".tsv", ".tab"), Content("a table with tabs", "give the file itself to --data")),
    ((".xls", ".xlsx", ".ods"), kinds.SPREADSHEET),
    ((".json", ".jsonl"), kinds.JSON),
    ((".tfrecord", ".tfrecords"), Content("a TFRecord file", kinds.SAVE_NPZ)),
    ((".gz", ".bz2", ".xz", ".zst"), Content("a compressed file", "unpack it")),
    ((".html", ".htm"), kinds.HTML),
)


def about_file(path: Path) -> str:
    """Return what is wrong with a file that no reader knows, and what to do."""
    known = ", ".join(main_suffixes())
    if not is_regular(path):
        return f"{one_line(path)}: not a regular file; one of {known} is needed, or a folder"
    reason = f"{one_line(path)}: unknown kind of file; one of {known} is needed, or a folder"
    explanation = _explanation_by_name(path) or _explanation_by_content(path)
    return f"{reason}; {explanation}" if explanation else reason


def _explanation_by_name(path: Path) -> str:
    name = path.name.lower()
    if re.fullmatch(r".*idx\d-(ubyte|int)(\.gz)?", name):
        return f"this is one of MNIST's files: give their folder, {_quoted(path.parent)}"
    if re.fullmatch(r"(data_batch_\d|test_batch)(\.bin)?", name):
        return f"this is one of CIFAR-10's files: give their folder, {_quoted(path.parent)}"
    if name.endswith(PICTURE_ENDINGS):
        return "this is one image: give a folder with a folder of images for each class"
    content = _content_by_ending(name)
    if content is None:
        return ""
    return f"this is {content.what}: {content.remedy}{_fetch_advice(name)}"


def _explanation_by_content(path: Path) -> str:
    content = content_of(read_head(path))
    if content is None:
        return ""
    if content is kinds.TEXT:
        return f"this is {content.what}"
    return f"this is {content.what}: {content.remedy}"


def _content_by_ending(name: str) -> Content | None:
    for endings, content in CONTENT_BY_ENDING:
        if name.lower().endswith(endings):
            return content
    return None


def about_folder(path: Path) -> str:
    """Return what is wrong with a folder that no reader knows, and what to do."""
    elsewhere = place_of_data(path)
    if elsewhere:
        return elsewhere
    entries = visible_entries(path)
    files = [entry for entry in entries if is_regular(entry)]
    names = {file.name.lower() for file in files}
    lacking = f"{one_line(path)}: nothing in this folder that can be read"
    needed = ", ".join(f"no {sign}" for sign in signs())
    if {"train", "test", "meta"} <= names:
        python_version = f"CIFAR-100's Python version is {kinds.PICKLE}"
        needed = "needed is its binary version, with train.bin and test.bin"
        return f"{one_line(path)}: {python_version}; {needed}"
    if not entries:
        return f"{lacking}: {needed}; it is empty"
    pictures = [name for name in names if name.endswith(PICTURE_ENDINGS)]
    if len(pictures) * 2 > len(files):
        return f"{lacking}; {_advice_for_pictures(path)}"
    if any(name.endswith(".parquet") for name in names):
        advice = "name one of its Parquet files, or the folder above if that holds the folders"
        return f"{lacking}; {advice} train and test"
    for file in files:
        content = _content_by_ending(file.name)
        if content is not None:
            remedy = _raw_folder_advice(path) or f"{content.remedy}{_fetch_advice(file.name)}"
            return f"{lacking}; {one_line(file.name, 60)} is {content.what}: {remedy}"
    return f"{lacking}: {needed}"


def _advice_for_pictures(folder: Path) -> str:
    """Return what to give instead of a folder of images without classes."""
    above = folder.resolve().parent
    if not is_image_layout(above):
        return "its images must be in a folder for each class: CLASS/IMAGE"
    whole = above.parent if is_image_layout(above.parent) else above
    return f"this is the folder of one class: use --data {_quoted(whole)}"


def _raw_folder_advice(path: Path) -> str:
    """Return advice to use torchvision's folder ``raw`` next to ``processed``, if there is one."""
    raw = path.resolve().parent / "raw"
    if path.resolve() == raw or not content_of_folder(raw):
        return ""
    return f"use --data {_quoted(raw)}"


def place_of_data(root: Path) -> str:
    """Return where in a folder the data is that it seems to hold; nothing where there is none.

    This explains a folder that was given one level too high, or that holds another kind of data
    than images.
    """
    if (root / "dataset_dict.json").is_file() or (root / "state.json").is_file():
        return (
            f"{one_line(root)}: a data set as save_to_disk writes it, in Arrow files; "
            "write each split as Parquet: load_from_disk(FOLDER)['train']"
            ".to_parquet('train.parquet'), and test.parquet likewise"
        )
    nearest = nearest_data(root)
    if not nearest:
        return ""
    contents = list(dict.fromkeys(content for content, _ in nearest))
    folders = [folder for _, folder in nearest]
    names = [one_line(folder.relative_to(root), 60) for folder in folders]
    holds = f"{one_line(root)}: this folder holds {' and '.join(contents)} in {listed(names)}"
    if len(folders) > 1:
        return f"{holds}; give one of them to --data"
    return cifar.pickled(folders[0]) or f"{holds}; use --data {_quoted(folders[0])}"


@contextmanager
def explained(root: Path) -> Generator[None]:
    """Add to what is wrong with a folder of images where else its data may be."""
    try:
        yield
    except DataError as error:
        elsewhere = place_of_data(root)
        if elsewhere:
            raise DataError(elsewhere) from None
        place = image_layout_below(root) if isinstance(error, LayoutError) else None
        if place is not None:
            raise DataError(f"{error}; use --data {_quoted(place)}") from None
        raise


def hiding(name: str, path: Path) -> str:
    """Return that a file or folder hides the data set of its name, and how to get that data set."""
    what = "folder" if path.is_dir() else "file"
    reason = f"--data {name} means the {what} {one_line(path)} in the working directory"
    if name not in PUBLISHED:
        return f"{reason}; for the data set {name} rename the {what} or work in another folder"
    is_complete = len(files_present(name)) == PUBLISHED[name].count
    first = "" if is_complete else f"triptych data fetch {name}, then "
    return f"{reason}; for the data set {name}: {first}--data {_quoted(cache_folder() / name)}"


@contextmanager
def hidden(name: str, path: Path) -> Generator[None]:
    """Add to what is wrong with a file or folder that it hides the data set of its name."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{error}; {hiding(name, path)}") from None


def _fetch_advice(name: str) -> str:
    """Return how to fetch the data set whose name is in a file's name; nothing without one."""
    plain = name.lower().replace("-", "").replace("_", "")
    for known in sorted(PUBLISHED, key=len, reverse=True):
        if known.replace("-", "") in plain:
            return f"; or: triptych data fetch {known}"
    return ""


def _quoted(path: Path) -> str:
    return one_line(shlex.quote(str(path)))
