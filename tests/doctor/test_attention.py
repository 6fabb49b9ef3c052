"""Attention is found out from its numbers: the oracle computes every score by itself."""

from dataclasses import replace
from math import exp, sqrt

import numpy as np
import pytest
from support.fake_side import FakeSide, Step, dense, examined

from triptych.doctor.attention import (
    CAUSAL,
    CONSECUTIVE,
    INTERLEAVED,
    RESHAPED,
    Way,
    attend,
    attention_cause,
    differing,
    explain,
    line_for,
    masks_of,
    possible_heads,
)

GENERATOR = np.random.default_rng(3)
BATCH, TIME, FEATURES, HEADS = 5, 4, 6, 2
PROJECTIONS = tuple(GENERATOR.normal(size=(BATCH, TIME, FEATURES)) for _ in range(3))
WORDS = np.array([[3, 1, 0, 0], [2, 2, 2, 0], [1, 0, 0, 0], [4, 4, 1, 1], [5, 1, 0, 0]])
MASKS = masks_of({"x": WORDS})
SEEN = "the positions where x is not 0"
UNSEEN = "the positions where x is 0"
USUAL = Way((0, 1, 2), HEADS)


def by_hand(sample, head, query, keys, divisor):
    """Return what one query of one head gets: a weighted mean of the values."""
    size = FEATURES // HEADS
    columns = slice(head * size, (head + 1) * size)
    q, k, v = (array[sample][:, columns] for array in PROJECTIONS)
    weights = [exp(q[query] @ k[key] / divisor) for key in keys]
    total = sum(weight * v[key] for weight, key in zip(weights, keys, strict=True))
    return total / sum(weights)


def test_attention_is_what_a_loop_over_scores_computes():
    made = attend(USUAL, PROJECTIONS, {})
    expected = by_hand(1, 1, 2, range(TIME), sqrt(3))
    np.testing.assert_allclose(made[1, 2, 3:], expected, rtol=1e-12)
    causal = attend(replace(USUAL, mask=CAUSAL, divisor="not divided"), PROJECTIONS, {})
    np.testing.assert_allclose(causal[0, 2, :3], by_hand(0, 0, 2, range(3), 1.0), rtol=1e-12)
    masked = attend(replace(USUAL, mask=SEEN), PROJECTIONS, MASKS)
    np.testing.assert_allclose(masked[0, 3, :3], by_hand(0, 0, 3, range(2), sqrt(3)), rtol=1e-12)


def test_one_head_of_features_is_every_second_one():
    made = attend(replace(USUAL, split=INTERLEAVED), PROJECTIONS, {})
    order = [0, 2, 4, 1, 3, 5]
    sorted_by_head = [array[..., order] for array in PROJECTIONS]
    expected = attend(USUAL, sorted_by_head, {})
    np.testing.assert_allclose(made[..., order], expected)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"divisor": "not divided"}, "D109"),
        ({"divisor": "divided by the root of all features"}, "D109"),
        ({"mask": UNSEEN}, "D100"),
        ({"mask": "all positions"}, None),
        ({"mask": CAUSAL}, None),
        ({"split": INTERLEAVED}, None),
        ({"split": RESHAPED}, None),
        ({"heads": 3}, None),
        ({"axis": -2}, None),
        ({"roles": (1, 0, 2)}, None),
    ],
)
def test_a_mistake_in_one_part_is_named(change, cause):
    a = replace(USUAL, mask=SEEN)
    b = replace(a, **change)
    targets = [attend(way, PROJECTIONS, MASKS) for way in (a, b)]
    heads = possible_heads(FEATURES)
    assert heads == [1, 2, 3, 6]
    found = explain(PROJECTIONS, targets, heads, MASKS, lambda made: made, 1e-9)
    assert found == (a, b)
    (part,) = differing(*found)
    assert part == next(iter(change))
    assert attention_cause(part, *found) == cause


def test_other_numbers_are_not_explained():
    target = attend(USUAL, PROJECTIONS, {})
    other = target + 1e-3 * GENERATOR.normal(size=target.shape)
    heads = possible_heads(FEATURES)
    assert explain(PROJECTIONS, (target, other), heads, {}, lambda made: made, 1e-9) is None


@pytest.mark.parametrize("split", [CONSECUTIVE, RESHAPED])
@pytest.mark.parametrize("value", [np.nan, 0.0, 7.0])
def test_queries_that_see_nothing_may_get_anything(value, split):
    """PyTorch gives zeros or NaN, by the path that it takes, and Keras the mean of all values."""
    a, b = (replace(USUAL, mask=mask, split=split) for mask in (UNSEEN, SEEN))
    targets = [attend(way, PROJECTIONS, MASKS) for way in (a, b)]
    targets[0][3] = value
    found = explain(PROJECTIONS, targets, [HEADS], MASKS, lambda made: made, 1e-9)
    assert found == (a, b)
    targets[0][2, 1] += 1e-3  # this query sees something
    assert explain(PROJECTIONS, targets, [HEADS], MASKS, lambda made: made, 1e-9) is None


def test_queries_that_see_nothing_may_be_nan():
    a = replace(USUAL, mask=UNSEEN)
    targets = [attend(way, PROJECTIONS, MASKS) for way in (a, replace(USUAL, mask=SEEN))]
    targets[0][3] = np.nan  # every position of the fourth sample is shown, or none
    found = explain(PROJECTIONS, targets, [HEADS], MASKS, lambda made: made, 1e-9)
    assert found is not None
    assert attention_cause("mask", *found) == "D100"
    targets[0][:] = np.nan
    assert explain(PROJECTIONS, targets, [HEADS], MASKS, lambda made: made, 1e-9) is None


def test_a_fix_gives_a_side_what_the_other_has():
    plain = replace(USUAL, divisor="not divided")
    assert line_for("torch", "divisor", plain, "D109") == (
        "F.scaled_dot_product_attention(q, k, v, scale=1.0)"
    )
    assert line_for("keras", "divisor", USUAL, "D109").endswith("/ q.shape[-1] ** 0.5")
    inverted = replace(USUAL, mask=UNSEEN)
    assert line_for("keras", "mask", inverted, "D100") == "layer(x, x, attention_mask=~mask)"


def attention_step(**change):
    """Return a step that splits what a dense layer makes into query, key and value."""
    way = replace(USUAL, **change)

    def forward(x, _):
        return attend(way, np.split(x, 3, -1), {})

    return forward


def test_attention_that_is_written_by_hand_is_found_between_two_layers(monkeypatch):
    from support import fake_side

    monkeypatch.setitem(fake_side.FUNCTIONS, "a_attention", attention_step())
    monkeypatch.setitem(fake_side.FUNCTIONS, "b_attention", attention_step(divisor="not divided"))
    sides = []
    for name, framework, seed in (("a", "torch", 1), ("b", "keras", 5)):
        steps = [
            dense(f"{name}1", 4, 3 * FEATURES, seed),
            Step("", f"{name}_attention", name="matmul"),
            dense(f"{name}2", FEATURES, 2, seed + 1),
        ]
        sides.append(FakeSide(name.upper(), framework, steps))
    batch = {"x": GENERATOR.normal(size=(BATCH, TIME, 4))}
    (finding,) = examined(*sides, batch, ["data", "forward"]).results["forward"].findings
    assert (finding.stage, finding.cause, finding.proved) == ("forward", "D109", True)
    assert finding.values == {
        "a": "scores divided by the root of a head's features",
        "b": "scores not divided",
    }
    assert finding.fix["b"].startswith("scores = ops.matmul(")
