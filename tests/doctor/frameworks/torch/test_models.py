"""What users give as a model of PyTorch, and what they get for what cannot be used."""

import functools
import json
from typing import Any

import numpy as np
import pytest
from support.torch_sides import forced_of, random, randomized, side

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from triptych.doctor.frameworks.adapter import ModelError, adapter_for  # noqa: E402
from triptych.doctor.frameworks.torch.adapter import accepts, double_precision  # noqa: E402
from triptych.doctor.frameworks.torch.operations import module_settings  # noqa: E402
from triptych.doctor.observation import Description  # noqa: E402

pytestmark = pytest.mark.framework

X = random(4, 3)


def from_scratch() -> tuple[Any, list[Any]]:
    """Return a model that is a function of tensors, and these tensors."""
    generator = torch.Generator().manual_seed(0)

    def tensor(*shape: int) -> Any:
        return torch.randn(shape, generator=generator, requires_grad=True)

    words, gain = tensor(9, 3), tensor(3)
    w1, b1 = tensor(3, 5), tensor(5)
    w2, b2 = tensor(2, 5), tensor(2)

    def model(ids: Any) -> Any:
        x = F.layer_norm(words[ids], (3,), gain)
        hidden = torch.relu(x.mean(1) @ w1 + b1)
        return b2 + hidden @ w2.T

    return model, [words, gain, w1, b1, w2, b2]


IDS = np.array([[1, 0, 8], [3, 3, 2], [4, 5, 6], [7, 1, 1]])


def test_a_function_of_tensors_has_layers() -> None:
    model, tensors = from_scratch()
    assert accepts(model)
    optimizer = torch.optim.SGD(tensors, lr=0.5)
    adapter = side(model=model, optimizer=optimizer, loss=nn.CrossEntropyLoss())
    for _ in range(2):
        inputs = adapter.inputs({"x": IDS})
    described = adapter.description().layers
    assert [(layer.path, layer.kind, layer.roles) for layer in described] == [
        ("words", "embedding", ("embeddings",)),
        ("gain", "layer_norm", ("scale",)),
        ("w1", "dense", ("kernel", "bias")),
        ("w2", "dense", ("kernel", "bias")),
    ]
    targets = {"y": np.array([0, 1, 1, 0])}
    observation = adapter.observe(inputs, training=True, targets=targets)
    assert [(call.layer, call.kind) for call in observation.calls if call.anchor] == [
        ("words", "embedding"), ("gain", "layer_norm"), ("w1", "dense"), ("w2", "dense")
    ]  # fmt: skip
    assert not [call for call in observation.calls if call.kind == "merge"]
    doubles = [tensor.detach().double().requires_grad_() for tensor in tensors]
    words, gain, w1, b1, w2, b2 = doubles
    x = F.layer_norm(words[torch.from_numpy(IDS)], (3,), gain).mean(1)
    hidden = torch.relu(x @ w1 + b1)
    output = hidden @ w2.T + b2
    F.cross_entropy(output, torch.tensor(targets["y"])).backward()
    arrays = observation.arrays
    np.testing.assert_allclose(arrays["output"], output.detach(), rtol=1e-12)
    first, second = [call.number for call in observation.anchors][2:]
    np.testing.assert_allclose(arrays[f"{first}/input"], x.detach(), rtol=1e-12)
    np.testing.assert_allclose(arrays[f"{first}/output"], (x @ w1 + b1).detach(), rtol=1e-12)
    np.testing.assert_allclose(arrays[f"{second}/output"], output.detach(), rtol=1e-12)
    expected = {
        "words/embeddings": words.grad, "gain/scale": gain.grad, "w1/kernel": w1.grad,
        "w1/bias": b1.grad, "w2/kernel": w2.grad.T, "w2/bias": b2.grad,
    }  # fmt: skip
    for name, gradient in expected.items():
        np.testing.assert_allclose(arrays[f"gradient/{name}"], gradient, atol=1e-12, err_msg=name)
    (after,) = adapter.update([{"w2/kernel": np.ones((5, 2))}]).weights
    np.testing.assert_allclose(after["w2/kernel"], w2.detach().T - 0.5)
    # Forced to itself, nothing changes.
    again = adapter.observe(inputs, training=True, targets=targets, forced=forced_of(observation))
    for name, array in arrays.items():
        np.testing.assert_allclose(again.arrays[name], array, atol=1e-12, err_msg=name)
    _, losses = adapter.train(inputs, targets, 1)
    assert losses == [pytest.approx(float(arrays["loss"]))]


def test_a_module_that_computes_its_layers_itself() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(4, 2, 3, 3))
            self.bias = nn.Parameter(torch.randn(4))
            self.scale = nn.Parameter(torch.randn(1))
            self.out = nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            x = F.conv2d(x, self.kernel, self.bias, stride=2, padding=1)
            return self.out(x.mean((2, 3))) * self.scale

    model = Flat()
    adapter = side(model=model)
    images = random(2, 2, 6, 6)
    inputs = adapter.inputs({"x": images})
    layers = {layer.path: layer for layer in adapter.description().layers}
    assert layers["kernel"].settings["strides"] == [2, 2]
    assert layers["kernel"].roles == ("kernel", "bias")
    assert layers["model"].roles == ("scale",)
    observation = adapter.observe(inputs, training=False)
    call = observation.calls[0]
    assert (call.layer, call.kind, call.settings["padding"]) == ("kernel", "conv", [[1, 1]] * 2)
    np.testing.assert_array_equal(observation.arrays["0/input"], images.transpose(0, 2, 3, 1))
    expected = model.double()(torch.from_numpy(images)).detach()
    np.testing.assert_allclose(observation.arrays["output"], expected, rtol=1e-6)
    weights = adapter.weights()
    adapter.load({"kernel/kernel": np.zeros((3, 3, 2, 4))})
    zeros = adapter.observe(inputs, training=False).arrays["0/output"]
    np.testing.assert_allclose(zeros, np.broadcast_to(weights["kernel/bias"], zeros.shape))


def test_functions_and_objects_that_refer_to_modules() -> None:
    layer = randomized(nn.Linear(3, 2).double())

    class Held:
        def __init__(self) -> None:
            self.parts = {"layer": layer}

        def predict(self, x: Any) -> Any:
            return self.parts["layer"](x)

        def __call__(self, x: Any) -> Any:
            return self.predict(x)

    def scaled(factor: float, x: Any) -> Any:
        return factor * layer(x)

    expected = layer(torch.from_numpy(X)).detach().numpy()
    for model, factor, path in (
        (Held(), 1, "parts.layer"),
        (Held().predict, 1, "parts.layer"),
        (functools.partial(scaled, 3.0), 3, "layer"),
        (lambda x: layer(x), 1, "layer"),
    ):
        assert accepts(model)
        observation = side(model=model).observe({"input": X}, training=False)
        np.testing.assert_allclose(observation.arrays["output"], factor * expected)
        assert [call.layer for call in observation.anchors] == [path]


def test_what_is_no_model() -> None:
    assert not accepts(np.tanh)
    assert not accepts(lambda x: x)
    assert not accepts(3)
    with pytest.raises(ModelError, match="neither a torch"):
        adapter_for({"model": lambda x: x}, "native")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LazyLinear(3), "lazy layer"),
        (lambda: torch.jit.trace(nn.Linear(3, 2), torch.ones(1, 3)), "TorchScript"),
        (lambda: nn.Linear(3, 2, device="meta"), "the model is on meta; move it to the CPU"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_models_that_cannot_be_used(make: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        side(model=make())


def test_outputs_and_preprocessing_that_cannot_be_used() -> None:
    class Wrong(nn.Module):
        def forward(self, x: Any) -> Any:
            return "wrong"

    with pytest.raises(ModelError, match="the model returns str"):
        side(model=Wrong()).observe({"input": X}, training=False)
    with pytest.raises(ModelError, match=r"preprocess\(\) returns ndarray"):
        side(model=Wrong(), preprocess=lambda x: x).inputs({"x": X})
    with pytest.raises(ModelError, match="the loss returns float"):
        side(model=nn.Linear(3, 2), loss=lambda output, y: 1.0).observe(
            {"input": X}, training=True, targets={"y": X}
        )
    with pytest.raises(ModelError, match="has no weight other/kernel"):
        side(model=nn.Linear(3, 2)).load({"other/kernel": X})
    with pytest.raises(ModelError, match=r"model/kernel: has the shape \(3, 2\), not \(2, 3\)"):
        side(model=nn.Linear(3, 2)).load({"model/kernel": np.ones((2, 3))})


def test_inputs_are_what_the_model_gets() -> None:
    batch = {"x": np.arange(24, dtype="uint8").reshape(2, 2, 2, 3), "x2": X[:2], "y": X[:2]}

    def preprocess(images: Any, others: Any) -> Any:
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, others

    plain = side("native", model=nn.Linear(3, 2)).inputs(batch)
    assert plain["input"].dtype == np.uint8
    made = side("native", model=nn.Linear(3, 2), preprocess=lambda x, _: preprocess(x, _)[0])
    np.testing.assert_array_equal(
        made.inputs(batch)["input"], batch["x"].transpose(0, 3, 1, 2) / np.float32(255)
    )
    # In float64 even where the user asks for float32.
    made = side(model=nn.Linear(3, 2), preprocess=lambda x, _: preprocess(x, _)[0])
    expected = batch["x"].transpose(0, 3, 1, 2) / 255
    np.testing.assert_array_equal(made.inputs(batch)["input"], expected)


def test_float64_although_the_user_asks_for_float32() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)
            self.gain = torch.tensor(0.1)  # neither a parameter nor a buffer

        def forward(self, x: Any) -> Any:
            x = x.float().to(torch.float32) * torch.ones(3, dtype=torch.float32)
            return self.layer(x) * self.gain.type(torch.float32)

    model = randomized(Net())
    targets = {"y": random(4, 2)}
    observation = side(model=model, loss=F.mse_loss).observe(
        {"input": X}, training=True, targets=targets
    )
    arrays = observation.arrays
    assert {array.dtype for array in arrays.values()} == {np.dtype("float64")}
    kernel, bias = model.layer.weight.detach().double(), model.layer.bias.detach().double()
    expected = (X @ kernel.numpy().T + bias.numpy()) * np.float64(np.float32(0.1))
    np.testing.assert_allclose(arrays["output"], expected, rtol=1e-12)
    assert model.layer.weight.dtype == torch.float32


def test_two_adapters_of_one_model() -> None:
    # As if build() returned a model that was made once.
    model = randomized(nn.Linear(3, 2))
    optimizer = torch.optim.Adam(model.parameters())
    native = side("native", model=model, optimizer=optimizer)
    double = side("float64", model=model, optimizer=optimizer)
    double.load({"model/kernel": np.full((3, 2), 0.1)})
    double.update([{"model/kernel": np.ones((3, 2))}])
    assert native.weights()["model/kernel"].dtype == np.float32
    np.testing.assert_array_equal(native.weights()["model/kernel"], model.weight.detach().T)
    assert double.weights()["model/kernel"][0, 0] == 0.1
    native.update([{"model/kernel": np.ones((3, 2), "float32")}])


def test_new_weights_are_double() -> None:
    with double_precision():
        assert nn.Linear(3, 2).weight.dtype == torch.float64
    assert nn.Linear(3, 2).weight.dtype == torch.float32


def test_the_description() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, padding="same")
            self.norm = nn.BatchNorm2d(2, eps=1e-3)
            self.act = nn.LeakyReLU()
            self.head = nn.Linear(2, 2)
            self.head.requires_grad_(False)

    model = Net()
    groups = [{"params": model.conv.parameters()}, {"params": model.norm.parameters(), "lr": 0.5}]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)

    def my_loss(output: Any, target: Any) -> Any:
        return (output - target).abs().mean()

    adapter = side(
        "native", model=model, optimizer=optimizer, schedule=schedule, loss=my_loss,
        metric=F.l1_loss, batch_size=8,
    )  # fmt: skip
    described = adapter.description()
    # It passes between processes.
    described = Description.from_json(json.loads(json.dumps(described.to_json())))
    assert (described.framework, described.model, described.dtype) == ("torch", "Net", "float32")
    conv, norm, act, head = described.layers
    assert conv.settings["padding"] == [[1, 1], [1, 1]]
    assert (norm.path, norm.type, norm.kind) == ("norm", "BatchNorm2d", "batch_norm")
    assert norm.settings == {"epsilon": 1e-3, "momentum": 0.1, "unbiased_variance": True}
    assert norm.written == {"epsilon": "eps=0.001", "momentum": "momentum=0.1"}
    assert norm.roles == ("scale", "offset", "mean", "variance")
    assert act.settings == {"function": "leaky_relu", "slope": 0.01}
    assert act.written == {"slope": "negative_slope=0.01", "function": "nn.LeakyReLU()"}
    assert head.frozen
    assert not conv.frozen
    assert described.optimizer.type == "AdamW"
    assert described.optimizer.settings["weight_decay"] == 0.01
    assert described.optimizer.settings["groups"] == [{}, {"lr": 0.5}]
    assert (described.schedule.type, described.schedule.unit) == ("StepLR", "epoch")
    assert described.schedule.settings["step_size"] == 3
    assert "abs().mean()" in described.loss.source
    assert (described.metric.type, described.metric.source) == ("l1_loss", "")
    assert described.metric.settings["reduction"] == "mean"
    assert described.batch_size == 8
    assert "callbacks" not in described.given


def test_lower_precision_is_named() -> None:
    class Mixed(nn.Linear):
        def forward(self, x: Any) -> Any:
            with torch.autocast("cpu"):
                return super().forward(x)

    assert side("native", model=Mixed(3, 2)).description().precision == "autocast"
    half = side("native", model=nn.Linear(3, 2).bfloat16())
    assert half.description().precision == "weights in bfloat16"
    assert side("native", model=nn.Linear(3, 2)).description().precision == ""


def test_a_compiled_model_is_observed_by_its_layers_and_as_a_whole() -> None:
    def wrong(graph: Any, _: Any) -> Any:
        # A compiler with a mistake: its results are too large.
        return lambda *args: tuple(each * 1.25 for each in graph.forward(*args))

    model = randomized(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.9), nn.Linear(4, 2)))
    compiled = torch.compile(model, backend=wrong)
    parts = {
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "loss": lambda output, y: (output * y).sum(),
    }
    targets = {"y": random(4, 2)}
    plain = side("native", model=model, **parts)
    adapter = side("native", model=compiled, **parts)
    right = plain.observe({"input": X}, training=True, targets=targets)
    made = adapter.observe({"input": X}, training=True, targets=targets)
    assert [call.layer for call in made.calls] == ["0", "1", "2", "3"]
    np.testing.assert_array_equal(made.arrays["3/output"], right.arrays["3/output"])
    for name in ("output", "loss", "gradient/0/kernel", "gradient/3/bias"):
        np.testing.assert_array_equal(made.arrays[name], right.arrays[name], err_msg=name)
        by_code = made.arrays[f"compiled/{name}"]
        expected = 1.25 * right.arrays[name]
        # A small element of a sum has the rounding of its large terms.
        rounding = np.finfo(np.float32).eps * np.abs(expected).max()
        np.testing.assert_allclose(by_code, expected, 1e-6, rounding, err_msg=name)
    assert (plain.description().compiled, adapter.description().compiled) == (False, True)
    weights, losses = adapter.train({"input": X}, targets, 1)
    assert losses == [pytest.approx(1.25 * right.arrays["loss"])]
    expected = plain.weights()["3/bias"] - 0.125 * right.arrays["gradient/3/bias"]
    np.testing.assert_allclose(weights["3/bias"], expected, 1e-6)
    in_double = side(model=compiled, **parts).observe({"input": X}, training=False)
    assert "compiled/output" not in in_double.arrays
    assert model[2].p == 0.9


def test_weights_that_are_computed_of_others() -> None:
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    adapter = side(model=model)
    assert adapter.description().layers[0].kind == "other"
    assert "model/parametrizations.weight.original0" in adapter.weights()
    observation = adapter.observe({"input": X}, training=False)
    expected = model(torch.from_numpy(X).float()).detach()
    np.testing.assert_allclose(observation.arrays["output"], expected, rtol=1e-5)


def test_tied_weights() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(5, 3)
            self.out = nn.Linear(3, 5, bias=False)
            self.out.weight = self.words.weight

        def forward(self, ids: Any) -> Any:
            return self.out(self.words(ids))

    adapter = side(model=Tied(), loss=lambda output, y: output.sum())
    weights = adapter.weights()
    assert list(weights) == ["words/embeddings"]
    ids = np.array([[0, 1]])
    observation = adapter.observe({"input": ids}, training=True, targets={"y": X})
    assert [call.layer for call in observation.anchors] == ["words"]
    words = weights["words/embeddings"]
    np.testing.assert_allclose(observation.arrays["output"], words[ids] @ words.T)
    # Each row is an output, and the first two are inputs, too.
    expected = np.repeat(words[ids[0]].sum(0)[None], 5, 0)
    expected[ids[0]] += words.sum(0)
    np.testing.assert_allclose(observation.arrays["gradient/words/embeddings"], expected)


def test_a_layer_that_is_called_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Any) -> Any:
            return self.layer(torch.sin(self.layer(x)))

    observation = side(model=Twice()).observe({"input": X}, training=False)
    assert [call.layer for call in observation.anchors] == ["layer", "layer"]
    np.testing.assert_allclose(
        observation.arrays["2/input"], np.sin(observation.arrays["0/output"])
    )


def test_modes_gradients_and_random_numbers_are_put_back() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5), nn.BatchNorm1d(2))
    model[2].eval()
    model[0].weight.grad = torch.ones(2, 3)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    side("native", model=model, loss=nn.MSELoss()).observe(
        {"input": X.astype("float32")}, training=True, targets={"y": X[:, :2]}, dropout=True
    )
    assert torch.rand(1) == expected
    assert [module.training for module in model] == [True, True, False]
    np.testing.assert_array_equal(model[0].weight.grad, np.ones((2, 3)))
    assert "forward" not in vars(model[0])


def test_layers_whose_forward_pass_is_the_users() -> None:
    class LastStep(nn.LSTM):
        def forward(self, x: Any) -> Any:
            return super().forward(x)[0][:, -1]

    class Doubled(nn.Linear):
        def forward(self, x: Any) -> Any:
            return 2 * super().forward(x)

    class SelfAttention(nn.MultiheadAttention):
        def forward(self, x: Any) -> Any:
            return super().forward(x, x, x)[0]

    layers = [
        SelfAttention(3, 1, batch_first=True),
        LastStep(3, 4, batch_first=True),
        Doubled(4, 2),
    ]
    model = randomized(nn.Sequential(*layers).double())
    x = random(2, 5, 3)
    observation = side(model=model).observe({"input": x}, training=False)
    assert [call.kind for call in observation.anchors] == ["attention", "lstm", "dense"]
    expected = model(torch.from_numpy(x)).detach()
    np.testing.assert_allclose(observation.arrays["output"], expected, rtol=1e-12)
    stacked = LastStep(3, 4, num_layers=2, batch_first=True)
    observation = side(model=stacked).observe({"input": x}, training=False)
    assert [call.kind for call in observation.anchors] == ["other"]


@pytest.mark.parametrize(
    ("module", "kind"), [(nn.LSTM(3, 4), "lstm"), (nn.GRU(3, 4), "gru"), (nn.GRUCell(3, 4), "gru")]
)
def test_the_functions_of_gates_are_shown_though_they_cannot_be_chosen(module, kind):
    settings, written = module_settings(module, kind)
    assert settings["activation"] == "tanh"
    assert settings["recurrent_activation"] == "sigmoid"
    assert "activation" not in written
