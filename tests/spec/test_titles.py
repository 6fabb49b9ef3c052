"""One-line titles of training runs."""

from triptych.spec import zoo
from triptych.spec.losses import LOSSES, MeanSquaredError, SoftmaxCrossEntropy
from triptych.spec.optimizers import SGD
from triptych.spec.recipe import Recipe
from triptych.spec.titles import title

NETWORK = zoo.get("classic")


def test_options_that_are_off_are_left_out():
    recipe = Recipe(optimizer=SGD(0.1))
    assert title(NETWORK, recipe) == "784-10-10: SGD 0.1, full batch, float32, seed 0"


def test_a_loss_is_named_unless_it_is_the_default():
    named = title(NETWORK, Recipe(optimizer=SGD(0.1), loss=MeanSquaredError(l2=0.01)))
    assert "SGD 0.1, mean squared error, l2 0.01, full batch" in named
    smoothed = title(NETWORK, Recipe(loss=SoftmaxCrossEntropy(0.1)))
    assert "label smoothing 0.1" in smoothed
    assert "cross-entropy" not in smoothed
    others = [loss for loss in LOSSES.values() if loss is not SoftmaxCrossEntropy]
    for loss in others:
        assert loss.label in title(NETWORK, Recipe(loss=loss()))
