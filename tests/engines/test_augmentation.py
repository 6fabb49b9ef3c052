"""The same pixels in every engine: each augmentation against plain loops, to the byte, and rotation
against SciPy's.
"""

import sys
from dataclasses import replace
from itertools import islice, product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from support.engines import loaded_engine, rows

from triptych.core import registry, state
from triptych.core.augmentation import Draws, draw
from triptych.core.planner import PLAN_BYTES, BatchPlanner
from triptych.core.split import Split
from triptych.parity import lockstep
from triptych.spec import zoo
from triptych.spec.augmentation import Augmentation
from triptych.spec.recipe import Recipe

ALL = Augmentation(rotate=15, crop=3, shift=2, flip=True, cutout=4)


def oracle(how: Augmentation, images: np.ndarray, drawn: Draws) -> np.ndarray:
    """What the integers say, sample by sample and pixel by pixel."""
    changed = images.copy()
    for name, n in product(how.active, range(len(changed))):
        changed[n] = LOOPS[name](changed[n], drawn[name][n], getattr(how, name))
    return changed


def rotated(image: np.ndarray, s: int, most: float) -> np.ndarray:
    channels = np.moveaxis(image, -1, 0)
    return np.stack(
        [ndimage.rotate(c, s / 10, reshape=False, order=1, mode="grid-constant") for c in channels],
        axis=-1,
    )


def cropped(image: np.ndarray, s: np.ndarray, most: int) -> np.ndarray:
    h, w, _ = image.shape
    y = np.zeros_like(image)
    for i, j in np.ndindex(h, w):
        row, column = abs(i + s[0] - most), abs(j + s[1] - most)
        y[i, j] = image[min(row, 2 * (h - 1) - row), min(column, 2 * (w - 1) - column)]
    return y


def shifted(image: np.ndarray, s: np.ndarray, most: int) -> np.ndarray:
    h, w, _ = image.shape
    y = np.zeros_like(image)
    for i, j in np.ndindex(h, w):
        if 0 <= i + s[0] < h and 0 <= j + s[1] < w:
            y[i + s[0], j + s[1]] = image[i, j]
    return y


def flipped(image: np.ndarray, s: bool, on: bool) -> np.ndarray:
    return np.fliplr(image) if s else image


def cut(image: np.ndarray, s: np.ndarray, side: int) -> np.ndarray:
    y = image.copy()
    for i, j in product(range(side), repeat=2):
        row, column = s[0] - side // 2 + i, s[1] - side // 2 + j
        if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
            y[row, column] = 0
    return y


LOOPS = {"rotate": rotated, "crop": cropped, "shift": shifted, "flip": flipped, "cutout": cut}


def augmented(name: str, how: Augmentation, x: np.ndarray, drawn: Draws) -> np.ndarray:
    """The images as an engine's own function gives them, channels last."""
    if name == "numpy":
        from triptych.engines.numpy.augmentation import augment

        return augment(how, x, drawn)
    if name == "numba":
        from triptych.engines.numba.augmentation import augment

        return augment(how, x, drawn)
    if name == "torch":
        import torch

        from triptych.engines.torch.augmentation import augment

        first = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
        changed = augment(
            how, first, {key: torch.from_numpy(array).long() for key, array in drawn.items()}
        )
        return np.moveaxis(changed.numpy(), 1, -1)
    if name == "jax":
        import jax

        from triptych.engines.jax.augmentation import augment

        with jax.enable_x64(True):
            return np.array(jax.jit(augment, static_argnums=0)(how, x, drawn))
    import tensorflow as tf

    from triptych.engines.tensorflow.augmentation import augment

    return augment(
        how, tf.constant(x), {key: tf.constant(array) for key, array in drawn.items()}
    ).numpy()


def images(seed: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(dtype)


each = pytest.mark.parametrize(("name", "backend"), rows(others=False))


@each
@pytest.mark.parametrize("kind", ["crop", "shift", "flip", "cutout"])
@given(
    st.data(),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 3),
    st.sampled_from(["float32", "float64"]),
)
@settings(max_examples=25, deadline=None)
def test_the_same_pixels_to_the_byte(
    name, backend, kind, data, batch: int, h: int, w: int, c: int, dtype: str
):
    assume(
        kind in ("flip", "cutout") or min(h, w) > 1
    )  # one pixel can be neither mirrored nor shifted
    most = data.draw(st.integers(1, min(h, w) - (kind in ("crop", "shift"))))
    how = Augmentation(**{kind: True if kind == "flip" else most})
    how.check_fits((h, w, c))
    seed = data.draw(st.integers(0, 2**31))
    x, drawn = images(seed, (batch, h, w, c), dtype), draw(how, 1, batch, (h, w, c), seed)
    draws = {key: array[0] for key, array in drawn.items()}
    changed, expected = augmented(name, how, x, draws), oracle(how, x, draws)
    assert changed.dtype == expected.dtype == dtype
    assert changed.tobytes() == expected.tobytes()


@each
@given(
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 3),
    st.integers(0, 2**31),
)
@settings(max_examples=25, deadline=None)
def test_the_same_rotation(name: str, backend: str, batch: int, h: int, w: int, c: int, seed: int):
    how = Augmentation(rotate=45)
    x, drawn = (
        images(seed, (batch, h, w, c), "float64"),
        {"rotate": draw(how, 1, batch, (h, w, c), seed)["rotate"][0]},
    )
    assert np.abs(augmented(name, how, x, drawn) - oracle(how, x, drawn)).max() <= 1e-12


@each
def test_a_rotation_is_counter_clockwise_and_none_is_none(name: str, backend: str):
    x = np.zeros((1, 9, 9, 1))
    x[0, 4, 8] = 1.0
    how = Augmentation(rotate=45)
    turned = augmented(name, how, x, {"rotate": np.array([450], np.int16)})[0, :, :, 0]
    assert np.unravel_index(turned.argmax(), turned.shape) == (
        1,
        7,
    )  # what was on the right is on the upper right
    assert np.array_equal(augmented(name, how, x, {"rotate": np.array([0], np.int16)}), x)


@pytest.mark.parametrize(("name", "backend"), rows())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_engine_sees_what_was_drawn(name: str, backend: str, dtype: str, few: Split):
    """The output of the first layer is the batch that the plan says, rotated to rounding and
    otherwise to the byte.
    """
    network = zoo.get("classic")
    for how in (ALL, replace(ALL, rotate=0)):
        recipe = Recipe(1, 64, dtype=dtype, augmentation=how)
        engine = loaded_engine(name, network, recipe, backend)
        plan = next(BatchPlanner(network, recipe, len(few)).plans())
        changed = engine.trace(engine.upload(few), plan)["output/flatten"]
        draws = {key: array[0] for key, array in plan.augmentations.items()}
        expected = oracle(how, few.pixels(dtype)[plan.indices[0]], draws).reshape(changed.shape)
        if how.rotate:
            assert np.abs(changed - expected).max() <= (1e-12 if dtype == "float64" else 1e-4)
        else:
            assert changed.tobytes() == expected.tobytes()


def walked(name: str, backend: str, few: Split, how: Augmentation = ALL) -> lockstep.Outcome:
    network, recipe = zoo.get("classic"), Recipe(2, 64, dtype="float64", augmentation=how)
    reference, candidate = (
        registry.create("numpy", network, recipe),
        registry.create(name, network, recipe, backend=backend),
    )
    schedule, start = BatchPlanner(network, recipe, len(few)), state.initial(network, recipe)
    *_, outcome = lockstep.walk(reference, candidate, few, islice(schedule.singles(), 5), start)
    if outcome.equal:
        outcome = lockstep.check_blocks_equal_single_steps(candidate, few, schedule, start)
    return outcome


@pytest.mark.parametrize(("name", "backend"), rows(numpy=False))
def test_a_training_with_all_of_them_is_equal(name: str, backend: str, few: Split):
    outcome = walked(name, backend, few)
    assert outcome.equal, str(outcome.divergence)


@pytest.mark.parametrize(("name", "backend"), rows(numpy=False, others=False))
def test_a_shift_in_the_other_direction_is_caught(name: str, backend: str, few: Split, monkeypatch):
    registry.create(name, zoo.get("classic"), Recipe())  # imports the module
    table = sys.modules[f"triptych.engines.{name}.augmentation"].AUGMENTATIONS
    right = table["shift"]

    def wrong(x: Any, drawn: Any, strength: int) -> Any:
        return right(x, -drawn, strength)

    monkeypatch.setitem(table, "shift", wrong)
    how, x = Augmentation(shift=2), images(0, (1, 5, 5, 1), "float64")
    drawn = {"shift": np.array([[1, 0]], np.int16)}
    assert not np.array_equal(augmented(name, how, x, drawn), oracle(how, x, drawn))
    divergence = walked(
        name, backend, few, replace(ALL, shift=3)
    ).divergence  # of no other test: JAX compiles equal ones once
    assert divergence
    assert (divergence.stage, divergence.layer) == ("output", "flatten")


RANGES = {"rotate": (-150, 150), "crop": (0, 6), "shift": (-2, 2), "flip": (0, 1)}


def test_draws_are_in_range_and_even():
    drawn = draw(ALL, 40, 1000, (28, 20, 1), 7)
    assert list(drawn) == list(ALL.active)
    columns = {
        "cutout rows": (drawn["cutout"][..., 0], 0, 27),
        "cutout columns": (drawn["cutout"][..., 1], 0, 19),
    }
    columns |= {name: (drawn[name], *RANGES[name]) for name in RANGES}
    for name, (values, low, high) in columns.items():
        counts = np.bincount(values.ravel().astype(int) - low, minlength=high - low + 1)
        expected = values.size / (high - low + 1)
        assert len(counts) == high - low + 1, name
        assert np.abs(counts - expected).max() < 5 * expected**0.5, name
    for name in ("crop", "shift", "cutout"):  # the two axes have nothing to do with each other
        assert (
            abs(np.corrcoef(drawn[name][..., 0].ravel(), drawn[name][..., 1].ravel())[0, 1]) < 0.025
        )


@given(st.integers(0, 50), st.integers(1, 6), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_draws_are_a_pure_function_of_seed_and_step(start: int, steps: int, seed: int):
    together = draw(ALL, steps, 5, (9, 9, 1), seed, "augment", start=start)
    for k in range(steps):
        alone = draw(ALL, 1, 5, (9, 9, 1), seed, "augment", start=start + k)
        assert all(np.array_equal(together[name][k], alone[name][0]) for name in ALL.active)
        other = draw(ALL, 1, 5, (9, 9, 1), seed + 1, "augment", start=start + k)
        assert any(not np.array_equal(other[name], alone[name]) for name in ALL.active)


def test_a_plan_with_draws_stays_under_its_bound():
    schedule = BatchPlanner(
        zoo.get("classic"), Recipe(1, 1000, augmentation=ALL), 2_000_000, 10_000
    )
    plan = schedule.plan(*next(schedule.spans()))
    size = (
        plan.rates.nbytes
        + plan.indices.nbytes
        + sum(array.nbytes for array in plan.augmentations.values())
    )
    assert PLAN_BYTES / 2 < size <= PLAN_BYTES
    assert len(plan) < 2000  # the bound it is, and not the end of the epoch
