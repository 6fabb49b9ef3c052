"""A user's mistake gets one line, exit status 2 and no traceback; help teaches."""

import json
import re

import pytest
from support.commands import ROOT, run, run_here, run_python

import triptych
from triptych.spec import zoo

pytestmark = pytest.mark.process

MISTAKES = {
    "no such data": (["compare", "--data", "nope.csv"], "nope.csv: no such file"),
    "a misspelt data set": (["compare", "--data", "digit"], "did you mean 'digits'"),
    "data that is not here": (["compare", "--data", "kmnist"], "triptych data fetch kmnist"),
    "a misspelt network": (["compare", "--network", "clasic"], "did you mean 'classic'"),
    "a misspelt optimizer": (["compare", "--optimizer", "adamm"], "did you mean 'adam'"),
    "a misspelt loss": (
        ["train", "numpy", "--loss", "msee"],
        "loss 'msee' is unknown; did you mean 'mse'?",
    ),
    "an unknown loss": (
        ["compare", "--loss", "hinge"],
        "loss 'hinge' is unknown; known: softmax_cross_entropy, mean_squared_error, mse",
    ),
    "an unknown loss, to verify": (["verify", "--loss", "MSEE"], "did you mean 'mse'?"),
    "a misspelt engine": (["compare", "--engines", "pytorch"], "did you mean 'torch'"),
    "a backend where an engine is asked for": (
        ["train", "torch/onednn"],
        "triptych train torch --backend onednn",
    ),
    "an unknown backend": (
        ["compare", "--engines", "torch/fit"],
        "no backend 'fit'; known: eager, onednn, bf16, compiled",
    ),
    "an unknown dtype": (["compare", "--dtype", "float16"], "dtype 'float16' is unknown"),
    "no batch": (["compare", "--batch-size", "many"], "give a whole number, or full"),
    "batch of none": (
        ["compare", "--batch-size", "0"],
        "batch_size must be a whole number of at least 1",
    ),
    "a negative rate": (["compare", "--rate", "-1"], "rate must be a number above 0, not -1.0"),
    "no widths": (["compare", "--hidden", "128;64"], "give whole numbers with commas"),
    "a width of none": (["compare", "--hidden", "0"], "units must be a whole number of at least 1"),
    "dropout alone": (["compare", "--dropout", "0.2"], "--dropout needs --hidden"),
    "all dropped": (
        ["compare", "--hidden", "8", "--dropout", "1"],
        "layer 'dropout': rate must be in [0, 1), not 1.0",
    ),
    "a network file that is not there": (
        ["compare", "--network", "my.json"],
        "my.json: cannot be read",
    ),
    "no epochs": (["compare", "--epochs", "0"], "epochs must be a whole number of at least 1"),
    "a negative seed": (["verify", "--seed", "-1"], "seed must be a whole number"),
    "a device that is not here": (
        ["compare", "--device", "cuda", "--epochs", "1", "--engines", "torch"],
        "PyTorch sees no cuda device on this machine",
    ),
    "a device by its other name": (
        ["compare", "--device", "gpu"],
        "device 'gpu' is unknown; did you mean 'cuda'?",
    ),
    "such a device, to verify": (["verify", "--device", "GPU"], "did you mean 'cuda'?"),
    "such a device, to train": (["train", "numpy", "--device", "gpu"], "did you mean 'cuda'?"),
    "two networks": (
        ["compare", "--network", "cnn", "--hidden", "64"],
        "--network cnn and --hidden 64 both name a network",
    ),
    "widths, before data is read": (
        ["train", "numpy", "--hidden", "abc", "--data", "nope.csv"],
        "--hidden 'abc': give whole numbers",
    ),
    "a warm-up before the beginning": (
        ["train", "numpy", "--warmup", "-1"],
        "--warmup -1: give a number of epochs, 0 or more",
    ),
    "a warm-up that is no number": (
        ["train", "numpy", "--warmup", "nan"],
        "--warmup nan: give a number of epochs",
    ),
    "a network that is too large": (
        ["train", "numpy", "--hidden", "1000000000", "--data", "digits"],
        "not enough memory",
    ),
    "a network file that is too large": (
        ["show", "--network", "large.json"],
        "a file of at most 4 MiB is needed",
    ),
    "a network file with a long key": (["show", "--network", "long.json"], "unknown key 'kkkk"),
    "markup in an argument": (["show", "[/b]"], "[/b]: no such folder"),
    "markup in an engine": (["train", "[/b]"], "engine '[/b]' is unknown"),
    "a network for other images": (
        ["compare", "--network", "other.json"],
        "takes inputs of shape (32, 32, 1)",
    ),
    "everything and one": (
        ["verify", "--all", "--network", "custom"],
        "it means every network",
    ),
    "layers and one network": (
        ["verify", "--layers", "--network", "custom"],
        "it has networks of its own",
    ),
    "more threads than processors": (
        ["compare", "--threads", "9999", "--epochs", "1"],
        "9999 threads where this machine has",
    ),
    "more threads than processors, to verify": (
        ["verify", "--threads", "9999"],
        "9999 threads where this machine has",
    ),
    "no run": (["report"], "no finished run"),
    "not a run": (["report", "."], "holds no results.json"),
    "a misspelt fetch": (["data", "fetch", "mnis"], "did you mean 'mnist'"),
    "an unknown option": (["compare", "--epoch", "3"], "No such option"),
    "another name of the rate": (["train", "numpy", "--lr", "0.1"], "did you mean --rate?"),
    "another name of an engine": (["train", "keras"], "did you mean 'tensorflow'?"),
    "no engine": (["train"], "name an engine, one of numpy, numba, torch"),
    "an unknown command": (["compair"], "No such command"),
    "a seed that is no number": (
        ["compare", "--seeds", "x"],
        "--seeds 'x' is not a whole number; see triptych compare",
    ),
    "backends that are neither": (["compare", "--backends", "most"], "use default or all"),
}
# What starts workers, and some of the others as a user runs them.
IN_A_PROCESS = (
    "no such data",
    "a device that is not here",
    "markup in an engine",
    "a misspelt fetch",
)


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_answered_in_words(tmp_path, kind: str):
    arguments, says = MISTAKES[kind]
    command = run if kind in IN_A_PROCESS else run_here
    (tmp_path / "other.json").write_text(
        json.dumps(zoo.dense("other", [4], shape=(32, 32, 1)).to_json())
    )
    (tmp_path / "large.json").write_bytes(bytes(5 * 2**20))
    (tmp_path / "long.json").write_text(json.dumps({"k" * 1_000_000: 1}))
    done = command(*arguments, cwd=tmp_path)
    assert len(done.stdout + done.stderr) < 2_500
    said = re.sub(r"[│╭╮╰╯─\s]+", " ", done.stdout + done.stderr)
    assert done.returncode == 2, said
    assert says in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["compare"],
        ["verify"],
        ["report"],
        ["show"],
        ["data"],
        ["data", "fetch"],
        ["data", "list"],
        ["map"],
        ["advise"],
    ],
)
def test_every_command_has_help_that_teaches(tmp_path, command: list[str]):
    done = run_here(*command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage" in done.stdout
    if command in (["compare"], ["verify"]):
        assert "Examples" in done.stdout


@pytest.mark.parametrize("command", [[], ["data"]])
def test_a_bare_command_shows_its_help(tmp_path, command: list[str]):
    done = run(*command, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage" in done.stdout


def test_the_launcher_shows_its_own_name(tmp_path):
    done = run_python(str(ROOT / "compare_all_implementations.py"), "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage: compare_all_implementations.py [OPTIONS]" in done.stdout


def test_a_name_with_markup_is_shown_as_it_is(tmp_path):
    described = zoo.dense("a[/b]:smile:", [4]).to_json()
    (tmp_path / "mine.json").write_text(json.dumps(described))
    done = run("show", "--network", "mine.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "a[/b]:smile:: 784-4-10" in done.stdout


def test_show_prints_the_network_and_its_file_comes_back(tmp_path):
    done = run("show", "--hidden", "32,16", "--dropout", "0.1", cwd=tmp_path)
    assert "Dropout(rate=0.1)" in done.stdout
    assert f"{784 * 32 + 32 + 32 * 16 + 16 + 16 * 10 + 10:,}" in done.stdout
    (tmp_path / "mine.json").write_text(
        run("show", "--network", "custom", "--as-json", cwd=tmp_path).stdout
    )
    assert "109,386" in run("show", "--network", "mine.json", cwd=tmp_path).stdout


def test_data_list_names_every_set(tmp_path):
    done = run("data", "list", cwd=tmp_path)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("digits", "mnist", "fashion-mnist", "kmnist"))


def test_version(tmp_path):
    assert run("--version", cwd=tmp_path).stdout == f"triptych {triptych.__version__}\n"
