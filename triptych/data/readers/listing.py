"""The visible entries of a folder, without what operating systems leave in it."""

from pathlib import Path

# Files and folders that systems make, in small letters.
LITTER = (
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__macosx",
    "icon\r",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
)


def is_visible(name: str) -> bool:
    """Return whether a name has no dot at its beginning and is no litter of a system."""
    return not name.startswith(".") and name.lower() not in LITTER


def visible(folder: Path) -> list[Path]:
    """Return the visible entries of a folder, sorted.

    Raises
    ------
    OSError
        The folder cannot be listed.
    """
    return sorted(path for path in folder.iterdir() if is_visible(path.name))
