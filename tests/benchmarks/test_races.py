"""Races in miniature: who is proved, who is ranked, who is left out."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmarks.contestants import Contestant, attempt, opened
from benchmarks.inference import Inference
from benchmarks.job import Job
from benchmarks.measured import rank
from benchmarks.proof import prove
from benchmarks.timing import Settings, Timing
from benchmarks.training import Training, images
from benchmarks.workloads import WORKLOADS
from triptych.core import registry
from triptych.core.selection import EngineSpec
from triptych.errors import EngineError
from triptych.spec.optimizers import optimizer

pytestmark = pytest.mark.usefixtures("numpy_alone")
QUICK = Settings(threads=1, rounds=3)


def small(name: str, *peers: str, **recipe) -> Training:
    workload = WORKLOADS[name]
    assert isinstance(workload, Training)
    return replace(
        workload, recipe=replace(workload.recipe, **recipe), samples=24, steps=2, peers=peers
    )


def only(workload, name: str = "R") -> Timing:
    (timing,) = workload.measure(name, QUICK)
    return timing


def test_the_original_is_proved_and_ranked():
    timing = only(small("R1", "numpy-original"), "R1")
    (entry,) = timing.entries()
    assert {key: entry[key] for key in ("workload", "engine", "peer", "threads")} == {
        "workload": "R1", "engine": "numpy", "peer": "numpy-original", "threads": 1
    }  # fmt: skip
    assert 0 < entry["low"] <= entry["ratio"] <= entry["high"]
    assert timing.ok
    assert any("float64 weights equal" in line for line in timing.text())
    assert any("× floor" in line for line in timing.text())


@pytest.mark.slow
def test_a_peer_that_draws_its_own_batches_is_timed_but_never_ranked():
    pytest.importorskip("torch")
    timing = only(small("R2", "numpy-sklearn", "torch-loader", batch_size=4))
    assert [(line.key, line.rank) for line in timing.lines[1:]] == [
        ("numpy-sklearn", "unproved"),
        ("torch-loader", "unproved"),
    ]
    assert all(len(line.seconds) == 3 and min(line.seconds) > 0 for line in timing.lines)
    assert timing.entries() == []
    assert any("not proved" in line for line in timing.text())


@pytest.mark.slow
def test_a_peer_with_another_learning_rate_is_left_out():
    pytest.importorskip("torch")
    timing = only(
        small("R2", "torch-plain", batch_size=4, optimizer=optimizer("adam", 0.01))
    )  # the peer uses PyTorch's default, 0.001
    assert [line.key for line in timing.lines] == ["numpy"]
    assert not timing.ok
    assert any(
        "left out: torch-plain: PyTorch plain computes something else: update, layer hidden1"
        in line
        for line in timing.text()
    )


def proved(name: str, peer: EngineSpec) -> tuple[str | None, str]:
    """Prove NumPy and a peer equal; return the peer's failure and rank."""
    workload = small(name, batch_size=4)
    job = Job(workload.network, workload.recipe, images(workload.network, workload.samples, None))
    with opened([EngineSpec("numpy", "eager"), peer], 1) as contestants:
        roundings = prove(contestants, job)
    return contestants[1].failure, rank(roundings.get(peer.key))


class Shuffling:
    """NumPy in this process, with the rows of a block in another order: a `fit` that shuffles."""

    def __init__(self, network, recipe):
        self.engine = registry.create("numpy", network, recipe)
        self.load, self.upload, self.state = self.engine.load, self.engine.upload, self.engine.state

    def run(self, data, plan):
        self.engine.run(
            data, replace(plan, indices=plan.indices.ravel()[::-1].reshape(plan.indices.shape))
        )

    def drop(self):
        pass


def test_rows_in_another_order_within_a_block_are_noticed():
    workload = small("R2", batch_size=4)
    job = Job(workload.network, workload.recipe, images(workload.network, workload.samples, None))
    with opened([EngineSpec("numpy", "eager")], 1) as (reference,):
        other = Contestant(
            EngineSpec("torch", "plain"),
            SimpleNamespace(build=lambda key, network, recipe: Shuffling(network, recipe)),
        )
        prove([reference, other], job)
    assert "PyTorch plain computes something else" in other.failure


def test_a_process_that_ends_leaves_the_others_measured():
    with opened([EngineSpec("numpy", "eager"), EngineSpec("numpy", "sklearn")], 1) as rows:
        rows[1].remote.kill()
        attempt(rows, lambda row: row.remote.ask("kernel", module="numpy"))
        assert (rows[0].failure, "worker ended" in rows[1].failure) == (None, True)
        rows[0].remote.kill()
        with pytest.raises(EngineError, match="worker ended"):
            attempt(rows, lambda row: row.remote.ask("kernel", module="numpy"))


@pytest.mark.slow
def test_reduced_precision_is_recognised_by_its_error():
    pytest.importorskip("torch")
    assert proved("R3", EngineSpec("torch", "plain-bf16")) == (None, "reduced")


@pytest.mark.slow
def test_keras_is_proved_by_its_own_formulas():
    pytest.importorskip("tensorflow")
    assert proved("R2", EngineSpec("tensorflow", "keras-fit")) == (None, "ranked")


@pytest.mark.slow
def test_logits_are_proved_and_timed():
    pytest.importorskip("torch")
    workload = WORKLOADS["inference"]
    assert isinstance(workload, Inference)
    timing = only(
        replace(workload, networks=workload.networks[:1], peers=("torch-plain",)), "inference"
    )
    assert [(entry["workload"], entry["peer"]) for entry in timing.entries()] == [
        ("inference R2", "torch-plain")
    ]
    assert any("an image" in line for line in timing.text())
