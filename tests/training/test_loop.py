"""The loop against one written out by hand; and that a run which is taken up again is
the same run.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.engines import loaded_engine, rows

from triptych.core import metrics, registry, state
from triptych.core.events import BlockTrained, EpochEnded, TrainingInterrupted
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.data import loading as data
from triptych.engines.numpy.loss import build_loss
from triptych.errors import SpecError, TriptychError
from triptych.spec import zoo
from triptych.spec.callbacks import EarlyStopping, ReduceLROnPlateau
from triptych.spec.optimizers import SGD, optimizer
from triptych.spec.recipe import Recipe
from triptych.spec.schedules import Cosine
from triptych.training import loop
from triptych.training.loop import Training
from triptych.training.position import Position

NETWORK = zoo.get("regularized")
RECIPE = Recipe(
    *(4, 32, optimizer("momentum")),
    dtype="float64",
    validation=0.2,
    schedule=Cosine(warmup=0.5, floor=0.1),
    callbacks=(
        EarlyStopping(patience=9),
        ReduceLROnPlateau(monitor="validation_accuracy", threshold=0.9, factor=0.5, patience=1),
    ),
)
cross_entropy = build_loss(RECIPE.loss)


def begun(
    split: Split,
    recipe: Recipe = RECIPE,
    name: str = "numpy",
    backend: str | None = None,
    network=NETWORK,
    **resumed,
) -> Training:
    train, validation = (
        data.stratified(split, recipe.seed, recipe.validation)
        if recipe.validation
        else (split, None)
    )
    engine = registry.create(name, network, recipe, backend=backend)
    engine.load(resumed.pop("start", None) or state.initial(network, recipe))
    return Training(engine, BatchPlanner(network, recipe, len(train)), train, validation, **resumed)


def same(a: state.State, b: state.State) -> bool:
    return list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(autouse=True, scope="module")
def short_blocks():
    """So that there are blocks within an epoch to stop between: 1, 1, 1, 1, 1 steps, then 2, 2 and
    1.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LONGEST_BLOCK", 2)
        yield


@pytest.fixture(scope="module")
def whole(few: Split) -> tuple[Training, list[dict]]:
    """A run that nothing interrupts, in NumPy."""
    training = begun(few)
    return training, [event.to_json() for event in training.events()]


def test_it_is_the_loop_that_one_would_write(few: Split, whole):
    train, validation = data.stratified(few, 0, 0.2)
    assert (len(train), len(validation)) == (160, 40)
    schedule = BatchPlanner(NETWORK, RECIPE, 160)
    engine = loaded_engine("numpy", NETWORK, RECIPE)
    x, rate, best = engine.upload(train), 0.01, 0.0
    found = [event for event in whole[1] if event["type"] == "epoch"]
    assert [event["epoch"] for event in found] == [1, 2, 3, 4]
    for number, event in enumerate(found):
        total = 0.0
        for plan in schedule.epoch(number):
            for step in plan.single():
                engine.run(x, replace(step, rates=step.rates / 0.01 * rate))
                total += float(engine.wait()[0]) * step.indices.shape[1]
        logits = engine.logits(engine.upload(validation))
        assert event["loss"] == pytest.approx(total / 160, rel=1e-12)
        assert event["validation_loss"] == pytest.approx(
            cross_entropy(logits, validation.labels)[0], rel=1e-12
        )
        accuracy = metrics.accuracy(metrics.predictions(logits), validation.labels)
        assert event["validation_accuracy"] == accuracy
        assert event["base_rate"] == rate
        assert event["rate"] == pytest.approx(
            rate * Cosine(warmup=0.5, floor=0.1).at(number * 5 + 4, 5, 4), rel=1e-15
        )
        assert event["seconds"] > 0
        if accuracy > best + 0.9:
            best = accuracy
        elif number:
            rate = rate * 0.5
        best = best or accuracy
    assert all(
        np.allclose(a, whole[0].engine.state()[name], rtol=0, atol=1e-14)
        for name, a in engine.state().items()
    )


def test_the_order_of_events_and_what_they_say(whole):
    training, events = whole
    types = [event["type"] for event in events]
    assert types[-1] == "trained"
    assert types[0] == "block"
    blocks = [event for event in events if event["type"] == "block"]
    assert sum(block["steps"] for block in blocks) == training.position.step == 20
    assert sum(len(block["losses"]) for block in blocks) == 20
    cuts = [event for event in events if event["type"] == "cut"]
    assert [cut["base_rate"] for cut in cuts] == [0.005, 0.0025, 0.00125]
    for at, event in enumerate(events):
        if event["type"] == "cut":
            assert types[at + 1] == "epoch"
            assert events[at + 1]["epoch"] == event["epoch"]
    json.dumps(events, allow_nan=False)


def test_unequal_batches_weigh_by_their_size(few: Split):
    """D82: 200 samples in batches of 64 and one of 8."""
    training = begun(few, Recipe(1, 64, SGD(1e-12), dtype="float64"), network=zoo.get("classic"))
    *_, epoch, _ = training.events()
    assert isinstance(epoch, EpochEnded)
    logits = training.engine.logits(training.engine.upload(few))
    assert epoch.loss == pytest.approx(cross_entropy(logits, few.labels)[0], abs=1e-9)


@pytest.mark.parametrize(("name", "backend"), rows(others=False))
def test_a_run_taken_up_again_is_the_same_to_the_bit(few: Split, name: str, backend: str):
    """From between any two events, in mid-epoch too; the position through JSON, the engine new."""
    straight, kept = begun(few, name=name, backend=backend), {}
    for at, event in enumerate(straight.events()):
        kept[at] = (
            event.to_json()["step"],
            json.dumps(straight.position.to_json(), allow_nan=False),
            straight.engine.state(),
            straight.best,
        )
    for at in (0, 8, 10, len(kept) - 2) if name != "numpy" else range(len(kept) - 1):
        step, position, weights, best = kept[at]
        again = begun(
            few,
            name=name,
            backend=backend,
            start=weights,
            position=Position.from_json(json.loads(position)),
            best=best,
        )
        assert again.position.step == step
        list(again.events())
        assert same(again.engine.state(), straight.engine.state()), at
        for a, b in zip(again.position.history, straight.position.history, strict=True):
            assert a | {"seconds": 0, "cpu_seconds": 0} == b | {"seconds": 0, "cpu_seconds": 0}
        assert again.position.memories == straight.position.memories
        assert same(again.best or {}, straight.best or {})


def test_asked_to_stop_it_ends_after_the_block_in_flight(few: Split):
    training, events = begun(few), []
    for event in training.events():
        events.append(event)
        if getattr(event, "step", None) == 7:
            training.stop()
    assert events[-1] == TrainingInterrupted(step=7, best_epoch=1)
    assert not training.done
    assert [event.type for event in begun(few, position=training.position).events()].count(
        "epoch"
    ) == 3


def test_early_stopping_ends_it_with_the_weights_of_the_best_epoch(few: Split):
    recipe = Recipe(
        50,
        32,
        SGD(0.1),
        dtype="float64",
        validation=0.2,
        callbacks=(EarlyStopping(patience=2, threshold=0.5),),
    )
    training = begun(few, recipe)
    states = [training.engine.state() for event in training.events() if event.type == "epoch"]
    assert len(states) < 50
    assert training.position.stopped == "validation_loss was not better for 2 epochs"
    assert training.best_epoch == len(states) - 2
    assert not same(training.engine.state(), states[training.best_epoch - 1])
    assert training.finish() == training.best_epoch
    assert same(training.engine.state(), states[training.best_epoch - 1])


def test_a_callback_that_asks_for_something_else_is_refused_in_words(few: Split):
    class Loud(EarlyStopping):
        def on_epoch_end(self, epoch, memory):
            yield {"type": "shout", "epoch": epoch["epoch"]}

    recipe = Recipe(2, 64, callbacks=(Loud(monitor="loss"),))
    training = begun(few, recipe)
    with pytest.raises(SpecError, match=r"asked for .*'shout'.*it may ask for"):
        list(training.events())


def test_without_early_stopping_the_last_weights_stay(few: Split):
    training = begun(few, Recipe(3, 32, SGD(0.1), dtype="float64"))
    list(training.events())
    before = training.engine.state()
    assert training.finish() == 3
    assert same(training.engine.state(), before)
    assert training.best is not None


def test_every_full_batch_is_an_epoch(few: Split):
    training = begun(few, Recipe(5, "full", SGD(0.1), dtype="float64", validation=0.2))
    events = list(training.events())
    assert [event.type for event in events] == ["block", "epoch"] * 5 + ["trained"]
    first, epoch = events[:2]
    assert isinstance(first, BlockTrained)
    assert isinstance(epoch, EpochEnded)
    assert epoch.loss == pytest.approx(first.losses[0], rel=1e-6)


def test_a_loss_that_is_not_finite_ends_it_in_words(few: Split):
    training = begun(few, Recipe(50, 32, SGD(1e6)))
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            TriptychError,
            match=r"the loss is (nan|inf) at step \d+ \(epoch \d+\): the training diverged",
        ),
    ):
        list(training.events())


def test_blocks_grow_but_never_past_an_epoch(few: Split):
    training = begun(few, Recipe(3, 8, SGD(0.1)), network=zoo.get("classic"))
    lengths = [event.steps for event in training.events() if isinstance(event, BlockTrained)]
    assert lengths == [1] * 4 + [2] * 10 + [1] + ([2] * 12 + [1]) * 2
