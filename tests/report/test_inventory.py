"""``triptych runs``: every run folder is listed, whatever is wrong with it."""

import csv
import io
import json
import random
import shutil
from pathlib import Path

import pytest
from support import made
from support.damage import Driver, changed, forged_results
from support.trainings import RECIPE, trained

from triptych.data.dataset import Dataset
from triptych.errors import TriptychError
from triptych.importing.weights import ImportedWeights, save_imported
from triptych.report.inventory import RunEntry, list_runs, select
from triptych.report.overview import write_overview
from triptych.spec import zoo

MUTANTS = 100


def entry_of(entries: list[RunEntry], name: str) -> RunEntry:
    return next(entry for entry in entries if name in entry.folder.name)


@pytest.fixture(scope="module")
def root(tmp_path_factory, digits: Dataset) -> Path:
    """A folder with a run of each kind: finished, unfinished, stopped, damaged."""
    root = tmp_path_factory.mktemp("all") / "runs"
    compared = made.folder(root, made.results(made.every_row()))
    compared.rename(root / "20260101-120000-compare-classic-digits")
    (root / "20260101-120000-compare-classic-digits" / "report.html").write_text("<p>report")
    trained(root, digits).rename(root / "20260102-120000-train-finished")
    trained(root, digits, until=5).rename(root / "20260103-120000-train-half")
    shutil.copytree(root / "20260102-120000-train-finished", root / "20260104-120000-train-damaged")
    results = root / "20260104-120000-train-damaged" / "results.json"
    results.write_bytes(results.read_bytes().replace(b"digits", b"digit5"))
    (root / "20260105-120000-lesson-numpy").mkdir()
    (root / "20260106-120000-train-killed").mkdir()
    (root / "20260106-120000-train-killed" / "events.jsonl").touch()
    (root / "notes").mkdir()
    export = root / "20260102-120000-train-finished" / "export"
    for target, about in (("onnx", '{"verdict": "rounding"}'), ("litert", "[" * 10_000)):
        (export / target).mkdir(parents=True)
        (export / target / "export.json").write_text(about)
    return root


def test_every_run_is_listed_newest_first(root):
    entries = list_runs(root)
    assert [entry.time[:10] for entry in entries] == [f"2026-01-0{day}" for day in range(6, 0, -1)]
    statuses = [entry.status for entry in entries]
    assert statuses == ["stopped", "lesson", "damaged", "not finished", "finished", "finished"]
    finished = entry_of(entries, "finished")
    assert (finished.kind, finished.network, finished.data) == ("train", "tiny", "digits")
    assert finished.engines == ["numpy"]
    assert finished.accuracy is not None
    assert finished.seconds is not None
    assert finished.exported == {"litert": "cannot be read", "onnx": "rounding"}
    half = entry_of(entries, "half")
    assert half.note == f"0 of {RECIPE.epochs} epochs"
    assert half.network == "tiny"
    damaged = entry_of(entries, "damaged")
    assert "SHA-256 does not match" in damaged.note
    compared = entry_of(entries, "compare")
    assert compared.report == root / "20260101-120000-compare-classic-digits" / "report.html"
    assert compared.engines[0] == "numpy"
    assert len(compared.engines) > 1


def test_an_import_is_listed(tmp_path):
    network = zoo.dense("tiny", [2])
    from triptych.core.state import initial

    imported = ImportedWeights(
        path=Path("model.safetensors"),
        sha256="0" * 64,
        framework="torch",
        network=network,
        recipe=RECIPE,
        state=initial(network, RECIPE),
        mapping=[],
        warnings=[],
    )
    save_imported(imported, tmp_path)
    (entry,) = list_runs(tmp_path)
    assert (entry.kind, entry.status, entry.engines) == ("import", "finished", ["torch"])
    assert entry.note == "weights of model.safetensors"


def test_filters(root):
    entries = list_runs(root)
    assert len(select(entries)) == 6
    assert len(select(entries, kind="train")) == 4
    assert len(select(entries, engine="torch")) == 1
    assert len(select(entries, engine="numpy", network="tiny")) == 2
    assert select(entries, data="mnist") == []


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(TriptychError, match="runs are made by triptych train"):
        list_runs(tmp_path / "nowhere")


def test_the_page_escapes_names_and_links_reports(root, tmp_path):
    entries = list_runs(root)
    hostile = RunEntry(tmp_path, "", "train", "finished", network="<script>alert(1)</script>")
    page = tmp_path / "index.html"
    write_overview(page, root, [hostile, *entries])
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    link = text.split('<a href="')[1].split('"')[0]
    assert (tmp_path / link).read_text() == "<p>report"
    assert "7 runs" in text
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.process
def test_the_command(root):
    with Driver(root.parent) as driver:
        status, said, errors = driver.run("runs")
        assert (status, errors) == (0, "")
        assert "not finished (0 of 3 epochs)" in said
        assert "20260104-120000-train-damaged is damaged: results.json: " in said
        rows = list(csv.DictReader(io.StringIO(driver.run("runs", "--csv")[1])))
        assert len(rows) == 6
        assert rows[4]["exported"] == "litert onnx"
        listed = json.loads(driver.run("runs", "runs", "--json", "--kind", "compare")[1])
        assert [entry["network"] for entry in listed] == ["classic"]
        assert "none of its runs" in driver.run("runs", "--data", "mnist")[1]
        status, _, errors = driver.run("runs", "--html", "pages/all.html")
        assert (status, errors.strip()) == (0, "pages/all.html")
        assert "../runs/20260101" in (root.parent / "pages" / "all.html").read_text()
        assert "pages: no runs; only folders with names such as" in driver.run("runs", "pages")[1]
        refused = {
            ("nowhere",): "nowhere: cannot be read (No such file or directory)",
            ("--kind", "verify"): "use train, compare, import, lesson",
            ("--csv", "--json"): "give --csv or --json, not both",
        }
        for arguments, reason in refused.items():
            message = driver.refused("runs", *arguments)
            assert message is not None
            assert reason in message


def test_forged_results_are_one_line(root, tmp_path):
    """Each is forged with a digest that is right, so that nothing but its content is wrong."""
    rng = random.Random(3)
    folder = tmp_path / "20260101-120000-train-forged"
    folder.mkdir()
    for name in ("train-finished", "compare-classic-digits"):
        content = next(root.glob(f"*{name}*/results.json")).read_bytes()
        for _ in range(MUTANTS):
            forged = forged_results(content, lambda results: changed(results, rng))
            (folder / "results.json").write_bytes(forged)
            (entry,) = list_runs(tmp_path)
            assert entry.status in ("finished", "damaged")
            assert all(text.isprintable() for text in (entry.note, entry.network, entry.data))
            assert all(engine.isprintable() for engine in entry.engines)
            json.dumps(entry.to_json())
