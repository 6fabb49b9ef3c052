"""The stage of the optimizers, on sides in NumPy with planted differences."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.doctor_sides import SHAPES, NumpySide, compared, optimized

from triptych.doctor.examination import Result
from triptych.doctor.fitting import Run, identify
from triptych.doctor.observation import Array, Arrays, Component
from triptych.doctor.parts import renamed
from triptych.doctor.rules import Problem, Rule
from triptych.doctor.stages import update


def examined(a: NumpySide, b: NumpySide, **options: Any) -> Result:
    return update.examine(compared(a, b, **options))


def torch(optimizer: str, **settings: Any) -> NumpySide:
    return optimized("A", "torch", optimizer, **settings)


def keras(optimizer: str, **settings: Any) -> NumpySide:
    return optimized("B", "keras", optimizer, **settings)


EQUAL = [
    (torch("SGD", rate=0.1), keras("SGD", rate=0.1)),
    (torch("SGD", rate=0.1, momentum=0.9), keras("SGD", rate=0.1, momentum=0.9)),
    (
        torch("SGD", rate=0.1, momentum=0.9, nesterov=True),
        keras("SGD", rate=0.1, momentum=0.9, nesterov=True),
    ),
    # Without momentum, coupled and decoupled decay are the same.
    (torch("SGD", rate=0.1, weight_decay=0.01), keras("SGD", rate=0.1, weight_decay=0.01)),
    (
        torch("AdamW", rate=1e-3, eps=1e-12, weight_decay=0.01),
        keras("AdamW", rate=1e-3, epsilon=1e-12, weight_decay=0.01),
    ),
    (
        torch("RMSprop", rate=1e-3, alpha=0.9, eps=1e-8),
        keras("RMSprop", rate=1e-3, rho=0.9, epsilon=1e-16),
    ),
    (
        torch("Adadelta", rate=1.0, rho=0.95, eps=1e-7),
        keras("Adadelta", rate=1.0, rho=0.95, epsilon=1e-7),
    ),
    (
        torch("Adagrad", rate=0.01, eps=1e-7, initial_accumulator_value=0.1),
        keras("Adagrad", rate=0.01, epsilon=1e-7, initial_accumulator_value=0.1),
    ),
]


@pytest.mark.parametrize(("a", "b"), EQUAL, ids=lambda side: str(side.described.optimizer))
def test_a_correct_port_has_no_finding(a: NumpySide, b: NumpySide) -> None:
    result = examined(a, b)
    assert not result.findings
    assert not result.undecided


FAULTS: list[tuple[list[str | None], NumpySide, NumpySide]] = [
    (["D53"], torch("SGD"), keras("SGD")),
    (
        ["D56"],
        torch("SGD", rate=0.05, momentum=0.9, weight_decay=0.01),
        keras("SGD", rate=0.05, momentum=0.9, weight_decay=0.01),
    ),
    (
        ["D56"],
        torch("Adam", rate=1e-3, eps=1e-12, weight_decay=0.1),
        keras("Adam", rate=1e-3, epsilon=1e-12, weight_decay=0.1),
    ),
    (["D57"], torch("AdamW", eps=1e-12, weight_decay=0.01), keras("AdamW", epsilon=1e-12,
                                                               weight_decay=0.004)),
    (["D48"], torch("RMSprop", rate=1e-3), keras("RMSprop", rho=0.9, epsilon=1e-7)),
    (["D49"], torch("Adagrad", rate=1e-2), keras("Adagrad", rate=1e-2, epsilon=1e-7,
                                                initial_accumulator_value=0.1)),
    (["D50"], torch("Adadelta"), keras("Adadelta", rho=0.95, epsilon=1e-7)),
    (["D51"], torch("Adamax"), keras("Adamax", epsilon=1e-7)),
    (["D52"], torch("NAdam", rate=1e-3, eps=1e-7), keras("Nadam", epsilon=1e-7)),
    (["D55"], torch("SGD", momentum=0.9, dampening=0.5), keras("SGD", rate=1e-3, momentum=0.9)),
    (
        ["D59"],
        torch("SGD", rate=0.1, does=Rule.make("sgd", clip="global_norm", limit=0.1,
                                              clip_epsilon=1e-6)),
        keras("SGD", rate=0.1, clipnorm=0.1),
    ),
    (["D61"], torch("SGD", rate=0.1), keras("SGD", rate=0.1, gradient_accumulation_steps=4)),
    ([None], torch("SGD", rate=0.1, momentum=0.9), keras("SGD", rate=0.1, momentum=0.8)),
    ([None], torch("SGD", rate=0.1, momentum=0.9, nesterov=True),
     keras("SGD", rate=0.1, momentum=0.9)),
    ([None], torch("Adam", rate=0.1), keras("SGD", rate=0.1)),
]  # fmt: skip


@pytest.mark.parametrize(("causes", "a", "b"), FAULTS, ids=lambda value: str(value)[:40])
def test_a_planted_difference_is_named(
    causes: list[str | None], a: NumpySide, b: NumpySide
) -> None:
    result = examined(a, b)
    assert [finding.cause for finding in result.findings] == causes
    assert all(finding.proved for finding in result.findings)


@pytest.mark.parametrize("still", ["a", "b"])
def test_an_optimizer_that_moves_no_weight_is_named(still: str) -> None:
    rule = Rule.make("sgd", factors=dict.fromkeys(SHAPES, 0.0))
    rules = {still: rule}
    a = torch("SGD", rate=0.1, does=rules.get("a"))
    b = keras("SGD", rate=0.1, does=rules.get("b"))
    (finding,) = examined(a, b).findings
    assert finding.title == "Weights that the optimizer does not move"
    assert finding.effect["update"] == pytest.approx(1.0)


def test_momentum_inside_the_rate_shows_when_the_rate_drops() -> None:
    series = [0.1] * 6 + [0.01] * 30
    a = torch("SGD", rate=0.1, momentum=0.9, series=series)
    b = keras("SGD", rate=0.1, momentum=0.9, series=series)
    (finding,) = examined(a, b).findings
    assert finding.cause == "D54"
    # Also where the drop comes long after the updates that are looked at.
    late = [0.1] * 300 + [0.01] * 30
    a = torch("SGD", rate=0.1, momentum=0.9, series=late, step_size=300)
    b = keras("SGD", rate=0.1, momentum=0.9, series=late)
    assert [finding.cause for finding in examined(a, b).findings] == ["D54"]


def test_equal_rules_with_a_schedule() -> None:
    series = [0.125] * 6 + [0.0625] * 60
    a = torch("SGD", rate=0.125, series=series)
    b = optimized("B", "torch", "SGD", rate=0.125, series=series)
    result = examined(a, b)
    assert not result.findings
    assert result.largest == 0


def test_two_differences_are_both_found_and_weighed() -> None:
    a = torch("SGD", rate=0.05, momentum=0.9, weight_decay=0.1)
    b = keras("SGD", rate=0.02, momentum=0.9, weight_decay=0.1)
    first, second = examined(a, b).findings
    assert (first.cause, second.cause) == ("D53", "D56")
    assert first.effect["share"] > second.effect["share"] > 0


def test_defaults_of_adam_are_weighed() -> None:
    result = examined(torch("Adam", eps=1e-8), keras("Adam", epsilon=1e-7), size=1e-4)
    assert {finding.cause for finding in result.findings} == {"D46", "D47"}
    # Gradients so large that epsilon plays no part: present, without effect.
    large = examined(torch("Adam", eps=1e-8), keras("Adam", epsilon=1e-7), size=1e3)
    assert not large.findings
    assert {acquittal.cause for acquittal in large.acquitted} <= {"D46", "D47", "D96"}


def test_where_adam_adds_epsilon_is_mended_with_the_other_sides_numbers() -> None:
    a = torch("Adam", eps=3e-4, betas=[0.9, 0.99])
    b = keras("Adam", epsilon=3e-4, beta_2=0.99)
    (finding,) = examined(a, b, size=1e-3).findings
    assert finding.cause == "D47"
    root = "(1 - 0.99**t) ** 0.5  # before step t = 1, 2, …"
    assert finding.fix == {
        "a": f'optimizer.param_groups[0]["eps"] = 3e-4 / {root}',
        "b": f"optimizer.epsilon = 3e-4 * {root}, without tf.function",
    }


def test_a_fix_is_applied_to_the_optimizer_itself() -> None:
    a = torch("RMSprop", rate=1e-3, alpha=0.95, eps=1e-8)
    b = keras("RMSprop", rho=0.9, epsilon=1e-16)
    (finding,) = examined(a, b).findings
    assert finding.fix["b"] == "keras.optimizers.RMSprop(..., rho=0.95)"
    assert "changed in B's optimizer" in finding.evidence
    # Epsilon inside the root is not quite the same.
    assert float(finding.evidence.rsplit(" ", 1)[1]) < 1e-3


def test_the_users_own_optimizer_is_read_from_what_it_does() -> None:
    wrong = Rule.make("adam", correction=False)
    a = torch("Adam", rate=1e-3)
    b = optimized("B", "torch", "MyAdam", rate=1e-3, does=wrong, betas=[0.9, 0.999], eps=1e-8)
    (finding,) = examined(a, b).findings
    assert finding.title == "Bias correction"
    assert finding.values == {"a": "with bias correction", "b": "without bias correction"}


def test_l2_in_the_loss_and_decay_in_the_optimizer_are_equal() -> None:
    a = torch("SGD", rate=0.05, momentum=0.9, weight_decay=0.01)
    b = keras("SGD", rate=0.05, momentum=0.9)
    penalty: Arrays = {f"penalty_gradient/{name}": 0.01 * w for name, w in b.start.items()}
    assert not examined(a, b, b_arrays=penalty).findings
    # The same number in both is a factor of two.
    double: Arrays = {name: 2 * array for name, array in penalty.items()}
    (finding,) = examined(a, b, b_arrays=double).findings
    assert finding.cause == "D58"


def test_l2_of_weights_that_are_zero_is_measured_where_they_are_not() -> None:
    a = torch("SGD", rate=0.05, weight_decay=0.01)
    b = keras("SGD", rate=0.05)
    for side in (a, b):
        side.start["hidden/bias"] = np.zeros_like(side.start["hidden/bias"])
    b.penalties = dict.fromkeys(b.start, 0.01)
    assert not examined(a, b, b_arrays=b.penalty_gradients()).findings
    assert not b.start["hidden/bias"].any()
    b.penalties["hidden/bias"] = 0.03
    (finding,) = examined(a, b, b_arrays=b.penalty_gradients()).findings
    assert "0.03" in finding.values["b"]
    # No penalty of the bias.
    del b.penalties["hidden/bias"]
    (finding,) = examined(a, b, b_arrays=b.penalty_gradients()).findings
    assert finding.title == "Which weights decay"


def test_an_unknown_rule_is_not_given_a_name() -> None:
    a = torch("SGD", rate=0.1)
    b = keras("SGD", rate=0.1)
    honest = b.update

    def cubed(gradients, dtype="native"):
        return honest([{n: np.cbrt(g) for n, g in step.items()} for step in gradients], dtype)

    b.update = cubed
    (finding,) = examined(a, b).findings
    assert finding.cause is None
    assert not finding.proved


def test_another_optimizer_is_written_in_either_framework() -> None:
    a = torch("NAdam", rate=2e-3, betas=[0.9, 0.999], eps=1e-8, momentum_decay=0.004)
    b = keras("RMSprop", rate=1e-3, rho=0.9, epsilon=1e-7, momentum=0.5)
    (finding,) = examined(a, b).findings
    assert finding.title == "Another optimizer: Nadam against RMSprop"
    assert finding.fix == {
        "a": "torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9, eps=1e-7, momentum=0.5)",
        "b": "keras.optimizers.Nadam(learning_rate=2e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8)",
    }


def test_an_optimizer_that_a_framework_lacks_is_named() -> None:
    a = torch("RAdam", rate=1e-3, betas=[0.9, 0.999], eps=1e-8)
    b = keras("Lamb", rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-7)
    (finding,) = examined(a, b).findings
    expected = "Another optimizer: RAdam against LAMB (Keras has no RAdam, PyTorch has no LAMB)"
    assert finding.title == expected
    assert finding.fix == {"a": None, "b": None}


def test_the_settings_of_adafactor_are_compared_one_by_one() -> None:
    a = torch("Adafactor", rate=1e-3, eps=[1e-30, 1e-3], d=1.0, beta2_decay=-0.8)
    b = keras(
        "Adafactor",
        rate=1e-3,
        epsilon_1=1e-30,
        epsilon_2=1e-3,
        clip_threshold=2.0,
        beta_2_decay=-0.8,
    )
    (finding,) = examined(a, b).findings
    assert finding.values == {"a": "d=1", "b": "clip_threshold=2"}
    assert finding.fix["b"] == "keras.optimizers.Adafactor(..., clip_threshold=1)"


def test_a_decay_of_adamw_is_undone_by_adam() -> None:
    a = torch("Adam", rate=1e-3, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.01)
    b = optimized("B", "torch", "AdamW", rate=1e-3, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.01)
    (finding,) = examined(a, b).findings
    assert finding.cause == "D56"
    assert finding.fix == {
        "a": "torch.optim.AdamW(..., weight_decay=0.01)",
        "b": "torch.optim.Adam(..., weight_decay=0.01)",
    }


def test_a_fix_names_the_whole_tuple_of_betas() -> None:
    a = torch("Adam", rate=1e-3, betas=[0.5, 0.999], eps=1e-12)
    b = keras("Adam", rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-12)
    finding = examined(a, b).findings[0]
    assert finding.fix["a"] == "torch.optim.Adam(..., betas=(0.9, 0.999))"
    assert finding.fix["b"] == "keras.optimizers.Adam(..., beta_1=0.5)"


def clipped_together(
    groups: list[list[str]], epsilon: float
) -> tuple[dict[str, Array], list[dict[str, Array]], list[dict[str, Array]]]:
    """Return weights, gradients and what SGD makes of them if each group has one norm of 0.3."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(4, 3)) for names in groups for name in names}
    gradients: list[dict[str, Array]] = []
    after = [weights]
    for step in range(8):
        sizes = (0.02, 3.0, 1.0, 0.3)
        gradients.append({
            name: sizes[(step + place) % 4] * rng.normal(size=w.shape)
            for place, (name, w) in enumerate(weights.items())
        })  # fmt: skip
        moved: dict[str, Array] = {}
        for names in groups:
            norm = np.sqrt(sum(np.sum(gradients[-1][name] ** 2) for name in names))
            scale = min(1.0, 0.3 / (norm + epsilon))
            for name in names:
                moved[name] = after[-1][name] - 0.1 * scale * gradients[-1][name]
        after.append(moved)
    return weights, gradients, after[1:]


@pytest.mark.parametrize(
    ("side", "groups", "epsilon"),
    [
        (
            keras("SGD", rate=0.1, clipnorm=0.3),
            [["gru/kernel"], ["gru/bias", "gru/recurrent_bias"], ["out/bias"]],
            0.0,
        ),
        (keras("SGD", rate=0.1, clipnorm=0.3), [["gru/bias"], ["gru/recurrent_bias"]], 0.0),
        (
            torch("SGD", rate=0.1),  # which clips in a hook
            [["a/query_kernel", "a/key_kernel", "a/value_kernel"], ["a/output_kernel"]],
            1e-6,
        ),
    ],
)
def test_weights_that_a_framework_keeps_in_one_array_have_one_norm(
    side: NumpySide, groups: list[list[str]], epsilon: float
) -> None:
    weights, gradients, after = clipped_together(groups, epsilon)
    problem = Problem.make(weights, gradients, [0.1] * len(gradients))
    fit = identify(side.described, [Run(problem, problem.select(after), "float64")])
    assert fit.reproduces
    assert fit.rule.settings["clip"] == "norm"
    assert fit.rule.settings["limit"] == pytest.approx(0.3)
    assert [list(names) for names in fit.rule.settings["joined"]] == [
        names for names in groups if len(names) > 1
    ]


def test_names_of_joined_weights_are_those_of_the_other_side() -> None:
    rule = Rule.make("sgd", clip="norm", limit=1.0, joined=(("a", "b"), ("c", "d")))
    assert renamed(rule, {"a": "x", "b": "y", "c": "z"}).settings["joined"] == (("x", "y"),)


def test_a_momentum_that_a_schedule_changes_is_no_finding_of_the_update() -> None:
    a = torch("Adam", rate=1e-3, betas=[0.95, 0.999], eps=1e-12)
    b = keras("Adam", rate=1e-3, beta_1=0.9, epsilon=1e-12)
    assert len(examined(a, b).findings) == 1
    cycle = Component("OneCycleLR", {}, "batch", momenta=[0.95, 0.9, 0.85, 0.9, 0.95])
    a.described = replace(a.described, schedule=cycle)
    assert not examined(a, b).findings
    # What else differs is still a finding.
    b = keras("Adam", rate=1e-3, beta_1=0.9, beta_2=0.99, epsilon=1e-12)
    (finding,) = examined(a, b).findings
    assert "0.99" in str(finding.values["b"])
