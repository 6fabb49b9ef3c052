"""What is timed of a model of PyTorch is the step that is compared."""

import numpy as np
import pytest
from support.torch_sides import random, side

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from triptych.doctor.frameworks.adapter import Unsupported  # noqa: E402

pytestmark = pytest.mark.framework

TARGETS = {"y": np.array([0, 1, 1, 0, 2, 2])}


def test_timed_steps_are_those_of_a_training() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    adapter = side(
        "native",
        model=model,
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        schedule=schedule,
        schedule_unit="batch",
    )
    inputs = adapter.inputs({"x": random(6, 3)})
    expected, _ = adapter.train(inputs, TARGETS, 3)
    calls = adapter.user_calls(inputs, TARGETS)
    calls.set_training(True)
    for _ in range(3):
        calls.train()
    for name, array in adapter.weights().items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-6, err_msg=name)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 8)
    calls.set_training(False)
    before = adapter.weights()
    calls.infer()
    for name, array in adapter.weights().items():
        np.testing.assert_array_equal(array, before[name])
    assert calls.threads == torch.get_num_threads()


def test_without_a_loss_there_is_only_inference() -> None:
    adapter = side("native", model=nn.Linear(3, 4))
    inputs = adapter.inputs({"x": random(6, 3)})
    assert adapter.user_calls(inputs, TARGETS).train is None


def test_an_optimizer_that_computes_the_loss_itself_is_not_timed() -> None:
    model = nn.Linear(3, 4)
    optimizer = torch.optim.LBFGS(model.parameters())
    adapter = side("native", model=model, loss=nn.CrossEntropyLoss(), optimizer=optimizer)
    inputs = adapter.inputs({"x": random(6, 3)})
    with pytest.raises(Unsupported, match="LBFGS computes the loss itself"):
        adapter.user_calls(inputs, TARGETS)
