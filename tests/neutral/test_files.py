"""A state file is whole or refused."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from triptych import files, state, zoo
from triptych.errors import TriptychError
from triptych.optimizers import Adam
from triptych.recipe import Recipe

NETWORK, RECIPE = zoo.get("classic"), Recipe(1, 64, Adam())


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "state.safetensors"
    start = state.initial(NETWORK, RECIPE)
    files.save_state(path, start, NETWORK, RECIPE, {"engine": "numpy"})
    return path, start


def test_what_was_saved_comes_back(saved):
    path, start = saved
    found, network, recipe, provenance = files.load_state(path)
    assert list(found) == list(start)
    assert all(np.array_equal(found[name], start[name]) and found[name].dtype == start[name].dtype for name in start)
    assert (network, recipe, provenance) == (NETWORK, RECIPE, {"engine": "numpy"})


def test_arrays_that_are_not_contiguous_are_saved_right(tmp_path):
    start = state.initial(NETWORK, RECIPE)
    start["hidden/kernel"] = np.asfortranarray(np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32))
    files.save_state(tmp_path / "s", start, NETWORK, RECIPE, {})
    assert np.array_equal(files.load_state(tmp_path / "s")[0]["hidden/kernel"], start["hidden/kernel"])


def test_any_flipped_bit_is_noticed(saved):
    path, _ = saved
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in [0, 8, 9, len(whole) - 1, *rng.integers(0, len(whole), 60)]:
        broken = bytearray(whole)
        broken[at] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(broken)
        try:
            found = files.load_state(path)
        except TriptychError:
            continue
        path.write_bytes(whole)
        # A bit of the free text (provenance) may differ; weights, network and recipe may not.
        assert all(np.array_equal(found[0][name], array) for name, array in files.load_state(path)[0].items())
        assert found[1:3] == (NETWORK, RECIPE) or found[1].name != NETWORK.name or found[2] != RECIPE


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 5000, -1])
def test_a_truncated_file_is_refused(saved, keep: int):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TriptychError, match="not a state that triptych wrote"):
        files.load_state(path)


def test_nan_weights_and_foreign_files_are_refused(tmp_path):
    start = state.initial(NETWORK, RECIPE)
    start["output/bias"][3] = np.nan
    files.save_state(tmp_path / "s", start, NETWORK, RECIPE, {})
    with pytest.raises(TriptychError, match="NaN"):
        files.load_state(tmp_path / "s")
    with pytest.raises(TriptychError, match="cannot be read"):
        files.load_state(tmp_path / "nothing")
    (tmp_path / "huge").write_bytes((2**60).to_bytes(8, "little") + b"{}")
    with pytest.raises(TriptychError, match="damaged"):
        files.load_state(tmp_path / "huge")


def test_a_kill_during_a_save_leaves_the_old_file_whole(saved):
    path, start = saved
    code = (
        "import sys; from pathlib import Path; from triptych import files, state, zoo; from triptych.recipe import *\n"
        "n, r = zoo.get('classic'), Recipe(1, 64, Adam()); s = state.initial(n, r)\n"
        "print('go', flush=True)\nwhile True: files.save_state(Path(sys.argv[1]), s, n, r, {'engine': 'numpy'})"
    )
    for pause in (0.0, 0.002, 0.005, 0.01, 0.02):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
        assert np.array_equal(files.load_state(path)[0]["hidden/kernel"], start["hidden/kernel"])


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "f").write_text("old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write(tmp_path / "f", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "old"
