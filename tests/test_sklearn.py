"""The classifier against scikit-learn's own checks, its MLPClassifier, and itself in
every engine.
"""

import doctest
import importlib
import pickle
import re
import sys
from math import inf
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csc_array, csr_matrix
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from support.engines import rows

import triptych
from triptych.core import metrics, state
from triptych.core.split import Split
from triptych.data import loading as data
from triptych.sklearn import TriptychClassifier
from triptych.spec.layers import Conv2D, Dense, Dropout, Flatten, ReLU
from triptych.spec.network import Network

FIXED = {"n_iter_no_change": inf, "random_state": 3}  # all epochs, and always the same

CONVOLUTION = Network(
    "small",
    (4, 8, 2),
    (
        Conv2D("conv", 4, 3),
        ReLU("relu1"),
        Flatten("flatten"),
        Dense("hidden", 12),
        ReLU("relu2"),
        Dropout("drop", 0.3),
        Dense("output", 10),
    ),
)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """300 digits of 64 numbers in 0–1, float64."""
    return load_digits().data[:300] / 16


@pytest.fixture(scope="module")
def y() -> np.ndarray:
    return load_digits().target[:300]


def same(a: TriptychClassifier, b: TriptychClassifier) -> bool:
    return list(a.state_) == list(b.state_) and all(
        np.array_equal(a.state_[name], b.state_[name]) for name in a.state_
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([TriptychClassifier()])
def test_scikit_learn_finds_nothing_to_object_to(estimator: TriptychClassifier, check):
    check(estimator)


def test_a_pipeline_learns_the_digits():
    train, test, labels, truth = train_test_split(
        *load_digits(return_X_y=True), test_size=0.25, random_state=0
    )
    pipeline = make_pipeline(StandardScaler(), TriptychClassifier(max_iter=40, **FIXED)).fit(
        train, labels
    )
    assert pipeline.score(test, truth) >= 0.96


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_grid_is_searched(x: np.ndarray, y: np.ndarray, jobs: int):
    """A rate at which nothing is learnt loses; NumPy's numbers are numbers."""
    pipeline = make_pipeline(StandardScaler(), TriptychClassifier(max_iter=15, **FIXED))
    grid = {
        "triptychclassifier__learning_rate_init": np.array([1e-6, 1e-2], np.float32),
        "triptychclassifier__max_iter": np.array([15]),
    }
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=jobs, error_score="raise").fit(x, y)
    assert search.best_params_["triptychclassifier__learning_rate_init"] == np.float32(1e-2)
    assert search.best_score_ > 0.85
    assert search.cv_results_["mean_test_score"][0] < 0.3


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic"])
def test_full_batch_descent_is_mlpclassifiers(x: np.ndarray, y: np.ndarray, activation: str):
    """From our first weights, with the penalty: scikit-learn divides alpha by the batch size."""
    ours = TriptychClassifier(
        "numpy",
        (20, 15),
        activation,
        optimizer="sgd",
        learning_rate_init=0.3,
        l2=0.01,
        batch_size="full",
        max_iter=8,
        **FIXED,
    ).fit(x, y)
    first = state.initial(ours.network_, ours.recipe_)
    reference = MLPClassifier(
        (20, 15),
        activation,
        solver="sgd",
        momentum=0,
        learning_rate_init=0.3,
        alpha=0.01 * len(x),
        batch_size=len(x),
        shuffle=False,
    )
    reference.partial_fit(x, y, classes=np.unique(y))  # makes the arrays
    reference.coefs_ = [first[f"{name}/kernel"] for name in ("hidden1", "hidden2", "output")]
    reference.intercepts_ = [first[f"{name}/bias"] for name in ("hidden1", "hidden2", "output")]
    for _ in range(8):
        reference.partial_fit(x, y)
    assert (
        np.abs(
            reference.coefs_[0] - state.initial(ours.network_, ours.recipe_)["hidden1/kernel"]
        ).max()
        > 1e-2
    )
    for kernel, bias, name in zip(
        reference.coefs_, reference.intercepts_, ("hidden1", "hidden2", "output"), strict=True
    ):
        np.testing.assert_allclose(ours.state_[f"{name}/kernel"], kernel, rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours.state_[f"{name}/bias"], bias, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        ours.predict_proba(x), reference.predict_proba(x), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(("name", "backend"), rows(numpy=False, others=False))
def test_every_engine_fits_alike(x: np.ndarray, y: np.ndarray, name: str, backend: str):
    """A convolution on images of two channels, masks, slots, a fraction set aside, one more pass;
    and from each other's weights.
    """
    given = {
        "network": CONVOLUTION,
        "max_iter": 3,
        "batch_size": 50,
        "early_stopping": True,
        **FIXED,
    }
    numpy, other = (
        TriptychClassifier(engine, **given).fit(x, y).partial_fit(x[:70], y[:70])
        for engine in ("numpy", name)
    )
    assert numpy.validation_scores_ == other.validation_scores_
    assert list(numpy.state_) == list(other.state_)
    for array, reference in zip(other.state_.values(), numpy.state_.values(), strict=True):
        np.testing.assert_allclose(
            array, reference, rtol=0, atol=1e-11 * max(np.abs(reference).max(), 1)
        )
    np.testing.assert_allclose(other.loss_curve_, numpy.loss_curve_, rtol=1e-11)
    np.testing.assert_allclose(other.predict_proba(x), numpy.predict_proba(x), rtol=0, atol=1e-11)
    np.testing.assert_allclose(
        numpy.set_params(engine=name, backend=backend).predict_log_proba(x),
        other.predict_log_proba(x),
        atol=1e-10,
    )


def test_a_fitted_classifier_holds_arrays_and_plain_data(x: np.ndarray, y: np.ndarray):
    pytest.importorskip("torch")
    fitted = TriptychClassifier("torch", max_iter=1, **FIXED).fit(x, y)
    held = [*vars(fitted).values(), *fitted.state_.values(), *fitted.loss_curve_]
    assert {type(value).__module__.partition(".")[0] for value in held} <= {
        "builtins",
        "numpy",
        "triptych",
    }
    assert np.array_equal(
        pickle.loads(pickle.dumps(fitted)).predict_proba(x), fitted.predict_proba(x)
    )


def test_passes_over_all_rows_are_epochs(x: np.ndarray, y: np.ndarray):
    """Slots, masks and order go on: to the bit what `fit` does, and from `fit`, too."""
    given = {"dropout": 0.2, "batch_size": 64, "learning_rate_init": 0.01, **FIXED}
    whole = TriptychClassifier(max_iter=4, **given).fit(x, y)
    by_hand, from_fit = (
        TriptychClassifier(**given),
        TriptychClassifier(max_iter=2, **given).fit(x, y),
    )
    for _ in range(4):
        by_hand.partial_fit(x, y, classes=range(10))
    assert same(by_hand, whole)
    assert by_hand.loss_curve_ == whole.loss_curve_
    assert by_hand.n_iter_ == whole.n_iter_ == len(whole.loss_curve_) == 4
    assert same(from_fit.partial_fit(x, y).partial_fit(x, y), whole)
    assert whole.loss_curve_[-1] == whole.loss_ < 0.9 * whole.loss_curve_[0]


def test_a_pass_with_another_optimizer_begins_with_slots_of_its_own(x: np.ndarray, y: np.ndarray):
    """Adagrad's sum is no second moment: with it, Adam would not move."""
    passed = TriptychClassifier("numpy", optimizer="adagrad", random_state=0).partial_fit(
        x, y, classes=range(10)
    )
    before = passed.state_
    assert before["output/kernel/v"].any()
    passed.set_params(optimizer="adam", batch_size="full").partial_fit(x, y)
    moved = np.abs(passed.state_["output/kernel"] - before["output/kernel"])
    assert moved[before["output/kernel/v"] > 0].max() == pytest.approx(
        1e-3, rel=1e-3
    )  # Adam's first step is its rate


def test_a_pass_without_a_seed_keeps_the_one_it_drew(x: np.ndarray, y: np.ndarray):
    passed = TriptychClassifier(max_iter=1).partial_fit(x, y, classes=range(10))
    seed = passed.recipe_.seed
    assert passed.partial_fit(x, y).recipe_.seed == seed


def test_a_pass_may_lack_classes_but_not_bring_new_ones(x: np.ndarray, y: np.ndarray):
    few = y < 3
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        TriptychClassifier().partial_fit(x, y)
    passed = TriptychClassifier(class_weight={2: 3.0}).partial_fit(x[few], y[few], classes=range(5))
    assert passed.predict_proba(x).shape == (300, 5)
    assert passed.recipe_.loss.class_weights == (1.0, 1.0, 3.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="previously unseen labels"):
        passed.set_params(class_weight=None).partial_fit(x, y)
    with pytest.raises(ValueError, match="not the same as on last call"):
        passed.partial_fit(x[few], y[few], classes=range(6))
    with pytest.raises(ValueError, match="'balanced' needs all of y"):
        passed.set_params(class_weight="balanced").partial_fit(x[few], y[few])


def test_a_warm_start_begins_with_the_last_weights(x: np.ndarray, y: np.ndarray):
    """Without slots, 3 and 2 epochs in full batches are 5; else the second fit has new slots."""
    given = {"batch_size": "full", "optimizer": "sgd", **FIXED}
    whole = TriptychClassifier(max_iter=5, **given).fit(x, y)
    warm = TriptychClassifier(max_iter=3, warm_start=True, **given).fit(x, y)
    assert not same(warm, whole)
    assert same(warm.set_params(max_iter=2).fit(x, y), whole)
    assert warm.n_iter_ == 2
    assert warm.set_params(optimizer="adam").fit(x, y).state_["step"] == 2
    with pytest.raises(ValueError, match="warm_start needs the classes of the last fit"):
        warm.fit(x, y % 5)
    with pytest.raises(ValueError, match="not the one that was fitted"):
        warm.set_params(hidden_layer_sizes=(7, 7)).fit(x, y)
    assert warm.set_params(warm_start=False).fit(x, y % 5).classes_.tolist() == [0, 1, 2, 3, 4]


def test_early_stopping_goes_back_to_the_best_epoch(x: np.ndarray, y: np.ndarray):
    """The same share by the same seed is set aside as in a run of triptych train."""
    classifier = TriptychClassifier(
        early_stopping=True,
        validation_fraction=0.2,
        n_iter_no_change=4,
        learning_rate_init=0.01,
        random_state=1,
    )
    classifier.fit(x, y)
    scores = classifier.validation_scores_
    assert classifier.n_iter_ == len(scores) == int(np.argmax(scores)) + 1 + 4 < 200
    _, aside = data.stratified(Split(x.reshape(-1, 1, 1, 64), y.astype(np.int32)), 1, 0.2)
    assert len(aside) == 60
    predicted = classifier.predict(aside.images.reshape(60, 64))
    assert metrics.accuracy(predicted, aside.labels) == max(scores) > 0.85


def test_without_it_the_training_loss_decides(x: np.ndarray, y: np.ndarray):
    """Three epochs in a row that were not better by tol than the last that was."""
    classifier = TriptychClassifier(tol=0.05, n_iter_no_change=3, random_state=0).fit(x, y)
    assert classifier.validation_scores_ is None
    best, wait = inf, 0
    for epoch, loss in enumerate(classifier.loss_curve_, 1):
        best, wait = (loss, 0) if loss < best - 0.05 else (best, wait + 1)
        assert (wait == 3) == (epoch == classifier.n_iter_)
    assert 10 < classifier.n_iter_ < 200
    with pytest.warns(ConvergenceWarning, match="max_iter=3 epochs"):
        TriptychClassifier(max_iter=3).fit(x, y)


@pytest.mark.parametrize(
    "names",
    [np.array([42, 7, 3]), np.array(["ham", "eggs", "spam"]), np.array([True, False, True])],
    ids=str,
)
def test_labels_may_be_anything(x: np.ndarray, y: np.ndarray, names: np.ndarray):
    """Three classes, then two: two logits, and two columns."""
    for labels in (names[y % 3], names[y % 2]):
        classifier = TriptychClassifier(max_iter=60, **FIXED).fit(x, labels)
        assert classifier.classes_.tolist() == sorted(set(labels.tolist()))
        assert classifier.predict(x).dtype == labels.dtype
        assert classifier.score(x, labels) > 0.95
        probabilities = classifier.predict_proba(x)
        assert probabilities.shape == (300, len(classifier.classes_))
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
        np.testing.assert_allclose(
            np.exp(classifier.predict_log_proba(x)), probabilities, rtol=1e-12
        )


def test_class_weights_go_by_label(x: np.ndarray, y: np.ndarray):
    names = np.array([42, 7, 3])[y % 3]
    weighed = TriptychClassifier(max_iter=1, class_weight={42: 5.0}, **FIXED).fit(x, names)
    assert weighed.recipe_.loss.class_weights == (1.0, 1.0, 5.0)
    balanced = (
        TriptychClassifier(max_iter=1, class_weight="balanced", **FIXED)
        .fit(x, names)
        .recipe_.loss.class_weights
    )
    assert balanced == tuple(len(x) / 3 / (names == label).sum() for label in (3, 7, 42))


@pytest.mark.parametrize("kind", [csr_matrix, csc_array])
def test_sparse_rows_are_the_same_rows(x: np.ndarray, y: np.ndarray, kind: type):
    dense = TriptychClassifier(max_iter=2, **FIXED).fit(x, y)
    sparse = TriptychClassifier(max_iter=2, **FIXED).fit(kind(x), y)
    assert same(sparse, dense)
    assert np.array_equal(sparse.predict_proba(kind(x)), dense.predict_proba(x))


def test_a_seed_is_the_recipes(x: np.ndarray, y: np.ndarray):
    def seed(random_state) -> int:
        return (
            TriptychClassifier(max_iter=1, n_iter_no_change=inf, random_state=random_state)
            .fit(x, y)
            .recipe_.seed
        )

    assert seed(7) == seed(np.int64(7)) == 7
    assert seed(np.random.RandomState(7)) == seed(np.random.RandomState(7))
    shared = np.random.RandomState(7)
    assert seed(shared) != seed(shared)
    assert seed(None) != seed(None)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "leaky_relu", "gelu", "silu"])
def test_every_activation_learns(x: np.ndarray, y: np.ndarray, activation: str):
    classifier = TriptychClassifier(
        activation=activation, learning_rate_init=0.01, dtype="float32", max_iter=40, **FIXED
    ).fit(x, y)
    assert classifier.network_.layers[2].name == activation
    assert classifier.score(x, y) > 0.95
    assert (
        {array.dtype for name, array in classifier.state_.items() if name != "step"}
        == {classifier.predict_proba(x).dtype}
        == {np.dtype("float32")}
    )


def test_images_are_rows_with_a_shape(x: np.ndarray, y: np.ndarray):
    """A named network for them; and a dense one does not care."""
    classifier = TriptychClassifier(
        network="cnn", input_shape=(8, 8, 1), max_iter=10, batch_size=50, **FIXED
    ).fit(x, y)
    assert classifier.network_.input_shape == (8, 8, 1)
    assert classifier.score(x, y) > 0.95
    given = {"max_iter": 1, **FIXED}
    assert same(
        TriptychClassifier(input_shape=[8, 8, 1], **given).fit(x, y),
        TriptychClassifier(**given).fit(x, y),
    )


def test_progress_is_a_line_an_epoch(x: np.ndarray, y: np.ndarray, capsys: pytest.CaptureFixture):
    classifier = TriptychClassifier(max_iter=2, verbose=True, early_stopping=True, **FIXED).fit(
        x, y
    )
    lines = capsys.readouterr().out.splitlines()
    score = classifier.validation_scores_[1]
    assert len(lines) == 2
    assert lines[1] == f"epoch 2, loss {classifier.loss_:.6g}, validation_accuracy {score:.6g}"


def test_the_page_says_what_happens():
    pytest.importorskip("torch")
    page = Path(__file__).parents[1] / "docs" / "estimator.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted
    assert not result.failed


def test_floats_are_taken_as_they_are():
    numbers = np.array([[-3.5, 300.25]]).reshape(1, 1, 2, 1)
    split = Split(numbers, np.zeros(1, np.int32))
    assert np.array_equal(split.pixels("float64"), numbers)
    assert not np.shares_memory(split.pixels("float64"), numbers)
    assert split.pixels("float32").dtype == np.float32


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"engine": "nunpy"}, "engine 'nunpy' is unknown; did you mean 'numpy'?"),
        ({"engine": 5}, "engine 5 is unknown; known: numpy, numba, torch, tensorflow"),
        ({"backend": ["eager"]}, "NumPy has no backend ['eager']"),
        ({"backend": "compiled"}, "NumPy has no backend 'compiled'"),
        ({"activation": "rellu"}, "activation 'rellu' is unknown; did you mean 'relu'?"),
        ({"activation": ["relu"]}, "activation ['relu'] is unknown; did you mean 'relu'?"),
        ({"optimizer": 5}, "optimizer 5 is unknown; known: sgd"),
        ({"optimizer": ["adam"]}, "optimizer ['adam'] is unknown; did you mean 'adam'?"),
        ({"optimizer": "adamm"}, "'adamm' is unknown; did you mean 'adam"),
        ({"dtype": "float46"}, "dtype 'float46' is unknown; did you mean 'float64'?"),
        ({"network": "lenett"}, "network 'lenett' is unknown; did you mean 'lenet'?"),
        ({"network": 5}, "network 5 is unknown; known: classic"),
        (
            {"network": "lenet"},
            "'lenet' has convolutions; give input_shape=(height, width, channels)",
        ),
        (
            {"network": CONVOLUTION, "input_shape": (8, 8, 1)},
            "takes inputs of shape (4, 8, 2), the images are (8, 8, 1)",
        ),
        ({"input_shape": 5}, "input_shape must be (height, width, channels), not 5"),
        ({"input_shape": (8, 7, 1)}, "images of shape (8, 7, 1) are 56 numbers, a row of X is 64"),
        ({"hidden_layer_sizes": (10, 0)}, "units must be a whole number of at least 1, not 0"),
        ({"dropout": 1.0}, "rate must be in [0, 1), not 1.0"),
        ({"learning_rate_init": 0}, "rate must be"),
        ({"learning_rate_init": 1e300}, "the training diverged"),
        (
            {"batch_size": "ful"},
            "batch_size must be a whole number of at least 1 or 'full', not 'ful'",
        ),
        ({"max_iter": 0}, "max_iter must be a whole number of at least 1, not 0"),
        ({"n_iter_no_change": 0.5}, "n_iter_no_change must be a whole number"),
        ({"tol": -1}, "tol must be a number of at least 0"),
        ({"validation_fraction": 0.0}, "validation_fraction must be a number above 0"),
        ({"validation_fraction": 1.0, "early_stopping": True}, "validation must be below 1"),
        (
            {"validation_fraction": 0.999, "early_stopping": True},
            "99.9 % of them would leave none to train on",
        ),
        ({"l2": -1.0}, "l2 must be"),
        ({"label_smoothing": 1.0}, "label_smoothing must be below 1"),
        ({"class_weight": {0: 0.0}}, "class weight must be a number above 0"),
        ({"class_weight": {99: 1.0}}, "are not in class_weight"),
        ({"random_state": -1}, "seed must be"),
        ({"random_state": "one"}, "cannot be used to seed"),
        ({"engine": "torch", "device": "warp"}, "device 'warp' is unknown"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of what diverges
def test_mistakes_are_value_errors_of_one_line(
    x: np.ndarray, y: np.ndarray, given: dict, words: str
):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        TriptychClassifier(**given).fit(x, y)
    assert "\n" not in str(caught.value)


def test_the_former_place_still_works_and_warns():
    sys.modules.pop("triptych.estimator", None)
    with pytest.warns(DeprecationWarning, match="import TriptychClassifier from triptych"):
        former = importlib.import_module("triptych.estimator")
    assert former.TriptychClassifier is TriptychClassifier
    assert triptych.TriptychClassifier is TriptychClassifier
