"""What a training step takes, against values counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.advise.workload import Case, Product
from triptych.spec import zoo
from triptych.spec.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool2D,
    ReLU,
    Residual,
)
from triptych.spec.network import Network
from triptych.spec.optimizers import optimizer
from triptych.spec.recipe import Recipe


def operations(case: Case, cost_kind: str) -> int:
    return sum(product.operations for product in case.products(cost_kind))


def test_the_original_by_hand():
    found = Case(zoo.get("classic"), Recipe(), 9000)
    first = 9000 * 784 + 7840 + 9000 * 10
    second = 9000 * 10 + 100 + 9000 * 10
    hidden, relu, output = (found.works[i] for i in (1, 2, 3))
    assert hidden.products == (
        Product(9000, 784, 10, first),
        Product(784, 9000, 10, first),
    )  # nobody needs the pixels' gradient
    assert output.products == (
        Product(9000, 10, 10, second),
        Product(10, 9000, 10, second),
        Product(9000, 10, 10, second),
    )
    assert (hidden.numbers, relu.numbers, output.numbers) == (3 * 90_000, 5 * 90_000, 3 * 90_000)
    assert (
        found.operations == operations(found, "dense") == 2 * 2 * 9000 * 7840 + 3 * 2 * 9000 * 100
    )
    assert (found.drawn, found.loss, found.updated) == (0, 5 * 90_000, 3 * 7960)
    moved = 2 * first + 3 * second + (3 + 5 + 3 + 5) * 90_000 + 3 * 7960
    assert found.bytes == 4 * moved


def test_a_convolution_in_groups_and_what_pools_by_hand():
    layers = (
        Conv2D("c", 6, 3, stride=2, padding=1, groups=2),
        MaxPool2D("p"),
        Conv2D("d", 4, 1, bias=False),
        GlobalAvgPool("m"),
        Dense("o", 3),
    )
    found = Case(
        Network("n", (8, 8, 4), layers),
        Recipe(batch_size=5, optimizer=optimizer("adam"), dtype="float64"),
        5,
    )
    windows = 5 * 4 * 4
    numbers = 5 * 8 * 8 * 4 + 3 * 3 * 2 * 6 + 5 * 4 * 4 * 6
    c, p, d, m, o = found.works
    assert c.products == (Product(windows, 18, 3, numbers, 2), Product(18, windows, 3, numbers, 2))
    assert c.numbers == 3 * windows * 6
    assert p.numbers == 2 * (5 * 4 * 4 * 6 + 5 * 2 * 2 * 6)
    assert [(product.m, product.k, product.n) for product in d.products] == [
        (20, 6, 4),
        (6, 20, 4),
        (20, 4, 6),
    ]
    assert (d.numbers, m.numbers, o.numbers) == (0, 2 * (5 * 16 + 5 * 4), 3 * 15)
    assert operations(found, "convolution") == 2 * 2 * 2 * windows * 18 * 3 + 3 * 2 * 20 * 6 * 4
    assert (len(found.of_kind("convolution")), len(found.of_kind("dense"))) == (2, 1)
    assert (found.drawn, found.updated) == (
        2 * 5 * 256,
        (3 + 2 * 2) * found.network.parameter_count,
    )
    assert found.itemsize == 8


def test_a_residual_counts_what_it_contains_and_its_sum():
    branch, projection = (Conv2D("a", 4, padding=1), BatchNorm("b")), (Conv2D("s", 4, 1),)
    network = Network(
        "n", (6, 6, 2), (Residual("r", branch, projection), ReLU("t"), Flatten("f"), Dense("o", 2))
    )
    works = {work.layer.name: work for work in Case(network, Recipe(batch_size=3), 3).works}
    out = 3 * 6 * 6 * 4
    assert len(works["a"].products) == len(works["s"].products) == 2  # both see the images
    assert (works["b"].numbers, works["r"].numbers, works["t"].numbers, works["f"].numbers) == (
        8 * out,
        6 * out,
        5 * out,
        0,
    )


def test_what_lies_before_the_first_weights_has_no_backward():
    works = Case(
        Network("n", (4, 4, 1), (ReLU("r"), MaxPool2D("p"), Flatten("f"), Dense("o", 2))),
        Recipe(),
        7,
    ).works
    assert [work.numbers for work in works] == [2 * 7 * 16, 7 * 20, 0, 3 * 14]


@given(st.sampled_from(list(zoo.ZOO)), st.integers(1, 10_000))
def test_forward_products_are_the_networks_multiplications(name: str, batch: int):
    network = zoo.get(name)
    works = Case(network, Recipe(), batch).works
    assert (
        sum(work.products[0].operations for work in works if work.products)
        == 2 * batch * network.multiplications
    )


@pytest.mark.parametrize("name", ["classic", "resnet20"])
def test_samples_are_paid_for_and_the_update_is_not(name: str):
    one, ten = (Case(zoo.get(name), Recipe(batch_size=batch), batch) for batch in (1, 10))
    assert np.isclose(ten.operations, 10 * one.operations)
    assert (ten.drawn, ten.loss) == (10 * one.drawn, 10 * one.loss)
    assert [work.numbers for work in ten.works] == [10 * work.numbers for work in one.works]
    assert ten.updated == one.updated
