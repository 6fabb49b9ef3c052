"""Check the exercises of docs/in-class.md: each command prints "Right: ..." or "Not yet: ...".

    python tools/exercises.py break mine.py dW1 db1       the gradients that your mistake makes wrong
    python tools/exercises.py deepen mine.py              the NumPy lesson with one more layer
    python tools/exercises.py dropout mine.py             the NumPy lesson with dropout
    python tools/exercises.py equal numpy.txt torch.txt   what two or three lessons printed
    python tools/exercises.py sum 0.1 0.2 0.3             three numbers whose order of adding matters
    python tools/exercises.py fastest runs/RUN NumPy      who is fastest; "none" where it cannot be told
    python tools/exercises.py solve deeper SCRIPT         a lesson with its comments followed

Exit status: 0 right, 1 not yet, 2 a wrong command line or a file that cannot be read.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # triptych is found even where it is not installed

from triptych import lesson  # first, because it sets the number of threads

import numpy as np

from triptych.data import loading as data
from triptych.errors import TriptychError

EXERCISES = ("deeper", "dropout")
MARK = re.compile(
    r"^(?P<indentation>\s*)# (?P<exercise>deeper|dropout), (?P<verb>instead|add): (?P<code>.+)$"
)
DIGITS_CHECKED = 200
ENTRIES_CHECKED = 12  # of each parameter
STEP_OF_DIFFERENCES = 1e-6
LARGEST_ERROR = 1e-4  # relative; a right gradient is below 1e-6, a wrong one above 1e-2
LOWEST_ACCURACY = 0.8  # on the digits: right networks reach 0.88 to 0.98
SECONDS_TO_RUN = 300
DROPPED = (0.15, 0.25)  # share of units, for a rate of 0.2
LOSS_DIFFERENCE = 0.0005  # of the first epoch: a printed loss has four decimals

Params = list[np.ndarray]


class NotYet(Exception):
    """A solution that is not right, with the reason."""


class Unreadable(Exception):
    """A file that cannot be read or does not have what an exercise needs."""


# --- Solutions: a lesson with its comments followed -----------------------------------------------


def follow(text: str, exercises: Iterable[str]) -> str:
    """Return a lesson's text with the comments of some exercises followed literally.

    Parameters
    ----------
    text : str
        The script.
    exercises : iterable of str
        ``deeper``, ``dropout``, or both.

    Returns
    -------
    str
        The script, in which ``# EXERCISE, add: CODE`` is the line CODE, and the next line of code after
        ``# EXERCISE, instead: CODE`` is CODE.
    """
    chosen = set(exercises)
    lines: list[str] = []
    replacement: str | None = None
    for line in text.splitlines():
        mark = MARK.match(line)
        if mark and mark["exercise"] in chosen:
            code = mark["indentation"] + mark["code"]
            if mark["verb"] == "add":
                lines.append(code)
            else:
                replacement = code
        elif replacement is None or line.lstrip().startswith("#"):
            lines.append(line)
        else:
            lines.append(replacement)
            replacement = None
    return "\n".join(lines) + "\n"


# --- What a solution computes ---------------------------------------------------------------------


def load(path: Path) -> ModuleType:
    """Import a student's script without running its ``main``."""
    spec = importlib.util.spec_from_file_location("students_script", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise Unreadable(f"{path}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    _guarded(path, lambda: spec.loader.exec_module(module))
    for name in ("init_params", "forward_prop", "back_prop", "train_step"):
        if not hasattr(module, name):
            raise Unreadable(
                f"{path}: no function {name}; start from artificial_neural_network_MNIST.py"
            )
    return module


def _guarded(path: Path, call: Callable[[], Any]) -> Any:
    """Call; turn an exception of a student's code into one line with its place."""
    try:
        return call()
    except SyntaxError as error:
        raise NotYet(f"{path}, line {error.lineno}: {error.msg}") from None
    except Exception as error:
        where = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)
        ]
        place = f"{path}, line {where[-1]}" if where else str(path)
        raise NotYet(f"{place}: {type(error).__name__}: {error}") from None


class Steps:
    """Single training steps of a student's script, on the same digits each time.

    Only ``train_step(model, X, y, alpha)`` and ``forward_prop(model, X)`` are called. The random numbers of
    NumPy are seeded before each step, so that dropout drops the same units each time.

    Parameters
    ----------
    path : Path
        The script.
    dtype : str
        ``float64`` or ``float32``: of the weights and the pixels.

    Attributes
    ----------
    params : list of ndarray
        The first parameters, W1, b1, W2, b2 and so on, with biases that are not zero.
    layers : int
        How many weight matrices there are.
    """

    def __init__(self, path: Path, dtype: str = "float64") -> None:
        self.path = path
        self.script = load(path)
        self.layers = self._count_layers()
        digits = data.load("digits")
        settings = argparse.Namespace(epochs=1, batch_size="full", seed=0)
        hidden = (10,) * (self.layers - 1)
        material = lesson.Lesson(digits, settings, hidden, dtype)
        self.params: Params = _guarded(path, lambda: self.script.init_params(material.weights))
        rng = np.random.default_rng(1)
        for bias in self.params[1::2]:
            bias += rng.normal(0, 0.1, bias.shape).astype(bias.dtype)
        self.X = material.x_train[:DIGITS_CHECKED].T
        self.y = material.y_train[:DIGITS_CHECKED]

    def _count_layers(self) -> int:
        """Return how many variables of ``forward_prop`` are named W1, W2 and so on."""
        variables = self.script.forward_prop.__code__.co_varnames
        weights = [name for name in variables if re.fullmatch(r"W\d+", name)]
        if len(weights) < 2:
            raise NotYet(f"forward_prop of {self.path} has no variables W1 and W2 for the weights")
        return len(weights)

    def names(self) -> list[str]:
        """Return dW1, db1, dW2, db2 and so on."""
        return [f"d{kind}{i}" for i in range(1, self.layers + 1) for kind in ("W", "b")]

    def step(self, params: Params, alpha: float) -> tuple[float, Params]:
        """Return the loss and the parameters after one step from `params`, which stay as they are."""
        moved = [p.copy() for p in params]
        np.random.seed(0)  # noqa: NPY002 - dropout in a student's script draws from it
        loss = _guarded(self.path, lambda: self.script.train_step(moved, self.X, self.y, alpha))
        return float(loss), moved

    def trained(self) -> Params:
        """Return the activations of a training step: Z1, A1 and so on."""
        forward = self.script.forward_prop
        seen: list[Params] = []

        def watched(*arguments: Any, **named: Any) -> Any:
            outputs = forward(*arguments, **named)
            seen.append(list(outputs))
            return outputs

        self.script.forward_prop = watched
        try:
            self.step(self.params, 0.0)
        finally:
            self.script.forward_prop = forward
        if not seen:
            raise NotYet("train_step does not call forward_prop")
        return seen[-1]

    def gradients(self) -> Params:
        """Return what ``back_prop`` gives, as the difference that a step with rate 1 makes."""
        moved = self.step(self.params, 1.0)[1]
        return [before - after for before, after in zip(self.params, moved, strict=True)]

    def wrong_gradients(self) -> dict[str, float]:
        """Return the gradients that differ from finite differences, each with its largest relative error."""
        if self.step(self.params, 0.0)[0] != self.step(self.params, 0.0)[0]:
            raise NotYet(
                "two equal steps have different losses; draw random numbers with np.random, which is seeded"
            )
        rng = np.random.default_rng(0)
        wrong: dict[str, float] = {}
        for i, (name, gradient) in enumerate(zip(self.names(), self.gradients(), strict=True)):
            largest = np.abs(gradient).max()
            # Entries that matter: the largest gradients, and some at random.
            order = np.argsort(-np.abs(gradient), axis=None)[: ENTRIES_CHECKED // 2]
            entries = [*order, *rng.integers(0, gradient.size, ENTRIES_CHECKED // 2)]
            errors = [abs(self._difference(i, int(e)) - gradient.flat[e]) for e in entries]
            differences = [abs(self._difference(i, int(e))) for e in entries]
            error = max(errors) / max(largest, max(differences), 1e-12)
            if not error <= LARGEST_ERROR:
                wrong[name] = float(error)
        return wrong

    def _difference(self, parameter: int, entry: int) -> float:
        """Return the slope of the loss along one entry, by two losses."""
        losses = []
        for h in (STEP_OF_DIFFERENCES, -STEP_OF_DIFFERENCES):
            params = [p.copy() for p in self.params]
            params[parameter].flat[entry] += h
            losses.append(self.step(params, 0.0)[0])
        return (losses[0] - losses[1]) / (2 * STEP_OF_DIFFERENCES)


def run(path: Path, *arguments: str) -> str:
    """Run a script on the digits in a process of its own; return what it printed."""
    with tempfile.TemporaryDirectory() as folder:  # for the run folder that the script makes
        try:
            done = subprocess.run(
                [sys.executable, str(path), "--data", "digits", *arguments],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                env=os.environ | {"PYTHONUTF8": "1", "MPLBACKEND": "agg"},
                cwd=folder,
                timeout=SECONDS_TO_RUN,
            )
        except subprocess.TimeoutExpired:
            raise NotYet(f"{path} still runs after {SECONDS_TO_RUN} seconds") from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise NotYet(f"{path} ends with: {last[0]}")
    return done.stdout


def epochs_printed(output: str) -> dict[int, tuple[float, float]]:
    """Return the loss and the test accuracy of each epoch that a lesson printed."""
    found = re.findall(
        r"^epoch +(\d+): loss ([\d.naif]+), test accuracy ([\d.]+)%", output, re.MULTILINE
    )
    return {int(epoch): (float(loss), float(accuracy) / 100) for epoch, loss, accuracy in found}


# --- The exercises --------------------------------------------------------------------------------


def check_break(path: Path, named: list[str]) -> str:
    """Compare the gradients that a student expects to be wrong with those that are.

    A wrong answer is told what kind of mistake it has, not which gradients are wrong.
    """
    steps = Steps(path)
    unknown = [name for name in named if name not in steps.names()]
    if unknown:
        known = ", ".join(steps.names())
        raise NotYet(f"there is no gradient {unknown[0]}; the gradients are {known}")
    wrong = steps.wrong_gradients()
    if not wrong:
        raise NotYet(f"every gradient of {path} is right; change a line of back_prop")
    right = [name for name in named if name not in wrong]
    if right and len(named) == 1:
        raise NotYet(f"{named[0]} is right; another gradient is wrong")
    if len(right) == len(named):
        raise NotYet(f"all of {', '.join(named)} are right; other gradients are wrong")
    if right:
        raise NotYet(f"at least one of {', '.join(named)} is right")
    if set(wrong) - set(named):
        raise NotYet(f"{', '.join(named)}: right answer so far, but other gradients are wrong, too")
    listed = ", ".join(f"{name} (off by {error:.0%})" for name, error in wrong.items())
    return f"{listed}; the others are right to {LARGEST_ERROR:g}"


def check_network(path: Path) -> tuple[Steps, float]:
    """Check what every solution in NumPy must have; return its steps and its accuracy."""
    steps = Steps(path)
    wrong = steps.wrong_gradients()
    if wrong:
        name, error = next(iter(wrong.items()))
        raise NotYet(
            f"{name} differs from finite differences by {error:.0%} of the largest entry; see back_prop"
        )
    single = Steps(path, "float32")
    kinds = {p.dtype.name for p in single.step(single.params, 0.1)[1]}
    kinds |= {a.dtype.name for a in single.trained()}
    if kinds != {"float32"}:
        raise NotYet(
            f"from float32 weights and pixels come {', '.join(sorted(kinds))}; keep float32"
        )
    first, again, other = (run(path, "--seed", seed) for seed in ("0", "0", "1"))
    if epochs_printed(first) != epochs_printed(again):
        raise NotYet(
            "two runs with --seed 0 print different losses; draw random numbers with np.random"
        )
    if epochs_printed(first) == epochs_printed(other):
        raise NotYet(
            "--seed 0 and --seed 1 print the same losses; the seed must decide the weights"
        )
    loss, accuracy = list(epochs_printed(first).values())[-1]
    if not accuracy >= LOWEST_ACCURACY:
        raise NotYet(
            f"the test accuracy is {accuracy:.1%} (loss {loss}); at least {LOWEST_ACCURACY:.0%} is expected"
        )
    return steps, accuracy


def check_deepen(path: Path) -> str:
    """Check a network with one more layer."""
    steps = Steps(path)
    if steps.layers < 3:
        raise NotYet(
            f"forward_prop of {path} has {steps.layers} weight matrices; a deeper network has 3 or more"
        )
    steps, accuracy = check_network(path)
    return f"{steps.layers} weight matrices, every gradient equals finite differences, test accuracy {accuracy:.1%}"


def check_dropout(path: Path) -> str:
    """Check dropout: some units in training, none in predictions, and gradients of what was kept."""
    steps = Steps(path)
    forward = steps.script.forward_prop
    trained = steps.trained()[1]
    whole = _guarded(path, lambda: forward(steps.params, steps.X))[1]
    repeated = _guarded(path, lambda: forward(steps.params, steps.X))[1]
    if not np.array_equal(whole, repeated):
        raise NotYet(
            "two predictions differ; forward_prop(model, X) must keep every unit unless training=True"
        )
    active = whole > 0
    dropped = float((trained[active] == 0).mean())
    if not DROPPED[0] <= dropped <= DROPPED[1]:
        raise NotYet(
            f"a training step drops {dropped:.0%} of the active units in A1; the rate is 0.2, so 20 % are expected"
        )
    kept = trained[active & (trained != 0)] / whole[active & (trained != 0)]
    if not np.allclose(kept, 1 / 0.8, rtol=1e-5):
        raise NotYet(
            f"the units that are kept are multiplied by {kept.mean():.3f}; they must be divided by 0.8"
        )
    accuracy = check_network(path)[1]
    return f"{dropped:.0%} of the units dropped in training, none in predictions, test accuracy {accuracy:.1%}"


def check_equal(paths: list[Path]) -> str:
    """Compare what two or more lessons printed."""
    printed = {path: epochs_printed(_read(path)) for path in paths}
    for path, epochs in printed.items():
        if not epochs:
            raise Unreadable(
                f"{path}: no line 'epoch N: loss ...'; save what a lesson prints into a new file: python SCRIPT > FILE.txt"
            )
    first, *others = printed
    apart = 0.0
    for other in others:
        if list(printed[first]) != list(printed[other]):
            raise NotYet(
                f"{first} and {other} have different epochs; give both --batch-size 64 --epochs 20"
            )
        ours, theirs = (next(iter(printed[p].values()))[0] for p in (first, other))
        if not abs(ours - theirs) <= LOSS_DIFFERENCE:
            raise NotYet(
                f"after the first epoch the loss is {ours} and {theirs}; give both the same --seed and --batch-size"
            )
        apart = max(
            apart,
            *(
                abs(a[0] - b[0])
                for a, b in zip(printed[first].values(), printed[other].values(), strict=True)
            ),
        )
    return f"the same losses in {len(printed)} files; at most {apart:.4f} apart, in float32, over all printed epochs"


def check_sum(given: list[str]) -> str:
    """Add three float32 numbers in two orders."""
    if len(given) != 3:
        raise NotYet(f"{len(given)} numbers were given, and three are needed, such as 1 2 3")
    numbers: list[float] = []
    for text in given:
        try:
            numbers.append(float(text))
        except ValueError:
            raise NotYet(f"{text!r} is not a number; give three numbers, such as 1 2 3") from None
    with np.errstate(over="ignore", invalid="ignore"):
        a, b, c = np.array(numbers, np.float32)
        left = (a + b) + c
        right = a + (b + c)
    if not np.isfinite([left, right]).all():
        raise NotYet("a sum is not finite; take smaller numbers")
    if left == right:
        raise NotYet(f"both orders give {left:.9g}; take numbers of very different size")
    return f"(a + b) + c = {left:.9g} and a + (b + c) = {right:.9g} in float32"


def check_fastest(run_folder: Path, answer: str) -> str:
    """Compare an answer with what a comparison measured."""
    path = run_folder / "results.json"
    try:
        runs = json.loads(_read(path))["runs"]
        rows = {key: row["label"] for key, row in runs[0]["rows"].items()}
        winners = {r["fastest"] for r in runs}
    except (ValueError, KeyError, TypeError, IndexError):
        raise Unreadable(f"{path}: not the results of triptych compare") from None
    names = {label.lower(): key for key, label in rows.items()} | {key.lower(): key for key in rows}
    if answer.lower() not in (*names, "none"):
        raise NotYet(
            f"{answer!r} is not in this comparison; answer with {', '.join(rows.values())} or none"
        )
    winner = winners.pop() if len(winners) == 1 else None
    if names.get(answer.lower()) != winner:
        raise NotYet(
            "that is not what was measured; look at the intervals of the ratios in the report"
        )
    if winner is None:
        return "no engine is faster than every other one: an interval includes 1, or the machine was busy"
    return f"{rows[winner]} is faster than every other engine here, and each interval excludes 1"


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    # PowerShell writes UTF-16 when output is redirected.
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    return content.decode(encoding, errors="replace")


# --- The command line -----------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command line."""
    described = argparse.RawDescriptionHelpFormatter
    result = argparse.ArgumentParser(description=__doc__, formatter_class=described)
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in ("break", "deepen", "dropout"):
        commands.add_parser(name).add_argument("script", type=Path)
    commands.choices["break"].add_argument("gradients", nargs="+", metavar="GRADIENT")
    commands.add_parser("equal").add_argument("outputs", type=Path, nargs="+")
    commands.add_parser("sum").add_argument("numbers", nargs="+", metavar="A B C")
    fastest = commands.add_parser("fastest")
    fastest.add_argument("run", type=Path)
    fastest.add_argument("answer")
    solve = commands.add_parser("solve")
    solve.add_argument("exercise", choices=(*EXERCISES, "both"))
    solve.add_argument("script", type=Path)
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    reader = parser()
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["sum"] and words[1:2] not in (["-h"], ["--help"]):
        words = ["sum", "--", *words[1:]]  # argparse takes -1e8 for an option
    chosen = reader.parse_args(words)
    if chosen.command == "equal" and len(chosen.outputs) < 2:
        reader.error("equal needs the output of two lessons or more")
    checks: dict[str, Callable[[], str]] = {
        "break": lambda: check_break(chosen.script.resolve(), chosen.gradients),
        "deepen": lambda: check_deepen(chosen.script.resolve()),
        "dropout": lambda: check_dropout(chosen.script.resolve()),
        "equal": lambda: check_equal(chosen.outputs),
        "sum": lambda: check_sum(chosen.numbers),
        "fastest": lambda: check_fastest(chosen.run, chosen.answer),
    }
    try:
        if chosen.command == "solve":
            exercises = EXERCISES if chosen.exercise == "both" else (chosen.exercise,)
            print(follow(_read(chosen.script), exercises), end="")
            return 0
        print(f"Right: {checks[chosen.command]()}.")
    except NotYet as error:
        print(f"Not yet: {error}.")
        return 1
    except (Unreadable, TriptychError) as error:
        print(f"exercises.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
