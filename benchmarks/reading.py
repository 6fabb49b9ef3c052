"""One reader of a CSV of the Kaggle shape, in a process of its own.

The command is ``python -m benchmarks.reading READER FILE``.

It prints the seconds that the reader took after everything was imported, and a digest of the table.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .worker import pin

WARM_UP_FILE = "few.csv"  # in the same folder; it is read before the clock starts

Table = NDArray[Any]  # shape (rows, 785): labels, then pixels


@dataclass(frozen=True)
class Reader:
    """A way to read a CSV.

    Attributes
    ----------
    description : str
        A few words.
    read : callable
        Returns the table of a file.
    requires : str
        The module that must be installed.
    slow : bool
        Whether it takes so long that it takes part only with ``--all-backends``.
    """

    description: str
    read: Callable[[Path], Table]
    requires: str = "numpy"
    slow: bool = False


def ours(path: Path) -> Table:
    """Read with this project's reader, which checks every cell."""
    from triptych.data.reading import PLAIN
    from triptych.data.registry import format_of_file

    known = format_of_file(path)
    assert known is not None
    split = known.read(path, PLAIN, None).train
    return np.column_stack([split.labels.astype(np.uint8), split.images.reshape(len(split), -1)])


def loadtxt(path: Path) -> Table:
    """Read with NumPy."""
    return np.loadtxt(path, np.uint8, delimiter=",", skiprows=1)


def genfromtxt(path: Path) -> Table:
    """Read with NumPy's reader for files with gaps."""
    return np.genfromtxt(path, np.uint8, delimiter=",", skip_header=1)


def pandas(path: Path) -> Table:
    """Read with pandas."""
    import pandas  # pyright: ignore[reportMissingImports] - optional

    return pandas.read_csv(path, dtype=np.uint8).to_numpy()


def polars(path: Path) -> Table:
    """Read with polars."""
    import polars  # pyright: ignore[reportMissingImports] - optional

    return polars.read_csv(path).to_numpy().astype(np.uint8)


def pyarrow(path: Path) -> Table:
    """Read with PyArrow."""
    from pyarrow import csv

    columns = [column.to_numpy() for column in csv.read_csv(path).columns]
    return np.column_stack(columns).astype(np.uint8)


READERS: dict[str, Reader] = {
    "triptych": Reader("ours: parsed and checked", ours),
    "loadtxt": Reader("numpy.loadtxt, told that it is uint8", loadtxt),
    "genfromtxt": Reader("numpy.genfromtxt", genfromtxt, slow=True),
    "pandas": Reader("pandas.read_csv, told that it is uint8", pandas, "pandas"),
    "polars": Reader("polars.read_csv", polars, "polars"),
    "pyarrow": Reader("pyarrow.csv.read_csv", pyarrow, "pyarrow"),
}


def main(name: str, path: Path) -> None:
    """Read a file with one reader, and print what it took."""
    read = READERS[name].read
    read(path.with_name(WARM_UP_FILE))  # imports all that the reader needs
    pin(int(os.environ["OMP_NUM_THREADS"]))
    wall = time.perf_counter()
    cpu = time.process_time()
    table = read(path)
    wall = time.perf_counter() - wall
    cpu = time.process_time() - cpu
    header = repr((table.shape, str(table.dtype))).encode()
    digest = sha256(header + np.ascontiguousarray(table).tobytes()).hexdigest()
    print(json.dumps({"wall": wall, "cpu": cpu, "digest": digest}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
