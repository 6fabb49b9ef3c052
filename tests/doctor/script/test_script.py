"""`triptych verify --script`: the command, its parts without processes, and what is printed."""

import io
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.console import Console
from support.commands import run
from support.engines import needs_torch

from triptych.cli.script_view import ScriptReport
from triptych.cli.verify_script import ScriptOptions
from triptych.core import events
from triptych.doctor.script.differences import Rounding, farthest, place, rows_apart
from triptych.doctor.script.evaluations import compare_sums
from triptych.doctor.script.hypotheses import (
    Overlap,
    SampleNames,
    explain_gradients,
    explain_rates,
    explain_samples,
)
from triptych.doctor.script.notes import same_order
from triptych.doctor.script.records import Evaluation, RankStep, StepValues
from triptych.doctor.script.sketch import SUMS, entries_of_each, positions, sketch
from triptych.doctor.script.verification import arguments_for
from triptych.errors import TriptychError
from triptych.results import ScriptResult
from triptych.scale import causes

SCRIPTS = Path(__file__).parent / "scripts"


@needs_torch
@pytest.mark.process
@pytest.mark.framework
def test_the_command_names_a_mistake(tmp_path: Path):
    text = (SCRIPTS / "exact.py").read_text()
    wrong = text.replace('reduction="sum") * workers / whole', 'reduction="mean")')
    assert wrong != text
    (tmp_path / "train.py").write_text(wrong)
    done = run(
        "verify", "--script", "train.py", "--workers", "2,3", "--", "--epochs=1", cwd=tmp_path
    )
    assert done.returncode == 1, done.stdout + done.stderr
    table = [line.split() for line in done.stdout.splitlines()[:4]]
    assert table[0][:4] == ["workers", "steps", "samples", "forward"]
    assert table[1][:3] == ["2", "4", "10"]  # the fifth batch has 5 samples
    assert table[1][-2:] == ["identical", "DIFFERS"]
    assert table[2][:3] == ["3", "0", "10"]
    assert "2 workers, step 5, gradient: the gradient of " in done.stdout
    assert done.stdout.count("  cause: mean of means over unequal shards; ") == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "train.py"]


def test_arguments_may_depend_on_the_number_of_workers():
    given = ["--batch={64/workers}", "{workers}", "{64 / workers}", "plain"]
    assert arguments_for(given, 2) == ["--batch=32", "2", "{64 / workers}", "plain"]
    with pytest.raises(TriptychError, match=r"\{64/workers\}: 3 workers do not divide 64"):
        arguments_for(given, 3)


def test_a_sketch_is_linear_and_sees_every_entry():
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(2, 50, 7))
    np.testing.assert_allclose(
        sketch(2 * one - 3 * other, 16), 2 * sketch(one, 16) - 3 * sketch(other, 16), atol=1e-13
    )
    assert sketch(one, 16).shape == (16 + SUMS,)
    assert np.array_equal(sketch(one, 16)[:16], one.ravel()[positions(350, 16)])
    for entry in range(350):
        changed = one.copy()
        changed.flat[entry] += 1
        assert farthest({"w": sketch(one, 16)}, {"w": sketch(changed, 16)}).figure > 1e-3
    assert np.array_equal(sketch(one[:2], 16), one[:2].ravel())


def test_the_entries_of_a_model_are_shared():
    assert [entries_of_each(count) for count in (1, 20, 10_000)] == [4096, 1000, 16]


def test_an_entry_is_named_as_a_user_would_write_it():
    assert place("w", 5, [2, 3], 16) == "w[1, 2]"
    assert place("w", 16, [50, 7], 16) == "w"  # a sum of all entries
    assert place("w", None, [2], 16) == "w"
    assert place("w", 0, [], 16) == "w"


def test_figures_are_relative_to_the_largest_value_of_all():
    ours = {"a": np.array([4.0, 0.0]), "b": np.array([1.0])}
    theirs = {"a": np.array([4.0, 0.0]), "b": np.array([1.2])}
    difference = farthest(ours, theirs)
    assert (difference.name, difference.position) == ("b", 0)
    assert difference.figure == pytest.approx(0.05)
    assert farthest(ours, {"a": ours["a"]}).figure == np.inf
    assert farthest(ours, {"a": ours["a"], "b": np.array([np.nan])}).figure == np.inf
    nothing = {"a": np.array([np.nan])}
    assert farthest(nothing, nothing).figure == 0
    rows = {"s": np.array([1.0, 2.0, 4.0])}
    assert rows_apart(rows, {"s": np.array([1.0, 3.0, 4.0])}) == 0.25
    assert rows_apart(rows, {"t": np.array([1.0, 3.0, 4.0])}) == 0


def test_rounding_never_explains_less_than_some_units():
    rounding = Rounding(unit=2.0**-24)
    assert rounding.bound("loss") == 16 * 2.0**-24
    rounding.note("loss", 1e-3)
    rounding.note("loss", 1e-5)
    assert rounding.bound("loss") == 8e-3


@pytest.mark.parametrize(
    ("workers", "cause"),
    [
        ([1.0, 0.6, 0.2], causes.STEPPED_PER_PROCESS),
        ([2.0, 1.6, 1.2, 0.8], causes.RATE_SCALED),
        ([2**0.5 * rate for rate in (1.0, 0.8, 0.6)], causes.RATE_SCALED),
        ([1.0, 0.7, 0.2], None),
    ],
)
def test_rates(workers: list[float], cause: causes.Cause | None):
    assert explain_rates([1.0, 0.8, 0.6, 0.4, 0.2], workers, 2).cause is cause


def step(
    samples: str, *, losses: list[tuple[float, int]] | None = None, **arrays: float
) -> RankStep:
    """Return a step with samples that are letters, and arrays of one number."""
    indices = [ord(each) for each in samples]
    values = StepValues(list(samples), indices, losses or [], gradients=str(arrays.get("gradient")))
    return RankStep(values, {f"{kind}/w": np.array([value]) for kind, value in arrays.items()})


def test_samples():
    names = SampleNames({each: ord(each) for each in "abcdef"})
    seen = step("ab").counted

    def cause(*parts: str) -> causes.Cause | None:
        return explain_samples(step("cde"), [step(each) for each in parts], seen, names).cause

    assert cause("cd", "ec") is causes.PADDED_BY_SAMPLER  # from the batch
    assert cause("cd", "ea") is causes.PADDED_BY_SAMPLER  # from the epoch
    assert cause("c", "d") is causes.DROPPED
    assert cause("cd", "cd") is causes.SAME_SAMPLES
    assert cause("cd", "ef") is None
    changed = step("xyz")
    changed.values.indices = [ord(each) for each in "cde"]
    why = explain_samples(step("cde"), [changed, step("")], seen, names)
    assert why.cause is causes.RANDOM_CONTENT
    assert names.of(list("ab")) == "samples 97, 98"
    assert names.of(list("abcdef")) == "samples 97, 98, 99, 100 and 2 more"
    assert names.of(list("xy")) == "2 samples"


def test_workers_that_share_samples_are_told_from_padding():
    same, padded = Overlap(), Overlap()
    for first, second in (("ab", "cd"), ("cd", "ef"), ("ef", "ab")):
        same.note([step(first), step(second)])
    assert same.explain().cause is causes.SAME_SAMPLES
    letters = "abcdefghijklmnopqrstuvwxyz"
    padded.note([step(letters[:13]), step(letters[13:] + "a")])
    assert padded.explain().cause is None


@pytest.mark.parametrize(
    ("single", "found", "cause"),
    [
        (3.0, 3.0, None),
        (2.25, 3.0, causes.MEAN_OF_MEANS),  # (3 · 1.5 + 1 · 4.5) / 4
        (6.0, 3.0, causes.DIVIDED_TWICE),
        (3.0, 6.0, causes.SUMMED_TWICE),
        (3.0, 4.0, None),
    ],
)
def test_gradients(single: float, found: float, cause: causes.Cause | None):
    ours = step("abcd", losses=[(1.0, 4)], local=single, gradient=single)
    theirs = [
        step("abc", losses=[(1.0, 3)], local=1.5, gradient=found),
        step("d", losses=[(1.0, 1)], local=4.5, gradient=found),
    ]
    assert explain_gradients(ours, theirs, 1e-9).cause is cause


def test_an_average_over_workers_is_weighted_by_their_samples():
    def evaluation(samples: int, before: float, after: float) -> Evaluation:
        sums = [{"before": [before], "after": [after], "samples": samples}]
        return Evaluation(["s"] * samples, None, sums)

    parts = [evaluation(3, 1.0, 5.0), evaluation(1, 4.0, 5.0)]
    found = compare_sums(evaluation(4, 1.75, 1.75), parts)
    assert found
    assert found[1].cause is causes.MEAN_OF_MEANS
    assert compare_sums(evaluation(4, 5.0, 5.0), parts) is None  # a sum, and right
    assert compare_sums(evaluation(4, 2.5, 2.5), parts) is None  # the plain mean in both


def test_a_sampler_that_repeats_its_order_is_noted():
    assert same_order([[1, 0, True], [1, 0, True]])
    assert not same_order([[1, 0, True], [1, 1, True], [2, 0, True]])
    assert not same_order([[1, 0, False], [1, 0, False]])


COMPARED = events.ScriptCompared(
    2,
    10,
    10,
    "float32",
    samples=64,
    worst={"forward": 1e-7, "loss": 2e-7},
    bounds={"forward": 1e-6, "loss": 2e-6},
    identical=True,
    verdict="equal",
    findings=[],
    notes=["worth to know"],
)


def finding(stage: str, cause: str | None) -> events.Json:
    explanation = cause and "why"
    told = {"cause": cause, "explanation": explanation, "evidence": cause and "numbers"}
    return {"stage": stage, "step": 3, "what": "w is 1 and 2", **told}


def compared(verdict: str, *findings: events.Json, steps: int = 2) -> events.ScriptCompared:
    values = vars(COMPARED) | {"verdict": verdict, "findings": list(findings), "steps": steps}
    return events.ScriptCompared(**values)


def printed(*happened: events.Event) -> tuple[list[str], int]:
    console = Console(file=io.StringIO(), width=120)
    with ScriptReport(console, "train.py") as report:
        for event in happened:
            report.on_event(event)
    status = report.conclude()
    return console.file.getvalue().splitlines(), status  # pyright: ignore


def test_equal_workers_are_printed():
    lines, status = printed(COMPARED)
    assert status == 0
    assert lines[1].split() == ["2", "10", "64", "1.0e-07", "2.0e-07", "identical", "equal"]
    assert "2 workers train as one process does, up to rounding, in all 10 steps." in lines
    assert lines[-1] == "Note: worth to know"
    grown, status = printed(compared("equal"))
    assert status == 0
    assert any("of 8 more steps only samples, rates and settings" in line for line in grown)


def test_a_difference_is_printed_with_its_cause():
    lines, status = printed(compared("differs", finding("gradient", "mean of means")), COMPARED)
    assert status == 1
    assert "2 workers, step 3, gradient: w is 1 and 2" in lines
    assert "  cause: mean of means; why" in lines
    assert "  shown by: numbers" in lines
    lines, status = printed(compared("undecided", finding("loss", None)))
    assert status == 3
    assert "  cause: none of those that are known gives these numbers" in lines
    assert any("--float64 decides" in line for line in lines)
    assert printed(compared("incomparable", finding("data", None)))[1] == 2


def test_a_failure_is_printed_with_the_last_lines():
    failed = events.ScriptFailed(2, "train.py: it fails", ["one", "[two]"])
    lines, status = printed(COMPARED, failed)
    assert status == 2
    assert "2 workers: not compared; train.py: it fails" in lines
    assert lines[-3:] == ["  | one", "  | [two]", "Note: worth to know"]


def test_a_result_tells_what_was_found():
    failed = events.ScriptFailed(3, "it fails", [])
    differs = compared("differs", finding("gradient", "mean of means"), finding("schedule", None))
    assert ScriptResult.of([COMPARED]).equal
    assert not ScriptResult.of([]).equal
    assert not ScriptResult.of([COMPARED, failed]).equal
    result = ScriptResult.of([differs, failed])
    assert result.causes == ["mean of means"]
    assert repr(result) == "<2 workers differs, 3 workers failed>"


@pytest.mark.process
def test_options_that_do_not_go_with_a_script(tmp_path: Path):
    done = run("verify", "--script", "no.py", "--network", "lenet", cwd=tmp_path)
    assert done.returncode == 2
    text = " ".join(done.stderr.replace("│", " ").split())
    assert "the script decides data, network and recipe" in text


def test_options_that_need_a_script():
    ScriptOptions().check()
    ScriptOptions(Path("train.py"), ["--epochs"], float64=True).check()
    for options in (ScriptOptions(arguments=["--epochs", "2"]), ScriptOptions(float64=True)):
        with pytest.raises(typer.BadParameter, match=r"name that with --script FILE\.py"):
            options.check()
