"""Where machine code is kept for the next process, and when it is compiled anew."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import ROOT

pytest.importorskip("numba")
compilation = pytest.importorskip("triptych.engines.numba.compilation")
pytestmark = [pytest.mark.framework, pytest.mark.process]

ADDING = """
from triptych.engines.numba.compilation import inlined

@inlined
def add(x):
    return x + {number}
"""
# A function with the cache of the engine, the same with Numba's own, and one that is called by its
# address.
CALLING = """
from numba import njit, types
from adding import add
from triptych.engines.numba.compilation import address, kernel
from triptych.engines.numba.kernels.calls import call, pointer

@kernel
def through(x):
    return add(x)

@njit(cache=True)
def stale(x):
    return add(x)

def make(function):
    def one(at):
        at[0] = function(at[0])

    return address(one, "one", types.void(types.CPointer(types.float64)))

@kernel
def by_address(function, array):
    call(function, (pointer(array),))
"""
PRINTING = """
import sys
from pathlib import Path
import numpy as np
from triptych.engines.numba import compilation
compilation.SOURCES = Path(sys.argv[1])
sys.path.insert(0, sys.argv[1])
import calling
array = np.zeros(1)
calling.by_address(calling.make(calling.add), array)
results = calling.through(1.0), calling.stale(1.0), array[0]
hits = sum(calling.through.stats.cache_hits.values())
print(*results, hits, compilation.FUNCTIONS_BY_ADDRESS[0].cache_hits)
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder with two modules, of which one calls the other."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "adding.py").write_text(ADDING.format(number=1))
    (folder / "calling.py").write_text(CALLING)
    return folder


def start(
    sources: Path, home: Path, program: str = PRINTING, **environment: str
) -> "subprocess.Popen[str]":
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("NUMBA_")}
    changed = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", program, str(sources)],
        env=inherited | changed | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> list[float]:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return [float(word) for word in output.split()]


def run(sources: Path, home: Path, **environment: str) -> list[float]:
    """Return what the three functions give, and how often machine code came from a file."""
    return finish(start(sources, home, **environment))


def stored(folder: Path) -> set[str]:
    """Return the names of the functions whose machine code is in a folder."""
    return {path.name.partition("-")[0] for path in folder.rglob("*.nbc")}


def test_a_change_of_a_function_that_is_called_is_noticed(sources: Path, tmp_path: Path):
    assert run(sources, tmp_path) == [2, 2, 1, 0, 0]
    assert run(sources, tmp_path) == [2, 2, 1, 1, 1]
    assert stored(sources) == {
        "calling.through",
        "calling.stale",
        "calling.by_address",
        "calling.one",
    }
    (sources / "adding.py").write_text(ADDING.format(number=10))
    # Numba's own cache only looks at the file of the function itself.
    assert run(sources, tmp_path) == [11, 2, 10, 0, 0]


def test_an_installation_that_cannot_be_written_uses_the_users_folder(
    sources: Path, tmp_path: Path
):
    (sources / "__pycache__").write_text("")  # as good as a folder without permission, also to root
    chosen = {"PYTHONDONTWRITEBYTECODE": "1"}
    run(sources, tmp_path, **chosen)
    assert "calling.through" in stored(tmp_path / "cache" / "numba")
    assert run(sources, tmp_path, **chosen)[3:] == [1, 1]


def test_without_any_folder_every_process_compiles(sources: Path, tmp_path: Path):
    (sources / "__pycache__").write_text("")
    (tmp_path / "cache").write_text("")
    (sources / "calling.py").write_text(CALLING.replace("(cache=True)", ""))
    chosen = {"PYTHONDONTWRITEBYTECODE": "1"}
    assert run(sources, tmp_path, **chosen) == [2, 2, 1, 0, 0]
    assert run(sources, tmp_path, **chosen) == [2, 2, 1, 0, 0]


def test_a_chosen_folder_comes_first(sources: Path, tmp_path: Path):
    run(sources, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "chosen"))
    assert "calling.through" in stored(tmp_path / "chosen")
    assert not stored(sources)


def test_several_processes_compile_at_the_same_time(sources: Path, tmp_path: Path):
    processes = [start(sources, tmp_path) for _ in range(3)]
    assert [finish(process)[:3] for process in processes] == [[2, 2, 1]] * 3
    assert run(sources, tmp_path) == [2, 2, 1, 1, 1]


def test_entries_that_are_stored_at_the_same_moment_are_not_mixed(tmp_path: Path, monkeypatch):
    files = compilation._KeyedFiles(str(tmp_path), "kernel", 0)
    monkeypatch.setattr(files, "_load_index", dict)  # neither process has seen the other's index
    files.save("float32", "code for float32")
    files.save("float64", "code for float64")
    monkeypatch.undo()
    assert files.load("float64") == "code for float64"
    assert files.load("float32") is None
    files.save("float32", "code for float32")
    assert [files.load(f"float{bits}") for bits in (32, 64)] == [
        "code for float32",
        "code for float64",
    ]


COUNTING = """
from numba import get_thread_id, prange
from triptych.engines.numba.compilation import parallel_kernel

@parallel_kernel
def note_threads(threads):
    for i in prange(threads.size):
        threads[i] = get_thread_id()
"""
PRINTING_THREADS = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from counting import note_threads
for compiled in (note_threads.shared, note_threads.alone):  # the first starts the threads
    threads = np.full(2, -1)
    compiled(threads)
    print(len(set(threads)), sum(compiled.stats.cache_hits.values()))
"""


def test_code_with_threads_and_code_without_are_stored_apart(tmp_path: Path):
    (tmp_path / "counting.py").write_text(COUNTING)
    for hits in (0, 1):
        process = start(tmp_path, tmp_path, PRINTING_THREADS, NUMBA_NUM_THREADS="2")
        assert finish(process) == [2, hits, 1, hits]
