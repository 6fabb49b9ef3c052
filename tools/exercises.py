"""Check the exercises of docs/in-class.md: each command prints "Right: ..." or "Not yet: ...".

    python tools/exercises.py break mine.py dW1 db1       the gradients that your mistake changes
    python tools/exercises.py deepen mine.py              the NumPy lesson with one more layer
    python tools/exercises.py dropout mine.py             the NumPy lesson with dropout
    python tools/exercises.py equal numpy.txt torch.txt   what two or three lessons printed
    python tools/exercises.py sum 0.1 0.2 0.3             three numbers with two different sums
    python tools/exercises.py fastest runs/RUN NumPy      the fastest engine, or "none"
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
sys.path.insert(0, str(ROOT))  # so that triptych need not be installed

from triptych import lesson  # first, because it sets the number of threads

import numpy as np

from triptych.data import loading as data
from triptych.errors import TriptychError

LESSON = "artificial_neural_network_MNIST.py"
FUNCTIONS = ("init_params", "forward_prop", "back_prop", "train_step")  # that a solution must have
EXERCISES = ("deeper", "dropout")
MARK = re.compile(
    r"^(?P<indentation>\s*)# (?P<exercise>deeper|dropout), (?P<verb>instead|add): (?P<code>.+)$"
)
DIGITS_CHECKED = 200
ENTRIES_CHECKED = 12  # of each parameter
STEP_OF_DIFFERENCES = 1e-6
LARGEST_ERROR = 1e-4  # relative; a right gradient is below 1e-6, a wrong one above 1e-2
SMALLEST_SCALE = 1e-12  # of a gradient, so that zero is not divided by zero
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
        The script, in which ``# EXERCISE, add: CODE`` has become CODE, and so has the next line
        of code after ``# EXERCISE, instead: CODE``.
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
    _guarded(path, spec.loader.exec_module, module)
    for name in FUNCTIONS:
        if not hasattr(module, name):
            raise Unreadable(f"{path}: no function {name}; start from {LESSON}")
    return module


def _guarded(path: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; turn an exception of a student's code into one line with its place."""
    try:
        return function(*arguments)
    except SyntaxError as error:
        raise NotYet(f"{path}, line {error.lineno}: {error.msg}") from None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        place = f"{path}, line {lines[-1]}" if lines else str(path)
        raise NotYet(f"{place}: {type(error).__name__}: {error}") from None


class Steps:
    """Single training steps of a student's script, on the same digits each time.

    Only ``train_step(model, X, y, alpha)`` and ``forward_prop(model, X)`` are called. The random
    numbers of NumPy are seeded before each step, so that dropout drops the same units each time.

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
        settings = argparse.Namespace(epochs=1, batch_size="full", seed=0)
        hidden = (10,) * (self.layers - 1)
        material = lesson.Lesson(data.load("digits"), settings, hidden, dtype)
        self.params: Params = _guarded(path, self.script.init_params, material.weights)
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
        """Return the loss and the parameters after one step; `params` does not change."""
        updated = [parameter.copy() for parameter in params]
        np.random.seed(0)  # noqa: NPY002 - dropout in a student's script draws from it
        train_step = self.script.train_step
        loss = _guarded(self.path, train_step, updated, self.X, self.y, alpha)
        return float(loss), updated

    def training_activations(self) -> Params:
        """Return what ``forward_prop`` returns in a training step: Z1, A1 and so on."""
        forward_prop = self.script.forward_prop
        calls: list[Params] = []

        def recorded(*arguments: Any, **named: Any) -> Any:
            outputs = forward_prop(*arguments, **named)
            calls.append(list(outputs))
            return outputs

        self.script.forward_prop = recorded
        try:
            self.step(self.params, 0.0)
        finally:
            self.script.forward_prop = forward_prop
        if not calls:
            raise NotYet("train_step does not call forward_prop")
        return calls[-1]

    def gradients(self) -> Params:
        """Return the gradients that ``back_prop`` computes, from a step with learning rate 1."""
        updated = self.step(self.params, 1.0)[1]
        return [before - after for before, after in zip(self.params, updated, strict=True)]

    def wrong_gradients(self) -> dict[str, float]:
        """Return the gradients that differ from finite differences.

        Returns
        -------
        dict of str to float
            By name, the largest error relative to the largest entry.
        """
        if self.step(self.params, 0.0)[0] != self.step(self.params, 0.0)[0]:
            raise NotYet(
                "two equal steps have different losses; draw random numbers with np.random, "
                "which is seeded"
            )
        rng = np.random.default_rng(0)
        wrong: dict[str, float] = {}
        named = zip(self.names(), self.gradients(), strict=True)
        for number, (name, gradient) in enumerate(named):
            # Entries that matter: the largest gradients, and some at random.
            largest = np.argsort(-np.abs(gradient), axis=None)[: ENTRIES_CHECKED // 2]
            random = rng.integers(0, gradient.size, ENTRIES_CHECKED // 2)
            entries = [int(entry) for entry in (*largest, *random)]
            expected = np.array([self._difference(number, entry) for entry in entries])
            scale = max(np.abs(gradient).max(), np.abs(expected).max(), SMALLEST_SCALE)
            error = float(np.abs(expected - gradient.flat[entries]).max() / scale)
            if not error <= LARGEST_ERROR:  # NaN is an error, too
                wrong[name] = error
        return wrong

    def _difference(self, parameter: int, entry: int) -> float:
        """Return the slope of the loss along one entry of a parameter, from two losses."""
        losses: list[float] = []
        for distance in (STEP_OF_DIFFERENCES, -STEP_OF_DIFFERENCES):
            params = [p.copy() for p in self.params]
            params[parameter].flat[entry] += distance
            losses.append(self.step(params, 0.0)[0])
        return (losses[0] - losses[1]) / (2 * STEP_OF_DIFFERENCES)


def run(path: Path, *arguments: str) -> str:
    """Run a script on the digits in a process of its own; return its output."""
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
    matches = re.findall(
        r"^epoch +(\d+): loss ([\d.naif]+), test accuracy ([\d.]+)%", output, re.MULTILINE
    )
    return {int(epoch): (float(loss), float(percent) / 100) for epoch, loss, percent in matches}


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


def check_network(steps: Steps) -> float:
    """Check what every solution in NumPy must have; return its accuracy."""
    wrong = steps.wrong_gradients()
    if wrong:
        name, error = next(iter(wrong.items()))
        raise NotYet(
            f"{name} differs from finite differences by {error:.0%} of the largest entry; "
            "see back_prop"
        )
    _check_float32(steps.path)
    return _check_runs(steps.path)


def _check_float32(path: Path) -> None:
    """Check that float32 weights and pixels give nothing but float32."""
    steps = Steps(path, "float32")
    arrays = [*steps.step(steps.params, 0.1)[1], *steps.training_activations()]
    dtypes = sorted({array.dtype.name for array in arrays})
    if dtypes != ["float32"]:
        raise NotYet(f"from float32 weights and pixels come {', '.join(dtypes)}; keep float32")


def _check_runs(path: Path) -> float:
    """Check that the seed decides a run and that the network learns; return the accuracy."""
    first = epochs_printed(run(path, "--seed", "0"))
    again = epochs_printed(run(path, "--seed", "0"))
    other = epochs_printed(run(path, "--seed", "1"))
    if first != again:
        raise NotYet(
            "two runs with --seed 0 print different losses; draw random numbers with np.random"
        )
    if first == other:
        raise NotYet(
            "--seed 0 and --seed 1 print the same losses; the seed must decide the weights"
        )
    loss, accuracy = list(first.values())[-1]
    if not accuracy >= LOWEST_ACCURACY:
        raise NotYet(
            f"the test accuracy is {accuracy:.1%} (loss {loss}); "
            f"at least {LOWEST_ACCURACY:.0%} is expected"
        )
    return accuracy


def check_deepen(path: Path) -> str:
    """Check a network with one more layer."""
    steps = Steps(path)
    layers = steps.layers
    if layers < 3:
        raise NotYet(
            f"forward_prop of {path} has {layers} weight matrices; a deeper network has 3 or more"
        )
    accuracy = check_network(steps)
    return (
        f"{layers} weight matrices, every gradient equals finite differences, "
        f"test accuracy {accuracy:.1%}"
    )


def check_dropout(path: Path) -> str:
    """Check that training drops some units, predictions drop none, and the gradients fit."""
    steps = Steps(path)
    forward_prop = steps.script.forward_prop
    whole = _guarded(path, forward_prop, steps.params, steps.X)[1]
    repeated = _guarded(path, forward_prop, steps.params, steps.X)[1]
    if not np.array_equal(whole, repeated):
        raise NotYet(
            "two predictions differ; forward_prop(model, X) must keep every unit "
            "unless training=True"
        )
    trained = steps.training_activations()[1]
    active = whole > 0
    dropped = float((trained[active] == 0).mean())
    if not DROPPED[0] <= dropped <= DROPPED[1]:
        raise NotYet(
            f"a training step drops {dropped:.0%} of the active units in A1; "
            "the rate is 0.2, so 20 % are expected"
        )
    remaining = active & (trained != 0)
    factors = trained[remaining] / whole[remaining]
    if not np.allclose(factors, 1 / 0.8, rtol=1e-5):
        raise NotYet(
            f"the units that are not dropped are multiplied by {factors.mean():.3f}; "
            "they must be divided by 0.8"
        )
    accuracy = check_network(steps)
    return (
        f"{dropped:.0%} of the units dropped in training, none in predictions, "
        f"test accuracy {accuracy:.1%}"
    )


def check_equal(paths: list[Path]) -> str:
    """Compare the output of two or more lessons."""
    printed = [_printed(path) for path in paths]
    first = printed[0]
    largest = 0.0
    for path, other in zip(paths[1:], printed[1:], strict=True):
        if list(first) != list(other):
            raise NotYet(
                f"{paths[0]} and {path} have different epochs; "
                "give both --batch-size 64 --epochs 20"
            )
        differences = [abs(first[epoch][0] - other[epoch][0]) for epoch in first]
        if not differences[0] <= LOSS_DIFFERENCE:
            epoch = next(iter(first))
            raise NotYet(
                f"after the first epoch the loss is {first[epoch][0]} and {other[epoch][0]}; "
                "give both the same --seed and --batch-size"
            )
        largest = max(largest, *differences)
    return (
        f"the same losses in {len(paths)} files; at most {largest:.4f} apart, in float32, "
        "over all printed epochs"
    )


def _printed(path: Path) -> dict[int, tuple[float, float]]:
    """Return the epochs in a file that has the output of a lesson."""
    epochs = epochs_printed(_read(path))
    if not epochs:
        raise Unreadable(
            f"{path}: no line 'epoch N: loss ...'; save what a lesson prints into a new file: "
            "python SCRIPT > FILE.txt"
        )
    return epochs


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
        labels = {key: row["label"] for key, row in runs[0]["rows"].items()}
        winners = {each["fastest"] for each in runs}
    except (ValueError, KeyError, TypeError, IndexError):
        raise Unreadable(f"{path}: not the results of triptych compare") from None
    keys = {label.lower(): key for key, label in labels.items()}
    keys |= {key.lower(): key for key in labels}
    if answer.lower() not in (*keys, "none"):
        listed = ", ".join(labels.values())
        raise NotYet(f"{answer!r} is not in this comparison; answer with {listed} or none")
    winner = winners.pop() if len(winners) == 1 else None
    if keys.get(answer.lower()) != winner:
        raise NotYet(
            "that is not what was measured; look at the intervals of the ratios in the report"
        )
    if winner is None:
        return "no engine is the fastest: an interval includes 1, or the machine was busy"
    return f"{labels[winner]} is faster than every other engine, and each interval excludes 1"


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


def check(chosen: argparse.Namespace) -> str:
    """Run the check of a command line; return why the solution is right."""
    match chosen.command:
        case "break":
            return check_break(chosen.script.resolve(), chosen.gradients)
        case "deepen":
            return check_deepen(chosen.script.resolve())
        case "dropout":
            return check_dropout(chosen.script.resolve())
        case "equal":
            return check_equal(chosen.outputs)
        case "sum":
            return check_sum(chosen.numbers)
        case _:
            return check_fastest(chosen.run, chosen.answer)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    reader = parser()
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["sum"] and words[1:2] not in (["-h"], ["--help"]):
        words = ["sum", "--", *words[1:]]  # argparse takes -1e8 for an option
    chosen = reader.parse_args(words)
    if chosen.command == "equal" and len(chosen.outputs) < 2:
        reader.error("equal needs the output of two lessons or more")
    try:
        if chosen.command == "solve":
            exercises = EXERCISES if chosen.exercise == "both" else (chosen.exercise,)
            print(follow(_read(chosen.script), exercises), end="")
        else:
            print(f"Right: {check(chosen)}.")
    except NotYet as error:
        print(f"Not yet: {error}.")
        return 1
    except (Unreadable, TriptychError) as error:
        print(f"exercises.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
