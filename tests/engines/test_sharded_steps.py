"""A step in parts: the summed gradients of a batch's parts, added, and the update, are the step."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import loaded_engine, rows, slow_if
from support.splits import random_split

from triptych.core import registry, state
from triptych.core.gradients import SummedGradients
from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.sharding import take_rows
from triptych.core.split import Split
from triptych.errors import EngineError
from triptych.spec import zoo
from triptych.spec.augmentation import Augmentation
from triptych.spec.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, ReLU
from triptych.spec.losses import LOSSES, Clip, Loss, SoftmaxCrossEntropy
from triptych.spec.network import Network
from triptych.spec.optimizers import SGD, optimizer
from triptych.spec.recipe import Recipe
from triptych.spec.schedules import Cosine

BATCH = 12
SAMPLES = 31
NETWORK = zoo.dense("n", [6], 0.2, shape=(4, 4, 1), classes=3)
IMAGES = Network(
    "images",
    (4, 4, 1),
    (
        Conv2D("conv", 3, 3, padding=1),
        ReLU("relu"),
        Dropout("drop", 0.2),
        Flatten("flatten"),
        Dense("output", 3),
    ),
)
EXAMPLES = [example for cls in LOSSES.values() for example in cls.examples()]
CUTS = [(0, 5, 12), (0, 2, 7, 12), (0, 0, 12), (0, 1, 12, 12)]


@pytest.fixture(scope="module")
def split() -> Split:
    return random_split(SAMPLES, (4, 4, 1), classes=3)


def recipe_of(**changes) -> Recipe:
    return replace(Recipe(1, BATCH, SGD(0.3), dtype="float64"), **changes)


def added(engine, data, plan: Plan, cuts: tuple[int, ...]) -> SummedGradients:
    parts = [
        engine.gradients(data, take_rows(plan, slice(*ends), SAMPLES)) for ends in pairwise(cuts)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def compare(name: str, backend: str, network: Network, recipe: Recipe, split: Split, cuts=CUTS):
    """Compare steps in parts with steps of `run`, from the same states."""
    planner = BatchPlanner(network, recipe, SAMPLES, 1)
    whole, parted = (loaded_engine(name, network, recipe, backend) for _ in range(2))
    data = whole.upload(split)
    for plan in list(planner.plans()) * 2:  # the second time slots are not what they begin with
        before = whole.state()
        whole.run(data, plan)
        (loss,) = whole.wait()
        expected = whole.state()
        batch = SAMPLES if plan.indices is None else plan.indices.shape[1]
        for cut in cuts:
            parted.load(before)
            total = added(parted, data, plan, tuple(min(end, batch) for end in cut[:-1]) + (batch,))
            parted.update(total.mean_gradients, float(plan.rates[0]))
            assert total.mean_loss == pytest.approx(loss, rel=1e-13)
            found = parted.state()
            assert found.keys() == expected.keys()
            for key, array in expected.items():
                np.testing.assert_allclose(found[key], array, rtol=1e-12, atol=1e-12, err_msg=key)


def rows_and_losses() -> list:
    """Return every pair; JAX compiles each for a second, and most of these are slow tests."""
    return [
        pytest.param(
            *row.values,
            loss,
            id=f"{row.id}-{loss}",
            marks=[*row.marks, *slow_if(row.values[0] == "jax" and loss != EXAMPLES[3])],
        )
        for row in rows(others=False)
        for loss in EXAMPLES
    ]


@pytest.mark.parametrize(("name", "backend", "loss"), rows_and_losses())
def test_parts_of_a_batch_add_up_to_its_step(name: str, backend: str, loss: Loss, split: Split):
    compare(name, backend, NETWORK, recipe_of(loss=loss), split)


@pytest.mark.parametrize(("name", "backend"), rows(others=False))
@pytest.mark.parametrize("chosen", ["nesterov", "adamw", "rmsprop"])
def test_the_update_is_that_of_a_step(name: str, backend: str, chosen: str, split: Split):
    """Penalty, clipping, weight decay and the optimizer's slots."""
    loss = SoftmaxCrossEntropy(0.1, (0.5, 2.0, 3.25), l2=0.02)
    recipe = recipe_of(optimizer=optimizer(chosen), loss=loss, clip=Clip(0.05))
    compare(name, backend, NETWORK, recipe, split)


@pytest.mark.parametrize(("name", "backend"), rows())
def test_images_masks_and_augmentations_are_cut_with_their_samples(
    name: str, backend: str, split: Split
):
    recipe = recipe_of(augmentation=Augmentation(shift=1))
    compare(name, backend, IMAGES, recipe, split, CUTS[1:2])


SHARING = [
    pytest.param(*row.values, id=row.id, marks=row.marks)
    for row in rows(numpy=False, others=False)
    if row.values[0] in ("torch", "tensorflow")
]


def several_steps(recipe: Recipe) -> Plan:
    planner = BatchPlanner(IMAGES, recipe, SAMPLES, 2)
    plan = next(planner.plans())
    assert len(plan) == 2
    return plan


@pytest.mark.parametrize(("name", "backend"), SHARING)
def test_several_shared_steps_have_their_samples_rates_masks_and_augmentations(
    name: str, backend: str, split: Split
):
    recipe = recipe_of(epochs=2, augmentation=Augmentation(shift=1), schedule=Cosine(floor=0.1))
    plan = several_steps(recipe)
    whole, shared = (loaded_engine(name, IMAGES, recipe, backend) for _ in range(2))
    data = whole.upload(split)
    whole.run(data, plan)
    losses = shared.run_shared(data, plan, lambda part: part)
    np.testing.assert_allclose(losses, whole.wait(), rtol=1e-13)
    expected = whole.state()
    for key, array in shared.state().items():
        np.testing.assert_allclose(array, expected[key], rtol=1e-12, atol=1e-12, err_msg=key)


@pytest.mark.parametrize(("name", "backend"), SHARING)
def test_an_error_of_the_exchange_is_passed_on(name: str, backend: str, split: Split):
    engine = loaded_engine(name, IMAGES, recipe_of(), backend)
    data = engine.upload(split)
    plan = several_steps(recipe_of())
    parts: list[SummedGradients] = []

    def lost(part: SummedGradients) -> SummedGradients:
        parts.append(part)
        if len(parts) == 2:
            raise EngineError("another worker has ended")
        return part

    with pytest.raises(EngineError, match=r"^another worker has ended$"):
        engine.run_shared(data, plan, lost)
    assert len(parts) == 2
    assert len(engine.run_shared(data, plan, lambda part: part)) == 2


@pytest.mark.parametrize(("name", "backend"), rows(others=False))
def test_a_step_of_all_samples_is_cut_too(name: str, backend: str, split: Split):
    recipe = recipe_of(batch_size="full", epochs=2)
    compare(name, backend, NETWORK, recipe, split, [(0, 5, 17, SAMPLES)])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, BATCH), max_size=5))
def test_the_cuts_do_not_matter(inner: list[int]):
    """Against the gradients that NumPy's `trace` gives of the whole batch."""
    split = random_split(SAMPLES, (4, 4, 1), classes=3)
    recipe = recipe_of(loss=EXAMPLES[3])
    engine = loaded_engine("numpy", NETWORK, recipe)
    data = engine.upload(split)
    plan = next(BatchPlanner(NETWORK, recipe, SAMPLES, 1).plans())
    whole = engine.trace(data, plan)
    total = added(engine, data, plan, (0, *sorted(inner), BATCH))
    assert total.mean_loss == pytest.approx(float(whole["loss"]), rel=1e-13)
    for name, gradient in total.mean_gradients.items():
        np.testing.assert_allclose(gradient, whole[f"gradient/{name}"], rtol=0, atol=1e-15)


def test_the_mean_of_means_is_another_gradient(split: Split):
    """What these tests tell apart: parts that are divided before they are added."""
    recipe = recipe_of()
    engine = loaded_engine("numpy", NETWORK, recipe)
    data = engine.upload(split)
    plan = next(BatchPlanner(NETWORK, recipe, SAMPLES, 1).plans())
    whole = engine.trace(data, plan)["gradient/output/bias"]
    parts = [
        engine.gradients(data, take_rows(plan, part, SAMPLES)).mean_gradients["output/bias"]
        for part in (slice(0, 3), slice(3, BATCH))
    ]
    assert np.abs(sum(parts) / 2 - whole).max() > 1e-3


@pytest.mark.parametrize(("name", "backend"), rows(others=False))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_summed_gradients_are_in_the_recipes_dtype(name, backend, dtype, split: Split):
    recipe = recipe_of(dtype=dtype)
    engine = loaded_engine(name, NETWORK, recipe, backend)
    plan = next(BatchPlanner(NETWORK, recipe, SAMPLES, 1).plans())
    for rows_taken in (slice(0, 5), slice(0, 0)):
        part = engine.gradients(engine.upload(split), take_rows(plan, rows_taken, SAMPLES))
        assert list(part.gradients) == [p.name for p in NETWORK.parameters]
        assert {gradient.dtype.name for gradient in part.gradients.values()} == {dtype}
        assert part.weight == rows_taken.stop
    engine.update(part.gradients, 0.1)
    assert {array.dtype.name for array in engine.state().values()} == {dtype}


def test_one_flat_array_holds_gradients_loss_and_weight():
    part = SummedGradients({"a/kernel": np.arange(6.0).reshape(2, 3), "a/bias": np.ones(3)}, 4.5, 8)
    seen = []

    def doubled(flat: np.ndarray) -> np.ndarray:
        seen.append(flat)
        return 2 * flat

    total = part.reduced(doubled)
    assert [flat.tolist() for flat in seen] == [[0, 1, 2, 3, 4, 5, 1, 1, 1, 4.5, 8]]
    assert (total.loss, total.weight, total.mean_loss) == (9, 16, 0.5625)
    assert total.gradients["a/kernel"].tolist() == [[0, 2, 4], [6, 8, 10]]
    assert total.mean_gradients["a/bias"].tolist() == [0.125] * 3


def test_arrays_are_added_in_the_order_of_their_memory():
    """A transposed matrix is not turned around, and comes back as it was."""
    random = np.random.default_rng(0)
    matrix = random.normal(size=(3, 4))
    images = random.normal(size=(2, 3, 4, 5))
    arrays = {
        "rows": matrix,
        "columns": np.asfortranarray(matrix),
        "images": images.transpose(2, 0, 3, 1),
        "single": images[:1].transpose(3, 0, 2, 1),
        "part": images[:, 1:, ::2].transpose(1, 0, 3, 2),
    }
    given = []

    def double(flat: np.ndarray) -> np.ndarray:
        given.append(flat.copy())
        return 2 * flat

    total = SummedGradients(arrays, 1.5, 2.0).reduced(double)
    for name, array in arrays.items():
        np.testing.assert_array_equal(total.gradients[name], 2 * array)
    np.testing.assert_array_equal(given[0][12:24], matrix.T.ravel())
    assert np.shares_memory(total.gradients["columns"], total.gradients["columns"].T.ravel())


@pytest.mark.parametrize(("name", "backend"), rows())
@pytest.mark.parametrize("network", [NETWORK, IMAGES], ids=["dense", "images"])
def test_every_part_has_the_same_order_in_memory(
    name: str, backend: str, network: Network, split: Split
):
    """Also one without samples: workers add what is at the same place."""
    engine = loaded_engine(name, network, recipe_of(), backend)
    data = engine.upload(split)
    plan = next(BatchPlanner(network, recipe_of(), SAMPLES, 1).plans())
    parts = [engine.gradients(data, take_rows(plan, slice(end), SAMPLES)) for end in (0, 1, BATCH)]
    strides = [[array.strides for array in part.gradients.values()] for part in parts]
    assert strides[0] == strides[1] == strides[2]


@pytest.mark.parametrize(("name", "backend"), rows(others=False))
def test_running_statistics_move_as_in_a_step(name: str, backend: str, split: Split):
    norm = (Flatten("flatten"), Dense("hidden", 5), BatchNorm("norm"), Dense("output", 3))
    network = Network("normed", (4, 4, 1), norm)
    recipe = recipe_of()
    stepping, parted = (loaded_engine(name, network, recipe, backend) for _ in range(2))
    data = stepping.upload(split)
    plan = next(BatchPlanner(network, recipe, SAMPLES, 1).plans())
    stepping.run(data, plan)
    parted.gradients(data, plan)
    begun, ended, found = state.initial(network, recipe), stepping.state(), parted.state()
    for key, array in ended.items():
        buffer = state.kind(key) == "buffers"
        np.testing.assert_allclose(found[key], array if buffer else begun[key], rtol=0, atol=1e-13)
    assert np.abs(ended["norm/running_mean"] - begun["norm/running_mean"]).max() > 1e-3


def test_masks_that_each_worker_would_draw_for_itself_are_refused():
    """All workers would draw the same ones, for different samples."""
    free = recipe_of(random="free")
    without_dropout = zoo.dense("n", [6], shape=(4, 4, 1), classes=3)
    registry.create("numpy", without_dropout, free, all_reduce=lambda flat: flat)
    registry.create("numpy", NETWORK, free)
    with pytest.raises(EngineError, match=r'dropout masks of one process.*"random" to "matched"'):
        registry.create("numpy", NETWORK, free, all_reduce=lambda flat: flat)


class NoParts:
    """An engine of another package that has only what every engine has."""

    def __init__(self, network, recipe, *, device, backend):
        pass


def test_an_engine_that_cannot_divide_a_step_is_refused(monkeypatch: pytest.MonkeyPatch):
    recipe = recipe_of()
    monkeypatch.setattr("triptych.engines.numpy.engine.Engine", NoParts)
    registry.create("numpy", NETWORK, recipe)
    with pytest.raises(EngineError, match="NumPy cannot divide a step among workers"):
        registry.create("numpy", NETWORK, recipe, all_reduce=lambda flat: flat)
