"""Native workers: the framework adds the gradients, and they compute what one process does."""

import signal
import socket
import subprocess
import sys
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from support.commands import run
from support.engines import loaded_engine, needs_torch
from support.namespace import LOOPBACK_ONLY, needs_namespace
from support.splits import first_digits, random_split
from support.threaded import ThreadedGroup

import triptych as tt
from triptych.core import registry, state
from triptych.core.gradients import AllReduce
from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.selection import EngineSpec
from triptych.data.dataset import Dataset
from triptych.errors import EngineError
from triptych.scale.causes import Replay, SerialSimulation, Setting
from triptych.scale.certificate import causes_of, certify, tolerances_of
from triptych.scale.group import ShardRemote, WorkerGroup
from triptych.scale.messages import LOST
from triptych.scale.native import NativeParallelEngine
from triptych.spec import zoo
from triptych.spec.layers import BatchNorm, Dense, Dropout, Flatten, ReLU
from triptych.spec.losses import SoftmaxCrossEntropy

TESTS = Path(__file__).parents[1]
SHAPE = (4, 4, 1)
DENSE = zoo.dense("dense", [6], 0.2, shape=SHAPE, classes=3)
NORMED = tt.Network(
    "normed",
    SHAPE,
    (
        Flatten("flatten"),
        Dense("hidden", 5),
        BatchNorm("norm"),
        ReLU("relu"),
        Dropout("drop", 0.2),
        Dense("output", 3),
    ),
)
SAMPLES = 31
STEPS = 9  # three epochs: batches of 12, 12 and 7
RECIPE = tt.Recipe(4, 12, tt.optimizers.SGD(0.3, 0.9), dtype="float64", random="matched")
WEIGHTED = replace(RECIPE, loss=SoftmaxCrossEntropy(class_weights=(0.5, 1.0, 3.0)))
CLIPPED = replace(WEIGHTED, clip=tt.losses.Clip(0.5), loss=replace(WEIGHTED.loss, l2=0.01))


class Averaging:
    """A native engine in NumPy: it averages the gradients of its workers' losses."""

    def __init__(self, engine: Any, workers: int, add: AllReduce, takes_empty_parts: bool) -> None:
        self.engine = engine
        self.workers = workers
        self.add = add
        self.takes_empty_parts = takes_empty_parts
        self.losses: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def run_part(self, data: Any, plan: Plan, factors: np.ndarray) -> None:
        for step, factor in zip(plan.single(), factors, strict=True):
            part = self.engine.gradients(data, step)
            assert self.takes_empty_parts or part.weight
            scale = factor / part.weight / self.workers if part.weight else 0.0
            means = {name: self.add(scale * gradient) for name, gradient in part.gradients.items()}
            self.losses.append(self.add(np.array([scale * part.loss]))[0])
            self.engine.update(means, float(step.rates[0]))

    def wait(self) -> np.ndarray:
        losses, self.losses = self.losses, []
        return np.array(losses)

    def lost_worker(self, error: Exception) -> bool:
        return isinstance(error, IndexError)


def averaging(
    network: tt.Network,
    recipe: tt.Recipe,
    kind: type[NativeParallelEngine] = NativeParallelEngine,
    *,
    takes_empty_parts: bool = True,
) -> Any:
    """Return what builds a native worker of a threaded group."""

    def build(engine: Any, rank: int, workers: int, add: AllReduce) -> NativeParallelEngine:
        native = Averaging(engine, workers, add, takes_empty_parts)
        return kind(native, network, recipe, rank, workers)

    return build


def certified(
    recipe: tt.Recipe,
    workers: int,
    group: Any,
    name: str = "numpy",
    network: tt.Network = DENSE,
    steps: int = STEPS,
) -> Any:
    """Return the certificate of a group, and the names of the causes."""
    planner = BatchPlanner(network, recipe, SAMPLES, 1)
    split = random_split(SAMPLES, SHAPE, classes=3)
    single = loaded_engine(name, network, recipe)
    tolerances = tolerances_of(planner, inf)
    start = state.initial(network, recipe)
    *_, certificate = certify(single, group, split, planner, steps, start, tolerances)
    if certificate.equal:
        return certificate, ()
    replay = Replay()
    engine: Any = registry.create(name, network, recipe, all_reduce=replay)
    simulation = SerialSimulation(engine, replay, engine.upload(split), SAMPLES)
    causes = causes_of(certificate, Setting(planner, workers), simulation, tolerances)
    return certificate, tuple(cause.name for cause in causes)


def threaded(recipe: tt.Recipe, workers: int, build: Any) -> ThreadedGroup:
    return ThreadedGroup("numpy", DENSE, recipe, workers, build)


@pytest.mark.parametrize("takes_empty_parts", [True, False])
@pytest.mark.parametrize("recipe", [RECIPE, WEIGHTED, CLIPPED], ids=["", "weights", "clip"])
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_averages_over_unequal_parts_are_those_of_one_process(
    workers: int, recipe: tt.Recipe, takes_empty_parts: bool
):
    """Of a batch of 7 the last of 8 workers has no sample."""
    build = averaging(DENSE, recipe, takes_empty_parts=takes_empty_parts)
    certificate, _ = certified(recipe, workers, threaded(recipe, workers, build))
    assert certificate.equal
    assert certificate.outcome.steps == STEPS


@pytest.mark.parametrize(("recipe", "at"), [(RECIPE, 2), (WEIGHTED, 0)])
def test_mean_losses_over_unequal_parts_are_caught_and_named(recipe: tt.Recipe, at: int):
    """With class weights parts of equally many samples are unequal, too."""
    from scale.mistaken_native import MeanLosses

    group = threaded(recipe, 2, averaging(DENSE, recipe, MeanLosses))
    certificate, causes = certified(recipe, 2, group)
    assert certificate.at == at
    assert causes == ("mean of means over unequal shards",)


def test_all_steps_of_a_plan_are_one_call():
    """So that a framework may make them in one graph."""
    calls: list[tuple[int, list[float]]] = []

    class Recording(Averaging):
        def run_part(self, data: Any, plan: Plan, factors: np.ndarray) -> None:
            calls.append((len(plan), factors.tolist()))

    engine = Recording(loaded_engine("numpy", DENSE, RECIPE), 2, lambda array: array, True)
    worker = NativeParallelEngine(engine, DENSE, RECIPE, 0, 2)
    data = worker.upload(random_split(SAMPLES, SHAPE, classes=3))
    for plan in BatchPlanner(DENSE, replace(RECIPE, epochs=1), SAMPLES, 2).plans():
        worker.run(data, plan)
    assert calls == [(2, [1.0, 1.0]), (1, [2 * 4 / 7])]
    worker.run(data, Plan(np.array([0.1])))  # all samples in their order
    assert calls[-1] == (1, [2 * 16 / 31])


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [(IndexError("gone"), EngineError, LOST), (ValueError("mine"), ValueError, "mine")],
)
def test_only_the_loss_of_another_worker_is_told_as_such(
    error: Exception, kind: type[Exception], message: str
):
    class Failing(Averaging):
        def run_part(self, data: Any, plan: Plan, factors: np.ndarray) -> None:
            raise error

    engine = Failing(loaded_engine("numpy", DENSE, RECIPE), 2, lambda array: array, True)
    worker = NativeParallelEngine(engine, DENSE, RECIPE, 0, 2)
    data = worker.upload(random_split(SAMPLES, SHAPE, classes=3))
    plan = next(BatchPlanner(DENSE, RECIPE, SAMPLES, 1).plans())
    with pytest.raises(kind, match=f"^{message}$"):
        worker.run(data, plan)


@pytest.fixture(scope="module")
def data(digits: Dataset) -> Dataset:
    return replace(digits, train=first_digits(40))


@pytest.mark.parametrize("name", ["numpy", "jax"])
def test_an_engine_without_a_native_way_refuses(name: str, data: Dataset):
    label = registry.entry(name).label
    why = f"{label} has no data-parallel training of its own; leave native out"
    if registry.entry(name).installed:
        recipe = replace(RECIPE, batch_size=13)
        network = tt.dense(784, 6, 10)
        result = tt.verify_workers(network, recipe, data, engines=[name], native=True)
        assert [event.why for event in result.failed] == [why]
        assert not result.equal
    with pytest.raises(EngineError, match=f"^{why}$"):
        WorkerGroup(EngineSpec(name, ""), 2, native=True)


def test_native_is_an_option_of_workers(tmp_path: Path):
    done = run("verify", "--native", cwd=tmp_path)
    assert done.returncode == 2
    assert "it is an option of --workers" in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("name", "workers", "why"),
    [
        ("numpy", 2, "NumPy has no data-parallel training of its own; leave native out"),
        ("torch", 1, "native is how several workers add their gradients; give workers, too"),
    ],
)
def test_a_training_that_cannot_be_native_is_refused(name: str, workers: int, why: str):
    from triptych.api import training_settings

    with pytest.raises(EngineError, match=f"^{why}$"):
        training_settings(name, workers=workers, native=True)
    assert not training_settings(name, workers=workers).native


@pytest.mark.framework
def test_every_worker_of_tensorflow_knows_the_addresses_of_all():
    pytest.importorskip("tensorflow")
    from triptych.engines.tensorflow.native import addresses_of_workers

    def with_another(places: np.ndarray) -> np.ndarray:
        assert places.shape == (2, 5)
        return places + np.array([[10, 0, 0, 7, 4711], [0, 0, 0, 0, 0]])

    first, second = addresses_of_workers(1, 2, with_another, "127.0.0.1")
    assert first == "10.0.0.7:4711"
    host, port = second.split(":")
    with socket.socket() as listener:
        listener.bind((host, int(port)))  # it is free


@needs_torch
@pytest.mark.slow
@pytest.mark.process
def test_native_workers_are_compared_with_one_process_and_with_the_one_mechanism():
    split = random_split(SAMPLES, SHAPE, classes=3)
    dataset = Dataset("random", "random", split, split, ("a", "b", "c"))
    result = tt.verify_workers(
        NORMED, CLIPPED, dataset, workers=1, engines=["torch"], steps=3, native=True
    )
    assert result.equal
    assert result.largest <= 1e-12
    assert [event.against for event in result.compared] == ["process", "workers"]
    assert all(event.native for event in result.compared)


class Mistaken(ShardRemote):
    """A worker whose native way has a mistake."""

    worker = "scale.mistaken_native"


def check_engine(name: str, networks: list[tt.Network]) -> tuple[str, ...]:
    """Certify two native workers of an engine; return what their planted mistake is called."""
    info = registry.entry(name)
    spec = EngineSpec(name, info.default_backend)
    recipe = replace(CLIPPED, batch_size=15)  # of the last batch one worker has no sample
    with WorkerGroup(spec, 2, native=True) as group:
        group.start()
        for network in networks:
            engine = group.build(network.name, network, recipe)
            certificate, _ = certified(recipe, 2, engine, name, network, steps=4)
            assert certificate.equal, certificate.outcome.divergence
            assert certificate.outcome.steps == 4
        data = engine.upload(random_split(SAMPLES, SHAPE, classes=3))
        psutil.Process(group.remotes[1].pid).send_signal(signal.SIGKILL)
        with pytest.raises(EngineError, match=f"^worker 2 of 2: the {info.label} worker ended"):
            engine.run(data, next(BatchPlanner(networks[-1], recipe, SAMPLES, 1).plans()))
    WorkerGroup.remote = Mistaken
    with WorkerGroup(spec, 2, native=True) as group:
        group.start()
        engine = group.build("mistaken", DENSE, RECIPE)
        certificate, causes = certified(RECIPE, 2, engine, name, steps=3)
    assert not certificate.equal
    return causes


@needs_torch
@pytest.mark.slow
@pytest.mark.process
def test_native_workers_of_pytorch(monkeypatch: pytest.MonkeyPatch):
    """They are equal to one process, a killed one is told, and a mistake is named."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setattr(WorkerGroup, "remote", ShardRemote)
    causes = check_engine("torch", [DENSE, NORMED])
    assert causes == ("mean of means over unequal shards",)


TENSORFLOW = """
import sys
sys.path[:0] = {paths!r}
from scale.test_native import *
print(check_engine("tensorflow", [DENSE]))
"""


@needs_torch
@needs_namespace
@pytest.mark.slow
@pytest.mark.process
def test_native_workers_of_tensorflow(monkeypatch: pytest.MonkeyPatch):
    """In a namespace with loopback only: TensorFlow's servers listen on every interface."""
    pytest.importorskip("tensorflow")
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    script = TENSORFLOW.format(paths=[str(TESTS)])
    done = subprocess.run(
        [*LOOPBACK_ONLY, sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["('gradients summed twice',)"]
