"""Damaged and hostile files of weights: refused in one line, quickly, and never unpickled."""

import io
import pickle
import random
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from support.damage import changed, cut, flipped, with_header
from support.foreign import NETWORK, arrays_like

from triptych.errors import TriptychError
from triptych.importing.arrays import SAVE_TORCH, open_weights
from triptych.importing.weights import framework_of_file, import_weights, read_weights

MUTANTS = 100  # of each kind of file
MUTANTS_OF_A_SLOW_TEST = 1_000  # `make certify` makes ten times as many
SECONDS = 1.0  # of the processor, for one file
MEGABYTES = 200  # beyond what was in use before
FRAMEWORK = {"safetensors": "torch", "npz": "keras"}


class Trap:
    """An object that writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def content_of(kind: str, arrays: dict[str, np.ndarray] | None = None) -> bytes:
    """Return a file with the weights of the network, or with other arrays."""
    arrays = arrays_like(FRAMEWORK[kind]) if arrays is None else arrays
    if kind == "safetensors":
        return save(arrays)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def with_member(content: bytes, name: str, data: bytes, mode: str = "a", **options) -> bytes:
    """Return an npz file with one more member; with mode ``w`` it is the only one."""
    file = io.BytesIO(b"" if mode == "w" else content)
    with zipfile.ZipFile(file, mode, **options) as archive:
        archive.writestr(name, data)
    return file.getvalue()


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def npy_claiming(description: str) -> bytes:
    """Return an npy file with any header."""
    text = description.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def import_from(path: Path, kind: str) -> str | None:
    """Import a file; return the line with which it is refused, or None."""
    network = NETWORK.like(FRAMEWORK[kind])
    begun = time.process_time()
    try:
        weights = read_weights(path, network)
        import_weights(weights, network, framework_of_file(weights, FRAMEWORK[kind]))
        message = None
    except TriptychError as error:
        message = str(error)
        assert message.isprintable()
        assert str(path)[:20] in message
    assert time.process_time() - begun < SECONDS
    return message


@pytest.mark.parametrize("kind", FRAMEWORK)
def test_the_whole_file_is_imported(tmp_path, kind: str):
    path = tmp_path / "weights"
    path.write_bytes(content_of(kind))
    assert import_from(path, kind) is None


def _mutant(content: bytes, kind: str, rng: random.Random) -> bytes:
    """Return a file with bits flipped, its end cut off, or a header that is changed."""
    choice = rng.randrange(4)
    if choice == 0:
        return cut(content, rng)
    if choice == 1:
        at = rng.randrange(len(content))
        return content[:at] + rng.randbytes(rng.randrange(1, 40)) + content[at:]
    if choice == 2 and kind == "safetensors":
        return with_header(content, lambda header: changed(header, rng))
    for _ in range(rng.randrange(1, 5)):
        content = flipped(content, rng)
    return content


def _try_mutants(folder: Path, kind: str, count: int) -> None:
    content = content_of(kind)
    rng = random.Random(11)
    path = folder / "weights"
    refused = 0
    for _ in range(count):
        path.write_bytes(_mutant(content, kind, rng))
        refused += import_from(path, kind) is not None
    # A flipped bit of a number in a safetensors file cannot be seen: it has no checksum.
    assert refused > count // 2
    assert sorted(folder.iterdir()) == [path]


@pytest.mark.parametrize("kind", FRAMEWORK)
def test_mutants(tmp_path, kind: str):
    _try_mutants(tmp_path, kind, MUTANTS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FRAMEWORK)
def test_many_mutants(tmp_path, kind: str, scale: int):
    _try_mutants(tmp_path, kind, MUTANTS_OF_A_SLOW_TEST * scale)


def _changed_arrays(kind: str, change: Callable[[dict[str, np.ndarray]], Any]) -> bytes:
    arrays = arrays_like(FRAMEWORK[kind])
    change(arrays)
    return content_of(kind, arrays)


def _set(name: str, value: np.ndarray) -> Callable[[dict[str, np.ndarray]], Any]:
    return lambda arrays: arrays.update({name: value})


def _spoil(name: str, value: float) -> Callable[[dict[str, np.ndarray]], Any]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name].flat[3] = value

    return change


WRONG_ARRAYS = {
    "an array is missing": (lambda arrays: arrays.pop("14.bias"), "output needs"),
    "a layer too many": (_set("16.weight", np.ones((3, 3), np.float32)), "0 such layers left"),
    "one of a shape too many": (
        lambda arrays: arrays.update({"13.weight": np.ones((16, 16)), "13.bias": np.ones(16)}),
        "2 such layers left",
    ),
    "a transposed kernel": (_set("7.weight", np.ones((150, 16), np.float32)), "hidden1 needs"),
    "another dtype": (_set("7.weight", np.ones((16, 150), np.int32)), "not of floats"),
    "a complex dtype": (_set("7.weight", np.ones((16, 150), np.complex64)), "save it as float32"),
    "NaN": (_spoil("7.weight", np.nan), "'7.weight' holds NaN"),
    "infinity": (_spoil("3.weight", np.inf), "'3.weight' holds NaN, infinities"),
    "too large for float32": (_set("7.weight", np.full((16, 150), 1e300)), "beyond float32"),
    "a negative variance": (_spoil("1.running_var", -1), "negative variance"),
}


@pytest.mark.parametrize("fault", WRONG_ARRAYS)
def test_arrays_that_do_not_fit(tmp_path, fault: str):
    change, reason = WRONG_ARRAYS[fault]
    path = tmp_path / "weights.safetensors"
    path.write_bytes(_changed_arrays("safetensors", change))
    message = import_from(path, "safetensors")
    assert message is not None
    assert reason in message


def _entry(header: dict[str, Any]) -> dict[str, Any]:
    return header["7.weight"]


BAD_HEADERS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a huge shape": (lambda h: _entry(h).update(shape=[2**39, 2**39]), "takes"),
    "a negative side": (lambda h: _entry(h).update(shape=[-16, -150]), "shape"),
    "a side that is no number": (lambda h: _entry(h).update(shape=["16", 150]), "shape"),
    "an overlap": (
        lambda h: _entry(h).update(data_offsets=h["3.weight"]["data_offsets"]),
        "bytes, not",
    ),
    "a place beyond the end": (lambda h: _entry(h).update(data_offsets=[10**9, 10**9 + 9600]), ""),
    "an unknown type": (lambda h: _entry(h).update(dtype="BF16"), "save it as float32"),
    "a superfluous key": (lambda h: _entry(h).update(code="x"), "not described as it must be"),
    "no array": (lambda h: h.clear(), "holds no arrays"),
    "a name with a control character": (lambda h: h.update({"\x1b[2J": h.pop("7.weight")}), "name"),
    "too many arrays": (lambda h: h.update({str(i): {} for i in range(10_001)}), "over the limit"),
}


@pytest.mark.parametrize("fault", BAD_HEADERS)
def test_headers_of_safetensors(tmp_path, fault: str):
    change, reason = BAD_HEADERS[fault]
    path = tmp_path / "weights.safetensors"
    path.write_bytes(with_header(content_of("safetensors"), change))
    message = import_from(path, "safetensors")
    assert message is not None
    assert reason in message


def test_a_name_twice_and_brackets_without_end(tmp_path):
    path = tmp_path / "weights.safetensors"
    entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    for text, reason in (
        (f'{{"a":{entry},"a":{entry}}}', "holds 'a' twice"),
        ("[" * 100_000, ""),
        ('{"a":' * 100_000, ""),
        ("[]", "not an object"),
    ):
        path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + b"\0" * 4)
        message = import_from(path, "safetensors")
        assert message is not None
        assert reason in message
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    assert "does not fit into a file" in (import_from(path, "safetensors") or "")


def test_no_pickle_is_executed(tmp_path):
    marker = tmp_path / "marker"
    trap = np.array([Trap(marker)], object)
    whole = content_of("npz")
    held = {
        "a.safetensors": pickle.dumps(Trap(marker)),
        "b.npz": pickle.dumps(Trap(marker)),
        "c.npz": with_member(whole, "dense/kernel.npy", npy(trap, allow_pickle=True), "w"),
        "d.npz": with_member(whole, "more/kernel.npy", npy(trap, allow_pickle=True)),
        "e.npz": with_member(whole, "archive/data.pkl", pickle.dumps(Trap(marker))),
        "f.npz": with_member(whole, "g/h.npy", pickle.dumps(Trap(marker))),
        "g.npy": npy(trap, allow_pickle=True),
    }
    for name, content in held.items():
        (tmp_path / name).write_bytes(content)
        for kind in FRAMEWORK:
            assert import_from(tmp_path / name, kind) is not None, name
    assert not marker.exists()
    pickle.loads(held["a.safetensors"])  # the trap works
    assert marker.exists()


@pytest.mark.parametrize("kind", FRAMEWORK)
def test_a_pickle_is_called_a_pickle_whatever_it_is_called(tmp_path, kind: str):
    archive = with_member(b"", "model/data.pkl", pickle.dumps({}), "w")
    behind = with_member(content_of("npz"), "more/data.pkl", pickle.dumps({}))
    for number, content in enumerate([archive, behind, *map(_pickled, (2, 3, 4, 5))]):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        message = import_from(path, kind)
        assert message is not None
        assert message.startswith(f"{path}: a pickle, which is never opened")
        assert message.endswith(SAVE_TORCH)
    path.write_bytes(with_member(b"", "metadata.json", b"{}", "w"))
    message = import_from(path, kind)
    assert message is not None
    assert "an archive with 'metadata.json'; save the weights with" in message


def _pickled(protocol: int) -> bytes:
    return pickle.dumps({"weight": [0.5]}, protocol)


def test_archives_that_claim_too_much(tmp_path):
    """What they claim is checked before it is unpacked."""
    path = tmp_path / "weights.npz"
    bomb = with_member(b"", "dense/kernel.npy", bytes(2**28), "w", compression=zipfile.ZIP_DEFLATED)
    claims = npy_claiming(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1000)}"
    )
    whole = content_of("npz")
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = with_member(whole, "dense/kernel.npy", npy(np.ones((150, 16), np.float32)))
    hostile = {
        "a bomb": (bomb, "bytes, where at most"),
        "a huge shape": (with_member(b"", "a/kernel.npy", claims, "w"), "has the shape"),
        "a name twice": (twice, "holds 'dense/kernel' twice"),
        "a deep header": (with_member(b"", "a/kernel.npy", npy_claiming("(" * 9_000), "w"), ""),
        "a call": (with_member(b"", "a/k.npy", npy_claiming("__import__('os')"), "w"), ""),
        "a path out of the folder": (
            with_member(b"", "../../kernel.npy", npy(np.ones(3)), "w"),
            "0 such layers",
        ),
        "nothing": (b"", ""),
        "an empty archive": (b"PK\x05\x06" + bytes(18), ""),
    }
    tracemalloc.start()
    for fault, (content, reason) in hostile.items():
        path.write_bytes(content)
        del content
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        message = import_from(path, "npz")
        peak = tracemalloc.get_traced_memory()[1]
        assert message is not None, fault
        assert reason in message, fault
        assert peak - before < MEGABYTES * 2**20, fault
    tracemalloc.stop()


def test_a_large_file_is_refused_unread(tmp_path):
    path = tmp_path / "weights.safetensors"
    with path.open("wb") as file:
        file.truncate(2**36)
    assert "bytes, where at most" in (import_from(path, "safetensors") or "")


@pytest.mark.parametrize("kind", FRAMEWORK)
def test_what_a_large_file_declares_is_checked_before_it_is_read(tmp_path, kind: str):
    path = tmp_path / "weights"
    path.write_bytes(content_of(kind))
    with path.open("ab") as file:
        file.truncate(2**29)
    tracemalloc.start()
    with pytest.raises(TriptychError) as refused:
        open_weights(path, 2**30)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert str(refused.value).startswith(f"{path}: not a safetensors or npz file, or damaged")


def test_many_small_arrays_take_little_time(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **{f"a{number}": np.zeros(1) for number in range(5_000)})
    begun = time.process_time()
    file = open_weights(path, 2**20)
    for array in file.arrays.values():
        file.read(array)
    assert time.process_time() - begun < 3 * SECONDS
