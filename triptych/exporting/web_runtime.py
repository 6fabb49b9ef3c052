"""The runtime of the browser: onnxruntime-web, from a package that npm has installed."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core import files
from ..errors import TriptychError

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
# WebAssembly with SIMD; the page uses one thread, because several need special HTTP headers.
FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
)
ADVICE = f"npm install {PACKAGE}@{VERSION}"


@dataclass(frozen=True)
class WebRuntime:
    """An installed package of the runtime.

    Attributes
    ----------
    folder : Path
        The folder with `FILES`.
    """

    folder: Path

    @classmethod
    def find(cls, given: Path | None, start: Path) -> "WebRuntime":
        """Return the runtime in a folder, or in ``node_modules`` of a folder or one above it.

        Parameters
        ----------
        given : Path or None
            The package's folder, or a folder that contains it or its ``node_modules``.
        start : Path
            Where the search begins if no folder is given.

        Raises
        ------
        TriptychError
            If there is no package, or it is of another version, or incomplete.
        """
        for package in _candidates(given, start):
            if (package / "package.json").is_file():
                _check_version(package)
                return cls(package / "dist")
        place = f"{given}: holds no" if given else f"{start} and the folders above it hold no"
        raise TriptychError(
            f"{place} {PACKAGE} {VERSION}; {ADVICE}, or name its folder with --web-runtime"
        )

    def copy(self, folder: Path) -> None:
        """Copy the files into a new folder."""
        folder.mkdir()
        for name in FILES:
            source = self.folder / name
            if not files.is_regular(source):
                raise TriptychError(f"{source}: missing; {ADVICE}")
            shutil.copyfile(source, folder / name)


def _candidates(given: Path | None, start: Path) -> Iterator[Path]:
    """Yield the folders in which the package may be."""
    if given is not None:
        yield given / "node_modules" / PACKAGE
        yield given / PACKAGE
        yield given
        return
    start = start.absolute()
    for folder in (start, *start.parents):
        yield folder / "node_modules" / PACKAGE


def _check_version(package: Path) -> None:
    """Raise `TriptychError` if a package is another one, or of another version."""
    path = package / "package.json"
    with files.refusing(path, "the description of a package"):
        description = json.loads(files.read_bytes(path))
        version = f"{description.get('name')} {description.get('version')}"
    if version != f"{PACKAGE} {VERSION}":
        raise TriptychError(
            f"{package}: holds {version}, where {PACKAGE} {VERSION} is needed; {ADVICE}"
        )
