"""The command: lists, finds by word, shows in full, and reports what changed; and its page."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands import run
from typer.testing import CliRunner, Result

from tools import catalogue as tool
from triptych.cli.app import app
from triptych.cli.differences_view import shown
from triptych.doctor import catalogue
from triptych.doctor.catalogue import measurement, registry
from triptych.doctor.catalogue.entry import Difference
from triptych.doctor.catalogue.measurement import Measurement


def differences(*arguments: str, columns: str | None = "400") -> Result:
    return CliRunner().invoke(app, ["differences", *arguments], env={"COLUMNS": columns})


def listed(output: str) -> list[str]:
    words = [line.split() for line in output.splitlines()]
    return [line[0] for line in words if line and line[0] in catalogue.entries()]


@pytest.fixture
def as_recorded(monkeypatch: pytest.MonkeyPatch):
    """Let every check measure what is recorded, but D26: one value is missing, one is another."""

    def measure(entries: list[Difference], on_measured: object = None) -> dict[str, Measurement]:
        results = {entry.id: Measurement(dict(entry.recorded)) for entry in entries}
        if "D26" in results:
            results["D26"].values["torch"] = 0.02
            del results["D26"].values["keras.layers"]
        return results

    monkeypatch.setattr(measurement, "measure", measure)


def test_without_a_word_all_are_listed_with_both_sides():
    result = differences()
    assert result.exit_code == 0
    assert listed(result.output) == list(catalogue.entries())
    (line,) = (line for line in result.output.splitlines() if line.startswith(" D53 "))
    for part in ("optimizers", "Learning rate of SGD", "lr=0.001", "learning_rate=0.01"):
        assert part in line


def test_a_pipe_has_lines_of_100_columns_and_no_text_is_lost():
    output = differences(columns=None).output
    assert max(len(line.rstrip()) for line in output.splitlines()) <= 100
    assert listed(output) == list(catalogue.entries())
    # Column by column, the words are those of the table of differences.
    lines = output.splitlines()
    header = next(line for line in lines if "PyTorch" in line)
    starts = [header.index(title) for title in ("title", "PyTorch", "Keras")]
    columns = ["".join(line[start:end] for line in lines).split()
               for start, end in zip(starts, [*starts[1:], None], strict=True)]  # fmt: skip
    for words, name in zip(columns, ("title", "torch", "keras"), strict=True):
        expected = "".join(getattr(entry, name) for entry in catalogue.entries().values())
        assert "".join(expected.split()) in "".join(words)


def test_words_choose():
    result = differences("leaky")
    assert result.exit_code == 0
    assert set(listed(result.output)) == {entry.id for entry in catalogue.find(["leaky"])}
    assert {"D26", "D30"} <= set(listed(result.output)) < set(catalogue.entries())


@pytest.mark.process
def test_a_word_that_no_difference_has_and_an_unknown_id_are_one_line(tmp_path: Path):
    for word, message in (("xyzzy", "no difference has 'xyzzy' in its text"), ("D000", "'D000'")):
        done = run("differences", word, cwd=tmp_path)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.usefixtures("as_recorded")
def test_by_id_a_difference_is_shown_in_full(tmp_path: Path):
    file = tmp_path / "answer.json"
    result = differences("d47", "--json", str(file))
    assert result.exit_code == 0
    entry = catalogue.get("D47")
    for text in (entry.title, entry.torch, entry.effect, entry.fix_torch, entry.fix_keras):
        assert text
        assert text in result.output
    assert "3.162e-07  3.162e-07" in result.output
    answer = json.loads(file.read_text())
    assert answer["schema"] == 1
    assert answer["recorded_with"]["torch"] == "2.13.0"
    (difference,) = answer["differences"]
    assert difference["measured"] == difference["recorded"]
    assert difference["changed"] == []


@pytest.mark.usefixtures("as_recorded")
def test_check_lists_what_changed_and_the_versions(tmp_path: Path):
    file = tmp_path / "answer.json"
    result = differences("--check", "--json", str(file))
    assert result.exit_code == 1
    assert f"{len(catalogue.entries())} differences measured: 2 values changed." in result.output
    lines = [line.split() for line in result.output.splitlines() if line.startswith(" D")]
    assert ["D26", "torch", "0.01", "0.02"] in lines
    assert ["D26", "keras.layers", "0.3", "not", "measured"] in lines
    assert len(lines) == 2
    assert "recorded with torch 2.13.0, keras 3.15.1" in result.output
    changed = {each["id"]: each["changed"] for each in json.loads(file.read_text())["differences"]}
    assert changed.pop("D26") == ["torch", "keras.layers"]
    assert not any(changed.values())


@pytest.mark.usefixtures("as_recorded")
def test_check_with_words_measures_these_alone():
    result = differences("BatchNorm", "--check")
    assert result.exit_code == 0
    assert "6 differences measured: no value changed." in result.output


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.framework
def test_check_reports_a_wrong_recorded_value(monkeypatch: pytest.MonkeyPatch):
    """Both frameworks are run; the planted value is the only one that is not confirmed."""
    pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    true = catalogue.get("D26")
    planted = replace(true, recorded={**true.recorded, "keras.layers": 0.2})
    monkeypatch.setattr(registry, "entries", lambda: {"D26": planted})
    result = differences("D26", "--check")
    assert result.exit_code == 1
    lines = [line.split() for line in result.output.splitlines() if line.startswith(" D26")]
    assert lines == [["D26", "keras.layers", "0.2", "0.3"]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not measured"),
        (True, "yes"),
        (False, "no"),
        (459, "459"),
        (1e-7, "1e-07"),
        (0.30000001192092896, "0.3"),
        ("nan", "nan"),
        ([5, 9], "5, 9"),
        ([], "none"),
    ],
)
def test_values_as_text(value: object, text: str):
    assert shown(value) == text  # pyright: ignore[reportArgumentType]


def test_the_page_is_up_to_date():
    written = tool.PAGE.read_text(encoding="utf-8")
    assert written == tool.page(), "run python tools/catalogue.py"


def test_the_page_has_every_difference():
    text = tool.PAGE.read_text(encoding="utf-8")
    for entry in catalogue.entries().values():
        assert f"### {entry.id} {entry.title}\n" in text
