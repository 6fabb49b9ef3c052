"""Damaged and forged traces, batches and ONNX files: refused in one line, or read as they are."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save
from support import doctor_reader
from support.damage import changed, mutant, with_header

from triptych.doctor.trace import record, write_trace

pytestmark = [pytest.mark.slow, pytest.mark.process]

SECONDS = 1.0  # of the processor, until a file is refused
# The same for a file that is compared: where the updates of a trace were changed, their rule is
# looked for, which takes up to two seconds.
SECONDS_TO_COMPARE = 10.0
MEGABYTES = 200  # beyond what the whole file needed
LONGEST = 300  # characters of a message
ONNX = ("onnx", "onnxruntime")


@dataclass(frozen=True)
class Answer:
    """What a process has made of a file."""

    refused: str
    result: Any
    seconds: float
    peak_bytes: int


class Reader:
    """Asks the process of `support.doctor_reader`."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.log = folder.with_name(f"{folder.name}.log")
        self._errors = self.log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error::RuntimeWarning", doctor_reader.__file__, kind],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def read(self, path: Path) -> Answer:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{json.dumps(str(path))}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the process has ended: {self.log.read_text()[-2000:]}"
        return Answer(*json.loads(line))

    def close(self) -> None:
        self._process.communicate(timeout=60)
        self._errors.close()


class Trial:
    """Reads mutants of one kind, and checks each answer.

    Parameters
    ----------
    reader : Reader
        The process.
    whole : Path
        What is not damaged.
    """

    def __init__(self, reader: Reader, whole: Path) -> None:
        self.reader = reader
        self.whole = reader.read(whole)
        assert self.whole.refused == ""
        self.refused = 0

    def read(self, path: Path) -> Answer:
        """Read a mutant; a message must have its name."""
        answer = self.reader.read(path)
        self.refused += bool(answer.refused)
        assert len(answer.refused) <= LONGEST
        assert answer.refused.isprintable()
        assert not answer.refused or path.name in answer.refused
        assert answer.seconds < (SECONDS if answer.refused else SECONDS_TO_COMPARE), answer
        assert answer.peak_bytes - self.whole.peak_bytes < MEGABYTES * 2**20, answer
        return answer


@contextmanager
def trial(kind: str, folder: Path, whole: Path) -> Generator[Trial]:
    """Start the process, and check that it leaves nothing behind."""
    before = sorted(folder.rglob("*"))
    reader = Reader(kind, folder)
    try:
        yield Trial(reader, whole)
    finally:
        reader.close()
    assert "Traceback" not in reader.log.read_text()
    assert sorted(folder.rglob("*")) == before


def _arrays_changed(content: bytes, rng: random.Random) -> bytes:
    """Return a safetensors file in which one array is left out, or is another one."""
    arrays = load(content)
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    other = rng.choice(sorted(arrays))
    changes: dict[str, Callable[[], np.ndarray]] = {
        "other": lambda: arrays[other],
        "nan": lambda: np.full_like(array, np.nan) if array.dtype.kind == "f" else array,
        "large": lambda: np.full_like(
            array, np.finfo(array.dtype).max if array.dtype.kind == "f" else 2**31 - 1
        ),
        "empty": lambda: array[..., :0] if array.ndim else array,
        "flat": lambda: array.ravel(),
        "turned": lambda: np.ascontiguousarray(array.T),
        "whole": lambda: np.nan_to_num(array).astype(np.int64),
        "axes": lambda: array.reshape((1,) * rng.randrange(1, 4) + array.shape),
    }
    choice = rng.choice(("none", "name", *changes))
    if choice in changes:
        arrays[name] = changes[choice]()
    else:
        del arrays[name]
    if choice == "name":
        arrays[rng.choice(("x", "batch/x/", f"{name}/0", "updates/0/\u202e"))] = array
    return save(arrays)


def _spoil_trace(folder: Path, whole: Path, rng: random.Random) -> None:
    """Write a mutant of a trace."""
    text = (whole / "trace.json").read_bytes()
    content = (whole / "arrays.safetensors").read_bytes()
    choice = rng.randrange(5)
    if choice == 0:
        text = mutant(text, rng)
    elif choice == 1:
        content = mutant(content, rng)
    else:
        values = json.loads(text)
        del values["sha256"]
        if choice == 2:
            for _ in range(rng.choice((1, 1, 2, 4))):
                changed(values, rng)
        elif choice == 3:
            content = with_header(content, lambda header: changed(header, rng))
        else:
            content = _arrays_changed(content, rng)
        text = json.dumps(values).encode()
    (folder / "trace.json").write_bytes(text)
    (folder / "arrays.safetensors").write_bytes(content)


@pytest.fixture
def traces(tmp_path: Path) -> tuple[Path, Path]:
    """The same trace twice: one stays whole."""
    side, batch = doctor_reader.network_side("A"), doctor_reader.batch()
    recordings = record(side, batch)
    folders = tmp_path / "whole.trace", tmp_path / "m.trace"
    for folder in folders:
        write_trace(folder, recordings, batch)
    return folders


@pytest.mark.parametrize("kind", ["trace as A", "trace as B"])
def test_traces(tmp_path: Path, traces: tuple[Path, Path], mutants: int, kind: str):
    whole, folder = traces
    rng = random.Random(kind)
    with trial(kind, tmp_path, whole) as tried:
        assert tried.whole.result == "equal"
        for _ in range(mutants):
            _spoil_trace(folder, whole, rng)
            tried.read(folder)
    assert tried.refused > mutants / 3


def test_damaged_arrays_of_a_trace_are_refused(
    tmp_path: Path, traces: tuple[Path, Path], mutants: int
):
    """Its digest shows any change."""
    whole, folder = traces
    content = (whole / "arrays.safetensors").read_bytes()
    rng = random.Random("arrays")
    with trial("trace as A", tmp_path, whole) as tried:
        for _ in range(mutants):
            spoiled = mutant(content, rng)
            (folder / "arrays.safetensors").write_bytes(spoiled)
            assert bool(tried.read(folder).refused) == (spoiled != content)


def _batch_changed(arrays: dict[str, np.ndarray], rng: random.Random) -> dict[str, Any]:
    """Return a batch in which one array is another one."""
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    values: list[Any] = [
        array[:-1],
        array[:0],
        array.reshape(-1),
        array.astype(np.complex64),
        array.astype(object),
        array.astype("U8"),
        np.full_like(array, 3) * np.float32(np.nan),
        np.float32(3),
        array.astype(">f8"),
        np.zeros((0, 2**40), np.float32),
    ]
    key = rng.choice((name, name, "z", "../x", "x\n", "file" * 100))
    return {each: held for each, held in arrays.items() if each != name} | {key: rng.choice(values)}


def _saved(arrays: dict[str, Any], kind: str) -> bytes:
    if kind == "safetensors":
        return save(arrays)
    content = BytesIO()
    compressed = np.savez if kind == "npz" else np.savez_compressed
    compressed(content, **arrays)
    return content.getvalue()


@pytest.mark.parametrize("kind", ["npz", "compressed", "safetensors"])
def test_batches(tmp_path: Path, mutants: int, kind: str):
    ending = "safetensors" if kind == "safetensors" else "npz"
    whole, path = tmp_path / f"whole.{ending}", tmp_path / f"m.{ending}"
    content = _saved(doctor_reader.batch(), kind)
    for each in (whole, path):
        each.write_bytes(content)
    rng = random.Random(kind)
    with trial("batch", tmp_path, whole) as tried:
        for _ in range(mutants):
            forged = ending == "npz" and rng.random() < 0.3
            if forged:
                path.write_bytes(_saved(_batch_changed(doctor_reader.batch(), rng), kind))
            else:
                path.write_bytes(mutant(content, rng))
            answer = tried.read(path)
            if ending == "npz" and not forged and not answer.refused:
                # It has checksums, so that what is read is what was written.
                assert answer.result.items() <= tried.whole.result.items()
    assert tried.refused > mutants / 3


def test_onnx_files(tmp_path: Path, mutants: int):
    for name in ONNX:
        pytest.importorskip(name)
    from support.onnx_mutants import changed_model

    from triptych.exporting.onnx_graph import build_model

    whole, path = tmp_path / "whole.onnx", tmp_path / "m.onnx"
    content = build_model(doctor_reader.NETWORK, doctor_reader.weights(), {}).SerializeToString()
    for each in (whole, path):
        each.write_bytes(content)
    rng = random.Random("onnx")
    with trial("onnx", tmp_path, whole) as tried:
        assert tried.whole.result == ["conv", "norm", "hidden", "logits"]
        for _ in range(mutants):
            forged = rng.random() < 0.6
            path.write_bytes(changed_model(content, rng) if forged else mutant(content, rng))
            tried.read(path)
    assert tried.refused > mutants / 3
