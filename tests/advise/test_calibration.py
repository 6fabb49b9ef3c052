"""A calibration in miniature, and its file: what is kept, what is refused."""

import json
from dataclasses import replace

import pytest
from support.planted import NUMPY, TORCH, calibrated, costs

from triptych.advise import advice, calibration
from triptych.advise.advice import Advisor
from triptych.advise.timer import Stopwatch
from triptych.advise.workload import Case
from triptych.core.selection import EngineSpec
from triptych.errors import TriptychError
from triptych.process import machine
from triptych.spec.zoo import dense


def test_in_miniature(tmp_path, monkeypatch):
    few = [
        Case.of(dense("n", [width], shape=(8, 8, 1)), batch)
        for width in (4, 40)
        for batch in (1, 30, 200)
    ]
    monkeypatch.setattr(calibration, "cases", lambda: iter(few))
    *events, last = calibration.calibrate([NUMPY, EngineSpec("numpy", "absent")], 1, 9)
    found = last["calibration"]
    assert [(e["row"], e["why"]) for e in events if e["type"] == "proved"] == [("numpy", None)]
    assert [(e["row"], e["why"].split(";")[0]) for e in events if e["type"] == "failed"] == [
        ("numpy-absent", "NumPy has no backend 'absent'")
    ]
    assert found.rows == (NUMPY,)
    assert [sample.case for sample in found.samples] == few
    assert [e["networks"] for e in events if e["type"] == "timed"] == [1, 2, 3, 4, 5, 6]
    assert all(sample.seconds["numpy"] > 0 for sample in found.samples)
    # Six blocks that were timed on a machine with other work may differ by any factor.
    monkeypatch.setattr(advice, "LARGEST_UNCERTAINTY", float("inf"))
    advisor = Advisor(found)
    case = Case.of(dense("n", [16]), 8)
    assert advisor.advise(case).fastest == ["numpy"]
    assert (
        calibration.save(found, tmp_path / "c.json")
        == found
        == calibration.load(tmp_path / "c.json", 1)
    )


def test_every_row_has_its_allowance():
    case = Case.of(dense("n", [8], shape=(8, 8, 1)), 4)
    with Stopwatch([NUMPY]) as watch:
        assert watch.time(case).keys() == {"numpy"}
        watch.timers[0].allowance = watch.timers[0].spent
        assert watch.time(case) == {}


def test_a_process_that_compiled_enough_is_replaced():
    case = Case.of(dense("n", [8], shape=(8, 8, 1)), 4)
    with Stopwatch([NUMPY]) as watch:
        (timer,) = watch.timers
        first = (timer.build(case).remote, timer.build(case).remote)
        timer.compiled = 6
        assert first[0] is first[1] is not timer.build(case).remote


def test_rows_that_are_timed_again_replace_their_own_alone(tmp_path):
    file = tmp_path / "c.json"
    both = calibration.save(calibrated({NUMPY: costs(), TORCH: costs()}, networks=5), file)
    newer = replace(calibrated({NUMPY: costs(1e-3)}, networks=3), unproved={"numpy": "is new"})
    joined = calibration.save(newer, file)
    assert set(joined.rows) == {NUMPY, TORCH}
    assert joined.unproved == {"numpy": "is new"}
    assert [s.seconds["numpy"] for s in joined.samples if "numpy" in s.seconds] == [
        s.seconds["numpy"] for s in newer.samples
    ]
    assert [s.seconds["torch"] for s in joined.samples if "torch" in s.seconds] == [
        s.seconds["torch"] for s in both.samples
    ]
    assert [list(s.seconds) for s in joined.samples] == [["numpy", "torch"]] * 3 + [
        ["torch"]
    ] * 2  # one network is one sample


def test_what_other_versions_found_is_not_kept(tmp_path):
    file, older = (
        tmp_path / "c.json",
        replace(
            calibrated({TORCH: costs()}, networks=3), versions={"triptych": "0.0", "numpy": "1.0"}
        ),
    )
    calibration.save(older, file)
    assert "numpy 1.0 then" in (calibration.outdated(calibration.load(file, 1)) or "")
    newer = calibrated({NUMPY: costs()}, networks=3)
    assert "of PyTorch are discarded: calibrated with other versions" in (
        calibration.discarded(file, newer) or ""
    )
    assert calibration.save(newer, file).rows == (NUMPY,)


def test_what_was_installed_since_changes_nothing(tmp_path):
    file, found = tmp_path / "c.json", calibrated({TORCH: costs()}, networks=3)
    calibration.save(
        replace(
            found, versions={name: v for name, v in found.versions.items() if name != "tensorflow"}
        ),
        file,
    )
    newer = calibrated({NUMPY: costs()}, networks=3)
    assert calibration.discarded(file, newer) is None
    assert set(calibration.save(newer, file).rows) == {NUMPY, TORCH}


def test_the_file_is_named_after_the_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path))
    monkeypatch.setattr(machine, "processor", lambda: "Acme(R) One @ 3 GHz")
    assert calibration.path(2) == tmp_path / "map" / "acme-r-one-3-ghz-2.json"


def written(tmp_path, change) -> None:
    data = calibrated({NUMPY: costs()}, networks=3).to_json()
    change(data)
    (tmp_path / "c.json").write_text(json.dumps(data))


REFUSED = {
    "another machine's": (
        lambda data: data.update(processor="Acme"),
        "made with processor Acme, not .*; run: triptych map",
    ),
    "other threads'": (lambda data: data.update(threads=3), "made with threads 3, not 1"),
    "another format's": (
        lambda data: data.update(format=9),
        "made with format 9, not 1",
    ),
    "one with a time of nothing": (
        lambda data: data["samples"][0]["seconds"].update(numpy=0),
        "not a calibration, or damaged .* seconds of numpy must be a number of at least 1e-09",
    ),
    "one with a time beyond any float": (
        lambda data: data["samples"][0]["seconds"].update(numpy=10**400),
        "not a calibration, or damaged .* seconds of numpy must be a number of at least 1e-09",
    ),
    "one with a batch beyond any memory": (
        lambda data: data["samples"][0].update(batch=10**30),
        r"not a calibration, or damaged \(calibration: batch must be at most 1,000,000,000,000\)",
    ),
    "one with a batch that is a word": (
        lambda data: data["samples"][0].update(batch="x"),
        "batch must be a whole number",
    ),
    "one with no time": (
        lambda data: data["samples"][0]["seconds"].update(numpy=None),
        "not a calibration, or damaged .* seconds of numpy must be a number of at least 1e-09",
    ),
    "one without verdicts": (
        lambda data: data.update(unproved=None),
        r"not a calibration, or damaged \(TypeError",
    ),
    "one without samples": (
        lambda data: data.pop("samples"),
        r"not a calibration, or damaged \(KeyError",
    ),
    "one of no network": (
        lambda data: data["samples"][0].update(network=3),
        "expected an object with the keys",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_calibration_that_does_not_belong_here_is_refused(tmp_path, kind: str):
    change, says = REFUSED[kind]
    written(tmp_path, change)
    with pytest.raises(TriptychError, match=says):
        calibration.load(tmp_path / "c.json", 1)
    assert calibration.save(calibrated({NUMPY: costs()}, networks=3), tmp_path / "c.json").rows == (
        NUMPY,
    )


def test_without_one_it_says_how_to_get_one(tmp_path):
    with pytest.raises(
        TriptychError, match="not calibrated for 2 threads; run: triptych map --threads 2"
    ):
        calibration.load(tmp_path / "none.json", 2)
