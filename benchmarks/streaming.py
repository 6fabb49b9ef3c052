"""Streamed data: how fast images come, how long an engine waits for them, how much memory is used.

Usage: ``python -m benchmarks.streaming rates|waiting|memory [--gigabytes G] [--images N]
[--kinds raw,jpeg] [--engines A,B]
[--size HxW] [--rows N] [--scaled N] [--rounds N] [--epochs N] [--workers N]
[--json FILE]``

``rates`` reads images in a shuffled order, as a training does, in turn with the least that any
reader must do: for raw pixels reading the file and copying each image once, for JPEG Pillow's
decoding of bytes that are in memory already. ``waiting`` trains the two-convolution network R3.
``memory`` trains one dense layer for several epochs, with ``--workers`` under Ray Train, whose
object store is then printed; ``tools/memory.py`` draws what it writes to ``--json``. The files are
generated in a temporary folder.
"""

import argparse
import hashlib
import io
import json
import os
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
from PIL import Image

from triptych.api import iter_train
from triptych.core import files
from triptych.core.devices import processors
from triptych.core.events import BlockTrained, EpochEnded
from triptych.core.rng import permutation
from triptych.data import loading
from triptych.data.dataset import Dataset
from triptych.data.reading import Options
from triptych.data.streaming.split import StreamedSplit
from triptych.spec import zoo
from triptych.spec.optimizers import SGD, optimizer
from triptych.spec.recipe import Recipe
from triptych.training.feeding import planner_of
from triptych.training.session import Session, Settings

from .generated import write_images

BYTES_PER_GB = 1e9
BYTES_PER_MB = 1e6
BATCH = 64
IMAGES_AT_ONCE = 64  # that a thread of the floor decodes
SECONDS_BETWEEN_SAMPLES = 0.05  # of the size of the process
SECONDS_BETWEEN_LOOKS = 1.0  # for workers
WORKER = "RayTrainWorker"  # in the name that Ray gives to the process
STORE = re.compile(r"--object_store_memory=(\d+)")  # of the raylet
STEPS_OF_WARMING = 10  # the first steps wait for the first row groups


@dataclass(frozen=True)
class Rate:
    """How long it took to get some images.

    Attributes
    ----------
    images : int
        How many.
    wall, cpu : float
        Wall time, and processor time of all threads, in seconds.
    """

    images: int
    wall: float
    cpu: float


def main() -> None:
    """Run the command line."""
    options = _arguments()
    print(f"load {os.getloadavg()[0]:.1f}, {processors()} processors", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRIPTYCH_DATA"] = folder
        _measure_all(Path(folder), options)


def _measure_all(root: Path, options: argparse.Namespace) -> None:
    for kind in options.kinds:
        size = "×".join(map(str, options.size))
        folder = write_images(
            root / f"{kind}-{size}", options.images, options.size, kind, options.rows
        )
        stored = (folder / "train.parquet").stat().st_size
        print(f"{kind}: {options.images:,} images of {size}×3, {stored / BYTES_PER_GB:.2f} GB")
        begun = time.perf_counter()
        scaled = None if options.scaled is None else (options.scaled, options.scaled)
        dataset = loading.load(str(folder), 0, Options(size=scaled, stream=True))
        seconds = time.perf_counter() - begun
        print(f"  first look at all images: {len(dataset.train) / seconds:,.0f} a second")
        MEASURES[options.measure](dataset, folder, options)


def rates(dataset: Dataset, folder: Path, options: argparse.Namespace) -> None:
    """Print the images a second of the reader and of the floor, in turn."""
    contents = _encoded(folder)
    is_raw = not contents
    ours: list[Rate] = []
    floor: list[Rate] = []
    for number in range(options.rounds):
        ours.append(_timed(lambda epoch=number: _read(dataset, epoch)))
        floor.append(_timed(lambda: _copy(folder) if is_raw else _decode(contents)))
    for name, measured in (("streamed", ours), ("floor", floor)):
        wall = statistics.median(rate.images / rate.wall for rate in measured)
        cpu = statistics.median(rate.images / rate.cpu for rate in measured)
        print(f"  {name:10}{wall:10,.0f} images a second, {cpu:10,.0f} a second of a processor")
    ratio = statistics.median(
        (one.images / one.wall) / (other.images / other.wall)
        for one, other in zip(ours, floor, strict=True)
    )
    work = statistics.median(
        (other.cpu / other.images) / (one.cpu / one.images)
        for one, other in zip(ours, floor, strict=True)
    )
    print(f"  streamed / floor: {ratio:.2f} (wall), {work:.2f} (processor), median of the rounds")


def _timed(read: Callable[[], int]) -> Rate:
    wall = time.perf_counter()
    cpu = time.process_time()
    images = read()
    return Rate(images, time.perf_counter() - wall, time.process_time() - cpu)


def _read(dataset: Dataset, epoch: int) -> int:
    """Take all training images in the order of an epoch, batch after batch."""
    train = _streamed(dataset)
    order = train.order.epoch(0, epoch) if train.order else permutation(len(train), 0, epoch)
    reader = train.prefetched([order])
    for start in range(0, len(train), BATCH):
        reader.take(min(BATCH, len(train) - start))
    reader.close()
    return len(train)


def _streamed(dataset: Dataset) -> StreamedSplit:
    assert isinstance(dataset.train, StreamedSplit)
    return dataset.train


def _copy(folder: Path) -> int:
    """Read a column of bytes with pyarrow, and copy each image once."""
    file = pq.ParquetFile(folder / "train.parquet")
    count = 0
    for batch in file.iter_batches(1_000, columns=["image"]):
        column = batch.column(0)
        pixels = np.frombuffer(column.buffers()[1], np.uint8)
        _ = pixels.copy()
        count += len(column)
    return count


def _encoded(folder: Path) -> list[bytes]:
    """Return the encoded images of a file; none of raw pixels."""
    file = pq.ParquetFile(folder / "train.parquet")
    column = file.schema_arrow.field("image")
    if column.metadata:
        return []
    return [
        cell
        for batch in file.iter_batches(columns=["image"])
        for cell in batch.column(0).to_pylist()
    ]


def _decode(contents: list[bytes]) -> int:
    """Decode JPEG files with Pillow, in as many threads as there are processors."""

    def some(start: int) -> None:
        for content in contents[start : start + IMAGES_AT_ONCE]:
            with Image.open(io.BytesIO(content), formats=["JPEG"]) as file:
                np.asarray(file)

    with ThreadPoolExecutor(processors()) as pool:
        list(pool.map(some, range(0, len(contents), IMAGES_AT_ONCE)))
    return len(contents)


def waiting(dataset: Dataset, folder: Path, options: argparse.Namespace) -> None:
    """Print which share of its time R3 waits for images, in an epoch after the first steps."""
    del folder
    network = zoo.get("cnn", dataset.shape, len(dataset.classes))
    recipe = Recipe(1, BATCH, optimizer("adam"), random="free")
    for engine in options.engines:
        settings = Settings(engine, "eager")
        session = Session(settings, network, recipe, dataset, None)
        begun = 0.0
        waited = 0.0
        samples = 0
        for event in session.training.events():
            if not isinstance(event, BlockTrained):
                continue
            if not begun and event.step >= STEPS_OF_WARMING:
                begun = time.perf_counter()
                waited = session.training.feed.waited or 0.0
            elif begun:
                samples += event.steps * BATCH
        seconds = time.perf_counter() - begun
        waited = (session.training.feed.waited or 0.0) - waited
        session.training.feed.close()
        print(
            f"  {engine}: {samples / seconds:,.0f} images a second, waiting {waited:.2f} s of "
            f"{seconds:.1f} s: {100 * waited / seconds:.1f} %",
            flush=True,
        )


def memory(dataset: Dataset, folder: Path, options: argparse.Namespace) -> None:
    """Print the largest size of the process in each epoch, and a digest of the order."""
    del folder
    train = _streamed(dataset)
    network = zoo.dense("one-layer", [], shape=dataset.shape, classes=len(dataset.classes))
    recipe = Recipe(options.epochs, BATCH, SGD(1e-4))
    planner = planner_of(network, recipe, train)
    peaks: list[float] = []
    ends: list[float] = []
    with Watch() as watch:
        begun = time.perf_counter()
        for event in iter_train(
            "numpy", network, recipe, dataset, runs=None, workers=options.workers
        ):
            if isinstance(event, EpochEnded):
                peaks.append(watch.peak())
                ends.append(watch.seconds())
                seconds = time.perf_counter() - begun
                order = hashlib.sha256(planner.epoch_order(event.epoch - 1).data)
                print(
                    f"  epoch {event.epoch}: peak {peaks[-1]:,.0f} MB, "
                    f"{len(train) / seconds:,.0f} images a second, loss {event.loss:.4f}, "
                    f"order {order.hexdigest()[:12]}",
                    flush=True,
                )
                begun = time.perf_counter()
        if watch.store:
            print(f"  object store of Ray: {watch.store / BYTES_PER_MB:,.0f} MB")
    if options.json:
        label = f"{options.workers} workers" if options.workers > 1 else "1 process"
        content = {"label": label, "epochs": ends, "samples": watch.samples}
        files.write(options.json, json.dumps(content))
    if len(peaks) > 1:
        print(f"  from epoch 2 to {len(peaks)}: {100 * (peaks[-1] / peaks[1] - 1):+.1f} %")


class Watch:
    """Samples the size of the largest of this process and its workers; a context manager.

    The size of a worker of Ray includes what it reads of the object store.

    Attributes
    ----------
    store : int
        The bytes of the object store of a Ray that this process has started; 0 without one.
    samples : list of (float, float)
        Seconds since the beginning, and MB.
    """

    def __init__(self) -> None:
        self.store = 0
        self.samples: list[tuple[float, float]] = []
        self._begun = time.perf_counter()
        self._workers: list[psutil.Process] = []
        self._looked = 0.0  # for workers, seconds since the beginning
        self._process = psutil.Process()
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_SAMPLES):
            size = self._largest()
            self.samples.append((self.seconds(), size / BYTES_PER_MB))
            self._peak = max(self._peak, size)

    def seconds(self) -> float:
        """Return the seconds since the beginning."""
        return time.perf_counter() - self._begun

    def _largest(self) -> int:
        """Return the present resident size of the largest process that trains, in bytes."""
        if self.seconds() > self._looked + SECONDS_BETWEEN_LOOKS:
            self._look_for_workers()
            self._looked = self.seconds()
        sizes = [self._process.memory_info().rss]
        for worker in self._workers:
            with suppress(psutil.Error):
                sizes.append(worker.memory_info().rss)
        return max(sizes)

    def _look_for_workers(self) -> None:
        self._workers = []
        for child in self._process.children(recursive=True):
            with suppress(psutil.Error):
                command = " ".join(child.cmdline())
                if WORKER in command:
                    self._workers.append(child)
                if found := STORE.search(command):
                    self.store = int(found[1])

    def peak(self) -> float:
        """Return the largest size since the last call, in MB."""
        peak = max(self._peak, self._largest())
        self._peak = 0
        return peak / BYTES_PER_MB


MEASURES: dict[str, Callable[[Dataset, Path, argparse.Namespace], None]] = {
    "rates": rates,
    "waiting": waiting,
    "memory": memory,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.streaming", description=__doc__)
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=["raw", "jpeg"])
    parser.add_argument("--engines", type=lambda text: text.split(","), default=["numpy", "torch"])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--gigabytes", type=float, help="of raw pixels, in place of --images")
    parser.add_argument("--size", type=_size, default=(64, 64), metavar="HxW")
    parser.add_argument("--scaled", type=int, help="the side to which images are scaled")
    parser.add_argument("--rows", type=int, default=1_000, help="of a row group")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1, help="that train, for memory")
    parser.add_argument("--json", type=Path, help="where the sizes of memory are written")
    options = parser.parse_args()
    if options.gigabytes:
        height, width = options.size
        options.images = round(options.gigabytes * BYTES_PER_GB / (height * width * 3))
    return options


def _size(text: str) -> tuple[int, int]:
    height, width = map(int, text.split("x"))
    return height, width


if __name__ == "__main__":
    main()
