"""Planted mistakes are found at their place, with their cause; correct pairs are acquitted."""

from dataclasses import replace

import numpy as np
import pytest
from support.fake_side import (
    FakeSide,
    Step,
    activation,
    batch_norm,
    dense,
    examined,
    layer_norm,
)

from triptych.doctor.bounds import moved

GENERATOR = np.random.default_rng(8)
BATCH = {"x": GENERATOR.normal(size=(12, 5)), "y": GENERATOR.normal(size=(12, 2))}


def squared_error(output, target):
    return ((output - target) ** 2).mean(), 2 * (output - target) / target.size


def pair(a_steps, b_steps, **options):
    a_options = {key: value for key, value in options.items() if key != "b_preprocess"}
    b_options = dict(a_options)
    if "b_preprocess" in options:
        b_options["preprocess"] = options["b_preprocess"]
    return (
        FakeSide("A", "torch", a_steps, **a_options),
        FakeSide("B", "keras", b_steps, **b_options),
    )


def network(prefix, middle, seed):
    return [dense(f"{prefix}1", 5, 6, seed), *middle, dense(f"{prefix}2", 6, 2, seed + 1)]


def forward(a_middle, b_middle, **options):
    a, b = pair(network("a", a_middle, 1), network("b", b_middle, 5), **options)
    return examined(a, b, BATCH, ["data", "forward"]).results["forward"]


def test_a_correct_pair_has_no_finding():
    result = forward([activation("tanh")], [activation("tanh")])
    assert result.findings == ()
    assert result.largest <= result.bound


def test_an_epsilon_is_proved_by_changing_it():
    result = forward([layer_norm("an", 6, 1e-5)], [layer_norm("bn", 6, 1e-3)])
    (finding,) = result.findings
    assert (finding.cause, finding.proved) == ("D23", True)
    assert finding.layer == {"a": "an", "b": "bn"}
    assert finding.values == {"a": 1e-5, "b": 1e-3}
    assert finding.fix["a"] == "nn.LayerNorm(6, eps=1e-3)"
    assert finding.effect["layer"] > finding.effect["bound"]


@pytest.mark.parametrize("before", [[], [dense("{}0", 3, 3, 4)]], ids=["input", "layer"])
def test_images_that_the_sides_resize_by_different_methods(before):
    """Both sides call it ``nearest``."""
    images = {"x": np.random.default_rng(0).normal(size=(3, 8, 9, 3))}
    ways = {"a": "nearest, by corners", "b": "nearest, by centres"}
    sides = pair(
        *(
            [
                *[replace(each, path=each.path.format(side)) for each in before],
                Step("", "resize", {"interpolation": "nearest"}, name=way),
                dense(f"{side}1", 3, 2, 1),
            ]
            for side, way in ways.items()
        )
    )
    (finding,) = examined(*sides, images, ["data", "forward"]).results["forward"].findings
    assert (finding.cause, finding.proved) == ("D73", True)
    assert finding.values == ways


def test_a_setting_that_cannot_be_tried_is_suspected():
    (finding,) = forward(
        [layer_norm("an", 6, 1e-5)], [replace(layer_norm("bn", 6, 1e-3), changeable=False)]
    ).findings
    assert (finding.cause, finding.proved) == ("D23", False)
    assert finding.values == {"a": 1e-5, "b": 1e-3}
    assert "cannot be changed" in finding.evidence


def test_the_same_cause_twice_is_one_finding_with_both_layers():
    a = [layer_norm("an", 6, 1e-5), activation("relu"), layer_norm("am", 6, 1e-5)]
    b = [layer_norm("bn", 6, 1e-3), activation("relu"), layer_norm("bm", 6, 1e-3)]
    (finding,) = forward(a, b).findings
    assert finding.layer == {"a": "an", "b": "bn"}
    assert finding.values["also"] == [{"a": "am", "b": "bm"}]


@pytest.mark.parametrize("changeable", [True, False])
def test_a_slope_is_proved_by_changing_it_or_by_the_formula(changeable):
    a = [activation("leaky_relu", "al", slope=0.01, name="LeakyReLU")]
    b = [activation("leaky_relu", "bl", slope=0.3, name="LeakyReLU", changeable=changeable)]
    (finding,) = forward(a, b).findings
    assert (finding.cause, finding.proved) == ("D26", True)
    assert finding.layer == {"a": "al", "b": "bl"}
    assert finding.fix["b"] == "layers.LeakyReLU(negative_slope=0.01)"


def test_an_activation_that_no_adapter_sees_is_found_by_its_numbers():
    a = [activation("leaky_relu", slope=0.01, seen=False)]
    b = [activation("leaky_relu", slope=0.3, seen=False)]
    (finding,) = forward(a, b).findings
    assert (finding.cause, finding.proved) == ("D26", True)
    assert finding.values == {"a": "leaky_relu(slope=0.01)", "b": "leaky_relu(slope=0.3)"}


DOUBLED = Step("", "rescaling", {"scale": 2.0})
OLD = "hard_sigmoid of Keras 2"
INLINE = [Step("", "rescaling", {"scale": 0.2, "offset": 0.5}), activation("clip")]


@pytest.mark.parametrize(
    ("b", "rest", "cause"),
    [
        ([activation(OLD)], [], "D29"),
        ([activation(OLD)], [DOUBLED], "D29"),
        ([activation(OLD, seen=False)], [], "D29"),
        (INLINE, [], "D29"),
        (INLINE, [DOUBLED], "D29"),
        ([activation("sigmoid")], [], None),
        ([activation("sigmoid")], [DOUBLED], None),
        ([activation("sigmoid", seen=False)], [], None),
    ],
)
def test_two_formulas_of_the_hard_sigmoid_and_another_function(b, rest, cause):
    """A sigmoid is not another formula of the hard one, but another function."""
    (finding,) = forward([activation("hard_sigmoid"), *rest], [*b, *rest]).findings
    assert (finding.cause, finding.proved) == (cause, True)
    if cause:
        assert finding.fix["a"] == "(0.2 * x + 0.5).clamp(0, 1)  # for a model of Keras 2"
        assert finding.fix["b"] == "keras.activations.hard_sigmoid(x)"


def test_formulas_of_two_layers_are_one_finding():
    a, b = activation("hard_sigmoid"), activation(OLD)
    (finding,) = forward([a, dense("a3", 6, 6, 8), a], [b, dense("b3", 6, 6, 9), b]).findings
    assert finding.cause == "D29"
    assert len(finding.values["also"]) == 1


def cross_entropy(logits, target):
    """From the scores past the output, as Keras computes it behind a softmax."""
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return -(np.log(probabilities) * target).mean(), probabilities - target


@pytest.mark.parametrize(
    ("a_head", "b_head", "told"),
    [
        ("linear", "softmax", False),
        ("log_softmax", "softmax", False),
        ("linear", "softmax over the batch", True),
        ("log_softmax", "softmax over the batch", True),
        ("softmax over the batch", "softmax", True),
    ],
)
def test_a_loss_does_not_excuse_outputs_that_depend_on_the_batch(a_head, b_head, told):
    """Both losses get the scores, so that losses and gradients are equal."""
    targets = np.eye(2)[np.arange(12) % 2]
    a, b = pair([dense("a1", 5, 2, 1)], [dense("b1", 5, 2, 5)])
    for side, head in ((a, a_head), (b, b_head)):
        side.given = ("model", "loss")
        side.loss_function = cross_entropy
        side.head = activation(head)
    result = examined(a, b, BATCH | {"y": targets}, ["data", "forward"]).results["forward"]
    assert bool(result.findings) is told
    assert all(finding.proved for finding in result.findings)


def test_a_missing_activation():
    (finding,) = forward([activation("relu")], []).findings
    assert (finding.cause, finding.proved) == (None, True)
    assert "PyTorch applies relu(), Keras does not" in finding.title
    assert finding.fix == {"a": "x", "b": "keras.activations.relu(x)"}


@pytest.mark.parametrize("lacks", ["a", "b"])
def test_a_missing_activation_is_found_whatever_follows_it(lacks):
    rest = [Step("", "rescaling", {"scale": 2.0}), activation("tanh")]
    full = [activation("leaky_relu", "l", slope=0.1), *rest]
    a, b = (rest, full) if lacks == "a" else (full, rest)
    (finding,) = forward(a, b).findings
    assert (finding.stage, finding.cause, finding.proved) == ("forward", None, True)
    owner = "Keras" if lacks == "a" else "PyTorch"
    assert f"{owner} applies leaky_relu(slope=0.1), " in finding.title
    line = finding.fix[lacks]
    assert "leaky_relu(x, negative_slope=0.1)" in line
    assert finding.fix["b" if lacks == "a" else "a"] == "x"


def test_two_faults_in_a_chain_are_both_found():
    a = [activation("tanh"), layer_norm("an", 6, 1e-5), activation("leaky_relu", slope=0.01)]
    b = [activation("tanh"), layer_norm("bn", 6, 1e-3), activation("leaky_relu", slope=0.3)]
    assert [finding.cause for finding in forward(a, b).findings] == ["D23", "D26"]


def test_two_faults_in_one_segment_are_both_found():
    a = [activation("leaky_relu", slope=0.01), Step("", "rescaling", {"scale": 2.0})]
    b = [activation("leaky_relu", slope=0.3), Step("", "rescaling", {"scale": 3.0})]
    findings = forward(a, b).findings
    assert [finding.cause for finding in findings] == ["D26", None]
    assert findings[1].values == {"a": 2.0, "b": 3.0}


@pytest.mark.parametrize(("bias", "found"), [(0.0, ["tanh"]), (0.2, [])])
def test_behind_an_additional_layer_faults_are_found_if_it_changes_nothing(bias, found):
    added = Step("bias", "rescaling", {"scale": 1.0, "offset": bias}, {"bias": np.full(6, bias)})
    result = forward([activation("relu")], [added, activation("tanh")])
    assert [finding.values["b"] for finding in result.findings] == found


def test_an_unknown_formula_is_reported_as_unknown():
    # A parameter that the adapter does not show.
    a = [Step("", "function", {"factor": 1.0}, name="f", seen=False)]
    b = [Step("", "function", {"factor": 1.0}, name="g"), activation("tanh", seen=False)]
    b += [Step("", "function", {"factor": 1.7}, seen=False)]
    (finding,) = forward(a, b).findings
    assert (finding.cause, finding.proved) == (None, False)
    assert finding.effect["arriving"] > 1e-3


def test_a_formula_that_differs_by_1e_5_is_no_rounding():
    a = [Step("", "rescaling", {"scale": 1.0}, changeable=False)]
    b = [Step("", "rescaling", {"scale": 1.00001}, changeable=False)]
    assert len(forward(a, b).findings) == 1


def test_a_constant_that_passed_float32_is_rounding():
    third = float(np.float32(1 / 3))
    result = forward(
        [Step("", "rescaling", {"scale": 1 / 3})], [Step("", "rescaling", {"scale": third})]
    )
    assert result.findings == ()
    assert 1e-9 < result.largest <= result.bound


def test_the_measured_bound_grows_with_the_condition_of_a_layer():
    far = {"x": 1e5 + BATCH["x"]}
    bounds = []
    for batch in (BATCH, far):
        a, b = pair(
            [layer_norm("an", 5, 1e-5), dense("a", 5, 2, 1)],
            [layer_norm("bn", 5, 1e-5), dense("b", 5, 2, 2)],
        )
        from triptych.doctor.forcing import measured_bounds

        examination = examined(a, b, batch)
        measured = measured_bounds(examination, examination.b_evaluation, training=False)
        bounds.append(measured.rounding("0/output"))
    assert bounds[1] > 1e3 * bounds[0]


def test_flags_among_the_inputs_are_no_numbers_that_rounding_moves():
    numbers = {"input": np.array([0.5, 1.5]), "input1": np.array([1.0, 0.0])}
    made = moved(numbers, "native", whole=False)
    assert (made["input"] != numbers["input"]).all()
    np.testing.assert_array_equal(made["input1"], numbers["input1"])
    assert (moved(numbers, "native")["input1"] != numbers["input1"]).any()


def with_loss(a_steps, b_steps, stages):
    a, b = pair(a_steps, b_steps, given=("model", "loss"), loss_function=squared_error)
    return examined(a, b, BATCH, ["data", "forward", *stages])


def test_probabilities_with_the_loss_that_fits_are_acquitted():
    def fits(output, target):
        # As the loss of the other side, which takes scores.
        scores = np.log(output)
        scores = scores - scores.mean(-1, keepdims=True)
        return squared_error(scores, target)

    def of_scores(output, target):
        return squared_error(output - output.mean(-1, keepdims=True), target)

    a = FakeSide("A", "torch", network("a", [], 1), ("model", "loss"), loss_function=of_scores)
    head = [activation("softmax", axis=-1)]
    b = FakeSide("B", "keras", [*network("b", [], 5), *head], ("model", "loss"), loss_function=fits)
    examination = examined(a, b, BATCH)
    # What reaches the last layer is the same gradient.
    name = "1/output_gradient"
    examination.b_training.arrays[name] = examination.a_training.arrays[name]
    from triptych.doctor.stages import forward as stage

    result = stage.examine(examination)
    assert result.findings == ()
    assert "softmax" in result.acquitted[0].title


def test_outputs_that_differ_without_a_loss_are_a_finding():
    a, b = pair(network("a", [], 1), [*network("b", [], 5), activation("softmax", axis=-1)])
    (finding,) = examined(a, b, BATCH, ["data", "forward"]).results["forward"].findings
    assert "Keras applies softmax(axis=-1), PyTorch does not" in finding.title


def data(preprocess_b, a_steps=(), b_steps=()):
    a, b = pair(
        [*a_steps, *network("a", [], 1)],
        [*b_steps, *network("b", [], 5)],
        b_preprocess=preprocess_b,
    )
    return examined(a, b, BATCH, ["data", "forward"]).results


def test_inputs_that_are_scaled_on_one_side():
    results = data(lambda x: x / 255)
    (finding,) = results["data"].findings
    assert (finding.cause, finding.proved) == ("D77", True)
    assert results["forward"].findings == ()


def test_a_rescaling_inside_the_model_that_is_one_too_many():
    results = data(lambda x: x, b_steps=[Step("rescaling", "rescaling", {"scale": 1 / 255})])
    (finding,) = results["data"].findings
    assert finding.cause == "D77"
    assert finding.layer == {"a": None, "b": "rescaling"}
    assert results["forward"].findings == ()


def test_a_rescaling_inside_the_model_that_makes_up_for_the_data():
    results = data(lambda x: x * 255, b_steps=[Step("rescaling", "rescaling", {"scale": 1 / 255})])
    assert results["data"].findings == ()
    assert results["data"].acquitted[0].cause == "D77"
    assert results["forward"].findings == ()


def built(a_weights, b_weights, kind="dense"):
    a, b = pair([Step("a", kind, {}, a_weights)], [Step("b", kind, {}, b_weights)])
    batch = {"x": np.random.default_rng(9).normal(size=(4, len(a_weights["kernel"])))}
    return examined(a, b, batch, ["weights"]).results["weights"]


def square(seed):
    return np.random.default_rng(seed).normal(size=(5, 5)) / 5


def test_random_draws_are_acquitted():
    result = built({"kernel": square(1)}, {"kernel": square(2)})
    assert result.findings == ()
    assert [acquittal.cause for acquittal in result.acquitted] == ["D09"]
    generator = np.random.default_rng(3)
    first = generator.uniform(-1, 1, (20, 30)) / 20**0.5  # PyTorch's default
    second = generator.uniform(-1, 1, (20, 30)) * (6 / 50) ** 0.5  # Keras'
    wide = built({"kernel": first}, {"kernel": second})
    assert [acquittal.cause for acquittal in wide.acquitted] == ["D01"]
    assert "in PyTorch" in wide.acquitted[0].evidence


def test_initializers_that_both_users_chose_differ():
    generator = np.random.default_rng(3)
    first = generator.normal(size=(40, 50)) * 0.3
    second = generator.normal(size=(40, 50))
    second = np.where(np.abs(second) > 2, second / 2, second)
    second *= first.std() / second.std()
    (finding,) = built({"kernel": first}, {"kernel": second}).findings
    assert finding.cause == "D05"
    assert "truncated normal" in finding.values["b"]
    other = generator.normal(size=(40, 50)) * 0.3
    assert built({"kernel": first}, {"kernel": other}).findings == ()


def test_a_kernel_that_was_not_transposed():
    (finding,) = built({"kernel": square(1)}, {"kernel": square(1).T}).findings
    assert (finding.cause, finding.proved) == ("D10", True)
    assert finding.layer == {"a": "a", "b": "b"}


def test_weights_that_were_loaded_rightly():
    result = built({"kernel": square(1)}, {"kernel": square(1)})
    assert (result.findings, result.acquitted) == ((), ())


def test_one_layer_that_was_not_loaded():
    a = [dense("a1", 5, 6, 1), dense("a2", 6, 2, 2)]
    b = [dense("b1", 5, 6, 1), dense("b2", 6, 2, 3)]
    (finding,) = examined(*pair(a, b), BATCH, ["weights"]).results["weights"].findings
    assert finding.layer == {"a": "a2", "b": "b2"}
    assert "not loaded" in finding.title


def test_dropout_that_stays_on_in_evaluation():
    on = Step("", "dropout", {"rate": 0.5, "active": True}, name="F.dropout")
    off = Step("drop", "dropout", {"rate": 0.5, "active": False}, name="Dropout")
    a, b = pair(network("a", [on], 1), network("b", [off], 5))
    (finding,) = examined(a, b, BATCH, ["data", "forward", "mode"]).results["mode"].findings
    assert finding.cause == "D98"
    assert finding.fix["a"] == "F.dropout(x, 0.5, training=self.training)"


@pytest.mark.parametrize(
    ("a", "b", "fixes"),
    [
        ("torch.rand", "Dropout", ("F.dropout(x, 0.5, training=self.training)", "training=True")),
        (
            "Dropout",
            "tf.nn.dropout",
            ("F.dropout(x, 0.5, training=True)", "layers.Dropout(0.5)(x)"),
        ),
    ],
)
def test_dropout_by_hand_has_fixes_in_both_directions(a, b, fixes):
    steps = [
        Step(
            "drop" if name == "Dropout" else "",
            "dropout",
            {"rate": 0.5, "active": name != "Dropout"},
            name=name,
        )
        for name in (a, b)
    ]
    sides = pair(network("a", steps[:1], 1), network("b", steps[1:], 5))
    (finding,) = examined(*sides, BATCH, ["data", "forward", "mode"]).results["mode"].findings
    assert finding.cause == "D98"
    assert finding.title.startswith(
        "dropout by torch.rand after" if a == "torch.rand" else "tf.nn.dropout after"
    )
    assert finding.fix["a"] == fixes[0]
    assert fixes[1] in finding.fix["b"]


def test_a_layer_of_dropout_that_stays_on_by_its_own_call():
    """A forgotten ``eval()`` can be the cause in PyTorch, where a layer has no such argument."""
    on = Step("on", "dropout", {"rate": 0.2, "active": True}, name="Dropout")
    off = Step("off", "dropout", {"rate": 0.2, "active": False}, name="Dropout")
    a, b = pair(network("a", [off], 1), network("b", [on], 5))
    (finding,) = examined(a, b, BATCH, ["data", "forward", "mode"]).results["mode"].findings
    assert finding.cause is None
    assert finding.layer == {"a": "off", "b": "on"}
    assert finding.fix["a"] == "F.dropout(x, 0.2, training=True)"
    assert finding.fix["b"] == "Dropout(0.2)(x)  # without training=True"
    a, b = pair(network("a", [on], 1), network("b", [off], 5))
    (finding,) = examined(a, b, BATCH, ["data", "forward", "mode"]).results["mode"].findings
    assert finding.cause == "D85"


def test_a_rate_that_is_the_share_that_is_kept():
    dropped = Step("ad", "dropout", {"rate": 0.2, "active": True}, name="Dropout")
    kept = Step("bd", "dropout", {"rate": 0.8, "active": True}, name="Dropout")
    examination = with_loss(network("a", [dropped], 1), network("b", [kept], 5), ["mode"])
    (finding,) = examination.results["mode"].findings
    assert "one is the share that is kept" in finding.title
    assert finding.values == {"a": 0.2, "b": 0.8}
    assert finding.cause is None  # D86 is about the masks, not about the rate


def test_a_batch_norm_with_the_running_statistics_in_training():
    running = batch_norm("bn", 6, 1e-3)
    running.settings["batch_statistics"] = False
    examination = with_loss(
        network("a", [batch_norm("an", 6, 1e-3)], 1), network("b", [running], 5), ["mode"]
    )
    assert examination.results["forward"].findings == ()
    (finding,) = examination.results["mode"].findings
    assert finding.cause == "D85"
    assert "the running statistics in Keras" in finding.title


def test_correct_gradients_agree():
    middle = [activation("relu"), layer_norm("n", 6, 1e-5)]
    result = with_loss(network("a", middle, 1), network("b", middle, 5), ["mode", "gradient"])
    assert result.results["gradient"].findings == ()


def test_a_gradient_that_is_stopped():
    stopped = Step("", "function", {"factor": 1.0, "detached": True}, name="stop_gradient")
    passed = Step("", "function", {"factor": 1.0}, name="identity")
    examination = with_loss(
        network("a", [passed], 1), network("b", [stopped], 5), ["mode", "gradient"]
    )
    (finding,) = examination.results["gradient"].findings
    assert finding.layer == {"a": "a1", "b": "b1"}
    assert "nothing flows back there" in finding.title


def test_another_gradient_exactly_at_zero():
    zeros = {"kernel": np.zeros((5, 6)), "bias": np.linspace(-1, 1, 6).round(1)}
    zeros["bias"][2] = 0.0
    first, second = Step("a1", "dense", {}, zeros), Step("b1", "dense", {}, zeros)
    examination = with_loss(
        [first, activation("relu"), dense("a2", 6, 2, 3)],
        [second, activation("relu", slope_at_zero=1.0), dense("b2", 6, 2, 4)],
        ["mode", "gradient"],
    )
    (finding,) = examination.results["gradient"].findings
    assert (finding.cause, finding.proved) == ("D30", True)
