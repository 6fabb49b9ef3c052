"""Optimizers, schedules, callbacks, metrics and batches of PyTorch, against loops by hand."""

import copy
from typing import Any

import numpy as np
import pytest
from support.torch_sides import random, randomized, side

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.optim import lr_scheduler  # noqa: E402

from triptych.doctor.frameworks.adapter import ModelError, Unsupported  # noqa: E402

pytestmark = pytest.mark.framework

X = random(6, 3)
TARGETS = {"y": np.array([0, 1, 1, 0, 2, 2])}
GRADIENTS = [
    {"model/kernel": random(3, 4, seed=seed), "model/bias": random(4, seed=seed + 50)}
    for seed in range(4)
]


def linear() -> Any:
    return randomized(nn.Linear(3, 4).double())


def adam(weights: dict[str, Any], rate: float) -> list[dict[str, Any]]:
    """Adam with its formula written by hand."""
    m: dict[str, Any] = dict.fromkeys(weights, 0.0)
    v: dict[str, Any] = dict.fromkeys(weights, 0.0)
    steps = []
    for t, gradients in enumerate(GRADIENTS, 1):
        weights = dict(weights)
        for name, g in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            root = np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8
            weights[name] = weights[name] - rate * m[name] / (1 - 0.9**t) / root
        steps.append(weights)
    return steps


def test_updates_begin_with_a_new_optimizer_each_time() -> None:
    model = linear()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    adapter = side(model=model, optimizer=optimizer)
    before = adapter.weights()
    expected = adam(before, 0.01)
    for _ in range(2):
        updates = adapter.update(GRADIENTS)
        assert updates.rates == (0.01,) * 4
        for made, wanted in zip(updates.weights, expected, strict=True):
            for name, array in wanted.items():
                np.testing.assert_allclose(made[name], array, rtol=1e-12, err_msg=name)
    for name, array in adapter.weights().items():
        np.testing.assert_array_equal(array, before[name])
    assert not optimizer.state
    assert all(parameter.grad is None for parameter in model.parameters())


def test_hooks_of_the_user_run() -> None:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def clip(*_: Any) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)

    optimizer.register_step_pre_hook(clip)
    adapter = side(model=model, optimizer=optimizer)
    before = adapter.weights()
    (after,) = adapter.update(GRADIENTS[:1]).weights
    norm = np.sqrt(sum(np.sum(array**2) for array in GRADIENTS[0].values()))
    for name, array in after.items():
        expected = before[name] - GRADIENTS[0][name] * 0.5 / (norm + 1e-6)
        np.testing.assert_allclose(array, expected, rtol=1e-12)
    assert "clip_grad_norm_" in adapter.description().optimizer.settings["step_pre_hooks"][0]


def test_state_that_the_optimizer_was_built_with() -> None:
    model = nn.Linear(3, 4)
    optimizer = torch.optim.Adagrad(model.parameters(), initial_accumulator_value=0.1)
    adapter = side(model=model, optimizer=optimizer)
    before = adapter.weights()
    for _ in range(2):
        (after,) = adapter.update(GRADIENTS[:1]).weights
        g = GRADIENTS[0]["model/kernel"]
        expected = before["model/kernel"] - 0.01 * g / (np.sqrt(0.1 + g**2) + 1e-10)
        # The accumulator was made in float32.
        np.testing.assert_allclose(after["model/kernel"], expected, rtol=1e-7)


def test_training_steps_are_those_of_the_usual_loop() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).double()
    randomized(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = lr_scheduler.StepLR(optimizer, 2, 0.1)
    parts = {"loss": nn.CrossEntropyLoss(), "schedule_unit": "batch"}
    adapter = side(model=model, optimizer=optimizer, schedule=schedule, **parts)
    weights, losses = adapter.train({"input": X}, TARGETS, 5)

    twin = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    schedule = lr_scheduler.StepLR(optimizer, 2, 0.1)
    for step in range(5):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(twin(torch.from_numpy(X)), torch.tensor(TARGETS["y"]))
        loss.backward()
        optimizer.step()
        schedule.step()
        assert losses[step] == pytest.approx(loss.item(), rel=1e-12)
    trained = side(model=twin).weights()
    for name, array in trained.items():
        np.testing.assert_allclose(weights[name], array, rtol=1e-9, err_msg=name)
    assert not np.allclose(adapter.weights()["0/kernel"], trained["0/kernel"])


def test_training_is_without_dropout() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.9), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    adapter = side(model=model, optimizer=optimizer, loss=nn.CrossEntropyLoss())
    _, losses = adapter.train({"input": X}, TARGETS, 1)
    logits = adapter.observe({"input": X}, training=False).arrays["output"]
    logits = logits - logits.max(1, keepdims=True)
    chosen = logits[np.arange(6), TARGETS["y"]]
    assert losses[0] == pytest.approx(np.mean(np.log(np.exp(logits).sum(1)) - chosen))


def make(schedule: Any) -> dict[str, Any]:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return {"model": model, "optimizer": optimizer, "schedule": schedule(optimizer)}


@pytest.mark.parametrize(
    ("schedule", "unit", "steps", "expected"),
    [
        (lambda o: lr_scheduler.StepLR(o, 2, 0.5), "batch", None, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        (lambda o: lr_scheduler.StepLR(o, 1, 0.5), "epoch", 3, [1, 1, 1, 0.5, 0.5, 0.5]),
        (lambda o: lr_scheduler.LambdaLR(o, lambda n: (n + 1) / 4), "batch", None,
         [0.25, 0.5, 0.75, 1, 1.25, 1.5]),
        (lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.ConstantLR(o, 0.5, 9), lr_scheduler.ExponentialLR(o, 0.1)], [2]),
         "batch", None, [0.5, 0.5, 1, 0.1, 0.01, 0.001]),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o), "epoch", 1, [1] * 6),
    ],
)  # fmt: skip
def test_rates_of_a_new_schedule(schedule: Any, unit: str, steps: Any, expected: Any) -> None:
    adapter = side(**make(schedule), schedule_unit=unit, steps_per_epoch=steps)
    for _ in range(2):
        np.testing.assert_allclose(adapter.rates(6), expected)
    assert adapter.update(GRADIENTS).rates == pytest.approx(expected[:4])
    np.testing.assert_allclose(adapter.rates(6), expected)


def test_the_rates_of_a_schedule_that_cannot_go_on_are_those_up_to_its_end() -> None:
    def one_cycle(optimizer: Any) -> Any:
        return lr_scheduler.OneCycleLR(
            optimizer, max_lr=1.0, total_steps=4, anneal_strategy="linear"
        )

    adapter = side(**make(one_cycle), schedule_unit="batch")
    # Up from 1/25 in 0.3 of 4 steps, minus the one at the start, then down to 1/250,000.
    rates = adapter.rates(9)
    assert len(rates) == 4
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[3] == pytest.approx(1 / 25e4)


def test_a_plateau_rule_gets_the_validation_losses() -> None:
    adapter = side(**make(lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.1, patience=2)))
    # PyTorch lowers the rate when more than `patience` epochs were bad: D64.
    expected = [1, 1, 1, 0.1, 0.1, 0.1, 0.01]
    for _ in range(2):
        made = adapter.epochs([3.0] * 7)
        np.testing.assert_allclose(made["rates"], expected)
        assert (made["stopped"], made["restored"]) == (None, None)


class EarlyStopping:
    def __init__(self, model: Any, patience: int, *, restore: bool, sign: str) -> None:
        self.model = model
        self.patience = patience
        self.restore = restore
        self.sign = sign
        self.best = float("inf")
        self.waited = 0
        self.state: Any = None
        if sign != "return":
            setattr(self, sign, False)

    def on_epoch_end(self, epoch: int, logs: Any) -> bool:
        if logs["val_loss"] < self.best:
            self.best = logs["val_loss"]
            self.waited = 0
            self.state = copy.deepcopy(self.model.state_dict())
            return False
        self.waited += 1
        if self.waited < self.patience:
            return False
        if self.restore:
            self.model.load_state_dict(self.state)
        if self.sign != "return":
            setattr(self, self.sign, True)
        return self.sign == "return"


@pytest.mark.parametrize("sign", ["stop_training", "should_stop", "return"])
@pytest.mark.parametrize("restore", [False, True])
def test_a_callback_stops_and_restores(sign: str, restore: bool) -> None:
    model = linear()
    callback = EarlyStopping(model, 2, restore=restore, sign=sign)
    adapter = side(model=model, callbacks=[callback])
    before = adapter.weights()
    for _ in range(2):
        made = adapter.epochs([3.0, 2.0, 1.0, 1.5, 1.2, 0.5])
        assert made == {"rates": [], "stopped": 4, "restored": 2 if restore else None}
    assert callback.best == float("inf")
    for name, array in adapter.weights().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_callback_that_does_nothing() -> None:
    made = side(model=linear(), callbacks=[EarlyStopping(None, 9, restore=False, sign="stop")])
    with pytest.raises(AttributeError):
        made.epochs([1.0])  # its own mistake: it has no model


def test_metrics() -> None:
    class Accuracy:
        def __init__(self) -> None:
            self.right = self.count = 0

        def update(self, output: Any, target: Any) -> None:
            self.right += (output.argmax(1) == target).sum()
            self.count += len(target)

        def compute(self) -> Any:
            return self.right / self.count

    outputs = {"output": random(6, 3)}
    expected = np.mean(outputs["output"].argmax(1) == TARGETS["y"])
    model = linear()
    held = side(model=model, metric=Accuracy())
    for _ in range(2):
        assert held.metric(outputs, TARGETS) == pytest.approx(expected)
    function = side(model=model, metric=lambda out, y: (out.argmax(1) == y).double().mean())
    assert function.metric(outputs, TARGETS) == pytest.approx(expected)
    with pytest.raises(ModelError, match="must return a number"):
        side(model=model, metric=lambda out, y: out).metric(outputs, TARGETS)


def test_the_loss_of_given_outputs() -> None:
    weights = torch.tensor([1.0, 2.0, 4.0])
    adapter = side(model=linear(), loss=nn.CrossEntropyLoss(weight=weights))
    outputs = random(6, 3)
    arrays = adapter.loss({"output": outputs}, {"y": TARGETS["y"].astype("int32")})
    probabilities = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    w = np.array([1.0, 2.0, 4.0])[TARGETS["y"]]
    chosen = probabilities[np.arange(6), TARGETS["y"]]
    assert arrays["loss"] == pytest.approx(np.sum(-w * np.log(chosen)) / w.sum())
    expected = (probabilities - np.eye(3)[TARGETS["y"]]) * w[:, None] / w.sum()
    np.testing.assert_allclose(arrays["output_gradient"], expected)
    # The user's class weights are as they were.
    assert weights.dtype == torch.float32


def test_the_loss_of_images_gets_channels_first() -> None:
    model = nn.Conv2d(2, 3, 1)
    adapter = side(model=model, loss=nn.CrossEntropyLoss())
    x = random(2, 2, 4, 5)
    targets = {"y": np.random.default_rng(0).integers(0, 3, (2, 4, 5))}
    observed = adapter.observe({"input": x}, training=True, targets=targets).arrays
    assert observed["output"].shape == (2, 4, 5, 3)
    given = adapter.loss({"output": observed["output"]}, targets)
    assert given["loss"] == pytest.approx(float(observed["loss"]))
    np.testing.assert_allclose(given["output_gradient"], observed["output_gradient"])


def test_batches() -> None:
    data = {"x": random(7, 2), "y": np.arange(7)}

    def loader(x: Any, y: Any) -> Any:
        for start in (4, 0):
            yield torch.from_numpy(x[start : start + 4]), torch.from_numpy(y[start : start + 4])

    made = side(model=linear(), batches=loader).batches(data)
    assert [batch["y"].tolist() for batch in made] == [[4, 5, 6], [0, 1, 2, 3]]
    made = side(model=linear(), batch_size=3).batches(data)
    assert [batch["y"].tolist() for batch in made] == [[0, 1, 2], [3, 4, 5], [6]]
    np.testing.assert_array_equal(made[1]["x"], data["x"][3:6])

    def shuffled(x: Any, y: Any) -> Any:
        while True:
            yield {"y": np.random.permutation(y)}  # noqa: NPY002

    adapter = side(model=linear(), batches=shuffled)
    made = adapter.batches(data)
    assert len(made) == 2
    assert made[0]["y"].tolist() == adapter.batches(data)[0]["y"].tolist()
    single = side("native", model=linear(), batches=shuffled)
    assert made[0]["y"].tolist() != single.batches(data)[0]["y"].tolist()


def test_what_is_missing_or_not_possible() -> None:
    model = linear()
    adapter = side(model=model)
    for call in (
        lambda: adapter.update(GRADIENTS),
        lambda: adapter.train({"input": X}, TARGETS, 1),
        lambda: adapter.rates(1),
        lambda: adapter.metric({}, {}),
        lambda: adapter.batches({"x": X}),
        lambda: adapter.loss({}, {}),
    ):
        with pytest.raises(Unsupported, match="build\\(\\) returns n"):
            call()
    lbfgs = side(model=model, optimizer=torch.optim.LBFGS(model.parameters()))
    with pytest.raises(Unsupported, match="LBFGS computes the loss itself"):
        lbfgs.update(GRADIENTS)
    lbfgs = side(
        model=model, loss=nn.CrossEntropyLoss(), optimizer=torch.optim.LBFGS(model.parameters())
    )
    with pytest.raises(Unsupported, match="LBFGS computes the loss itself"):
        lbfgs.train({"input": X}, TARGETS, 1)
    sparse = side(model=model, optimizer=torch.optim.SparseAdam(list(model.parameters())))
    with pytest.raises(Unsupported, match="SparseAdam takes sparse gradients only"):
        sparse.update(GRADIENTS)
    with pytest.raises(ModelError, match="schedule is a function"):
        side(model=model, schedule=lambda epoch: 0.1)
    with pytest.raises(ModelError, match="optimizer is a str"):
        side(model=model, optimizer="adam")


def test_a_metric_with_a_state_gets_batches_of_the_authors_size() -> None:
    class MeanOfBatches:
        def __init__(self) -> None:
            self.values: list[float] = []

        def update(self, output: Any, target: Any) -> None:
            assert len(output) == len(target)
            self.values.append(float(output.mean()))

        def compute(self) -> float:
            return sum(self.values) / len(self.values)

    given = {"output": np.array([[0.0], [0.0], [3.0]])}, {"y": np.zeros(3)}
    model = nn.Linear(1, 1)
    assert side(model=model, metric=MeanOfBatches()).metric(*given) == 1.0
    assert side(model=model, metric=MeanOfBatches(), batch_size=2).metric(*given) == 1.5


def test_the_momenta_of_a_schedule_are_described_and_not_part_of_the_update() -> None:
    def built(**options: Any) -> Any:
        model = randomized(nn.Linear(3, 2))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=0.1, total_steps=9, pct_start=0.5, anneal_strategy="linear", **options
        )
        return side(model=model, optimizer=optimizer, schedule=schedule, schedule_unit="batch")

    cycling = built()
    described = cycling.description().schedule
    # From 0.95 down to 0.85 in 3.5 steps and up again.
    assert len(described.momenta) == 9
    assert described.momenta[:2] == pytest.approx([0.95, 0.95 - 0.1 / 3.5])
    assert described.momenta[-1] == pytest.approx(0.95)
    assert min(described.momenta) < 0.87
    constant = built(cycle_momentum=False, div_factor=25.0)
    assert constant.description().schedule.momenta == []
    # The updates are those of Adam with the first beta that the schedule begins with.
    gradients = [{"model/kernel": random(3, 2, seed=n), "model/bias": random(2)} for n in range(5)]
    made = cycling.update(gradients)
    weight = randomized(nn.Linear(3, 2)).weight.detach().double().numpy().T
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for step, (gradient, rate) in enumerate(zip(gradients, made.rates, strict=True), 1):
        first = 0.95 * first + 0.05 * gradient["model/kernel"]
        second = 0.999 * second + 0.001 * gradient["model/kernel"] ** 2
        root = np.sqrt(second / (1 - 0.999**step)) + 1e-8
        weight = weight - rate * first / (1 - 0.95**step) / root
        np.testing.assert_allclose(made.weights[step - 1]["model/kernel"], weight, rtol=1e-9)
