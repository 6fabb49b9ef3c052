import json
from dataclasses import dataclass, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.errors import SpecError
from triptych.spec.augmentation import Augmentation
from triptych.spec.callbacks import ReduceLROnPlateau
from triptych.spec.losses import Clip, MeanSquaredError, SoftmaxCrossEntropy
from triptych.spec.optimizers import (
    OPTIMIZERS,
    SGD,
    SHORTHANDS,
    Adagrad,
    Adam,
    Nadam,
    Optimizer,
    optimizer,
)
from triptych.spec.recipe import Recipe
from triptych.spec.schedules import Cosine
from triptych.spec.validation import Fraction, Range, ranges_of

fractions = st.floats(0, 0.999)
positive = st.floats(1e-12, 10)


def test_the_defaults_are_the_originals():
    assert Recipe() == Recipe(500, "full", SGD(0.1, 0.0, False), 0, "float32", "matched")


@pytest.mark.parametrize(
    "chosen", [example for cls in OPTIMIZERS.values() for example in cls.examples()], ids=repr
)
def test_the_examples_of_every_optimizer_declare_their_slots(chosen: Optimizer):
    assert set(chosen.slots) <= set(chosen.slot_kinds)
    recipe = Recipe(optimizer=chosen)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


FRACTIONS = {"momentum", "beta1", "beta2", "rho"}
ABOVE_ZERO = {"rate", "epsilon"}


@pytest.mark.parametrize("cls", OPTIMIZERS.values(), ids=lambda cls: cls.name)
def test_each_number_of_an_optimizer_has_its_range(cls: type[Optimizer]):
    for f in fields(cls):
        if not isinstance(getattr(cls(), f.name), float):
            continue
        wrong = [-0.1, float("nan"), "0.1", True]
        if f.name in FRACTIONS:
            wrong.append(1.0)
        if f.name in ABOVE_ZERO:
            wrong.append(0.0)
        for value in wrong:
            with pytest.raises(SpecError, match=f"{cls.name}: {f.name} must be"):
                cls(**{f.name: value})
        if f.name not in ABOVE_ZERO:
            cls(**{f.name: 0.0})
        if f.name not in FRACTIONS:
            cls(**{f.name: 1.5})


def test_a_range_is_that_of_the_class_that_declares_it():
    @dataclass(frozen=True)
    class Slower(Adam):
        beta1: float = 0.99  # another default, and the same range
        decay: Fraction = 0.5
        name = "slower"

    assert Slower().beta1 == 0.99
    for wrong in ({"beta1": 1.0}, {"decay": 1.0}, {"epsilon": 0.0}):
        with pytest.raises(SpecError, match=r"slower: \w+ must be"):
            Slower(**wrong)


def test_a_slot_means_as_many_gradients_in_every_optimizer():
    powers: dict[str, set[int]] = {}
    for cls in OPTIMIZERS.values():
        for name, slot in cls.slot_kinds.items():
            powers.setdefault(name, set()).add(slot.power)
    assert all(len(each) == 1 for each in powers.values()), powers


def drawn(cls: type[Optimizer]) -> st.SearchStrategy[Optimizer]:
    """Any numbers that make sense, the velocity and both switches included."""
    numbers: dict[str, st.SearchStrategy] = {}
    ranges = ranges_of(cls)
    for f in fields(cls):
        if f.type is bool:
            numbers[f.name] = st.booleans() if f.name != "nesterov" else st.just(False)
        elif f.type is float or f.name in ranges:
            is_fraction = ranges.get(f.name) == Range(0, 1, below=True)
            numbers[f.name] = fractions if is_fraction else positive
        else:
            numbers[f.name] = st.sampled_from(["gradients", "steps"])
    return st.builds(cls, **numbers)


losses = st.builds(MeanSquaredError, l2=st.floats(0, 1)) | st.builds(
    SoftmaxCrossEntropy,
    fractions,
    st.lists(positive, max_size=4).map(tuple),
    st.sampled_from(["terms", "samples"]),
    l2=fractions,
)
clips = st.builds(Clip, st.none() | positive, st.sampled_from(["norm", "value"]), fractions)


@given(
    st.one_of(*map(drawn, OPTIMIZERS.values())),
    losses,
    clips,
    st.integers(1, 9999),
    st.one_of(st.just("full"), st.integers(1, 99999)),
    st.sampled_from(["float32", "float64"]),
)
def test_json_gives_the_same_recipe_back(chosen, loss, clip, epochs: int, batch, dtype):
    recipe = Recipe(epochs, batch, chosen, 3, dtype, loss=loss, clip=clip)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_shorthands():
    assert optimizer("nesterov", 0.05) == SGD(0.05, 0.9, True)
    assert optimizer("adam").rate == 1e-3
    assert set(SHORTHANDS) == {*OPTIMIZERS, "momentum", "nesterov"}
    slots = {
        "sgd": (),
        "momentum": ("velocity",),
        "adam": ("m", "v"),
        "rmsprop": ("v",),
        "adadelta": ("v", "u"),
    }
    assert {name: optimizer(name).slots for name in slots} == slots
    assert optimizer("rmsprop", momentum=0.5).slots == ("v", "velocity")


def test_like_in_a_file_fills_in_what_is_left_out_and_nothing_else():
    recipe = Recipe.from_json(
        {
            "like": "keras",
            "optimizer": {"name": "adam", "beta1": 0.8},
            "loss": {"l2": 0.1},
            "clip": {"limit": 1.0},
        }
    )
    assert recipe.optimizer == Adam(1e-3, 0.8, 0.999, 1e-7, epsilon_first=True, decoupled=True)
    assert (recipe.loss.weigh, recipe.loss.divide, recipe.loss.l2) == ("samples", "samples", 0.1)
    assert recipe.clip.epsilon == 0
    assert Recipe.from_json({"like": "torch"}).clip.epsilon == 1e-6
    assert Recipe.from_json({"like": "torch"}).optimizer == SGD(1e-3)
    mixed = Recipe.from_json({"like": "keras", "optimizer": {"name": "adagrad", "like": "torch"}})
    assert mixed.optimizer == Adagrad()  # the optimizer's own word counts more


def test_callbacks_of_a_framework_in_a_file():
    recipe = Recipe.from_json(
        {
            "callbacks": [
                {"name": "reduce-lr-on-plateau", "like": "torch", "monitor": "loss", "patience": 3}
            ]
        }
    )
    assert recipe.callbacks == (ReduceLROnPlateau.like("torch", monitor="loss", patience=3),)
    assert recipe.callbacks[0].patience == 4


def test_the_products_of_nadams_momenta():
    for nadam in (Nadam(), Nadam(psi=1.0), Nadam(beta1=0.999)):
        product = 1.0
        for step in range(1, 400):
            product *= 0.5 * nadam.beta1 * (2 - 0.96 ** (nadam.psi * step))
            assert nadam.product(step) == pytest.approx(product, rel=1e-12, abs=1e-17)
        assert nadam.product(10**9) == 0


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: optimizer("adamm"), "did you mean 'adam'"),
        (lambda: SGD(float("nan")), "rate must be a number above 0, not nan"),
        (lambda: SGD(-1.0), "above 0, not -1"),
        (lambda: SGD(0.1, 1.0), r"momentum must be in \[0, 1\)"),
        (lambda: SGD(0.1, 0.0, True), "needs a momentum"),
        (lambda: SGD("0.1"), "above 0, not '0.1'"),
        (lambda: Adam(epsilon=0.0), "epsilon must be a number above 0"),
        (lambda: Recipe(epochs=0), "epochs must be a whole number of at least 1"),
        (lambda: Recipe(batch_size=2.5), "batch_size"),
        (lambda: Recipe(dtype="float16"), "known: float32, float64|did you mean"),
        (lambda: Recipe.from_json(Recipe().to_json() | {"epoch": 3}), "did you mean 'epochs'"),
        (
            lambda: Recipe.from_json(Recipe().to_json() | {"optimizer": {"name": "sdg"}}),
            "did you mean 'sgd'",
        ),
        (
            lambda: Recipe.from_json(Recipe().to_json() | {"optimizer": "sgd"}),
            "must be an object with a name",
        ),
        (
            lambda: Recipe.from_json({"optimizer": {"name": "adam", "beta_1": 0.5}}),
            "unknown key 'beta_1'; did you mean 'beta1'",
        ),
        (lambda: Recipe.from_json({"like": "tensorflow"}), "like 'tensorflow' is unknown"),
        (lambda: optimizer("adam", like="kears"), "did you mean 'keras'"),
        (lambda: Recipe.from_json({"like": ["torch"]}), r"like \['torch'\] is unknown"),
        (
            lambda: Recipe.from_json({"optimizer": {"name": "adam", "like": {}}}),
            "like {} is unknown; known: torch, keras",
        ),
        (
            lambda: Augmentation(rotate=10**400),
            "rotate must be a number of at least 0 and at most 45, not 1000",
        ),
        (lambda: Augmentation(crop=1.0), "crop must be a whole number of at least 0, not 1.0"),
        (lambda: Augmentation(shift=128), "shift must be at most 127 pixels, not 128"),
        (lambda: Augmentation(flip=1), "flip must be true or false, not 1"),
        (lambda: SGD(0.1, 0.9, velocity="step"), "did you mean 'steps'"),
        (lambda: SGD(weight_decay=-1.0), "weight_decay must be a number of at least 0"),
        (lambda: Adam(decoupled=1), "decoupled must be true or false"),
        (lambda: Nadam(beta1=0.99999), "beta1 must be at most 0.9999"),
        (lambda: Recipe(seed=2**63), "seed must be below 2⁶³"),
        (
            lambda: Recipe(1, schedule=Cosine(warmup=1)),
            "a warm-up of 1 epochs never ends in a run of 1",
        ),
        (
            lambda: Recipe.from_json({"callbacks": [{"name": "early-stoping", "like": "keras"}]}),
            "did you mean 'early-stopping'",
        ),
        (
            lambda: Recipe.from_json({"callbacks": [{"name": "early-stopping", "like": "torch"}]}),
            "like 'torch' is unknown",
        ),
        (
            lambda: Recipe.from_json(
                {"callbacks": [{"name": "early-stopping", "like": "keras", "patiense": 1}]}
            ),
            "did you mean 'patience'",
        ),
        (lambda: Recipe.from_json({"callbacks": [{"name": ["x"], "like": "keras"}]}), "is unknown"),
        (lambda: Augmentation(rotate=0.04), "rotate is by tenths of a degree"),
        (
            lambda: Augmentation(shift=28).check_fits((28, 28, 1)),
            "a shift of 28 pixels is too much",
        ),
        (
            lambda: Augmentation(cutout=29).check_fits((28, 32, 1)),
            "a cutout of 29 pixels is too much",
        ),
        (lambda: replace(Recipe(), seed=-1), "seed"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(build, says: str):
    with pytest.raises(SpecError, match=says):
        build()


def test_a_loss_without_a_name_is_softmax_cross_entropy():
    """Version 1 wrote none."""
    old = Recipe.from_json({"loss": {"label_smoothing": 0.1, "class_weights": [], "l2": 0.2}})
    assert old.loss == SoftmaxCrossEntropy(0.1, l2=0.2)
    new = Recipe.from_json({"loss": {"name": "mean_squared_error", "l2": 0.2}})
    assert new.loss == MeanSquaredError(l2=0.2)
    assert Recipe.from_json(new.to_json()) == new
    assert Recipe.from_json({"loss": {"name": "mse", "l2": 0.2}}) == new
    with pytest.raises(SpecError, match="did you mean 'mean_squared_error'"):
        Recipe.from_json({"loss": {"name": "mean_square_error"}})
    with pytest.raises(SpecError, match="unknown key 'label_smoothing'"):
        Recipe.from_json({"loss": {"name": "mean_squared_error", "label_smoothing": 0.1}})
    with pytest.raises(SpecError, match=r"loss must be an object with a name, .*, not 'mse'"):
        Recipe.from_json({"loss": "mse"})
