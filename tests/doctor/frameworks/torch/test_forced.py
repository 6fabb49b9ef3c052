"""Layers that are forced to given values, against chains written by hand."""

from typing import Any

import numpy as np
import pytest
from support.torch_sides import forced_of, random, randomized, side

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from triptych.doctor.frameworks.adapter import ModelError  # noqa: E402

pytestmark = pytest.mark.framework


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 4)
        self.third = nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        h = torch.tanh(self.first(x))
        # The residual path reaches the third layer from two anchors.
        return self.third(h + self.second(h))


TARGETS = {"y": np.array([0, 1, 1])}
X = random(3, 3)


def forced() -> dict[str, Any]:
    return {
        "0/input": random(3, 3, seed=10),
        "0/output": random(3, 4, seed=11),
        "0/output_gradient": random(3, 4, seed=12),
        "2/input": random(3, 4, seed=13),
        "2/output": random(3, 4, seed=14),
        "2/input_gradient": random(3, 4, seed=15),
        "2/output_gradient": random(3, 4, seed=16),
        "4/input": random(3, 4, seed=17),
        "4/output": random(3, 2, seed=18),
        "4/input_gradient": random(3, 4, seed=19),
        "4/output_gradient": random(3, 2, seed=20),
    }


def test_every_layer_is_by_itself() -> None:
    model = randomized(Chain().double())
    given = forced()
    adapter = side(model=model, loss=nn.CrossEntropyLoss())
    arrays = adapter.observe({"input": X}, training=True, targets=TARGETS, forced=given).arrays
    weights = adapter.weights()
    h = np.tanh(given["0/output"])
    # What arrives, and what each layer makes of what it is fed.
    np.testing.assert_array_equal(arrays["0/input"], X)
    np.testing.assert_allclose(arrays["2/input"], h)
    np.testing.assert_allclose(arrays["4/input"], h + given["2/output"])
    np.testing.assert_array_equal(arrays["output"], given["4/output"])
    for number, path in (("0", "first"), ("2", "second"), ("4", "third")):
        kernel = weights[f"{path}/kernel"]
        fed = given[f"{number}/input"]
        pulled = given[f"{number}/output_gradient"]
        np.testing.assert_allclose(
            arrays[f"{number}/output"], fed @ kernel + weights[f"{path}/bias"]
        )
        np.testing.assert_allclose(arrays[f"gradient/{path}/kernel"], fed.T @ pulled)
        np.testing.assert_allclose(arrays[f"gradient/{path}/bias"], pulled.sum(0))
        np.testing.assert_allclose(arrays[f"{number}/input_gradient"], pulled @ kernel.T)
    # What arrives at each output: from the layers behind it, or from the loss.
    through_tanh = 1 - h**2
    from_both = given["2/input_gradient"] + given["4/input_gradient"]
    np.testing.assert_allclose(arrays["0/output_gradient"], from_both * through_tanh)
    np.testing.assert_allclose(arrays["2/output_gradient"], given["4/input_gradient"])
    probabilities = np.exp(given["4/output"])
    probabilities /= probabilities.sum(1, keepdims=True)
    expected = (probabilities - np.eye(2)[TARGETS["y"]]) / 3
    np.testing.assert_allclose(arrays["4/output_gradient"], expected)
    np.testing.assert_allclose(arrays["output_gradient"], expected)


def test_an_anchor_that_is_not_forced_stays_in_the_chain() -> None:
    model = randomized(Chain().double())
    given = {name: array for name, array in forced().items() if not name.startswith("2/")}
    adapter = side(model=model, loss=nn.CrossEntropyLoss())
    arrays = adapter.observe({"input": X}, training=True, targets=TARGETS, forced=given).arrays
    h = np.tanh(given["0/output"])
    kernel = adapter.weights()["second/kernel"]
    pulled = given["4/input_gradient"]
    np.testing.assert_allclose(arrays["gradient/second/kernel"], h.T @ pulled)
    expected = (pulled + pulled @ kernel.T) * (1 - h**2)
    np.testing.assert_allclose(arrays["0/output_gradient"], expected)


def test_without_gradients_only_values_are_forced() -> None:
    given = {name: array for name, array in forced().items() if "gradient" not in name}
    arrays = side(model=Chain()).observe({"input": X}, training=False, forced=given).arrays
    np.testing.assert_array_equal(arrays["output"], given["4/output"])
    assert not [name for name in arrays if "gradient" in name]


class Everything(nn.Module):
    """Layers of every kind, in a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6)
        self.conv = nn.Conv1d(6, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.relu = nn.ReLU(inplace=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.layer_norm = nn.LayerNorm(8)
        self.lstm = nn.LSTM(8, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(10, 4)
        self.out = nn.Linear(4, 3)

    def forward(self, ids: Any) -> Any:
        x = self.words(ids).transpose(1, 2)
        x = self.relu(self.norm(self.conv(x))).permute(0, 2, 1)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x, _ = self.lstm(self.layer_norm(x))
        _, h = self.gru(x.transpose(0, 1))
        return self.out(h[-1])


def test_forcing_a_model_to_itself_changes_nothing() -> None:
    adapter = side(model=randomized(Everything()), loss=nn.CrossEntropyLoss())
    ids = {"input": np.random.default_rng(0).integers(0, 11, (4, 7))}
    targets = {"y": np.array([0, 1, 2, 0])}
    normal = adapter.observe(ids, training=True, targets=targets)
    again = adapter.observe(ids, training=True, targets=targets, forced=forced_of(normal))
    assert set(again.arrays) == set(normal.arrays)
    for name, array in normal.arrays.items():
        np.testing.assert_allclose(again.arrays[name], array, rtol=1e-9, atol=1e-12, err_msg=name)


def test_time_first_is_given_batch_first_where_the_model_has_moved_it() -> None:
    adapter = side(model=randomized(Everything()))
    ids = {"input": np.random.default_rng(0).integers(0, 11, (4, 7))}
    observation = adapter.observe(ids, training=False)
    gru = next(call for call in observation.anchors if call.layer == "gru")
    lstm = next(call for call in observation.anchors if call.layer == "lstm.1")
    np.testing.assert_array_equal(
        observation.arrays[f"{gru.number}/input"], observation.arrays[f"{lstm.number}/output"]
    )
    assert observation.arrays[f"{gru.number}/output"].shape == (4, 7, 4)


class Last(nn.Module):
    """Takes the last step of the sequence, or the last state, which are the same."""

    def __init__(self, *, state: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.out = nn.Linear(4, 2)
        self.state = state

    def forward(self, x: Any) -> Any:
        sequence, (h, _) = self.lstm(x)
        return self.out(h[-1] if self.state else sequence[:, -1])


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("given", ["output", "output1"])
def test_sequence_and_last_state_stand_for_each_other(state: bool, given: str) -> None:
    adapter = side(model=randomized(Last(state=state)), loss=nn.CrossEntropyLoss())
    x = {"input": random(3, 5, 3)}
    normal = adapter.observe(x, training=True, targets=TARGETS)
    sequence = random(3, 5, 4, seed=8)
    array = sequence if given == "output" else sequence[:, -1]
    forced = {"0/input": x["input"], f"0/{given}": array}
    last = next(call for call in normal.anchors if call.layer == "out")
    forced |= {f"{last.number}/input_gradient": random(3, 4, seed=9)}
    again = adapter.observe(x, training=True, targets=TARGETS, forced=forced)
    np.testing.assert_array_equal(again.arrays[f"{last.number}/input"], sequence[:, -1])
    pulled = again.arrays[f"0/{given}_gradient"]
    pulled = pulled[:, -1] if given == "output" else pulled
    np.testing.assert_array_equal(pulled, forced[f"{last.number}/input_gradient"])


def test_batch_norm_statistics_are_of_the_forced_input() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    fed = random(6, 4, seed=5) + 7
    arrays = (
        side(model=model)
        .observe({"input": random(6, 3)}, training=True, forced={"1/input": fed})
        .arrays
    )
    np.testing.assert_allclose(arrays["buffer/1/mean"], 0.1 * fed.mean(0))


def test_a_shape_that_does_not_fit() -> None:
    with pytest.raises(ModelError, match=r"first: .*\[3, 3\].*\[3, 5\]"):
        side(model=Chain()).observe({"input": X}, training=False, forced={"0/input": random(3, 5)})


def test_a_packed_sequence() -> None:
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(3, 4, batch_first=True)

        def forward(self, x: Any) -> Any:
            lengths = torch.tensor([2, 5, 3])
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return F.relu(pad_packed_sequence(self.gru(packed)[0], batch_first=True)[0])

    model = randomized(Packed().double())
    x = random(3, 5, 3)
    adapter = side(model=model, loss=nn.MSELoss())
    targets = {"y": random(3, 5, 4)}
    normal = adapter.observe({"input": x}, training=True, targets=targets)
    expected = model(torch.from_numpy(x)).detach()
    np.testing.assert_allclose(normal.arrays["output"], expected, rtol=1e-12)
    (gru,) = normal.anchors
    assert normal.arrays[f"{gru.number}/output"].shape == (3, 5, 4)
    assert not normal.arrays[f"{gru.number}/output"][0, 2:].any()
    again = adapter.observe({"input": x}, training=True, targets=targets, forced=forced_of(normal))
    for name, array in normal.arrays.items():
        np.testing.assert_allclose(again.arrays[name], array, atol=1e-12, err_msg=name)


def test_what_is_forced_may_have_more_pixels_or_steps() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3)
            self.gru = nn.GRU(3, 4)
            self.out = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            x = self.conv(x).flatten(2).transpose(1, 2)
            return self.out(self.gru(x)[1][-1])

    adapter = side(model=randomized(Net()), loss=nn.CrossEntropyLoss())
    given = {
        "0/input": random(3, 6, 6, 2),
        "0/output": random(3, 6, 6, 3),  # as with padding=1
        "2/input": random(3, 36, 3),
        "2/output1": random(3, 4),  # as with batch_first=True
        "4/input": random(3, 4),
        "4/input_gradient": random(3, 4),
        "4/output": random(3, 3),
    }
    x = {"input": random(3, 2, 6, 6)}
    arrays = adapter.observe(x, training=True, targets=TARGETS, forced=given).arrays
    assert arrays["0/output"].shape == (3, 4, 4, 3)
    np.testing.assert_allclose(arrays["2/input"], given["0/output"].reshape(3, 36, 3))
    assert arrays["2/output1"].shape == (36, 4)
    np.testing.assert_array_equal(arrays["4/input"], given["2/output1"])
    np.testing.assert_array_equal(arrays["2/output1_gradient"], given["4/input_gradient"])
    assert arrays["output"].shape == (3, 3)
