"""python -m benchmarks.portbench: what it writes, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.portbench import __main__ as command
from benchmarks.portbench.faults.registry import KINDS
from benchmarks.portbench.generate import Order, check_folder, generate

ROOT = Path(__file__).resolve().parents[3]
TRUTH = {"stage": "loss", "cause": "D38", "accept": {"stages": ["loss"], "causes": ["D38"]}}
ANSWER = {"schema": 1, "verdict": "differ", "findings": [{"stage": "loss", "cause": "D38"}]}


def run(monkeypatch, *arguments):
    """Run the command in this process; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["portbench", *map(str, arguments)])
    try:
        command.main()
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.fixture
def pair(tmp_path):
    folder = tmp_path / "pairs" / "0000-churn"
    folder.mkdir(parents=True)
    for name in ("torch_side.py", "keras_side.py", "batch.npz"):
        (folder / name).write_text("")
    (folder / "truth.json").write_text(json.dumps(TRUTH))
    return tmp_path / "pairs"


@pytest.fixture
def tool(tmp_path):
    script = tmp_path / "tool.py"
    script.write_text(f"import sys; open(sys.argv[4], 'w').write({json.dumps(ANSWER)!r})\n")
    return f"{sys.executable} {script} {{a}} {{b}} {{batch}} {{json}}"


def test_generate_writes_pairs(monkeypatch, tmp_path):
    arguments = ("--seed", 1, "--pairs", 3, "--faults", 0, "--out", tmp_path, "--unchecked")
    assert run(monkeypatch, "generate", *arguments) == 0
    folders = sorted(tmp_path.iterdir())
    assert [folder.name[:5] for folder in folders] == ["0000-", "0001-", "0002-"]
    for folder in folders:
        names = {path.name for path in folder.iterdir()}
        assert names == {"torch_side.py", "keras_side.py", "batch.npz", "truth.json"}


def test_the_first_pairs_do_not_depend_on_how_many_are_generated(tmp_path):
    generate(Order(seed=2, pairs=3), tmp_path / "few", checked=False)
    generate(Order(seed=2, pairs=6), tmp_path / "many", checked=False)
    for path in (tmp_path / "few").rglob("*.*"):
        other = tmp_path / "many" / path.relative_to(tmp_path / "few")
        assert other.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kinds", "bn-epsilon"), "kind 'bn-epsilon' is unknown"),
        (("--families", "transformers"), "family 'transformers' is unknown"),
    ],
)
def test_unknown_names_are_the_users_mistake(monkeypatch, capsys, tmp_path, arguments, message):
    status = run(monkeypatch, "generate", "--seed", 1, "--out", tmp_path, *arguments)
    assert status == 2
    assert message in capsys.readouterr().err


def test_kinds_lists_all(monkeypatch, capsys):
    assert run(monkeypatch, "kinds") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(KINDS) + 1
    assert all(name in line for name, line in zip(KINDS, lines, strict=False))


@pytest.mark.process
def test_score_prints_and_writes_the_figures(monkeypatch, capsys, tmp_path, pair, tool):
    out = tmp_path / "figures.json"
    arguments = (pair, "--command", tool, "--specimens", pair, "--json", out)
    assert run(monkeypatch, "score", *arguments, "--results", tmp_path / "results") == 0
    figures = json.loads(out.read_text())
    assert set(figures) == {"generated", "specimens"}
    assert figures["generated"]["one_fault"] == {"cause": [1, 1], "stage": [1, 1]}
    assert figures["generated"]["outcomes"][0]["pair"] == "0000-churn"
    assert "right cause first" in capsys.readouterr().out
    assert (tmp_path / "results" / "specimens" / "0000-churn.json").exists()


@pytest.mark.process
@pytest.mark.parametrize(
    ("required", "status", "message"),
    [
        ("cause=1", 0, ""),
        ("both=0.85", 1, "both of two faults: at least 85.0% required, but no pair tells it\n"),
        ("causes=1", 2, "'causes=1' is not NAME=SHARE"),
    ],
)
def test_a_figure_that_is_required(
    monkeypatch, capsys, tmp_path, pair, tool, required, status, message
):
    arguments = (pair, "--command", tool, "--require", required, "--results", tmp_path / "results")
    assert run(monkeypatch, "score", *arguments) == status
    assert message in capsys.readouterr().err


def test_score_without_a_folder_is_the_users_mistake(monkeypatch, capsys, tool):
    assert run(monkeypatch, "score", "--command", tool) == 2
    assert "FOLDER or --specimens" in capsys.readouterr().err


def test_a_folder_without_generated_pairs_cannot_be_checked(monkeypatch, capsys, pair):
    monkeypatch.setattr("benchmarks.portbench.generate.Workers", Nobody)
    assert run(monkeypatch, "check", pair) == 2
    assert "no generated pairs" in capsys.readouterr().err


class Nobody:
    """Stands for the processes where no program is run."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


@pytest.mark.process
def test_the_command_starts():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.portbench", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "generate" in done.stdout
    assert "torch" not in done.stderr


@pytest.mark.slow
@pytest.mark.framework
@pytest.mark.process
def test_pairs_are_generated_checked_and_changed_files_are_noticed(tmp_path):
    generate(Order(seed=9, pairs=2, kinds=("from-logits", "bn-eps")), tmp_path)
    found = check_folder(tmp_path)
    assert list(found.values()) == [[], []]
    for folder in tmp_path.iterdir():
        truth = json.loads((folder / "truth.json").read_text())
        measured = truth["effect"]["float64"]
        assert measured["forward_eval"] > 1e-7 or measured["loss"] > 1e-7
    first = min(tmp_path.iterdir())
    (first / "keras_side.py").write_text("def build():\n    return {}\n")
    assert check_folder(tmp_path)[first.name] == ["keras_side.py is not what is drawn"]
