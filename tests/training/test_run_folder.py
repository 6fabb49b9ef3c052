"""Run folders: their names, their lock, their results and their log, whatever became of them."""

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from support import damage

from triptych.errors import TriptychError
from triptych.report import tensorboard
from triptych.training import run_folder

RESULTS = {
    "kind": "train",
    "title": "784-10-10",
    "recipe": {"epochs": 3},
    "rate": 1e-08,
    "history": [{"loss": 0.25}, {"loss": None}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with results of a training."""
    with run_folder.Run(tmp_path / "run") as run:
        run.save_results(RESULTS)
    return tmp_path / "run"


def test_results_come_back(folder: Path):
    results = run_folder.read_results(folder, "train")
    assert {key: results[key] for key in RESULTS} == RESULTS
    assert results["schema"] == 4
    assert (folder / "results.json").read_text().count("\n") > 10


def test_every_flipped_bit_of_results_is_refused(folder: Path):
    path = folder / "results.json"
    whole = path.read_bytes()
    for at in range(8 * len(whole)):
        broken = bytearray(whole)
        broken[at // 8] ^= 1 << at % 8
        path.write_bytes(broken)
        with pytest.raises(TriptychError) as refused:
            run_folder.read_results(folder, "train")
        message = str(refused.value)
        assert message.startswith(str(path)) or "results of triptych" in message
        assert message.isprintable()


@pytest.mark.parametrize("keep", [0, 1, 40, 200, -1, -2])
def test_results_that_are_cut_off_are_refused(folder: Path, keep: int):
    path = folder / "results.json"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        TriptychError, match=r"results\.json: (not results|its SHA-256 does not match)"
    ):
        run_folder.read_results(folder, "train")


def test_results_without_a_digest_are_those_of_schema_1(folder: Path):
    path = folder / "results.json"
    old = {"schema": 1, "triptych": "0.1.0"} | RESULTS
    path.write_text(json.dumps(old))
    assert run_folder.read_results(folder, "train") == old
    path.write_text(json.dumps(old | {"schema": 2}))
    with pytest.raises(TriptychError, match="SHA-256 does not match"):
        run_folder.read_results(folder, "train")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 200_000,
        "[]",
        "null",
        "\ud800",
        '{"schema": []}',
        '{"schema": 2, "sha256": 7}',
        "1" * 5000,
    ],
)
def test_what_is_no_results_is_refused(folder: Path, content: str):
    (folder / "results.json").write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(TriptychError, match=r"results\.json"):
        run_folder.read_results(folder, None)


def test_results_that_may_not_be_read_say_so(folder: Path, monkeypatch):
    monkeypatch.setattr(
        Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    with pytest.raises(TriptychError, match=r"results\.json: cannot be read \(Permission denied\)"):
        run_folder.read_results(folder, None)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices_are_not_waited_for(folder: Path):
    for name, read in (
        ("results.json", run_folder.read_results),
        ("events.jsonl", run_folder.read_events),
    ):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(TriptychError, match="not a regular file"):
            read(folder)
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")
        with pytest.raises(TriptychError, match="not a regular file"):
            read(folder)


BLOCK = {
    "type": "block",
    "epoch": 1,
    "step": 2,
    "steps": 2,
    "rate": 0.1,
    "seconds": 0.5,
    "losses": [2.0, 1.0],
}
OF_A_ROW = BLOCK | {"row": "numpy", "seed": 0, "training": True, "timed": True}
LOOK = {"accuracy": 0.5, "apart": 0.0, "flips": 3}
EVALUATION = {"type": "evaluation", "seed": 0, "step": 2, "rows": {"numpy": LOOK}, "twins": [LOOK]}
NO_EVENTS = (
    *(
        b"\xb0",
        b"[" * 100_000,
        b"[1]",
        b"3",
        b"null",
        b'{"type": "blo',
        b"",
        b"{}",
        b'{"type": 3}',
        b"1" * 5000,
    ),
    *(
        json.dumps(BLOCK | change).encode()
        for change in ({"step": "a"}, {"step": True}, {"step": 10**400}, {"losses": 3})
    ),
    *(
        json.dumps(BLOCK | change).encode()
        for change in ({"losses": ["a"]}, {"seconds": None}, {"steps": -1}, {"rate": []})
    ),
    *(
        json.dumps({k: v for k, v in BLOCK.items() if k != name}).encode()
        for name in ("epoch", "step", "steps", "rate", "losses")
    ),
    *(
        json.dumps({k: v for k, v in OF_A_ROW.items() if k != name}).encode()
        for name in ("row", "seed", "training", "timed")
    ),
    *(
        json.dumps(EVALUATION | change).encode()
        for change in ({"rows": []}, {"rows": {"numpy": 3}}, {"twins": [{}]}, {"seed": "0"})
    ),
    json.dumps(EVALUATION | {"rows": {"numpy": LOOK | {"flips": None}}}).encode(),
    json.dumps({"type": "x", "step": "a"}).encode(),
    json.dumps(
        {"type": "epoch", "epoch": 1, "step": 2, "loss": 1.0, "validation_loss": "low"}
    ).encode(),
)


@pytest.mark.parametrize("line", NO_EVENTS, ids=range(len(NO_EVENTS)))
def test_a_line_that_is_no_event(tmp_path, line: bytes):
    """A run goes on from before it; a report leaves it out, and counts it."""
    good = [{"type": "begin"}, BLOCK, OF_A_ROW, EVALUATION]
    text = b"".join(json.dumps(event).encode() + b"\n" for event in good)
    (tmp_path / "events.jsonl").write_bytes(text + line + b"\n" + text)
    assert run_folder.read_events(tmp_path) == good
    assert run_folder.read_log(tmp_path) == (good + good, 1)


def test_one_flipped_bit_costs_one_line_at_most(tmp_path):
    rng = random.Random(0)
    good = [EVALUATION, *({**OF_A_ROW, "step": step} for step in range(2, 10)), EVALUATION]
    text = b"".join(json.dumps(event).encode() + b"\n" for event in good)
    for _ in range(300):
        (tmp_path / "events.jsonl").write_bytes(damage.flipped(text, rng))
        events, damaged = run_folder.read_log(tmp_path)
        assert len(events) + damaged in (
            len(good) - 1,
            len(good),
            len(good) + 1,
        )  # a line break may go, or come
        assert len(events) >= len(good) - 2
        assert sum(event in events for event in good) >= len(good) - 2


def written(folder: Path, results: dict, events: list[dict]) -> None:
    """A run folder of a comparison with no more than what the logs of TensorBoard need."""
    with run_folder.Run(folder) as run:
        for event in events:
            run.log(event)
        run.save_results(results)


def all_files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_a_report_touches_no_path_that_a_log_names(tmp_path):
    pytest.importorskip("tensorboardX")
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "events.out.tfevents.1.host").write_text("precious")
    names = [
        str(victim),
        "../victim",
        "../victim/new",
        "torch",
        "",
        ".",
        "..",
        ".hidden",
        "numpy/../../victim",
        "numpy",
    ]
    events = [OF_A_ROW | {"row": name} for name in names] + [OF_A_ROW | {"seed": 7}]
    events += [EVALUATION | {"rows": dict.fromkeys(names, LOOK)}]
    written(tmp_path / "run", {"runs": [{"seed": 0, "rows": {"numpy": {}}}]}, events)
    tensorboard.write(tmp_path / "run")
    assert all_files(victim) == {"events.out.tfevents.1.host": b"precious"}
    assert {path.name for path in tmp_path.iterdir()} == {"victim", "run"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "events.jsonl",
        "results.json",
        "numpy",
    }


@pytest.mark.parametrize(
    "row",
    ["../victim", "/victim", "..", ".numpy", "", "a/b", "a\\b", "a\nb", "a" * 101, "nümpy", "C:"],
)
def test_results_that_name_a_path_as_a_row_are_refused(tmp_path, row: str):
    written(tmp_path / "run", {"runs": [{"seed": 0, "rows": {"numpy": {}, row: {}}}]}, [])
    with pytest.raises(TriptychError, match=r"results\.json.*is not a plain name"):
        run_folder.read_results(tmp_path / "run")


@pytest.mark.parametrize("seed", ["../victim", "0", None, -1, 0.5, True, [], 2**63])
def test_results_with_a_seed_that_is_no_whole_number_are_refused(tmp_path, seed):
    written(tmp_path / "run", {"runs": [{"seed": seed, "rows": {"numpy": {}}}]}, [])
    with pytest.raises(TriptychError, match=r"results\.json.*is not a whole number"):
        run_folder.read_results(tmp_path / "run")


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_row_that_is_a_link_is_not_followed(tmp_path, seeds: int):
    pytest.importorskip("tensorboardX")
    victim = tmp_path / "victim"
    (victim / "numpy").mkdir(parents=True)
    for place in (victim, victim / "numpy"):
        (place / "events.out.tfevents.1.host").write_text("precious")
    before = all_files(victim)
    written(
        tmp_path / "run",
        {"runs": [{"seed": n, "rows": {"numpy": {}}} for n in range(seeds)]},
        [OF_A_ROW],
    )
    (tmp_path / "run" / ("numpy" if seeds == 1 else "seed-0")).symlink_to(victim)
    with pytest.raises(TriptychError, match="a link, where the folder of a row is needed"):
        tensorboard.write(tmp_path / "run")
    assert all_files(victim) == before


def created(root: Path, *parts: str) -> Path:
    with run_folder.Run.create(root, *parts) as run:
        return run.folder


def test_the_name_of_a_run_says_what_it_holds(tmp_path):
    time, _, rest = created(
        tmp_path, "train", "torch", "784-10-10", "my data/ünï [b]"
    ).name.partition("-train-")
    assert rest == "torch-784-10-10-my-data-n-b"
    assert len(time) == len("20261128-133209")
    name = created(tmp_path, "compare", "x" * 1000, "../..", "").name
    assert name.endswith(f"-compare-{'x' * 30}")


def test_the_newest_run_is_of_its_kind(tmp_path):
    for name in (
        "20260101-000000-compare",
        "20260102-000000-compare-mlp-digits",
        "20260103-000000-train-numpy-compare-digits",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text("{}")
    assert run_folder.newest(tmp_path).name == "20260102-000000-compare-mlp-digits"
    assert run_folder.newest(tmp_path, "train").name == "20260103-000000-train-numpy-compare-digits"
    with pytest.raises(TriptychError, match="no finished run"):
        run_folder.newest(tmp_path, "verify")


def test_many_runs_at_one_moment_have_folders_of_their_own(tmp_path):
    made, failed = list[Path](), list[Exception]()
    gate = threading.Barrier(16)

    def make() -> None:
        gate.wait()
        try:
            made.append(created(tmp_path, "train"))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(set(made)) == 16


def test_a_name_that_is_taken_between_look_and_make(tmp_path, monkeypatch):
    """Another process makes the folder at the very moment."""
    make = Path.mkdir

    def raced(path: Path, *arguments, **options) -> None:
        if path.parent == tmp_path and not path.name.endswith("-2"):
            make(path)
        make(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", raced)
    assert created(tmp_path, "train").name.endswith("-train-2")


def test_a_run_folder_is_locked_against_other_processes(tmp_path):
    code = (
        "import sys; from pathlib import Path; from triptych.training import run_folder\n"
        "with run_folder.locked(Path(sys.argv[1])): print('got it')"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with run_folder.locked(tmp_path):
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "TriptychError" in other.stderr
        assert "another process is training in this run folder" in other.stderr
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "got it\n"


def test_numbers_of_numpy_are_no_surprise(tmp_path):
    """Results hold what JSON has; a figure that is not finite is null."""
    with run_folder.Run(tmp_path / "run") as run:
        run.save_results({"kind": "train", "value": float(np.float64(np.nan))})
    assert run_folder.read_results(tmp_path / "run", "train")["value"] is None
