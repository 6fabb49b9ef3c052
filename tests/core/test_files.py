"""A state file is whole or refused."""

import errno
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from support import damage

from triptych.core import files, state
from triptych.errors import TriptychError
from triptych.spec import zoo
from triptych.spec.callbacks import CallbackMemory
from triptych.spec.optimizers import Adam, RMSprop
from triptych.spec.recipe import Recipe
from triptych.training import checkpoint, tensorboard
from triptych.training.loop import Position

STATES = Path(__file__).parent / "states"
NETWORK, RECIPE = zoo.get("classic"), Recipe(1, 64, Adam())


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "state.safetensors"
    start = state.initial(NETWORK, RECIPE)
    checkpoint.save_state(path, start, NETWORK, RECIPE, {"engine": "numpy"})
    return path, start


def test_what_was_saved_comes_back(saved):
    path, start = saved
    saved, network, recipe, provenance = checkpoint.load_state(path)
    assert list(saved) == list(start)
    assert all(
        np.array_equal(saved[name], start[name]) and saved[name].dtype == start[name].dtype
        for name in start
    )
    assert (network, recipe, provenance) == (NETWORK, RECIPE, {"engine": "numpy"})


def test_arrays_that_are_not_contiguous_are_saved_right(tmp_path):
    start = state.initial(NETWORK, RECIPE)
    start["hidden/kernel"] = np.asfortranarray(
        np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32)
    )
    checkpoint.save_state(tmp_path / "s", start, NETWORK, RECIPE, {})
    assert np.array_equal(
        checkpoint.load_state(tmp_path / "s")[0]["hidden/kernel"], start["hidden/kernel"]
    )


def test_any_flipped_bit_is_refused(saved):
    """In the arrays, the network, the recipe, the provenance and the digest itself."""
    path, _ = saved
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    for at in [
        0,
        8,
        9,
        header,
        len(whole) - 1,
        *rng.integers(0, header, 300),
        *rng.integers(header, len(whole), 30),
    ]:
        broken = bytearray(whole)
        broken[at] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(broken)
        with pytest.raises(TriptychError) as refused:
            checkpoint.load_state(path)
        message = str(refused.value)
        assert message.startswith(str(path))
        assert len(message) <= 300
        assert message.isprintable()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (r"beta1\": 0.9", r"beta1\": 0.8"),
        (r"epochs\": 5", r"epochs\": 1"),
        (r"shift\": 0", r"shift\": 2"),
        ("4711", "4713"),
        ("digits", "dogits"),
        ("eager", "eagle"),
    ],
)
def test_a_changed_word_of_the_metadata_is_refused(tmp_path, before: str, after: str):
    """Network, recipe and provenance: what would be valid without the digest."""
    path = tmp_path / "state.safetensors"
    recipe = replace(RECIPE, epochs=5)
    provenance = {"data": {"train_sha256": "4711"}, "source": "digits", "backend": "eager"}
    checkpoint.save_state(path, state.initial(NETWORK, recipe), NETWORK, recipe, provenance)
    whole = path.read_bytes()
    assert before.encode() in whole
    path.write_bytes(whole.replace(before.encode(), after.encode(), 1))
    with pytest.raises(TriptychError, match="SHA-256 does not match"):
        checkpoint.load_state(path)


def test_the_digest_is_of_the_file_with_zeros_in_its_place(saved):
    path, _ = saved
    content = path.read_bytes()
    digest = damage.about_of(content)["sha256"]
    assert checkpoint.read_state(path).sha256 == digest
    assert sha256(content.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_states_of_older_formats_are_read():
    """Two files that older versions wrote, of a network of 4-2-3."""
    tiny = zoo.dense("tiny", [2], shape=(2, 2, 1), classes=3)
    saved, network, recipe, provenance = checkpoint.load_state(STATES / "format-1.safetensors")
    assert network == tiny
    assert recipe == Recipe(1, 64, RMSprop(rho=0.9))
    assert all(
        np.array_equal(saved[name], array) for name, array in state.initial(tiny, recipe).items()
    )
    assert provenance == {"engine": "numpy"}
    saved, network, recipe, provenance = checkpoint.load_state(STATES / "format-2.safetensors")
    assert (network, recipe) == (tiny, Recipe(3, 64, Adam()))
    assert list(saved) == list(state.initial(tiny, recipe))
    assert Position.from_json(provenance["training"]).memories == {"best": CallbackMemory(0.5, 1)}


@pytest.mark.parametrize("name", ["format-1", "format-2"])
def test_older_formats_keep_their_own_digest(tmp_path, name: str):
    blob = bytearray((STATES / f"{name}.safetensors").read_bytes())
    at = (
        len(blob) - 1
        if name == "format-1"
        else blob.index(b"base_rate") + len(b'base_rate\\": 0.00')
    )
    blob[at] ^= 2
    (tmp_path / "s").write_bytes(blob)
    with pytest.raises(TriptychError, match="SHA-256 of its arrays does not match"):
        checkpoint.load_state(tmp_path / "s")


@pytest.mark.parametrize(
    "written", [4, 0, -1, True, None, [], "\x1b]0;title\x07\nall is well", "x" * 10**5]
)
def test_an_unknown_format_is_refused_in_one_bounded_line(saved, written):
    path, _ = saved
    path.write_bytes(
        damage.forged_state(path.read_bytes(), lambda metadata: metadata.update(format=written))
    )
    with pytest.raises(TriptychError) as refused:
        checkpoint.load_state(path)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) <= 300
    assert "this version reads formats 1, 2, 3" in str(refused.value)


@pytest.mark.parametrize("units", [10**5, 10**9, 10**12])
def test_a_small_file_that_names_a_large_network_takes_no_memory(saved, units: int):
    path, _ = saved

    def change(metadata):
        metadata["network"]["layers"][1]["units"] = units

    path.write_bytes(damage.forged_state(path.read_bytes(), change))
    tracemalloc.start()
    with pytest.raises(TriptychError, match="its network and optimizer need"):
        checkpoint.load_state(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_header_longer_than_the_file_is_not_read(tmp_path):
    path = tmp_path / "s"
    path.write_bytes((2**26).to_bytes(8, "little") + b"{}")
    os.truncate(path, 10**13)  # sparse: it takes no room
    with pytest.raises(TriptychError, match="not a state that triptych wrote"):
        checkpoint.load_state(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "zeros", "folder"):
        with pytest.raises(TriptychError, match=f"{name}: not a regular file"):
            checkpoint.load_state(tmp_path / name)


def test_a_link_to_a_state_is_followed(saved, tmp_path):
    path, start = saved
    (tmp_path / "link").symlink_to(path)
    assert np.array_equal(
        checkpoint.load_state(tmp_path / "link")[0]["hidden/kernel"], start["hidden/kernel"]
    )


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 5000, -1])
def test_a_truncated_file_is_refused(saved, keep: int):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TriptychError, match="not a state that triptych wrote"):
        checkpoint.load_state(path)


def test_nan_weights_and_foreign_files_are_refused(tmp_path):
    start = state.initial(NETWORK, RECIPE)
    start["output/bias"][3] = np.nan
    checkpoint.save_state(tmp_path / "s", start, NETWORK, RECIPE, {})
    with pytest.raises(checkpoint.NotFiniteError, match="NaN"):
        checkpoint.load_state(tmp_path / "s")
    with pytest.raises(TriptychError, match="cannot be read"):
        checkpoint.load_state(tmp_path / "nothing")
    (tmp_path / "huge").write_bytes((2**60).to_bytes(8, "little") + b"{}")
    with pytest.raises(TriptychError, match="damaged"):
        checkpoint.load_state(tmp_path / "huge")


def test_a_kill_during_a_save_leaves_the_old_file_whole(saved):
    path, start = saved
    code = (
        "import sys; from pathlib import Path\n"
        "from triptych.core import state; from triptych.training import checkpoint\n"
        "from triptych.spec import zoo; from triptych.spec.recipe import *\n"
        "n, r = zoo.get('classic'), Recipe(1, 64, Adam()); s = state.initial(n, r)\n"
        "print('go', flush=True)\nwhile True: checkpoint.save_state(Path(sys.argv[1]), s, n, r, "
        "{'engine': 'numpy'})"
    )
    for pause in (0.0, 0.002, 0.005, 0.01, 0.02):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
        assert np.array_equal(
            checkpoint.load_state(path)[0]["hidden/kernel"], start["hidden/kernel"]
        )


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "f").write_text("old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write(tmp_path / "f", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "old"


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        files.write(tmp_path / "f", "new")
    assert error.value.filename == str(tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o027, 0o640)])
def test_the_umask_is_honoured(tmp_path, umask: int, mode: int):
    before = os.umask(umask)
    try:
        files.write(tmp_path / "f", "new")
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == mode


def test_what_a_kill_left_is_swept_and_nothing_else(tmp_path):
    kept = [
        "last/state.safetensors",
        "events.jsonl",
        ".lock",
        ".hidden",
        "numpy/.state.safetensors.0123abcd",
        ".notes.txt.0123abcd",
    ]
    left = [
        "last/.state.safetensors.0123abcd",
        "best/.state.safetensors.a_b_c_d_",
        ".events.jsonl.00000000",
        ".results.json.ffffffff",
    ]
    for name in kept + left:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files.sweep(tmp_path)
    assert {
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    } == set(kept)


def test_a_killed_write_leaves_a_name_that_is_swept(tmp_path, monkeypatch):
    """The temporary name, as `write` makes it, is one that `sweep` knows."""
    (tmp_path / "last").mkdir()
    monkeypatch.setattr(os, "replace", lambda part, path: None)  # as if it were killed right before
    files.write(tmp_path / "last" / "state.safetensors", "new")
    assert len(list((tmp_path / "last").iterdir())) == 1
    files.sweep(tmp_path)
    assert list((tmp_path / "last").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_of_tensorboard_that_cannot_be_written_ends_nothing():
    log = tensorboard._LogFile("/dev/full")
    log.write(b"x" * 10**6)
    log.write(b"x")
    log.flush()
    log.close()


def test_tensorboards_logs_are_where_they_belong_and_replace_those_of_before(tmp_path):
    pytest.importorskip("tensorboardX")
    folder = tmp_path / "a folder: with a colon"
    for value in (1.0, 2.0):
        writer = tensorboard.summary_writer(folder)
        writer.add_scalar("loss", value, 1)
        writer.close()
    assert len(list(folder.iterdir())) == 1
    assert next(iter(folder.iterdir())).stat().st_size > 40
