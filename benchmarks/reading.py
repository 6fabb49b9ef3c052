"""One reader of a CSV of the Kaggle shape, in a process of its own: ``python -m benchmarks.reading READER FILE``.

Prints what it took once everything was imported, in seconds, and a digest of the table that it read.
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

Table = NDArray[Any]  # (rows, 785): labels, then pixels


@dataclass(frozen=True)
class Reader:
    """A way to read, the module that it needs, and whether it takes so long that it must be asked for."""

    about: str
    read: Callable[[Path], Table]
    requires: str = "numpy"
    slow: bool = False


def ours(path: Path) -> Table:
    from triptych.data.reading import PLAIN
    from triptych.data.registry import format_of_file

    known = format_of_file(path)
    assert known is not None
    split = known.read(path, PLAIN, None).train
    return np.column_stack([split.labels.astype(np.uint8), split.images.reshape(len(split), -1)])


def loadtxt(path: Path) -> Table:
    return np.loadtxt(path, np.uint8, delimiter=",", skiprows=1)


def genfromtxt(path: Path) -> Table:
    return np.genfromtxt(path, np.uint8, delimiter=",", skip_header=1)


def pandas(path: Path) -> Table:
    import pandas  # pyright: ignore[reportMissingImports] - where it is installed

    return pandas.read_csv(path, dtype=np.uint8).to_numpy()


def polars(path: Path) -> Table:
    import polars  # pyright: ignore[reportMissingImports] - where it is installed

    return polars.read_csv(path).to_numpy().astype(np.uint8)


def pyarrow(path: Path) -> Table:
    from pyarrow import csv

    return np.column_stack([column.to_numpy() for column in csv.read_csv(path).columns]).astype(
        np.uint8
    )


READERS: dict[str, Reader] = {
    "triptych": Reader("ours: parsed and checked", ours),
    "loadtxt": Reader("numpy.loadtxt, told that it is uint8", loadtxt),
    "genfromtxt": Reader("numpy.genfromtxt", genfromtxt, slow=True),
    "pandas": Reader("pandas.read_csv, told that it is uint8", pandas, "pandas"),
    "polars": Reader("polars.read_csv", polars, "polars"),
    "pyarrow": Reader("pyarrow.csv.read_csv", pyarrow, "pyarrow"),
}


def main(name: str, path: Path) -> None:
    READERS[name].read(path.with_name("few.csv"))  # imports whatever it needs
    pin(int(os.environ["OMP_NUM_THREADS"]))
    wall, cpu = time.perf_counter(), time.process_time()
    table = READERS[name].read(path)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    digest = sha256(
        repr((table.shape, str(table.dtype))).encode() + np.ascontiguousarray(table).tobytes()
    ).hexdigest()
    print(json.dumps({"wall": wall, "cpu": cpu, "digest": digest}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
