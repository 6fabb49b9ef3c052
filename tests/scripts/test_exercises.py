"""The exercises check themselves: a right solution passes, a wrong one does not, and says why."""

import importlib.util
import json
from pathlib import Path

import pytest
from support.commands import ROOT

LESSON = (ROOT / "artificial_neural_network_MNIST.py").read_text(encoding="utf-8")
spec = importlib.util.spec_from_file_location("exercises", ROOT / "tools" / "exercises.py")
assert spec
assert spec.loader
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

RELU = ("dZ1 = W2.T @ dZ2 * (Z1 > 0)", "dZ1 = W2.T @ dZ2")
TRANSPOSE = ("dZ1 = W2.T @ dZ2 * (Z1 > 0)", "dZ1 = W2 @ dZ2 * (Z1 > 0)")
MEAN = ("dZ2 = (A2 - Y) / len(y)", "dZ2 = A2 - Y")
ALL = ["dW1", "db1", "dW2", "db2"]


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.fixture
def checked(tmp_path, capsys):
    """Write a script, run one check on it, return exit status and output."""

    def check(command: str, text: str, *arguments: str) -> tuple[int, str]:
        path = tmp_path / "mine.py"
        path.write_text(text, encoding="utf-8")
        status = tool.main([command, str(path), *arguments])
        return status, capsys.readouterr().out

    return check


# --- Break something


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (RELU, ["dW1", "db1"]),
        (TRANSPOSE, ["dW1", "db1"]),
        (MEAN, ALL),
        (("dW2 = dZ2 @ A1.T", "dW2 = dZ2 @ Z1.T"), ["dW2"]),
        (("db2 = dZ2.sum(axis=1", "db2 = 1.001 * dZ2.sum(axis=1"), ["db2"]),
    ],
)
def test_break_knows_which_gradients_are_wrong(checked, change, wrong: list[str]):
    text = changed(LESSON, change)
    status, output = checked("break", text, *wrong)
    assert (status, output[:7]) == (0, "Right: ")
    assert all(f"{name} (off by" in output for name in wrong)
    for other in ALL:
        answer = [name for name in ALL if (name in wrong) != (name == other)]
        if answer:
            assert checked("break", text, *answer)[0] == 1


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (["dW2"], "dW2 is right; another gradient is wrong"),
        (["dW2", "db2"], "all of dW2, db2 are right; other gradients are wrong"),
        (["dW1", "dW2"], "at least one of dW1, dW2 is right"),
        (["dW1"], "dW1: right answer so far, but other gradients are wrong, too"),
        (["dW3"], "there is no gradient dW3; the gradients are dW1, db1, dW2, db2"),
    ],
)
def test_a_wrong_answer_is_told_its_kind(checked, answer: list[str], why: str):
    """The line with RELU makes dW1 and db1 wrong."""
    assert checked("break", changed(LESSON, RELU), *answer) == (1, f"Not yet: {why}.\n")


def test_nothing_is_broken(checked):
    status, output = checked("break", LESSON, "dW1")
    assert status == 1
    assert "is right; change a line of back_prop" in output


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def f(:\n", "mine.py, line 1: invalid syntax"),
        (
            changed(LESSON, ("Z1 = W1 @ X + b1\n", "Z1 = W1 @ X + b9\n")),
            "NameError: name 'b9' is not defined",
        ),
        (changed(LESSON, ("[dW1, db1, dW2, db2]\n", "[dW1, db1]\n")), "ValueError"),
    ],
)
def test_a_script_that_does_not_run_gets_one_line_with_its_place(checked, text: str, why: str):
    status, output = checked("break", text, "dW1")
    assert status == 1
    assert output.startswith("Not yet: ")
    assert why in output
    assert output.count("\n") == 1


def test_a_file_that_is_no_lesson_cannot_be_read(checked, tmp_path, capsys):
    assert checked("break", "x = 1\n", "dW1")[0] == 2
    assert tool.main(["break", str(tmp_path / "nope.py"), "dW1"]) == 2
    assert "no such Python file" in capsys.readouterr().err


# --- Deepen it, dropout

DEEPER = tool.follow(LESSON, ["deeper"])
DROPOUT = tool.follow(LESSON, ["dropout"])


@pytest.mark.slow  # trains six times
@pytest.mark.parametrize(("command", "solution"), [("deepen", DEEPER), ("dropout", DROPOUT)])
def test_a_right_solution_passes(checked, command: str, solution: str):
    status, output = checked(command, solution)
    assert (status, output[:7]) == (0, "Right: "), output


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("dZ3 = (A3 - Y) / len(y)", "dZ3 = A3 - Y"), "dW1 differs from finite differences"),
        (("W3.T @ dZ3 * (Z2 > 0)", "W3.T @ dZ3"), "dW1 differs from finite differences"),
        (("A2 = np.maximum(Z2, 0)", "A2 = relu(Z2)"), "name 'relu' is not defined"),
        (("Z3 = W3 @ A2 + b3", "Z3 = W3.astype(float) @ A2 + b3"), "float32"),
    ],
)
def test_a_wrong_deeper_network_does_not_pass(checked, change, why: str):
    status, output = checked("deepen", changed(DEEPER, change))
    assert status == 1
    assert why in output


def test_a_network_that_is_not_deeper_does_not_pass(checked):
    status, output = checked("deepen", LESSON)
    assert status == 1
    assert "has 2 weight matrices" in output


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ((">= 0.2) / 0.8", ">= 0.5) / 0.5"), "% of the active units in A1; the rate is 0.2"),
        ((">= 0.2) / 0.8", ">= 0.2)"), "they must be divided by 0.8"),
        (("dZ2 * (A1 > 0) / 0.8", "dZ2 * (Z1 > 0)"), "dW1 differs from finite differences"),
        (("if training: A1 = A1", "A1 = A1"), "two predictions differ"),
        (("np.random.rand(*A1.shape)", "np.random.default_rng().random(A1.shape)"), "Not yet"),
        ((">= 0.2) / 0.8", ">= 0.2) / np.float64(0.8)"), "float64"),
    ],
)
def test_wrong_dropout_does_not_pass(checked, change, why: str):
    status, output = checked("dropout", changed(DROPOUT, change))
    assert status == 1, output
    assert why in output


def test_no_dropout_does_not_pass(checked):
    status, output = checked("dropout", LESSON)
    assert status == 1
    assert "drops 0% of the active units" in output


@pytest.mark.slow  # trains three times
def test_a_seed_that_decides_nothing_does_not_pass(checked):
    same = (
        "data = lesson.start(args, NAME, hidden=(10, 10))",
        "args.seed = 3; data = lesson.start(args, NAME, hidden=(10, 10))",
    )
    status, output = checked("deepen", changed(DEEPER, same))
    assert status == 1
    assert "--seed 0 and --seed 1 print the same losses" in output


# --- Why equal

PRINTED = """Data: digits
epoch    1: loss 1.6298, test accuracy 48.33%
epoch    3: loss {}, test accuracy 68.89%
"""


def equal(tmp_path: Path, *outputs: str) -> int:
    paths = [tmp_path / f"{i}.txt" for i in range(len(outputs))]
    for path, output in zip(paths, outputs, strict=True):
        path.write_text(output)
    return tool.main(["equal", *map(str, paths)])


def test_equal_losses(tmp_path, capsys):
    ours = PRINTED.format("0.8065")
    assert equal(tmp_path, ours, PRINTED.format("0.8066"), ours) == 0
    assert "same losses in 3 files; at most 0.0001 apart" in capsys.readouterr().out
    assert equal(tmp_path, ours, ours.replace("1.6298", "1.8467")) == 1
    assert (
        "the loss is 1.6298 and 1.8467; give both the same --seed and --batch-size"
        in capsys.readouterr().out
    )
    assert equal(tmp_path, ours, ours.replace("epoch    3", "epoch   51")) == 1
    assert "have different epochs" in capsys.readouterr().out
    assert equal(tmp_path, ours, ours, "nothing") == 2
    assert equal(tmp_path, ours, ours.replace("1.6298", "nan")) == 1


def test_what_powershell_wrote_is_read(tmp_path, capsys):
    (tmp_path / "a.txt").write_text(PRINTED.format("0.8"), encoding="utf-16")
    (tmp_path / "b.txt").write_text(PRINTED.format("0.8"))
    assert tool.main(["equal", str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]) == 0
    assert capsys.readouterr().out.startswith("Right: ")


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        (["1e8", "-1e8", "1"], 0),
        (["1e8", "1", "-1e8"], 1),
        (["1", "2", "3"], 1),
        (["1e39", "1", "2"], 1),
        (["1", "2"], 1),
        (["1", "x", "3"], 1),
    ],
)
def test_sums_in_two_orders(numbers: list[str], status: int, capsys):
    assert tool.main(["sum", *numbers]) == status
    assert capsys.readouterr().out.startswith(("Right: ", "Not yet: ")[status])


def test_a_sum_of_words_gets_a_plain_message(capsys):
    assert tool.main(["sum", "a", "b", "c"]) == 1
    message = "Not yet: 'a' is not a number; give three numbers, such as 1 2 3.\n"
    assert capsys.readouterr().out == message


# --- Who is fastest


def results(folder: Path, *fastest: str | None) -> str:
    rows = {
        "numpy": {"label": "NumPy"},
        "torch": {"label": "PyTorch"},
        "tensorflow": {"label": "TensorFlow"},
    }
    (folder / "results.json").write_text(
        json.dumps({"runs": [{"fastest": f, "rows": rows} for f in fastest]})
    )
    return str(folder)


@pytest.mark.parametrize(
    ("fastest", "answer", "status"),
    [
        (("torch",), "PyTorch", 0),
        (("torch",), "torch", 0),
        (("torch",), "NumPy", 1),
        (("torch",), "none", 1),
        ((None,), "none", 0),
        ((None,), "NumPy", 1),
        (("torch", "numpy"), "none", 0),
        (("torch", "torch"), "pytorch", 0),
        (("torch",), "JAX", 1),
    ],
)
def test_who_is_fastest(tmp_path, fastest, answer: str, status: int):
    assert tool.main(["fastest", results(tmp_path, *fastest), answer]) == status


def test_a_folder_without_results(tmp_path, capsys):
    assert tool.main(["fastest", str(tmp_path), "NumPy"]) == 2
    (tmp_path / "results.json").write_text('{"runs": []}')
    assert tool.main(["fastest", str(tmp_path), "NumPy"]) == 2
    assert "not the results of triptych compare" in capsys.readouterr().err


# --- The page


def test_the_page_has_each_exercise_and_its_check():
    page = (ROOT / "docs" / "in-class.md").read_text(encoding="utf-8")
    for command in (
        "break mine.py",
        "deepen mine.py",
        "dropout mine.py",
        "equal numpy.txt",
        "sum 1 2 3",
        "fastest runs/",
        "solve deeper",
    ):
        assert f"tools/exercises.py {command}" in page
    for system in ("windows", "macos", "linux"):
        assert f"tools/class_requirements.py {system} wheels/{system}" in page
        assert f"docs/in-class/{system}.txt" in page
