"""The table of formats: which kinds of file and folder are read, and by which function.

No reader is imported before it is used, so that the help of a command can show the table. Another
package adds a format with `register_format`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from .. import plugins
from ..errors import DataError

if TYPE_CHECKING:
    from .readers.source import Listing
    from .reading import Contents, Options, Progress

    Reader = Callable[[Path, Options, Progress | None], Contents]

FOR_ROWS = ("label", "shape", "white")  # the options for numbers that a file holds as an array


@dataclass(frozen=True)
class Format:
    """A kind of file or folder, and the function that reads it.

    Attributes
    ----------
    name : str
        What a message calls the format.
    read : callable
        Takes the path, the `Options`, and a function that is told of decoded images, or None;
        returns `Contents`.
    help : str
        What such a file or folder holds, for the documentation.
    suffixes : tuple of str
        How the names of its files end, in small letters. Empty for a format of folders.
    is_in_folder : callable, optional
        Takes a folder; returns whether the folder holds data of this format. None for a format of
        single files.
    is_deeper : callable, optional
        Takes such a folder; returns whether only folders inside it hold the data. Such a folder is
        not read in place of a data set of its name.
    sign : str
        The file or folder by which such a folder is recognised, for messages and for the help.
    content : str
        What a message says that such a folder holds. By default, files of the format's name.
    resizes : bool
        Whether the reader follows `Options.size`.
    ignores : tuple of str
        The options among `FOR_ROWS` that the reader does not follow. A user who sets one is told.
    list_samples : callable, optional
        Takes the path and the `Options`; returns a `triptych.data.readers.source.Listing`. None
        if the format cannot be streamed.
    is_last_resort : bool
        Whether nearly every folder seems to be of this format. When it cannot be read, other causes
        are looked for.
    """

    name: str
    read: "Reader"
    help: str
    suffixes: tuple[str, ...] = ()
    is_in_folder: Callable[[Path], bool] | None = None
    is_deeper: Callable[[Path], bool] | None = None
    sign: str = ""
    content: str = ""
    resizes: bool = False
    ignores: tuple[str, ...] = ()
    list_samples: "Callable[[Path, Options], Listing] | None" = None
    is_last_resort: bool = False

    @property
    def folder_content(self) -> str:
        """What a message says that a folder of this format holds."""
        return self.content or f"{self.name} files"


def _function(name: str) -> Callable[..., Any]:
    """Return a function that imports a reader's function at its first call.

    Parameters
    ----------
    name : str
        Module and function below ``triptych.data.readers``: ``csv:read``.
    """

    def call(*arguments: Any) -> Any:
        function = resolve_name(f"triptych.data.readers.{name}")
        return function(*arguments)

    return call


# The first format that fits a folder reads it.
_FORMATS = [
    Format(
        name="CSV",
        read=_function("csv:read"),
        help="a label and the pixels of an image, or the features of a table, in each line",
        suffixes=(".csv", ".csv.gz", ".zip", ".tsv", ".tab", ".txt", ".data"),
    ),
    Format(
        name="npz",
        read=_function("npz:read"),
        help="NumPy arrays of images, or of the rows of a table, and of labels",
        suffixes=(".npz",),
    ),
    Format(
        name="IDX",
        read=_function("idx:read"),
        help="MNIST's own four files, plain or gzipped",
        is_in_folder=_function("idx:fits"),
        is_deeper=_function("idx:is_deeper"),
        sign="train-images-idx3-ubyte",
        content="MNIST's own files",
        ignores=("label", "shape"),
    ),
    Format(
        name="CIFAR-10 binary",
        read=_function("cifar:read"),
        help="records of a label and 32×32 pixels in colour",
        is_in_folder=_function("cifar:fits"),
        sign="data_batch_1.bin",
        ignores=FOR_ROWS,
    ),
    Format(
        name="CIFAR-100 binary",
        read=_function("cifar:read_100"),
        help="records of two labels and 32×32 pixels in colour",
        is_in_folder=_function("cifar:fits_100"),
        sign="train.bin and test.bin",
        ignores=("shape", "white"),
    ),
    Format(
        name="Parquet",
        read=_function("parquet:read"),
        help="encoded images, as Hugging Face ships them, or raw pixels; and labels",
        suffixes=(".parquet",),
        is_in_folder=_function("parquet:fits"),
        sign="train*.parquet",
        content="Parquet files",
        resizes=True,
        ignores=("white",),
        list_samples=_function("parquet:list_samples"),
    ),
    Format(
        name="CSV files",
        read=_function("pairs:read_csv"),
        help="a training and a test file, or one file, as above",
        sign="train*.csv",
        is_in_folder=_function("pairs:csv_fits"),
        content="CSV files",
    ),
    Format(
        name="npz files",
        read=_function("pairs:read_npz"),
        help="a training and a test file, or one file, as above",
        sign="train*.npz",
        is_in_folder=_function("pairs:npz_fits"),
        content="npz files",
    ),
    Format(
        name="image files",
        read=_function("folder:read"),
        help="PNG, JPEG and others, in CLASS/, or in train/CLASS/ and test/CLASS/",
        is_in_folder=_function("folder:fits"),
        sign="folder of images for each class",
        content="image files",
        resizes=True,
        ignores=FOR_ROWS,
        list_samples=_function("folder:list_samples"),
        is_last_resort=True,
    ),
]
plugins.watch(_FORMATS)


def formats() -> tuple[Format, ...]:
    """Return the formats that are read, in the order in which a folder is tried with them."""
    plugins.load()
    return tuple(_FORMATS)


def register_format(new: Format) -> None:
    """Add a format. It is tried before the formats that are known so far.

    Parameters
    ----------
    new : Format

    Raises
    ------
    DataError
        The name or a suffix is one of a known format.
    """
    for known in _FORMATS:
        if known.name == new.name:
            raise DataError(f"there is already a format {new.name!r}")
        for suffix in new.suffixes:
            if suffix in known.suffixes:
                raise DataError(f"{suffix} is already a suffix of the format {known.name!r}")
    _FORMATS.insert(0, new)


def format_of_file(path: Path) -> Format | None:
    """Return the format of a file by the suffix of its name, in letters of either size."""
    name = path.name.lower()
    for known in formats():
        if name.endswith(known.suffixes):
            return known
    return None


def format_of_folder(path: Path) -> Format | None:
    """Return the first format that a folder holds, None where it holds none."""
    for known in formats():
        if known.is_in_folder is not None and known.is_in_folder(path):
            return known
    return None


def main_suffixes() -> list[str]:
    """Return how the names of files usually end, one suffix for each format of files."""
    return [known.suffixes[0] for known in formats() if known.suffixes]


def signs() -> list[str]:
    """Return by what folders are recognised."""
    return [known.sign for known in formats() if known.sign]


def markdown_table() -> str:
    """Return the formats as a table for the documentation."""
    lines = [
        "| Format | A file that ends in | A folder with | What it holds |",
        "|---|---|---|---|",
    ]
    for known in formats():
        endings = ", ".join(f"`{suffix}`" for suffix in known.suffixes)
        lines.append(f"| {known.name} | {endings} | {known.sign} | {known.help} |")
    return "\n".join(lines)


def sources_help() -> str:
    """Return which files and folders are read, for the help of an option."""
    files = ", ".join(suffix for known in formats() for suffix in known.suffixes)
    folders = ", ".join(known.name for known in formats() if known.is_in_folder)
    places = "in CLASS/, or in train/CLASS/ and test/CLASS/"
    return f"a file ({files}); or a folder: {folders} ({places})"
