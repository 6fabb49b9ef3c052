"""What is observed of a model of PyTorch, against formulas in NumPy and autograd by hand."""

from typing import Any

import numpy as np
import pytest
from support.torch_sides import call_of, kinds, random, randomized, side

from triptych.doctor.frameworks.adapter import ModelError
from triptych.doctor.repeats import check_repeats

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

pytestmark = pytest.mark.framework


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def convolution(x: Any, kernel: Any, strides: Any, padding: Any) -> Any:
    """A convolution of images with channels last, as a sum over the places of the kernel."""
    x = np.pad(x, [(0, 0), *padding, (0, 0)])
    height, width = kernel.shape[:2]
    rows = (x.shape[1] - height) // strides[0] + 1
    columns = (x.shape[2] - width) // strides[1] + 1
    result = np.zeros((len(x), rows, columns, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            part = x[:, i :: strides[0], j :: strides[1]][:, :rows, :columns]
            result += part @ kernel[i, j]
    return result


def observe_layer(layer: Any, x: Any) -> tuple[Any, dict[str, Any]]:
    """Observe a model that is one layer; return its arrays and its weights by role."""
    model = side(model=randomized(layer))
    observation = model.observe({"input": x}, training=False)
    weights = {name.rpartition("/")[2]: array for name, array in model.weights().items()}
    return observation, weights


def test_a_dense_layer() -> None:
    observation, weights = observe_layer(nn.Linear(3, 5), random(4, 3))
    expected = random(4, 3) @ weights["kernel"] + weights["bias"]
    np.testing.assert_allclose(observation.arrays["0/output"], expected, rtol=1e-12)
    np.testing.assert_array_equal(observation.arrays["output"], observation.arrays["0/output"])
    assert weights["kernel"].shape == (3, 5)


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), ((2, 1), (0, 2))])
def test_a_convolution(stride: Any, padding: Any) -> None:
    images = random(2, 7, 6, 3)
    layer = nn.Conv2d(3, 4, (3, 2), stride=stride, padding=padding)
    observation, weights = observe_layer(layer, images.transpose(0, 3, 1, 2))
    settings = observation.calls[0].settings
    np.testing.assert_array_equal(observation.arrays["0/input"], images)
    expected = convolution(images, weights["kernel"], settings["strides"], settings["padding"])
    np.testing.assert_allclose(observation.arrays["0/output"], expected + weights["bias"])
    # The model's output, too, is given with channels last.
    np.testing.assert_allclose(observation.arrays["output"], expected + weights["bias"])


def test_a_depthwise_convolution() -> None:
    images = random(2, 5, 5, 3)
    layer = nn.Conv2d(3, 6, 3, groups=3, bias=False)
    observation, weights = observe_layer(layer, images.transpose(0, 3, 1, 2))
    assert observation.calls[0].kind == "depthwise_conv"
    kernel = weights["kernel"]
    assert kernel.shape == (3, 3, 3, 2)
    for channel in range(3):
        for multiple in range(2):
            one = kernel[:, :, channel, multiple, None, None]
            expected = convolution(images[..., channel, None], one, (1, 1), [(0, 0)] * 2)
            made = observation.arrays["0/output"][..., channel * 2 + multiple]
            np.testing.assert_allclose(made, expected[..., 0])


def test_a_transposed_convolution() -> None:
    signal = random(2, 4, 3)
    layer = nn.ConvTranspose1d(3, 5, 3, stride=2, padding=1, output_padding=1)
    observation, weights = observe_layer(layer, signal.transpose(0, 2, 1))
    full = np.zeros((2, 3 * 2 + 3, 5))
    for position in range(4):
        for place in range(3):
            full[:, position * 2 + place] += signal[:, position] @ weights["kernel"][place]
    cut = observation.calls[0].settings["padding"]
    assert cut == [[1, 0]]
    np.testing.assert_allclose(observation.arrays["0/output"], full[:, 1:] + weights["bias"])


def test_a_batch_norm_in_both_modes() -> None:
    model = side(model=randomized(nn.BatchNorm2d(3, eps=0.1, momentum=0.3)))
    images = random(4, 3, 5, 5)
    weights = {name.rpartition("/")[2]: array for name, array in model.weights().items()}
    last = images.transpose(0, 2, 3, 1)

    evaluated = model.observe({"input": images}, training=False)
    normal = (last - weights["mean"]) / np.sqrt(weights["variance"] + 0.1)
    expected = normal * weights["scale"] + weights["offset"]
    np.testing.assert_allclose(evaluated.arrays["0/output"], expected)

    trained = model.observe({"input": images}, training=True)
    mean = last.mean((0, 1, 2))
    variance = last.var((0, 1, 2))
    normal = (last - mean) / np.sqrt(variance + 0.1)
    expected = normal * weights["scale"] + weights["offset"]
    np.testing.assert_allclose(trained.arrays["0/output"], expected)
    unbiased = variance * 100 / 99
    np.testing.assert_allclose(
        trained.arrays["buffer/model/mean"], 0.7 * weights["mean"] + 0.3 * mean
    )
    np.testing.assert_allclose(
        trained.arrays["buffer/model/variance"], 0.7 * weights["variance"] + 0.3 * unbiased
    )
    # The pass has left no trace in the model.
    np.testing.assert_array_equal(model.weights()["model/mean"], weights["mean"])


def test_a_layer_norm_and_an_rms_norm() -> None:
    x = random(2, 4, 6)
    observation, weights = observe_layer(nn.LayerNorm(6, eps=0.01), x)
    normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.01)
    expected = normal * weights["scale"] + weights["offset"]
    np.testing.assert_allclose(observation.arrays["0/output"], expected)
    observation, weights = observe_layer(nn.RMSNorm(6), x)
    epsilon = observation.calls[0].settings["epsilon"]
    assert epsilon == np.finfo(np.float64).eps
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * weights["scale"]
    np.testing.assert_allclose(observation.arrays["0/output"], expected)


def test_an_embedding() -> None:
    ids = np.array([[0, 3, 1], [2, 2, 0]])
    observation, weights = observe_layer(nn.Embedding(4, 5), ids)
    assert observation.arrays["0/input"].dtype == np.int64
    np.testing.assert_array_equal(observation.arrays["0/output"], weights["embeddings"][ids])


def lstm(x: Any, weights: dict[str, Any], prefix: str = "") -> tuple[Any, Any, Any]:
    units = weights[f"{prefix}recurrent_kernel"].shape[0]
    h = np.zeros((len(x), units))
    c = np.zeros((len(x), units))
    steps = []
    bias = weights[f"{prefix}bias"] + weights[f"{prefix}recurrent_bias"]
    for t in range(x.shape[1]):
        gates = x[:, t] @ weights[f"{prefix}kernel"] + h @ weights[f"{prefix}recurrent_kernel"]
        i, f, g, o = np.split(gates + bias, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        steps.append(h)
    return np.stack(steps, 1), h, c


def test_an_lstm() -> None:
    x = random(2, 5, 3)
    observation, weights = observe_layer(nn.LSTM(3, 4, batch_first=True), x)
    for part, expected in zip(("output", "output1", "output2"), lstm(x, weights), strict=True):
        np.testing.assert_allclose(observation.arrays[f"0/{part}"], expected, rtol=1e-10)


def test_an_lstm_in_both_directions() -> None:
    x = random(2, 5, 3)
    observation, weights = observe_layer(nn.LSTM(3, 4, batch_first=True, bidirectional=True), x)
    forward, h, _ = lstm(x, weights)
    backward, reverse_h, _ = lstm(x[:, ::-1], weights, "reverse_")
    expected = np.concatenate([forward, backward[:, ::-1]], -1)
    np.testing.assert_allclose(observation.arrays["0/output"], expected, rtol=1e-10)
    np.testing.assert_allclose(observation.arrays["0/output1"], [h, reverse_h], rtol=1e-10)


def test_a_gru_has_its_gates_in_canonical_order() -> None:
    x = random(2, 5, 3)
    observation, weights = observe_layer(nn.GRU(3, 4, batch_first=True), x)
    h = np.zeros((2, 4))
    for t in range(5):
        inputs = np.split(x[:, t] @ weights["kernel"] + weights["bias"], 3, -1)
        states = np.split(h @ weights["recurrent_kernel"] + weights["recurrent_bias"], 3, -1)
        update = sigmoid(inputs[0] + states[0])
        reset = sigmoid(inputs[1] + states[1])
        new = np.tanh(inputs[2] + reset * states[2])
        h = update * h + (1 - update) * new
    np.testing.assert_allclose(observation.arrays["0/output1"], h, rtol=1e-10)


def attention(query: Any, value: Any, weights: dict[str, Any], heads: int) -> Any:
    def split(x: Any, name: str) -> Any:
        made = x @ weights[f"{name}_kernel"] + weights[f"{name}_bias"]
        return made.reshape(*made.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    q, k, v = split(query, "query"), split(value, "key"), split(value, "value")
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (scores / scores.sum(-1, keepdims=True)) @ v
    mixed = mixed.transpose(0, 2, 1, 3).reshape(*query.shape)
    return mixed @ weights["output_kernel"] + weights["output_bias"]


class Attending(nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(6, 2, batch_first=True, **settings)

    def forward(self, query: Any, value: Any = None) -> Any:
        value = query if value is None else value
        return self.layer(query, value, value)[0]


def test_attention_to_itself_is_one_input() -> None:
    x = random(2, 4, 6)
    observation, weights = observe_layer(Attending(), x)
    (call,) = observation.calls
    assert (call.kind, call.inputs, call.settings["heads"]) == ("attention", 1, 2)
    expected = attention(x, x, weights, 2)
    np.testing.assert_allclose(observation.arrays["0/output"], expected, rtol=1e-10)


def test_attention_to_another_sequence() -> None:
    query, value = random(2, 4, 6), random(2, 3, 6, seed=2)
    model = side(model=randomized(Attending()))
    observation = model.observe({"input": query, "input1": value}, training=False)
    weights = {name.rpartition("/")[2]: array for name, array in model.weights().items()}
    assert observation.calls[0].inputs == 2
    np.testing.assert_array_equal(observation.arrays["0/input1"], value)
    expected = attention(query, value, weights, 2)
    np.testing.assert_allclose(observation.arrays["0/output"], expected, rtol=1e-10)


def test_separate_projections_have_the_same_roles() -> None:
    packed = side(model=nn.MultiheadAttention(6, 2))
    separate = side(model=nn.MultiheadAttention(6, 2, kdim=5, vdim=4))
    assert set(packed.weights()) == set(separate.weights())
    assert separate.weights()["model/key_kernel"].shape == (5, 6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_stack_is_as_many_layers(kind: str, bidirectional: bool) -> None:
    torch.manual_seed(0)
    layer = getattr(nn, kind)(
        3, 4, num_layers=3, batch_first=True, bidirectional=bidirectional, dropout=0.4
    ).double()
    model = side(model=layer)
    x = random(2, 5, 3)
    observation = model.observe({"input": x}, training=True)
    assert kinds(observation) == [kind.lower(), "dropout", kind.lower(), "dropout", kind.lower()]
    assert [call.layer for call in observation.anchors] == ["model.0", "model.1", "model.2"]
    assert all(call.settings["active"] for call in observation.calls if call.kind == "dropout")
    layer.dropout = 0.0
    sequence, states = layer(torch.from_numpy(x))
    np.testing.assert_allclose(observation.arrays["4/output"], sequence.detach(), rtol=1e-12)
    np.testing.assert_allclose(observation.arrays["output"], sequence.detach(), rtol=1e-12)
    hidden = states[0] if kind == "LSTM" else states
    np.testing.assert_allclose(observation.arrays["output1"], hidden.detach(), rtol=1e-12)


def test_a_stack_with_first_states() -> None:
    torch.manual_seed(0)

    class Continued(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 4, num_layers=2)

        def forward(self, x: Any, h: Any, c: Any) -> Any:
            return self.lstm(x, (h, c))[0]

    layer = Continued().double()
    arrays = [random(5, 2, 3), random(2, 2, 4), random(2, 2, 4, seed=5)]
    names = ("input", "input1", "input2")
    observation = side(model=layer).observe(dict(zip(names, arrays, strict=True)), training=False)
    expected = layer(*map(torch.from_numpy, arrays))
    np.testing.assert_allclose(observation.arrays["output"], expected.detach(), rtol=1e-12)
    np.testing.assert_array_equal(observation.arrays["1/input1"], arrays[1][1])
    np.testing.assert_array_equal(observation.arrays["1/input2"], arrays[2][1])


class ConvNet(nn.Module):
    """Layers, functions, an activation in place, a residual sum and a tail of dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.fc1 = nn.Linear(4 * 3 * 3, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        x = self.relu(self.bn(self.conv1(x)))
        x = x + torch.tanh(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = torch.flatten(x, 1)
        x = F.leaky_relu(self.fc1(x), 0.2)
        x = F.dropout(x, 0.3, self.training)
        return self.fc2(x)


IMAGES = random(5, 2, 6, 6)
CLASSES = np.array([0, 2, 1, 1, 0])


def by_hand(model: Any, x: Any) -> dict[str, Any]:
    """Return every value between the layers of `ConvNet`, in training mode without dropout."""
    values: dict[str, Any] = {"x": torch.from_numpy(x).requires_grad_()}
    values["conv1"] = F.conv2d(values["x"], model.conv1.weight, model.conv1.bias, padding=1)
    values["bn"] = F.batch_norm(
        values["conv1"], None, None, model.bn.weight, model.bn.bias, training=True
    )
    values["relu"] = F.relu(values["bn"])
    values["conv2"] = F.conv2d(values["relu"], model.conv2.weight, model.conv2.bias, padding=1)
    values["sum"] = values["relu"] + values["conv2"].tanh()
    values["pool"] = F.max_pool2d(values["sum"], 2)
    values["flat"] = values["pool"].reshape(len(x), -1)
    values["fc1"] = values["flat"] @ model.fc1.weight.T + model.fc1.bias
    values["leaky"] = torch.where(values["fc1"] > 0, values["fc1"], 0.2 * values["fc1"])
    values["fc2"] = values["leaky"] @ model.fc2.weight.T + model.fc2.bias
    return values


def test_all_calls_of_a_convolutional_network() -> None:
    model = randomized(ConvNet().double())
    observation = side(model=model).observe({"input": IMAGES}, training=True)
    values = by_hand(model, IMAGES)
    expected = ["conv1", "bn", "relu", "conv2", None, "sum", "pool", "flat", "fc1", "leaky"]
    names = ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "torch.tanh", "Tensor.add"]
    names += ["F.max_pool2d", "torch.flatten", "Linear", "F.leaky_relu", "F.dropout", "Linear"]
    assert [call.name for call in observation.calls] == names
    for number, name in enumerate(expected):
        if name is None:
            continue
        array = values[name].detach().numpy()
        if array.ndim == 4:
            array = array.transpose(0, 2, 3, 1)
        # What a later activation in place has not spoiled.
        made = observation.arrays[f"{number}/output"]
        np.testing.assert_allclose(made, array, rtol=1e-10, err_msg=name)
    assert call_of(observation, "F.leaky_relu").settings == {
        "function": "leaky_relu", "slope": 0.2
    }  # fmt: skip
    assert call_of(observation, "F.dropout").settings == {"rate": 0.3, "active": True}
    flatten = call_of(observation, "torch.flatten")
    assert flatten.settings == {"from": [5, 3, 3, 4], "to": [5, 36], "order": "channels_first"}


def test_gradients_at_weights_inputs_and_outputs() -> None:
    model = randomized(ConvNet().double())
    adapter = side(model=model, loss=nn.CrossEntropyLoss())
    observation = adapter.observe({"input": IMAGES}, training=True, targets={"y": CLASSES})
    values = by_hand(model, IMAGES)
    for value in values.values():
        value.retain_grad()
    loss = F.cross_entropy(values["fc2"], torch.from_numpy(CLASSES))
    loss.backward()
    arrays = observation.arrays
    np.testing.assert_allclose(arrays["loss"], loss.item())
    np.testing.assert_allclose(arrays["output_gradient"], values["fc2"].grad)
    last = (0, 2, 3, 1)
    at_input = {"0": values["x"], "1": values["conv1"]}
    at_output = {"0": values["conv1"], "1": values["bn"], "3": values["conv2"]}
    for number, value in at_input.items():
        expected = value.grad.numpy().transpose(last)
        np.testing.assert_allclose(arrays[f"{number}/input_gradient"], expected, rtol=1e-9)
    for number, value in at_output.items():
        expected = value.grad.numpy().transpose(last)
        np.testing.assert_allclose(arrays[f"{number}/output_gradient"], expected, rtol=1e-9)
    # conv2 has its input gradient alone; the residual path goes around it.
    (alone,) = torch.autograd.grad(
        F.conv2d(values["relu"], model.conv2.weight, padding=1),
        values["relu"],
        values["conv2"].grad,
    )
    expected = alone.numpy().transpose(last)
    np.testing.assert_allclose(arrays["3/input_gradient"], expected, rtol=1e-9)
    gradient = model.conv1.weight.grad.numpy().transpose(2, 3, 1, 0)
    model.zero_grad()
    np.testing.assert_allclose(arrays["gradient/conv1/kernel"], gradient, rtol=1e-9)


@pytest.mark.parametrize("name", ["conv1/kernel", "bn/scale", "fc1/bias", "fc2/kernel"])
def test_a_gradient_by_finite_differences(name: str) -> None:
    adapter = side(model=randomized(ConvNet()), loss=nn.CrossEntropyLoss())
    given = {"training": True, "targets": {"y": CLASSES}}
    gradient = adapter.observe({"input": IMAGES}, **given).arrays[f"gradient/{name}"]
    weights = adapter.weights()[name]
    place = np.unravel_index(np.argmax(np.abs(gradient)), gradient.shape)
    losses = []
    for step in (1e-5, -1e-5):
        moved = weights.copy()
        moved[place] += step
        adapter.load({name: moved})
        losses.append(adapter.observe({"input": IMAGES}, **given).arrays["loss"])
    assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(gradient[place], rel=1e-6)


def test_dropout_is_drawn_only_when_wanted() -> None:
    model = nn.Sequential(nn.Linear(8, 50), nn.Dropout(0.5), nn.Linear(50, 2))
    adapter = side(model=model)
    x = {"input": random(4, 8)}
    without = adapter.observe(x, training=True)
    np.testing.assert_array_equal(without.arrays["1/output"], without.arrays["0/output"])
    assert without.calls[1].settings == {"rate": 0.5, "active": True}
    drawn = adapter.observe(x, training=True, dropout=True)
    kept = drawn.arrays["1/output"] != 0
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_allclose(drawn.arrays["1/output"][kept], 2 * without.arrays["0/output"][kept])
    assert adapter.observe(x, training=False).calls[1].settings["active"] is False


def test_functional_dropout_without_its_argument_is_active_in_evaluation() -> None:
    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.dropout(x, 0.25)

    x = random(3, 4)
    observation = side(model=Net()).observe({"input": x}, training=False)
    assert observation.calls[0].settings == {"rate": 0.25, "active": True}
    np.testing.assert_array_equal(observation.arrays["output"], x)


def _by_comparison(x: Any) -> Any:
    mask = (torch.rand(x.shape) > 0.25).to(x.dtype)
    return x * mask / 0.75


def _by_bernoulli(x: Any) -> Any:
    mask = x.new_empty(x.shape).bernoulli_(0.75)
    return x * mask.div_(0.75)


def _by_floor(x: Any) -> Any:
    drawn = 0.75 + torch.rand(len(x), 1, dtype=x.dtype)
    return x.div(0.75) * drawn.floor_()


def _by_filling(x: Any) -> Any:
    return x.masked_fill(torch.rand_like(x) < 0.25, 0.0) / 0.75


def _by_choosing(x: Any) -> Any:
    return torch.where(torch.rand_like(x) > 0.25, x / 0.75, torch.zeros_like(x))


def _by_a_bool_mask(x: Any) -> Any:
    return ~(torch.rand_like(x) < 0.25) * x * (1 / 0.75)


HAND_WRITTEN = [
    _by_comparison,
    _by_bernoulli,
    _by_floor,
    _by_filling,
    _by_choosing,
    _by_a_bool_mask,
]


class HandWritten(nn.Module):
    """Drops out with a function, as many write it, in every mode."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


@pytest.mark.parametrize("function", HAND_WRITTEN)
def test_dropout_by_hand_is_recorded_and_drawn_only_when_wanted(function: Any) -> None:
    adapter = side(model=HandWritten(function))
    x = random(40, 25)
    observation = adapter.observe({"input": x}, training=False)
    np.testing.assert_allclose(observation.arrays["output"], x, rtol=1e-12)
    (call,) = [each for each in observation.calls if each.kind == "dropout"]
    assert call.settings == {"rate": pytest.approx(0.25), "active": True}
    drawn = adapter.observe({"input": x}, training=False, dropout=True)
    assert 0.05 < (drawn.arrays["output"] == 0).mean() < 0.5


def test_a_dropout_inside_of_a_layer_with_weights_is_recorded() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x: Any) -> Any:
            return F.dropout(x, 0.25) * self.weight

    adapter = side(model=nn.Sequential(Scale(), nn.Identity()))
    observation = adapter.observe({"input": random(3, 4)}, training=False)
    np.testing.assert_array_equal(observation.arrays["output"], random(3, 4))
    assert call_of(observation, "F.dropout").settings == {"rate": 0.25, "active": True}


def test_a_model_that_is_random_for_another_reason_stays_so() -> None:
    def shuffled(x: Any) -> Any:
        return x[:, torch.rand(x.shape[1]).argsort()]

    adapter = side(model=HandWritten(shuffled))
    x = {"input": random(3, 25)}
    first = adapter.observe(x, training=False)
    with pytest.raises(ModelError, match="what is random must be off in evaluation mode"):
        check_repeats(first, adapter.repeat(x), "float64")


def test_dropout_inside_of_attention_is_switched_off() -> None:
    adapter = side(model=randomized(Attending(dropout=0.5)))
    x = {"input": random(2, 4, 6)}
    trained = adapter.observe(x, training=True)
    evaluated = adapter.observe(x, training=False)
    np.testing.assert_array_equal(trained.arrays["output"], evaluated.arrays["output"])
    assert (trained.calls[0].settings["rate"], trained.calls[0].settings["active"]) == (0.5, True)
    drawn = adapter.observe(x, training=True, dropout=True)
    assert not np.array_equal(drawn.arrays["output"], evaluated.arrays["output"])


def test_noise_is_its_mean_unless_it_is_drawn() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Any) -> Any:
            return x + torch.randn_like(x) + torch.normal(2.0, 1.0, x.shape)

    x = random(3, 4)
    adapter = side(model=Noisy())
    observation = adapter.observe({"input": x}, training=True)
    np.testing.assert_allclose(observation.arrays["output"], x + 2)
    drawn = adapter.observe({"input": x}, training=True, dropout=True)
    assert not np.allclose(drawn.arrays["output"], x + 2)
    again = adapter.observe({"input": x}, training=True, dropout=True)
    np.testing.assert_array_equal(drawn.arrays["output"], again.arrays["output"])


def test_a_transformer_layer_is_recorded_by_its_parts() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True).double()
    x = random(2, 5, 8)
    observation = side(model=layer).observe({"input": x}, training=False)
    anchors = [call.layer for call in observation.anchors]
    assert anchors == ["norm1", "self_attn", "norm2", "linear1", "linear2"]
    expected = layer.eval()(torch.from_numpy(x))
    np.testing.assert_allclose(observation.arrays["output"], expected.detach(), rtol=1e-10)


def test_a_module_with_weights_of_its_own() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.full((4,), 3.0))

        def forward(self, x: Any) -> Any:
            return torch.sin(x) * self.gain

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start = nn.Parameter(torch.ones(4))
            self.scaled = Scaled()

        def forward(self, x: Any) -> Any:
            return self.scaled(x + self.start)

    adapter = side(model=Net())
    x = random(2, 4)
    observation = adapter.observe({"input": x}, training=False)
    assert [(c.layer, c.name, c.kind, c.anchor, c.within) for c in observation.calls] == [
        ("", "Tensor.add", "merge", False, None), ("scaled", "Scaled", "other", True, None),
        ("", "torch.sin", "function", False, 1), ("", "Tensor.mul", "merge", False, 1),
    ]  # fmt: skip
    np.testing.assert_allclose(observation.arrays["2/output"], np.sin(x + 1))
    forced = {"1/input": x, "1/output": x, "2/output": np.full_like(x, 2.0)}
    again = adapter.observe({"input": x}, training=False, forced=forced)
    np.testing.assert_array_equal(again.arrays["3/output"], np.full_like(x, 6.0))
    np.testing.assert_allclose(observation.arrays["output"], 3 * np.sin(x + 1))
    assert set(adapter.weights()) == {"model/start", "scaled/gain"}


def test_several_outputs_and_a_dict() -> None:
    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            return {"doubled": x * 2, "halves": (x / 2, x - 1)}

    x = random(2, 3)
    adapter = side(model=Net(), loss=lambda output, y: (output["halves"][0] - y).square())
    targets = {"y": random(2, 3, seed=4)}
    observation = adapter.observe({"input": x}, training=True, targets=targets)
    np.testing.assert_allclose(observation.arrays["output"], x * 2)
    np.testing.assert_allclose(observation.arrays["output1"], x / 2)
    np.testing.assert_allclose(observation.arrays["output2"], x - 1)
    np.testing.assert_allclose(observation.arrays["loss"], np.mean((x / 2 - targets["y"]) ** 2))
    kinds_and_settings = [(call.kind, call.settings) for call in observation.calls]
    assert kinds_and_settings[0] == ("rescaling", {"scale": 2, "offset": 0.0})
    assert kinds_and_settings[2] == ("rescaling", {"scale": 1.0, "offset": -1})


@pytest.mark.parametrize(
    ("function", "kind", "settings"),
    [
        (lambda x: F.gelu(x, approximate="tanh"), "activation",
         {"function": "gelu", "approximate": True}),
        (lambda x: x.softmax(1), "activation", {"function": "softmax", "axis": -3}),
        (lambda x: F.avg_pool2d(x, 2, padding=1), "pool",
         {"pooling": "average", "size": [2, 2], "strides": [2, 2],
          "padding": [[1, 1], [1, 1]], "count_padding": True}),
        (lambda x: F.pad(x, (1, 2, 0, 3)), "padding", {"padding": [[2, 0]]}),
        (lambda x: torch.cat((x, x), 1), "merge", {"function": "concatenate", "axis": -3}),
        (lambda x: 1 - x, "rescaling", {"scale": -1.0, "offset": 1}),
        (lambda x: x / 4, "rescaling", {"scale": 0.25, "offset": 0.0}),
        (lambda x: x.mean((1, 2)), "reduction",
         {"function": "mean", "axis": [-3, -2], "keepdims": False}),
        (lambda x: x.var(-1), "reduction",
         {"function": "variance", "axis": [-1], "unbiased": True, "keepdims": False}),
        (lambda x: x.std(False), "reduction",
         {"function": "deviation", "axis": [-4, -3, -2, -1], "unbiased": False,
          "keepdims": False}),
        (lambda x: torch.var(x, axis=1, correction=0, keepdims=True), "reduction",
         {"function": "variance", "axis": [-3], "unbiased": False, "keepdims": True}),
        (lambda x: x / torch.tensor(4.0), "rescaling", {"scale": 0.25, "offset": 0.0}),
        (lambda x: x[:, -1], "function", {"index": ":, -1"}),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), "resize",
         {"scale_factor": 2, "interpolation": "bilinear", "align_corners": False,
          "antialias": False}),
    ],
)  # fmt: skip
def test_settings_of_functions(function: Any, kind: str, settings: Any) -> None:
    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            return function(x)

    observation = side(model=Net()).observe({"input": random(2, 4, 5, 6)}, training=False)
    (call,) = observation.calls
    if kind == "padding":
        # Nothing tells here that the channels are first: the last axis is not a spatial one.
        settings = {"pad": [1, 2, 0, 3]}
    assert (call.kind, call.settings) == (kind, settings)


def test_arguments_may_be_given_by_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 6)
            self.drop = nn.Dropout()
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
            self.gru = nn.GRU(6, 3, batch_first=True)

        def forward(self, x: Any) -> Any:
            x = self.drop(input=self.layer(input=x))
            x = F.dropout(input=torch.relu(input=x), p=0.5)
            x = self.attention(value=x, key=x, query=x)[0]
            return self.gru(input=x)[0]

    torch.manual_seed(0)
    model = Named().double()
    x = random(2, 5, 4)
    adapter = side(model=model, loss=nn.MSELoss())
    observation = adapter.observe({"input": x}, training=True, targets={"y": random(2, 5, 3)})
    hidden = torch.relu(model.layer(torch.from_numpy(x)))
    expected = model.gru(model.attention(hidden, hidden, hidden)[0])[0]
    np.testing.assert_allclose(observation.arrays["output"], expected.detach(), rtol=1e-10)
    kinds_of_calls = ["dense", "dropout", "activation", "dropout", "attention", "gru"]
    assert kinds(observation) == kinds_of_calls


def test_weights_are_loaded_and_read_back() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {
            "dense": nn.Linear(3, 4),
            "conv": nn.Conv2d(2, 6, 3),
            "depthwise": nn.Conv1d(4, 8, 3, groups=4),
            "transposed": nn.ConvTranspose2d(2, 3, 3),
            "norm": nn.BatchNorm1d(5),
            "images": nn.LayerNorm((2, 3, 4)),
            "words": nn.Embedding(7, 3),
            "lstm": nn.LSTM(2, 3, num_layers=2, bidirectional=True),
            "gru": nn.GRU(2, 3),
            "cell": nn.GRUCell(2, 3),
            "attention": nn.MultiheadAttention(4, 2),
            "slope": nn.PReLU(3),
        }
    )
    adapter = side(model=model)
    first = adapter.weights()
    count = sum(tensor.numel() for tensor in model.parameters())
    statistics = 2 * 5
    assert sum(array.size for array in first.values()) == count + statistics
    changed = {name: random(*array.shape, seed=3) for name, array in first.items()}
    adapter.load(changed)
    for name, array in adapter.weights().items():
        np.testing.assert_array_equal(array, changed[name], err_msg=name)
    assert first["images/scale"].shape == (3, 4, 2)
    # In the user's model nothing has changed: float64 is held apart.
    assert model["dense"].weight.dtype == torch.float32
