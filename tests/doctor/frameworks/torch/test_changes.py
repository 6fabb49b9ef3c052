"""Changes of a PyTorch side that are tried: the numbers are those of a user who wrote this."""

import copy
from typing import Any

import numpy as np
import pytest
from support.torch_sides import random, randomized, side

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.optim import lr_scheduler  # noqa: E402

from triptych.doctor.frameworks.adapter import Unsupported  # noqa: E402
from triptych.doctor.observation import Change  # noqa: E402

pytestmark = pytest.mark.framework

IMAGES = random(3, 2, 6, 8)
VECTORS = random(5, 4)
SEQUENCES = random(3, 5, 4)


def outputs(model: Any, x: Any, *changes: Change, training: bool = False) -> Any:
    """Return the output before the changes, with them, and after they were undone."""
    adapter = side(model=model)
    made = [adapter.observe({"input": x}, training=training).arrays["output"]]
    adapter.change(changes)
    made.append(adapter.observe({"input": x}, training=training).arrays["output"])
    adapter.restore()
    made.append(adapter.observe({"input": x}, training=training).arrays["output"])
    return made


def last(output: Any) -> Any:
    """Return PyTorch's images as an array with channels last."""
    array = output.detach().numpy()
    return array.transpose(0, *range(2, array.ndim), 1) if array.ndim > 3 else array


def check(model: Any, x: Any, expected: Any, *changes: Change, training: bool = False) -> None:
    """Check that a changed model computes what is expected, and not before or afterwards."""
    before, changed, after = outputs(model, x, *changes, training=training)
    np.testing.assert_allclose(changed, expected, rtol=1e-10, atol=1e-12)
    assert before.shape != expected.shape or not np.allclose(before, expected)
    np.testing.assert_array_equal(before, after)


LAYERS = [
    (nn.LayerNorm(4), nn.LayerNorm(4, eps=0.5), VECTORS, "epsilon", 0.5),
    (nn.BatchNorm1d(4), nn.BatchNorm1d(4, eps=0.5), VECTORS, "epsilon", 0.5),
    (nn.GroupNorm(2, 4), nn.GroupNorm(4, 4), VECTORS, "groups", 4),
    (nn.LeakyReLU(), nn.LeakyReLU(0.3), VECTORS, "slope", 0.3),
    (nn.ELU(), nn.ELU(0.4), VECTORS, "alpha", 0.4),
    (nn.GELU(), nn.GELU(approximate="tanh"), VECTORS, "approximate", True),
    (nn.Softmax(1), nn.Softmax(0), VECTORS, "axis", 0),
    (nn.ReLU(), nn.SiLU(), VECTORS, "function", "silu"),
    (nn.ReLU(), nn.LeakyReLU(0.3), VECTORS, "slope", 0.3),
    (nn.ReLU(), nn.ReLU6(), VECTORS * 9, "max_value", 6.0),
    (nn.Softmax(1), nn.Identity(), VECTORS, "function", "linear"),
    (nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3, stride=2), IMAGES, "strides", [2, 2]),
    (nn.Conv2d(2, 3, 2), nn.Conv2d(2, 3, 2, dilation=2), IMAGES, "dilation", [2, 2]),
    (nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3, padding=1), IMAGES, "padding", [[1, 1], [1, 1]]),
    (nn.MaxPool2d(2), nn.MaxPool2d(2, stride=1), IMAGES, "strides", [1, 1]),
    (nn.AvgPool2d(2), nn.AvgPool2d(3), IMAGES[:, :, :, :6], "size", None),
    (nn.AvgPool2d(3, padding=1), nn.AvgPool2d(3, padding=1, count_include_pad=False), IMAGES,
     "count_padding", False),
    (nn.Upsample((4, 9)), nn.Upsample((4, 9), mode="nearest-exact"), IMAGES,
     "interpolation", "nearest-exact"),
    (nn.Upsample(scale_factor=2, mode="bilinear"),
     nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), IMAGES,
     "align_corners", True),
    (nn.LSTM(4, 2), nn.LSTM(4, 2, batch_first=True), SEQUENCES, "batch_first", True),
    (nn.GRU(4, 2, num_layers=2), nn.GRU(4, 2, num_layers=2, batch_first=True), SEQUENCES,
     "batch_first", True),
    (nn.ZeroPad2d(1), nn.ZeroPad2d((0, 2, 1, 1)), IMAGES, "padding", [[1, 1], [0, 2]]),
]  # fmt: skip


@pytest.mark.parametrize(("model", "other", "x", "setting", "value"), LAYERS)
def test_a_layer_with_another_setting(
    model: Any, other: Any, x: Any, setting: str, value: Any
) -> None:
    if setting == "size":
        value = [3, 3]
        model, other = nn.AvgPool2d(2, stride=3), nn.AvgPool2d(3, stride=3)
    model, other = randomized(model).double(), randomized(other).double()
    other.load_state_dict(model.state_dict())
    expected = other.eval()(torch.from_numpy(x))
    expected = expected[0] if isinstance(expected, tuple) else expected
    path = "model.0" if isinstance(model, nn.GRU) else "model"
    changes = [Change("layer", path, setting, value)]
    check(model, x, last(expected), *changes)


def test_an_activation_with_settings_that_the_user_has_not() -> None:
    settings = [("function", "leaky_relu"), ("slope", 0.3), ("alpha", 2.0)]
    layer = [Change("layer", "1", name, value) for name, value in settings]
    function = [Change("function", "1", name, value) for name, value in settings]
    x = torch.from_numpy(VECTORS)

    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.tanh(x * 2)

    check(Net(), VECTORS, F.leaky_relu(x * 2, 0.3), *function)
    shifted = nn.Sequential(nn.LayerNorm(4, elementwise_affine=False), nn.ELU(0.5))
    expected = F.leaky_relu(F.layer_norm(x, (4,)), 0.3)
    check(shifted, VECTORS, expected, *layer)
    adapter = side(model=shifted)
    # Each by itself is possible, too: it says nothing of a function that lacks it.
    for change in layer:
        adapter.change([change])
        adapter.restore()


def test_a_softmax_over_the_channels_of_images() -> None:
    pool = F.avg_pool2d(torch.from_numpy(IMAGES), 2)
    expected = pool.softmax(1).movedim(1, -1)
    model = nn.Sequential(nn.AvgPool2d(2), nn.Softmax(2))
    check(model, IMAGES, expected, Change("layer", "1", "axis", -1))


def test_a_relu_as_keras_has_it() -> None:
    expected = np.where(VECTORS >= 0.5, VECTORS, 0.2 * (VECTORS - 0.5)).clip(max=1.0)
    settings = [("slope", 0.2), ("threshold", 0.5), ("max_value", 1.0)]
    changes = [Change("layer", "model", name, value) for name, value in settings]
    check(nn.ReLU(), VECTORS, expected, *changes)


def test_a_change_of_a_convolution_that_tensorflow_pads() -> None:
    model = randomized(nn.Conv2d(2, 3, 3, stride=2, padding=1).double())
    x = torch.from_numpy(IMAGES)
    expected = F.conv2d(F.pad(x, (0, 1, 0, 1)), model.weight, model.bias, 2)
    for value in ("same", [[0, 1], [0, 1]]):
        check(model, IMAGES, last(expected), Change("layer", "model", "padding", value))


def test_a_transposed_convolution_that_is_cut_otherwise() -> None:
    model = randomized(nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1).double())
    x = torch.from_numpy(IMAGES)
    full = F.conv_transpose2d(x, model.weight, model.bias, 2)
    expected = full[:, :, :-1, :-1]
    check(model, IMAGES, last(expected), Change("layer", "model", "padding", [[0, 1], [0, 1]]))
    longer = F.conv_transpose2d(x, model.weight, model.bias, 2, output_padding=1)[:, :, 2:, 2:]
    check(model, IMAGES, last(longer), Change("layer", "model", "padding", [[2, -1], [2, -1]]))


@pytest.mark.parametrize("counted", [False, True])
def test_pools_that_are_padded_at_one_end(counted: bool) -> None:
    x = torch.from_numpy(IMAGES)
    pad = (0, 1, 0, 1)
    change = Change("layer", "model", "padding", "same")
    pooled = F.max_pool2d(F.pad(x, pad, value=-1e9), 3, 2)
    check(nn.MaxPool2d(3, 2, padding=1), IMAGES, last(pooled), change)
    total = F.avg_pool2d(F.pad(x, pad), 3, 2)
    if not counted:
        total = total / F.avg_pool2d(F.pad(torch.ones_like(x), pad), 3, 2)
    model = nn.AvgPool2d(3, 2, padding=1, count_include_pad=counted)
    check(model, IMAGES, last(total), change)


def test_the_running_variance_divides_by_n() -> None:
    model = nn.BatchNorm1d(4, momentum=0.3)
    adapter = side(model=model)
    adapter.change([Change("layer", "model", "unbiased_variance", False)])
    arrays = adapter.observe({"input": VECTORS}, training=True).arrays
    np.testing.assert_allclose(
        arrays["buffer/model/variance"], 0.7 + 0.3 * VECTORS.var(0), rtol=1e-12
    )
    np.testing.assert_allclose(arrays["buffer/model/mean"], 0.3 * VECTORS.mean(0))


def test_a_batch_norm_that_stays_in_evaluation_mode() -> None:
    model = randomized(nn.BatchNorm1d(4).double())
    expected = copy.deepcopy(model).eval()(torch.from_numpy(VECTORS))
    change = Change("layer", "model", "training", False)
    check(model, VECTORS, last(expected), change, training=True)


def test_the_order_in_which_images_are_flattened() -> None:
    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.relu(F.max_pool2d(x, 2)).view(len(x), -1)

    pooled = F.max_pool2d(torch.from_numpy(IMAGES), 2)
    expected = pooled.relu().movedim(1, -1).flatten(1)
    check(Net(), IMAGES, expected, Change("function", "2", "order", "channels_last"))
    model = nn.Sequential(nn.MaxPool2d(2), nn.Flatten())
    expected = pooled.movedim(1, -1).flatten(1)
    check(model, IMAGES, expected, Change("layer", "1", "order", "channels_last"))


FUNCTIONS = [
    (lambda x: F.leaky_relu(x), lambda x: F.leaky_relu(x, 0.3), "slope", 0.3),
    (lambda x: F.gelu(x), lambda x: F.gelu(x, approximate="tanh"), "approximate", True),
    (lambda x: x.softmax(1), lambda x: x.softmax(-1), "axis", -1),
    (lambda x: torch.relu(x), lambda x: torch.tanh(x), "function", "tanh"),
    (lambda x: F.log_softmax(x, 1), lambda x: x, "function", "linear"),
    (lambda x: x / 255, lambda x: x / 127.5 - 1, "both", [1 / 127.5, -1.0]),
    (lambda x: F.max_pool2d(x, 3, 2, 1), lambda x: F.max_pool2d(F.pad(x, (0, 1, 0, 1),
     value=-9e9), 3, 2), "padding", [[0, 1], [0, 1]]),
    (lambda x: F.avg_pool2d(x, 3, 2, 1), lambda x: F.avg_pool2d(x, 3, 2, 1, False, False),
     "count_padding", False),
    (lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"),
     lambda x: F.interpolate(x, scale_factor=1.5, mode="nearest-exact"),
     "interpolation", "nearest-exact"),
    (lambda x: x.mean(1, keepdim=True), lambda x: x.sum(1, keepdim=True), "function", "sum"),
    (lambda x: x.var(1, keepdim=True), lambda x: x.var(1, keepdim=True, unbiased=False),
     "unbiased", False),
    (lambda x: x.amax(1, keepdim=True), lambda x: x.amax(2, keepdim=True), "axis", [-3]),
    (lambda x: torch.sin(x), lambda x: 3 * torch.sin(x) + 1, "then", {"scale": 3.0, "offset": 1.0}),
    (lambda x: torch.sin(x), lambda x: torch.sin(x).softmax(1), "then",
     {"function": "softmax", "axis": -1}),
]  # fmt: skip


@pytest.mark.parametrize(("function", "other", "setting", "value"), FUNCTIONS)
def test_a_function_with_another_setting(
    function: Any, other: Any, setting: str, value: Any
) -> None:
    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            return function(self.mark(x))

        def mark(self, x: Any) -> Any:
            return F.max_pool2d(x, 1)  # from here on channels are known to be first

    expected = last(other(torch.from_numpy(IMAGES)))
    changes = [Change("function", "1", setting, value)]
    if setting == "both":
        changes = [
            Change("function", "1", "scale", value[0]),
            Change("function", "1", "offset", value[1]),
        ]
    elif setting == "axis" and value == -1:
        # The canonical axis -1 is PyTorch's axis 1, which the model has already.
        changes = [Change("function", "1", "axis", -2)]
    check(Net(), IMAGES, expected, *changes)


def test_dropout_that_knows_the_mode() -> None:
    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.dropout(x, 0.5)

    adapter = side(model=Net())
    x = {"input": VECTORS}
    adapter.observe(x, training=False)
    adapter.change([Change("function", "0", "active", False)])
    observation = adapter.observe(x, training=False, dropout=True)
    np.testing.assert_array_equal(observation.arrays["output"], VECTORS)


def test_changes_hold_in_training_too() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return F.leaky_relu(self.layer(x))

    torch.manual_seed(0)
    model = Net().double()
    targets = {"y": random(5, 3)}
    parts = {"optimizer": torch.optim.SGD(model.parameters(), lr=0.1), "loss": F.mse_loss}
    adapter = side(model=model, **parts)
    adapter.observe({"input": VECTORS}, training=True)
    adapter.change([Change("function", "1", "slope", 0.5)])
    _, losses = adapter.train({"input": VECTORS}, targets, 1)
    expected = F.mse_loss(
        F.leaky_relu(model.layer(torch.from_numpy(VECTORS)), 0.5), torch.from_numpy(targets["y"])
    )
    assert losses == [pytest.approx(expected.item())]


GRADIENTS = [{"model/kernel": random(4, 3, seed=n)} for n in range(3)]


def updates_with(make: Any, *changes: Change) -> Any:
    adapter = side(**make)
    before = adapter.update(GRADIENTS)
    adapter.change(changes)
    changed = adapter.update(GRADIENTS)
    adapter.restore()
    after = adapter.update(GRADIENTS)
    assert after.rates == before.rates
    for one, other in zip(before.weights, after.weights, strict=True):
        np.testing.assert_array_equal(one["model/kernel"], other["model/kernel"])
    return changed


def made(kind: Any, schedule: Any = None, **settings: Any) -> dict[str, Any]:
    model = randomized(nn.Linear(4, 3, bias=False).double())
    parts = {"model": model, "optimizer": kind(model.parameters(), **settings)}
    if schedule:
        parts["schedule"] = schedule(parts["optimizer"])
        parts["schedule_unit"] = "batch"
    return parts


optim = torch.optim
OPTIMIZERS = [
    (made(optim.Adam), made(optim.Adam, eps=0.1), [("eps", 0.1)]),
    (made(optim.Adam), made(optim.Adam, betas=(0.5, 0.9)), [("betas", [0.5, 0.9])]),
    (made(optim.Adam), made(optim.AdamW, weight_decay=0.3),
     [("type", "AdamW"), ("weight_decay", 0.3)]),
    (made(optim.SGD, lr=0.1, momentum=0.9), made(optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
     [("nesterov", True)]),
    (made(optim.SGD, lr=0.1), made(optim.RMSprop, lr=0.1), [("type", "RMSprop")]),
    (made(optim.RMSprop), made(optim.RMSprop, alpha=0.5, weight_decay=0.1),
     [("alpha", 0.5), ("weight_decay", 0.1)]),
    (made(optim.Adagrad), made(optim.Adagrad, initial_accumulator_value=0.1),
     [("initial_accumulator_value", 0.1)]),
    (made(optim.SGD, lr=0.1), made(optim.SGD, lr=0.3), [("lr", 0.3)]),
    (made(optim.SGD, lambda o: lr_scheduler.StepLR(o, 1, 0.5), lr=0.1),
     made(optim.SGD, lambda o: lr_scheduler.StepLR(o, 1, 0.5), lr=0.3), [("lr", 0.3)]),
    (made(optim.SGD, lambda o: lr_scheduler.CosineAnnealingLR(o, 5), lr=0.1),
     made(optim.Adam, lambda o: lr_scheduler.CosineAnnealingLR(o, 5), lr=0.1), [("type", "Adam")]),
    (made(optim.SGD, lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=4), lr=0.1),
     made(optim.SGD, lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=4), lr=0.4),
     [("lr", 0.4)]),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "other", "settings"), OPTIMIZERS)
def test_another_optimizer(parts: Any, other: Any, settings: Any) -> None:
    changes = [Change("optimizer", "", name, value) for name, value in settings]
    changed = updates_with(parts, *changes)
    expected = side(**other).update(GRADIENTS)
    assert changed.rates == pytest.approx(expected.rates)
    unchanged = side(**parts).update(GRADIENTS)
    for step, weights in enumerate(expected.weights):
        np.testing.assert_allclose(
            changed.weights[step]["model/kernel"], weights["model/kernel"], rtol=1e-7
        )
    assert not np.allclose(
        unchanged.weights[-1]["model/kernel"], expected.weights[-1]["model/kernel"], rtol=1e-4
    )


@pytest.mark.parametrize(
    ("setting", "norms"), [("clip_norm", "together"), ("clip_norm_each", "each")]
)
def test_clipping(setting: str, norms: str) -> None:
    model = randomized(nn.Linear(4, 3).double())
    gradients = {"model/kernel": random(4, 3), "model/bias": random(3)}
    sizes = {name: np.sum(array**2) for name, array in gradients.items()}
    adapter = side(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=1.0))
    before = adapter.weights()
    adapter.change([Change("optimizer", "", setting, 0.25)])
    (after,) = adapter.update([gradients]).weights
    for name, array in after.items():
        size = sum(sizes.values()) if norms == "together" else sizes[name]
        expected = before[name] - gradients[name] * 0.25 / (np.sqrt(size) + 1e-6)
        np.testing.assert_allclose(array, expected)
    adapter.restore()
    adapter.change([Change("optimizer", "", "clip_value", 0.25)])
    (after,) = adapter.update([gradients]).weights
    expected = before["model/bias"] - gradients["model/bias"].clip(-0.25, 0.25)
    np.testing.assert_allclose(after["model/bias"], expected)


def test_without_the_hooks_of_the_user() -> None:
    parts = made(torch.optim.SGD, lr=1.0)

    def double(optimizer: Any, *_: Any) -> None:
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.grad *= 2

    parts["optimizer"].register_step_pre_hook(double)
    before = side(**parts).weights()["model/kernel"]
    changed = updates_with(parts, Change("optimizer", "", "hooks", False))
    expected = before - GRADIENTS[0]["model/kernel"]
    np.testing.assert_allclose(changed.weights[0]["model/kernel"], expected)


@pytest.mark.parametrize(
    ("schedule", "settings", "expected"),
    [
        (lambda o: lr_scheduler.StepLR(o, 4, 0.5), [("step_size", 2), ("gamma", 0.1)],
         [1, 1, 0.1, 0.1, 0.01]),
        (lambda o: lr_scheduler.MultiStepLR(o, [9]), [("milestones", [1, 3])],
         [1, 0.1, 0.1, 0.01, 0.01]),
        (lambda o: lr_scheduler.LinearLR(o, 0.5, total_iters=2), [("start_factor", 0.25)],
         [0.25, 0.625, 1, 1, 1]),
        (lambda o: lr_scheduler.StepLR(o, 1, 0.5), [("unit", "epoch"), ("steps_per_epoch", 2)],
         [1, 1, 0.5, 0.5, 0.25]),
    ],
)  # fmt: skip
def test_another_schedule(schedule: Any, settings: Any, expected: Any) -> None:
    adapter = side(**made(torch.optim.SGD, schedule, lr=1.0))
    before = adapter.rates(5)
    adapter.change([Change("schedule", "", name, value) for name, value in settings])
    for _ in range(2):
        assert adapter.rates(5) == pytest.approx(expected)
    adapter.restore()
    assert adapter.rates(5) == before != pytest.approx(expected)


def test_a_plateau_rule_and_a_callback() -> None:
    class Patient:
        def __init__(self) -> None:
            self.patience = 5
            self.stop = False

        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            self.stop = epoch >= self.patience

    parts = made(torch.optim.SGD, lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5), lr=1.0)
    adapter = side(**parts, callbacks=[Patient()])
    adapter.change(
        [
            Change("schedule", "", "patience", 0),
            Change("schedule", "", "min_lr", 0.25),
            Change("callback", "0", "patience", 4),
        ]
    )
    result = adapter.epochs([1.0] * 9)
    assert result == {"rates": [1, 0.5, 0.25, 0.25, 0.25], "stopped": 4, "restored": None}
    adapter.restore()
    assert adapter.epochs([1.0] * 9) == {"rates": [1.0] * 6, "stopped": 5, "restored": None}


LOGITS = random(6, 3)
CLASSES = np.array([0, 1, 2, 2, 1, 0])
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
BINARY = random(6, 1)
LABELS = np.array([0.0, 1, 1, 0, 1, 0])


def negative_log(probabilities: Any) -> Any:
    return -np.log(probabilities[np.arange(6), CLASSES])


def entropy(p: Any, labels: Any) -> Any:
    return -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p))


def softmax(x: Any) -> Any:
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


SIGMOID = 1 / (1 + np.exp(-BINARY))
WEIGHTS = np.array([0.5, 1.0, 3.0])
LOSSES = [
    (nn.CrossEntropyLoss(), PROBABILITIES, CLASSES, [("wrap", "probabilities")],
     negative_log(PROBABILITIES).mean()),
    (F.cross_entropy, LOGITS, CLASSES, [("wrap", "softmax")],
     negative_log(softmax(PROBABILITIES)).mean()),
    (nn.NLLLoss(), LOGITS, CLASSES, [("wrap", "log_softmax")],
     negative_log(PROBABILITIES).mean()),
    (F.cross_entropy, LOGITS, CLASSES, [("reduction", "sum")], negative_log(PROBABILITIES).sum()),
    (nn.CrossEntropyLoss(), LOGITS, CLASSES, [("reduction", "sum"), ("scale", 0.5)],
     negative_log(PROBABILITIES).sum() / 2),
    (nn.BCEWithLogitsLoss(), SIGMOID, LABELS[:, None], [("wrap", "probabilities")],
     entropy(SIGMOID, LABELS[:, None])),
    (F.binary_cross_entropy, BINARY, LABELS[:, None], [("wrap", "sigmoid"), ("clip", 0.4)],
     None),
    (nn.MSELoss(), BINARY, LABELS, [("squeeze", True)], np.mean((BINARY[:, 0] - LABELS) ** 2)),
    (nn.HuberLoss(), BINARY, LABELS[:, None], [("type", "L1Loss")],
     np.abs(BINARY - LABELS[:, None]).mean()),
    (nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS)), LOGITS, CLASSES,
     [("weights_by_count", True)], np.mean(WEIGHTS[CLASSES] * negative_log(PROBABILITIES))),
    (nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS)), LOGITS, CLASSES, [("weight", None)],
     negative_log(PROBABILITIES).mean()),
    (nn.CrossEntropyLoss(), LOGITS, CLASSES, [("label_smoothing", 0.3)],
     0.7 * negative_log(PROBABILITIES).mean() - 0.1 * np.log(PROBABILITIES).sum(1).mean()),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(("loss", "output", "y", "settings", "expected"), LOSSES)
def test_another_loss(loss: Any, output: Any, y: Any, settings: Any, expected: Any) -> None:
    if expected is None:  # clipped before the sigmoid
        clipped = 1 / (1 + np.exp(-BINARY.clip(0.4, 0.6)))
        expected = entropy(clipped, y)
        output = BINARY
    adapter = side(model=nn.Linear(2, 2), loss=loss)
    try:
        before = adapter.loss({"output": output}, {"y": y})["loss"]
    except RuntimeError:  # BCELoss of logits
        before = np.nan
    adapter.change([Change("loss", "", name, value) for name, value in settings])
    changed = adapter.loss({"output": output}, {"y": y})
    assert changed["loss"] == pytest.approx(expected)
    assert before != pytest.approx(expected)
    assert changed["output_gradient"].shape == output.shape
    adapter.restore()
    if not np.isnan(before):
        assert adapter.loss({"output": output}, {"y": y})["loss"] == before


def test_another_metric_and_preprocessing() -> None:
    class Threshold:
        def __init__(self) -> None:
            self.threshold = 0.5

        def update(self, output: Any, target: Any) -> None:
            self.value = (output > self.threshold).double().mean()

        def compute(self) -> Any:
            return self.value

    given = {"output": BINARY}, {"y": LABELS}
    adapter = side(model=nn.Linear(2, 2), metric=Threshold())
    adapter.change([Change("metric", "", "threshold", 0.0)])
    assert adapter.metric(*given) == np.mean(BINARY > 0)
    adapter.restore()
    assert adapter.metric(*given) == np.mean(BINARY > 0.5)
    adapter.change([Change("metric", "", "wrap", "sigmoid")])
    assert adapter.metric(*given) == np.mean(SIGMOID > 0.5)

    images = {"x": random(2, 5, 5, 3)}
    adapter.change(
        [
            Change("preprocess", "", "scale", [1.0, 2.0, 3.0]),
            Change("preprocess", "", "offset", 1.0),
            Change("preprocess", "0", "reverse_channels", True),
        ]
    )
    expected = (images["x"] * [1.0, 2.0, 3.0] + 1)[..., ::-1]
    np.testing.assert_allclose(adapter.inputs(images)["input"], expected)
    adapter.restore()
    np.testing.assert_array_equal(adapter.inputs(images)["input"], images["x"])


REFUSED = [
    Change("layer", "none", "epsilon", 1.0),
    Change("layer", "0", "epsilon", 1.0),
    Change("layer", "0", "function", "relu"),
    Change("layer", "1", "function", "no_such"),
    Change("layer", "1", "padding", "same"),
    Change("function", "9", "slope", 1.0),
    Change("function", "0", "slope", 1.0),
    Change("optimizer", "", "momentum", 0.5),
    Change("optimizer", "", "type", "Module"),
    Change("optimizer", "", "initial_accumulator_value", 0.5),
    Change("schedule", "", "gamma", 0.5),
    Change("callback", "0", "patience", 1),
    Change("loss", "", "no_such", 1),
    Change("loss", "", "wrap", "no_such"),
    Change("loss", "", "type", "Linear"),
    Change("metric", "", "threshold", 0.5),
    Change("preprocess", "", "mean", 0.5),
    Change("batches", "", "shuffle", True),
]


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: f"{change.target}-{change.setting}")
def test_what_cannot_be_changed(change: Change) -> None:
    model = randomized(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).double())
    optimizer = torch.optim.Adam(model.parameters())
    adapter = side(model=model, optimizer=optimizer, loss=nn.MSELoss())
    before = adapter.observe({"input": VECTORS}, training=False).arrays["output"]
    with pytest.raises(Unsupported):
        # Nothing of it stays, also of the part that could be changed.
        adapter.change([Change("layer", "1", "function", "tanh"), change])
    after = adapter.observe({"input": VECTORS}, training=False).arrays["output"]
    np.testing.assert_array_equal(before, after)
