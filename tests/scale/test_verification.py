"""`triptych verify --workers`: processes, what is reported, and the command."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.commands import run, run_here
from support.engines import needs_all, needs_torch, rows
from support.splits import first_digits

import triptych as tt
from triptych.cli.workers_view import WorkersReport
from triptych.core import events, registry
from triptych.data.dataset import Dataset
from triptych.errors import SpecError
from triptych.scale.group import ShardRemote, WorkerGroup
from triptych.scale.verification import default_networks
from triptych.spec.layers import BatchNorm, Dense, Dropout, Flatten

TESTS = Path(__file__).parents[1]
SHAPE = (28, 28, 1)
DENSE = tt.dense(784, 6, 10)
NORMED = tt.Network(
    "normed", SHAPE, (Flatten("f"), Dense("h", 6), BatchNorm("norm"), Dense("output", 10))
)
RECIPE = tt.Recipe(batch_size=13, optimizer=tt.optimizers.SGD(0.1, 0.9), dtype="float64")
STEPS = 4  # of batches of 13, 13, 13 and 1


@pytest.fixture(scope="module")
def data(digits: Dataset) -> Dataset:
    return replace(digits, train=first_digits(40))


@needs_torch
@pytest.mark.process
def test_the_events_of_a_certificate(data: Dataset):
    happened = list(
        tt.iter_verify_workers(
            [DENSE, NORMED], RECIPE, data, workers=[1, 2], engines=["numpy"], steps=STEPS
        )
    )
    compared = [event for event in happened if isinstance(event, events.WorkersCompared)]
    assert [(event.workers, event.network) for event in compared] == [
        (1, DENSE.name),
        (1, "normed"),
        (2, DENSE.name),
        (2, "normed"),
    ]
    for event in compared:
        assert event.equal
        assert event.steps == STEPS
        assert event.bound == 1e-12
        assert event.largest <= 1e-12
        assert event.causes == []
        assert event.shared_from == (0 if event.network == "normed" else None)
    assert {"weights", "velocity", "loss", "buffers"} == compared[-1].worst.keys()
    walked = ["workers", *["walking"] * STEPS, "certified"]
    assert [event.type for event in happened] == ["importing", *walked * 4]


@needs_torch
@pytest.mark.process
def test_a_mistake_in_worker_processes_is_named(data: Dataset, monkeypatch: pytest.MonkeyPatch):
    class Mistaken(ShardRemote):
        worker = "scale.mistaken_worker"

    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setattr(WorkerGroup, "remote", Mistaken)
    result = tt.verify_workers(
        [DENSE, NORMED], RECIPE, data, workers=2, engines=["numpy"], steps=STEPS
    )
    assert not result.equal
    assert result.causes == ["mean of means over unequal shards"]
    assert [event.diverged_at for event in result.compared] == [1, 1]
    assert "not proved equal" in repr(result)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(("name", "backend"), rows(numpy=False, others=False))
def test_an_engine_without_synchronised_statistics_refuses_and_goes_on(
    name: str, backend: str, data: Dataset
):
    """PyTorch and Numba have them; elsewhere one worker alone has the whole batch."""
    del backend
    result = tt.verify_workers(
        [NORMED, DENSE], RECIPE, data, workers=[1, 2], engines=[name], steps=2
    )
    assert result.equal
    assert result.failed == []
    refused = [(event.workers, event.network, event.why) for event in result.refused]
    compared = [(event.workers, event.network) for event in result.compared]
    if name in ("numba", "torch"):
        assert (refused, len(compared)) == ([], 4)
        return
    label = registry.entry(name).label
    ((workers, network, why),) = refused
    assert (workers, network) == (2, "normed")
    assert why.startswith(f"{label} has no synchronised BatchNorm ('norm'), so several workers")
    assert compared == [(1, "normed"), (1, DENSE.name), (2, DENSE.name)]


def test_settings_that_make_no_sense(data: Dataset):
    for options, message in (
        ({"workers": 0}, "verify: workers must be a whole number of at least 1, not 0"),
        ({"workers": [2, 1.5]}, "verify: workers must be a whole number of at least 1, not 1.5"),
        ({"workers": 65}, "verify: workers must be at most 64"),
        ({"steps": 0}, "verify: steps must be a whole number of at least 1, not 0"),
        ({"threads": 0}, "verify: threads must be a whole number of at least 1, not 0"),
    ):
        with pytest.raises(SpecError, match=message):
            tt.verify_workers(DENSE, RECIPE, data, **options)
    with pytest.raises(tt.TriptychError, match="data must be a Dataset"):
        tt.verify_workers(None, RECIPE, "digits")


def test_the_default_networks_are_one_of_each_kind():
    custom, normed = default_networks(SHAPE, 10)
    assert (custom.name, custom.amplifies_rounding) == ("custom", False)
    assert (normed.name, normed.amplifies_rounding) == ("lenet-bn", True)
    assert isinstance(normed.layers[-2], Dropout)
    assert [layer for layer in normed.layers if not isinstance(layer, Dropout)] == list(
        tt.zoo.get("lenet-bn").layers
    )


COMPARED = events.WorkersCompared(
    "torch",
    2,
    "custom",
    "sgd",
    steps=21,
    shared_from=None,
    worst={"weights": 3.3e-16, "loss": 0.0, "velocity": 4e-16},
    bound=1e-12,
    identical=True,
    divergence=None,
    diverged_at=None,
    causes=[],
)


def printed(happened: list[events.Event]) -> tuple[list[str], int]:
    """Return what is printed of some events, and the exit status."""
    console = Console(file=io.StringIO(), width=80)
    with WorkersReport(console, {"torch": "PyTorch", "jax": "JAX"}) as report:
        for event in happened:
            report.on_event(event)
    status = report.conclude()
    return console.file.getvalue().splitlines(), status  # pyright: ignore


def test_a_table_and_a_summary_are_printed():
    lines, status = printed([COMPARED, replace(COMPARED, shared_from=7, worst={"loss": 5e-15})])
    assert status == 0
    assert lines[0].split() == [
        *("engine", "workers", "network", "optimizer", "steps", "weights"),
        *("buffers", "slots", "loss", "ranks"),
    ]
    cells = ["PyTorch", "2", "custom", "sgd", "21", "3.3e-16", "4.0e-16", "0.0e+00"]
    assert lines[1].split() == [*cells, "identical", "equal"]
    assert "custom sgd: after 7 steps one unit in the last place" in lines[3]
    assert lines[-1] == (
        "Workers and one process compute the same in 2 rows: the largest difference is 5.0e-15, "
        "and all workers are equal to the bit."
    )


def test_a_difference_is_printed_with_its_cause():
    cause = {"name": "BatchNorm per shard", "explanation": "why"}
    different = replace(COMPARED, divergence="update of x", diverged_at=3, causes=[cause])
    drifting = replace(COMPARED, identical=False, diverged_at=1)
    lines, status = printed([COMPARED, different, drifting])
    assert status == 1
    assert lines[-5:] == [
        "2 of 3 rows differ:",
        "  PyTorch, 2 workers, custom, step 3: update of x",
        "    cause: BatchNorm per shard; why",
        "  PyTorch, 2 workers, custom, step 1: the workers have different states",
        "    cause: none of those that are known reproduces the difference",
    ]


def test_what_was_not_compared_is_told():
    refused = events.WorkersRefused("jax", 2, "lenet-bn", "JAX has none")
    assert printed([refused, COMPARED])[1] == 0
    lines, status = printed([refused, events.RowMissing("jax", "JAX is not installed")])
    assert lines == [
        "lenet-bn, 2 workers: not compared, JAX has none",
        "JAX: not compared, JAX is not installed",
        "nothing was compared",
    ]
    assert status == 2
    lines, status = printed([COMPARED, events.RowFailed("jax", "worker 1 of 2: it ended")])
    assert status == 1
    assert "1 row could not be compared; see above." in lines


@needs_torch
@pytest.mark.process
@pytest.mark.slow
def test_the_command(tmp_path: Path):
    options = ("--engines", "torch", "--hidden", "6", "--steps", "3", "--data", "digits")
    done = run("verify", "--workers", "1,3", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows_printed = [line.split() for line in done.stdout.splitlines() if line.endswith(" equal")]
    # Three steps, and the smaller last batch of an epoch; only the engine that was named.
    assert [row[:5] for row in rows_printed] == [
        ["PyTorch", workers, "dense-6", "sgd", "4"] for workers in ("1", "3")
    ]
    assert "compute the same in 2 rows" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", "0"), "give whole numbers from 1 to 64 with commas between them"),
        (("--workers", "2,x"), "give whole numbers from 1 to 64 with commas between them"),
        (("--workers", "65"), "give whole numbers from 1 to 64 with commas between them"),
        (("--workers", "9" * 5000), "give whole numbers from 1 to 64 with commas between them"),
        (("--workers", "2", "--dtype", "float32"), "several workers are compared in float64"),
    ],
)
def test_options_that_make_no_sense(options: tuple[str, ...], message: str, tmp_path: Path):
    done = run_here("verify", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


@needs_all
@pytest.mark.slow
@pytest.mark.process
def test_the_documented_command_certifies_every_engine(tmp_path: Path, scale: int):
    """200 steps of `custom`, and of `lenet-bn` with dropout where the engine has it.

    All engines take more than eleven minutes, so the certification alone has all of them and all
    steps.
    """
    fewer = () if scale > 1 else ("--engines", "numpy,torch", "--steps", "50")
    command = ("verify", "--workers", "1,2,3", "--data", "digits", *fewer)
    done = run(*command, cwd=tmp_path, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DIFFER" not in done.stdout
    assert "all workers are equal to the bit" in done.stdout.splitlines()[-1]
