"""Functions of parameters as sides, against a PyTorch module and against each other."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import triptych as tt
from triptych.doctor.frameworks.adapter import ModelError, Unsupported
from triptych.doctor.frameworks.function.adapter import Adapter
from triptych.doctor.observation import Change

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

pytestmark = pytest.mark.framework

RNG = np.random.default_rng(0)
BATCH = {"x": RNG.normal(size=(12, 6)).astype(np.float32), "y": RNG.integers(0, 3, 12)}

Made = dict[str, Any]


def module() -> Made:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 8), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(8, 3))
    return {
        "model": model,
        "loss": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "metric": lambda output, y: (output.argmax(1) == y).double().mean().item(),
    }


def drawn(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def parameters() -> Any:
    return {
        "first": {"b": drawn(6), "w": drawn(6, 6)},
        "norm": {"beta": drawn(6), "gamma": drawn(6)},
        "second": {"b": drawn(8), "w": drawn(6, 8)},
        "out": {"b": drawn(3), "w": drawn(8, 3)},
    }


def loaded(*, transposed: bool) -> Any:
    """Return the weights of the module; the square kernel is transposed, or forgotten to be."""
    state = {name: each.numpy() for name, each in module()["model"].state_dict().items()}
    first = state["0.weight"].T if transposed else state["0.weight"]
    return {
        "first": {"w": first, "b": state["0.bias"]},
        "norm": {"gamma": state["1.weight"], "beta": state["1.bias"]},
        "second": {"w": state["3.weight"].T, "b": state["3.bias"]},
        "out": {"w": state["5.weight"].T, "b": state["5.bias"]},
    }


def network(np_like: Any, gelu: Callable[[Any], Any], epsilon: float = 1e-5) -> Any:
    """Return the module as a function of a library with NumPy's interface."""

    def forward(p: Any, x: Any) -> Any:
        x = x @ p["first"]["w"] + p["first"]["b"]
        centered = x - x.mean(-1, keepdims=True)
        deviation = np_like.sqrt((centered**2).mean(-1, keepdims=True) + epsilon)
        x = gelu(centered / deviation * p["norm"]["gamma"] + p["norm"]["beta"])
        x = np_like.maximum(x @ p["second"]["w"] + p["second"]["b"], 0.0)
        return x @ p["out"]["w"] + p["out"]["b"]

    return forward


def numpy_gelu(x: Any) -> Any:
    return 0.5 * x * (1 + torch.erf(torch.from_numpy(np.array(x) / np.sqrt(2))).numpy())


IN_NUMPY = network(np, numpy_gelu)


def numpy_loss(output: Any, y: Any) -> Any:
    shifted = output - output.max(-1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -logarithms[np.arange(len(y)), y]


def jax_side(function: Any = None, given: Any = None, **parts: Any) -> Made:
    jax = pytest.importorskip("jax")
    exact = network(jax.numpy, lambda x: jax.nn.gelu(x, approximate=False))

    def loss(output: Any, y: Any) -> Any:
        return -jax.numpy.take_along_axis(jax.nn.log_softmax(output), y[:, None], 1)

    made = jax.tree.map(jax.numpy.asarray, parameters() if given is None else given)
    return {"model": function or exact, "parameters": made, "loss": loss} | parts


def causes(answer: Any) -> list[tuple[str, str | None, bool]]:
    return [(each.stage, each.cause, each.proved) for each in answer.findings]


def stage(answer: Any, name: str) -> Any:
    return next(each for each in answer.stages if each.stage == name)


def assert_gradients_are_compared(
    given: Made, forward: Callable[[Any, Any], Any], cut_off: Callable[[Any], Any]
) -> None:
    """Both sides have gradients, and one that does not reach a layer is found.

    In float32 both may be equal to the bit, so their difference shows nothing.
    """
    answer = tt.diagnose(module, given | {"model": forward}, BATCH)
    assert (answer.verdict, answer.findings) == ("equal", ())
    assert stage(answer, "gradient").compared

    def without_second(p: Any, x: Any) -> Any:
        second = {name: cut_off(each) for name, each in p["second"].items()}
        return forward({**p, "second": second}, x)

    answer = tt.diagnose(module, given | {"model": without_second}, BATCH)
    assert answer.verdict == "differ"
    assert stage(answer, "gradient").findings


def test_a_function_of_jax_is_equal_to_the_module_in_both_orders() -> None:
    metric = {"metric": lambda output, y: (output.argmax(-1) == y).mean()}
    for a, b in ((module, jax_side(**metric)), (jax_side(**metric), module)):
        answer = tt.diagnose(a, b, BATCH)
        assert (answer.verdict, answer.findings, answer.dtype) == ("equal", (), "float64")
        for name in ("data", "weights", "forward", "loss", "gradient", "metric"):
            assert stage(answer, name).compared
        assert stage(answer, "gradient").largest > 0
        assert "one segment" in stage(answer, "mode").note
        assert "optimizer" in stage(answer, "update").note


def test_numpy_is_compared_forward_and_the_answer_says_why() -> None:
    given = {"model": IN_NUMPY, "parameters": parameters(), "loss": numpy_loss}
    answer = tt.diagnose(module, given, BATCH)
    assert (answer.verdict, answer.findings) == ("equal", ())
    assert stage(answer, "loss").compared
    assert not stage(answer, "gradient").compared
    assert "NumPy computes no gradients" in stage(answer, "gradient").note


def test_a_pair_is_a_side_and_two_functions_can_be_compared() -> None:
    answer = tt.diagnose((IN_NUMPY, parameters()), jax_side(), BATCH)
    assert (answer.verdict, answer.dtype) == ("equal", "float64")


def test_tensors_of_pytorch_have_gradients() -> None:
    torch_like = {
        layer: {name: torch.from_numpy(each) for name, each in arrays.items()}
        for layer, arrays in parameters().items()
    }

    def forward(p: Any, x: Any) -> Any:
        x = nn.functional.linear(x, p["first"]["w"].T, p["first"]["b"])
        x = nn.functional.layer_norm(x, (6,), p["norm"]["gamma"], p["norm"]["beta"])
        x = torch.relu(nn.functional.gelu(x) @ p["second"]["w"] + p["second"]["b"])
        return x @ p["out"]["w"] + p["out"]["b"]

    given = {"parameters": torch_like, "loss": nn.CrossEntropyLoss()}
    assert_gradients_are_compared(given, forward, torch.Tensor.detach)


@pytest.mark.slow
def test_tensors_of_tensorflow_have_gradients() -> None:
    tf = pytest.importorskip("tensorflow")

    def forward(p: Any, x: Any) -> Any:
        x = x @ p["first"]["w"] + p["first"]["b"]
        mean, variance = tf.nn.moments(x, -1, keepdims=True)
        normal = (x - mean) / tf.sqrt(variance + 1e-5) * p["norm"]["gamma"] + p["norm"]["beta"]
        x = tf.nn.relu(tf.nn.gelu(normal) @ p["second"]["w"] + p["second"]["b"])
        return x @ p["out"]["w"] + p["out"]["b"]

    given = {
        "parameters": {
            layer: {name: tf.Variable(each) for name, each in arrays.items()}
            for layer, arrays in parameters().items()
        },
        "loss": tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    }
    assert_gradients_are_compared(given, forward, tf.stop_gradient)


@pytest.mark.slow
def test_a_square_kernel_that_was_loaded_as_it_is_is_named() -> None:
    assert causes(tt.diagnose(module, jax_side(given=loaded(transposed=True)), BATCH)) == []
    wrong = jax_side(given=loaded(transposed=False))
    assert causes(tt.diagnose(module, wrong, BATCH)) == [("weights", "D10", True)]
    assert causes(tt.diagnose(wrong, module, BATCH)) == [("weights", "D10", True)]


@pytest.mark.slow
def test_kernels_may_be_stored_with_the_outputs_first() -> None:
    forward = jax_side()["model"]

    def transposed(p: Any, x: Any) -> Any:
        turned = {
            name: {key: each.T if key == "w" else each for key, each in layer.items()}
            for name, layer in p.items()
        }
        return forward(turned, x)

    stored = {
        name: {key: each.T if key == "w" else each for key, each in layer.items()}
        for name, layer in parameters().items()
    }
    answer = tt.diagnose(module, jax_side(transposed, stored), BATCH)
    assert answer.verdict == "equal"
    assert "0/kernel is first/w (transposed)" in answer.acquitted[0].evidence


@pytest.mark.slow
def test_flat_parameters_are_grouped_by_their_names_or_order() -> None:
    forward = jax_side()["model"]
    given = parameters()
    del given["norm"]
    keys = [(layer, key) for layer in given for key in ("w", "b")]
    arrays = [given[layer][key] for layer, key in keys]

    def of_list(p: Any, x: Any) -> Any:
        tree: Any = {"norm": {"gamma": 1.0, "beta": 0.0}}
        for (layer, key), array in zip(keys, p, strict=True):
            tree.setdefault(layer, {})[key] = array
        return forward(tree, x)

    def plain() -> Made:
        made = module()
        layers = list(made["model"])
        layers[1] = nn.LayerNorm(6, elementwise_affine=False)
        return {"model": nn.Sequential(*layers), "loss": made["loss"]}

    assert tt.diagnose(plain, jax_side(of_list, arrays), BATCH).verdict == "equal"
    names = ["w1", "b1", "w2", "b2", "w3", "b3"]
    named = dict(sorted(zip(names, arrays, strict=True)))

    def of_dict(p: Any, x: Any) -> Any:
        return of_list([p[name] for name in names], x)

    assert tt.diagnose(plain, jax_side(of_dict, named), BATCH).verdict == "equal"


def changed_forward(**settings: Any) -> Any:
    jax = pytest.importorskip("jax")
    approximate = settings.pop("approximate", False)
    return network(jax.numpy, lambda x: jax.nn.gelu(x, approximate=approximate), **settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"epsilon": 1e-3}, ["D23"]),
        ({"approximate": True}, ["D28"]),
        ({"epsilon": 1e-6, "approximate": True}, ["D23", "D28"]),
    ],
)
@pytest.mark.slow
def test_settings_of_the_other_side_are_tried(settings: Made, expected: list[str]) -> None:
    function = changed_forward(**settings)
    for a, b in ((module, jax_side(function)), (jax_side(function), module)):
        answer = tt.diagnose(a, b, BATCH)
        assert causes(answer) == [("forward", cause, True) for cause in expected]
        values = {True: 1e-5, False: settings.get("epsilon")}
        if expected[0] == "D23":
            side = "a" if a is module else "b"
            assert answer.findings[0].values[side] == values[True]
            assert answer.findings[0].values["b" if side == "a" else "a"] == values[False]


@pytest.mark.slow
def test_causes_that_act_on_the_whole_are_found() -> None:
    jax = pytest.importorskip("jax")
    forward = jax_side()["model"]
    fitting = jax_side()["loss"]

    def probabilities(p: Any, x: Any) -> Any:
        return jax.nn.softmax(forward(p, x))

    twice = tt.diagnose(module, jax_side(probabilities), BATCH)
    assert causes(twice) == [("loss", "D38", True)]
    summed = jax_side(loss=lambda output, y: fitting(output, y).sum())
    (reduction,) = tt.diagnose(module, summed, BATCH).findings
    assert (reduction.stage, reduction.proved) == ("loss", True)
    assert reduction.values["b"].endswith("sum")
    halved = tt.diagnose(module, jax_side(preprocess=lambda x: x / 2), BATCH)
    assert causes(halved) == [("data", "D77", True)]


@pytest.mark.parametrize(
    "change", [Change("loss", "", "reduction", "sum"), Change("preprocess", "", "mean", 0.1)]
)
def test_what_cannot_be_changed_is_refused_and_changes_nothing(change: Change) -> None:
    side = Adapter({"model": IN_NUMPY, "parameters": parameters()}, "native")
    doubled = Change("preprocess", "", "scale", 2.0)
    with pytest.raises(Unsupported):
        side.change([doubled, change])
    np.testing.assert_array_equal(side.inputs(BATCH)["input"], BATCH["x"])
    side.change([doubled])
    np.testing.assert_array_equal(side.inputs(BATCH)["input"], 2 * BATCH["x"])
    side.restore()
    np.testing.assert_array_equal(side.inputs(BATCH)["input"], BATCH["x"])


@pytest.mark.slow
def test_what_the_models_make_up_for_is_no_difference() -> None:
    jax = pytest.importorskip("jax")
    forward = jax_side()["model"]
    doubled = jax_side(lambda p, x: forward(p, 2 * x), preprocess=lambda x: x / 2)
    assert tt.diagnose(module, doubled, BATCH).verdict == "equal"

    def loss(output: Any, y: Any) -> Any:
        return -jax.numpy.log(jax.numpy.take_along_axis(output, y[:, None], 1))

    ends = jax_side(lambda p, x: jax.nn.softmax(forward(p, x)), loss=loss)
    assert tt.diagnose(module, ends, BATCH).verdict == "equal"


class Images(nn.Module):
    """A convolution, a BatchNorm and a dense layer; it flattens the channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.dense = nn.Linear(4 * 16, 3)

    def forward(self, x: Any) -> Any:
        return self.dense(torch.relu(self.norm(self.conv(x))).flatten(1))


def images() -> Made:
    torch.manual_seed(0)
    model = Images()
    model.norm.running_mean.uniform_(-1, 1)

    def channels_first(x: Any) -> Any:
        return torch.from_numpy(np.moveaxis(x, -1, 1).copy())

    return {"model": model, "loss": nn.CrossEntropyLoss(), "preprocess": channels_first}


def of_flax(epsilon: float) -> Made:
    """Return the same in Flax's layout: channels last, two collections."""
    jax = pytest.importorskip("jax")

    def forward(variables: Any, x: Any) -> Any:
        p, statistics = variables["params"], variables["batch_stats"]["bn"]
        order = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(
            x, p["conv"]["kernel"], (1, 1), "SAME", dimension_numbers=order
        )
        x = x + p["conv"]["bias"]
        x = (x - statistics["mean"]) / jax.numpy.sqrt(statistics["var"] + epsilon)
        x = jax.nn.relu(x * p["bn"]["scale"] + p["bn"]["bias"]).reshape(len(x), -1)
        return x @ p["fc"]["kernel"] + p["fc"]["bias"]

    params = {
        "bn": {"bias": drawn(4), "scale": drawn(4)},
        "conv": {"bias": drawn(4), "kernel": drawn(3, 3, 2, 4)},
        "fc": {"bias": drawn(3), "kernel": drawn(64, 3)},
    }
    statistics = {"bn": {"mean": drawn(4), "var": np.abs(drawn(4))}}
    return jax_side(forward, {"params": params, "batch_stats": statistics})


@pytest.mark.parametrize(("epsilon", "expected"), [(1e-5, []), (1e-3, ["D18"])])
def test_kernels_of_images_and_the_order_of_flattening(epsilon: float, expected: Any) -> None:
    batch = {"x": drawn(8, 4, 4, 2), "y": RNG.integers(0, 3, 8)}
    for a, b in ((images, of_flax(epsilon)), (of_flax(epsilon), images)):
        answer = tt.diagnose(a, b, batch)
        assert [each.cause for each in answer.findings] == expected
        matched = next(each for each in answer.acquitted if "matched" in each.title)
        assert "the other order of flattening" in matched.evidence


def test_a_gradient_that_is_stopped_is_found() -> None:
    jax = pytest.importorskip("jax")
    forward = jax_side()["model"]

    def stopped(p: Any, x: Any) -> Any:
        return forward(p | {"out": jax.lax.stop_gradient(p["out"])}, x)

    answer = tt.diagnose(module, jax_side(stopped), BATCH)
    assert {each.stage for each in answer.findings} == {"gradient"}
    assert all(each.layer == {"a": "5", "b": "out"} for each in answer.findings)


def test_parameters_without_a_counterpart_are_named() -> None:
    given = parameters()
    given["out"] = {"w": drawn(8, 4), "b": drawn(4)}
    answer = tt.diagnose(module, jax_side(given=given), BATCH)
    assert answer.verdict == "undecided"
    (finding,) = answer.findings
    assert "5 (kernel 8×3, bias 3)" in finding.title
    assert "out (b 4, w 8×4)" in finding.title
    assert "--pair" in finding.evidence
    assert not stage(answer, "forward").compared


@pytest.mark.slow
def test_a_pair_that_the_user_names_is_taken() -> None:
    answer = tt.diagnose(module, jax_side(), BATCH, pairs={"5": "out", "0": "first"})
    assert answer.verdict == "equal"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": 3, "parameters": parameters()}, "must be a function"),
        ({"model": IN_NUMPY, "parameters": {}}, "no arrays"),
        ({"model": lambda p, x: None, "parameters": parameters()}, "must return an array"),
        ({"model": IN_NUMPY}, "needs its parameters beside it"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(given: Made, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        tt.diagnose(module, given, BATCH)
    assert "\n" not in str(caught.value)
