"""Where below a folder data is, for advice about a folder that cannot be read itself."""

import os
from collections.abc import Iterator
from pathlib import Path

from .readers.image_file import ENDINGS_READ
from .readers.listing import is_visible, visible
from .readers.words import PARTS
from .registry import formats

LEVELS_SEARCHED = 3  # of folders below the one that is given
MOST_FOLDERS = 500  # that are looked into
PICTURE_ENDINGS = (*ENDINGS_READ, ".heic", ".heif", ".avif", ".jp2", ".svg", ".ico", ".tga")


def content_of_folder(folder: Path) -> str:
    """Return what a folder holds, by its reader; nothing without one, or for folders of images."""
    for known in formats():
        if known.is_in_folder is None or known.is_last_resort:
            continue
        try:
            if known.is_in_folder(folder):
                return known.folder_content
        except OSError:
            return ""
    return ""


def nearest_data(root: Path) -> list[tuple[str, Path]]:
    """Return the data below a folder, folders of images excepted.

    Returns
    -------
    list of (str, Path)
        What each folder holds, and the folder. All are as deep as the least deep one.
    """
    nearest: list[tuple[str, Path]] = []
    depth = None
    for folder in _folders_below(root):
        level = len(folder.relative_to(root).parts)
        if depth is not None and level > depth:
            break
        content = content_of_folder(folder)
        if content:
            depth = level
            nearest.append((content, folder))
    return nearest


def image_layout_below(root: Path) -> Path | None:
    """Return the only folder below another that holds folders of images for each class, or None."""
    layouts = [folder for folder in _folders_below(root) if is_image_layout(folder)]
    outermost = [
        folder for folder in layouts if not any(other in folder.parents for other in layouts)
    ]
    return outermost[0] if len(outermost) == 1 else None


def is_image_layout(folder: Path) -> bool:
    """Return whether a folder holds folders of images.

    They are the classes, or training and test folders of classes. Only the first two folders and
    the first few files in each are looked at.
    """
    inside = _first_folders(folder)
    if len(inside) < 2:
        return False
    if all(_begins_with_picture(path) for path in inside):
        return True
    if not {path.name.lower() for path in inside} <= set(PARTS):
        return False
    return all(_holds_classes(part) for part in inside)


def visible_entries(folder: Path) -> list[Path]:
    """Return the visible entries of a folder, sorted; none where it cannot be listed."""
    try:
        return visible(folder)
    except OSError:
        return []


def _holds_classes(part: Path) -> bool:
    classes = _first_folders(part)
    return bool(classes) and all(_begins_with_picture(path) for path in classes)


def _first_folders(folder: Path) -> list[Path]:
    return [path for path in visible_entries(folder) if path.is_dir()][:2]


def _begins_with_picture(folder: Path) -> bool:
    first = visible_entries(folder)[:3]
    return any(path.name.lower().endswith(PICTURE_ENDINGS) for path in first)


def _folders_below(root: Path) -> Iterator[Path]:
    """Yield the folders below one, the nearest first, without following links."""
    level = [root]
    left = MOST_FOLDERS
    for _ in range(LEVELS_SEARCHED):
        deeper: list[Path] = []
        for folder in level:
            if len(deeper) < left:
                deeper += _folders_in(folder)
        level = deeper[:left]
        left -= len(level)
        yield from level


def _folders_in(folder: Path) -> list[Path]:
    """Return the folders in one, sorted, without a look at each file: there may be very many."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if is_visible(name)]
