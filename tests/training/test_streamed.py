"""Streamed training: bit for bit that of the same data in memory in the same order."""

import threading
from pathlib import Path

import numpy as np
import pytest
from support.engines import slow_if
from support.streams import drawings, parquet, streamed, write_folder, write_raw
from support.trainings import states, trained

import triptych as tt
from triptych.core import registry, state
from triptych.core.events import BlockTrained, EpochEnded
from triptych.core.planner import BatchPlanner
from triptych.core.sharding import shard
from triptych.core.split import Split
from triptych.data import loading
from triptych.data.streaming import split
from triptych.errors import DataError, SpecError, TriptychError
from triptych.spec import zoo
from triptych.spec.augmentation import Augmentation
from triptych.spec.network import Network
from triptych.spec.optimizers import Adam
from triptych.spec.recipe import Recipe
from triptych.training.feeding import StreamFeed, planner_of
from triptych.training.loop import Training
from triptych.training.saved import SavedRun

SHAPE = (6, 5, 3)
DENSE = zoo.dense("dense", [4], 0.2, shape=SHAPE, classes=3)
CONVOLUTION = zoo.convolutional([3], 3, hidden=[4], shape=SHAPE, classes=3)
RECIPE = Recipe(3, 16, Adam(), validation=0.1)
ENGINES = ["numpy"] + [
    pytest.param(name, marks=[pytest.mark.framework, *slow_if(name != "torch")])
    for name in ("torch", "tensorflow", "jax")
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def small_windows(monkeypatch) -> None:
    """Of two row groups, so that an epoch has several."""
    monkeypatch.setattr(split, "WINDOW_BYTES", 40 * int(np.prod(SHAPE)))


def weights(engine: str, network: Network, recipe: Recipe, train: Split, in_memory: bool):
    """The state after a training, and the losses of its steps."""
    kept = Split(train.images, train.labels) if in_memory else train
    planner = BatchPlanner(network, recipe, len(train), order=train.order)
    if not in_memory:
        planner = planner_of(network, recipe, train)
    runner = registry.create(engine, network, recipe)
    runner.load(state.initial(network, recipe))
    training = Training(runner, planner, kept)
    events = list(training.events())
    training.feed.close()
    losses = [loss for event in events if isinstance(event, BlockTrained) for loss in event.losses]
    return {name: array.tobytes() for name, array in runner.state().items()}, losses


@pytest.mark.parametrize("engine", ENGINES)
def test_the_weights_are_those_of_memory(tmp_path, engine: str):
    """Some pixels are zero in all images, others in most: NumPy leaves the first out."""
    if not registry.entry(engine).installed:
        pytest.skip(f"{engine} is not installed")
    train = streamed(parquet(tmp_path / "set")).train
    recipe = Recipe(3, 16, Adam())
    assert weights(engine, DENSE, recipe, train, False) == weights(
        engine, DENSE, recipe, train, True
    )


def test_the_weights_of_a_convolution_are_those_of_memory(tmp_path):
    train = streamed(parquet(tmp_path / "set")).train
    recipe = Recipe(2, 16, Adam(), augmentation=Augmentation(shift=1))
    assert weights("numpy", CONVOLUTION, recipe, train, False) == weights(
        "numpy", CONVOLUTION, recipe, train, True
    )


def test_augmented_images_of_a_stream(tmp_path):
    train = streamed(parquet(tmp_path / "set")).train
    recipe = Recipe(2, 16, Adam(), augmentation=Augmentation(shift=1))
    assert weights("numpy", DENSE, recipe, train, False) == weights(
        "numpy", DENSE, recipe, train, True
    )


def test_a_folder_has_the_order_of_memory(tmp_path):
    """So also the whole run is the same, except that the test set is in another order."""
    source = write_folder(tmp_path / "train", *drawings(60))
    train = streamed(source).train
    assert train.order is None
    recipe = Recipe(2, 16)
    assert weights("numpy", DENSE, recipe, train, False) == weights(
        "numpy", DENSE, recipe, train, True
    )


def test_a_run_that_goes_on_is_as_if_it_had_not_stopped(tmp_path):
    """In the middle of an epoch and of a window, and through JSON and files."""
    source = parquet(tmp_path / "set")
    whole = trained(tmp_path / "a", streamed(source), RECIPE, network=DENSE)
    stopped = trained(tmp_path / "b", streamed(source), RECIPE, until=17, network=DENSE)
    assert SavedRun.read(stopped).position.step % 12 != 0
    tt.resume(stopped)
    assert states(stopped) == states(whole)


def test_going_on_reads_only_the_windows_that_are_left(tmp_path, monkeypatch):
    train = streamed(write_raw(tmp_path / "one.parquet", *drawings(400))).train
    planner = planner_of(DENSE, Recipe(1, 10), train)
    runner = registry.create("numpy", DENSE, planner.recipe)
    read: list[int] = []
    original = type(train.stream.listing.source).read
    monkeypatch.setattr(
        type(train.stream.listing.source),
        "read",
        lambda self, group: read.append(group) or original(self, group),
    )
    feed = StreamFeed(runner, train, planner, step=planner.steps - 1)
    read.clear()  # of the look for pixels that are zero in all images
    feed.take(planner.plan(planner.steps - 1, 1, 10))
    feed.close()
    assert 1 <= len(read) <= 2


def test_a_streamed_run_does_not_go_on_in_memory(tmp_path):
    source = parquet(tmp_path / "set")
    stopped = trained(tmp_path / "b", streamed(source), RECIPE, until=5, network=DENSE)
    with pytest.raises(TriptychError, match="began with data that was streamed in windows of 40"):
        tt.resume(stopped, data=loading.load(str(source)))
    in_memory = trained(tmp_path / "c", loading.load(str(source)), RECIPE, 5, DENSE)
    with pytest.raises(TriptychError, match=r"read into memory, not streamed"):
        tt.resume(in_memory, data=streamed(source))


def test_full_batches_are_refused(tmp_path):
    data = streamed(parquet(tmp_path / "set"))
    with pytest.raises(SpecError, match="in mini-batches"):
        tt.train("numpy", DENSE, Recipe(1), data, runs=None)


def test_validation_and_test_are_those_of_memory(tmp_path):
    """With the same weights: a rate of 0 keeps the first ones."""
    source = parquet(tmp_path / "set", 300)
    recipe = Recipe(1, 16, optimizer=tt.optimizers.SGD(1e-30), validation=0.2)
    results = [
        tt.train("numpy", DENSE, recipe, each, runs=None)
        for each in (streamed(source), loading.load(str(source)))
    ]
    epochs = [result.history[0] for result in results]
    assert epochs[0]["validation_accuracy"] == epochs[1]["validation_accuracy"]
    assert epochs[0]["validation_loss"] == pytest.approx(epochs[1]["validation_loss"], rel=1e-6)
    assert results[0].accuracy == results[1].accuracy


def test_the_parts_of_all_workers_are_the_batches(tmp_path):
    train = streamed(parquet(tmp_path / "set")).train
    planner = planner_of(DENSE, Recipe(2, 15), train)
    runner = registry.create("numpy", DENSE, planner.recipe)
    feeds = [StreamFeed(runner, train, planner, 3, rank, 2) for rank in range(2)]
    for step in range(3, planner.steps):
        batch = next(planner.within(*divmod(step, planner.steps_per_epoch)))[2]
        plan = planner.plan(step, 1, batch)
        parts = [feed.take(shard(plan, rank, 2, len(train))) for rank, feed in enumerate(feeds)]
        labels = np.concatenate([data.y[part.indices[0]] for data, part in parts])
        assert np.array_equal(labels, train.labels[plan.indices[0]])
    for feed in feeds:
        feed.close()


def test_a_damaged_file_ends_a_training_with_its_name(tmp_path):
    source = parquet(tmp_path / "set", 600)
    data = streamed(source)
    path = source / "train-00001-of-00002.parquet"
    events = tt.iter_train("numpy", DENSE, Recipe(3, 16), data, runs=None)
    content = path.read_bytes()
    path.write_bytes(content[:1000] + bytes(len(content) - 1000))
    with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet"):
        for _ in events:
            pass


def test_a_closed_iteration_ends_the_threads(tmp_path):
    before = threading.active_count()
    events = tt.iter_train("numpy", DENSE, RECIPE, streamed(parquet(tmp_path / "set")), runs=None)
    for event in events:
        if isinstance(event, EpochEnded):
            break
    events.close()
    assert threading.active_count() == before


def test_a_block_of_steps_is_not_larger_than_a_plan(tmp_path):
    train = streamed(parquet(tmp_path / "set")).train
    planner = planner_of(DENSE, Recipe(1, 16), train)
    small = planner_of(DENSE, Recipe(1, 16, dtype="float64"), train)
    assert planner.sample_bytes == 90 * 4
    assert small.sample_bytes == 90 * 8
