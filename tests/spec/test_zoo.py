import pytest

from triptych.errors import SpecError
from triptych.spec import zoo
from triptych.spec.recipe import Recipe


def conv(size: int, inputs: int, filters: int) -> int:
    """A convolution without bias, and the gamma and beta after it."""
    return size**2 * inputs * filters + 2 * filters


def dense(inputs: int, units: int) -> int:
    return inputs * units + units


def residual(blocks: int, width: int) -> int:
    stages = [width, 2 * width, 4 * width]
    inside = sum((2 * blocks - 1) * conv(3, n, n) for n in stages)
    first = conv(3, 3, width) + conv(3, width, width)
    larger = sum(conv(3, n, 2 * n) + conv(1, n, 2 * n) for n in stages[:2])
    return first + inside + larger + dense(4 * width, 10)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        (
            "lenet",
            (25 * 6 + 6)
            + (25 * 6 * 16 + 16)
            + dense(16 * 5 * 5, 120)
            + dense(120, 84)
            + dense(84, 10),
        ),
        (
            "lenet-bn",
            conv(5, 1, 6)
            + conv(5, 6, 16)
            + (400 * 120 + 2 * 120)
            + (120 * 84 + 2 * 84)
            + dense(84, 10),
        ),
        ("cnn", (9 * 32 + 32) + (9 * 32 * 64 + 64) + dense(64 * 12 * 12, 128) + dense(128, 10)),
        ("fast", conv(5, 1, 8) + conv(3, 8, 32) + conv(3, 32, 64) + dense(64 * 3 * 3, 10)),
        (
            "best",
            conv(5, 1, 12)
            + conv(3, 12, 32)
            + conv(3, 32, 48)
            + conv(3, 48, 96)
            + dense(96 * 3 * 3, 10),
        ),
        ("resnet20", residual(3, 16)),
        ("resnet", residual(2, 32)),
    ],
)
def test_the_parameters_are_those_that_arithmetic_gives(name: str, count: int):
    assert zoo.get(name).parameter_count == count


def test_the_two_that_are_known_from_elsewhere():
    assert zoo.get("lenet").parameter_count == 61_706  # LeCun et al. 1998, with a dense last layer
    assert zoo.get("cnn").parameter_count == 1_199_882  # PyTorch's and Keras's MNIST examples


@pytest.mark.parametrize("name", zoo.RECIPES)
def test_a_recipe_is_read_and_fits_the_network_of_its_name(name: str):
    recipe = Recipe.from_json(zoo.recipe(name))
    recipe.check_fits(zoo.get(name))
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_what_makes_no_sense_is_refused_in_words():
    with pytest.raises(SpecError, match="did you mean 'resnet20'"):
        zoo.recipe("resnet-20")
    with pytest.raises(SpecError, match=r"did you mean 'lenet-bn'\? \(any other: a .json file\)$"):
        zoo.recipe("lenet-b")
    with pytest.raises(SpecError, match=r"'conv2'.* does not fit into 2×2"):
        zoo.get("fast", (8, 8, 1))
