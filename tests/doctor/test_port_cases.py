"""Ports of whole models, as their authors write them, through all stages in one process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
from keras import layers, ops  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402

from triptych.doctor.diagnosis import diagnose  # noqa: E402
from triptych.doctor.model_file import Parts  # noqa: E402
from triptych.doctor.side import local_side  # noqa: E402

pytestmark = [pytest.mark.framework, pytest.mark.slow]

RNG = np.random.default_rng(7)
LABELS = RNG.integers(0, 3, 8)
WORDS = RNG.integers(1, 12, (8, 6))
PADDED = np.where(np.arange(6) < RNG.integers(2, 7, (8, 1)), WORDS, 0)

Made = dict[str, Any]


def diagnosed(a: Callable[[], Made], b: Callable[[], Made], **batch: Any) -> Any:
    sides = [local_side(name, Parts(Path(__file__), build)) for name, build in (("A", a), ("B", b))]
    return diagnose(sides[0], sides[1], batch)


def of_torch(model: nn.Module, loss: Any = None) -> Made:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"model": model, "loss": loss or nn.CrossEntropyLoss(), "optimizer": optimizer}


def of_keras(model: Any, loss: Any = None) -> Made:
    usual = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return {"model": model, "loss": loss or usual, "optimizer": keras.optimizers.SGD(0.1)}


def found(diagnosis: Any) -> list[tuple[str, str | None]]:
    return [(finding.stage, finding.cause) for finding in diagnosis.findings]


# Weights of the model itself, and of a block: a first token, positions, and a scale.


class TorchBlock(nn.Module):
    def __init__(self, slope: float) -> None:
        super().__init__()
        self.dense = nn.Linear(6, 6)
        self.gamma = nn.Parameter(torch.randn(6))
        self.slope = slope

    def forward(self, x: Any) -> Any:
        return x + self.gamma * F.leaky_relu(self.dense(x), self.slope)


class TorchTokens(nn.Module):
    def __init__(self, slope: float) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.randn(1, 1, 6))
        self.positions = nn.Parameter(torch.randn(1, 5, 6))
        self.block = TorchBlock(slope)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        x = torch.cat((self.cls.expand(x.shape[0], -1, -1), x), 1) + self.positions
        return self.head(self.block(x)[:, 0])


class KerasBlock(layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(6)

    def build(self, input_shape: Any) -> None:
        self.gamma = self.add_weight(shape=(6,), initializer="ones", name="gamma")

    def call(self, x: Any) -> Any:
        return x + self.gamma * ops.leaky_relu(self.dense(x), 0.2)


class KerasTokens(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.cls = self.add_weight(shape=(1, 1, 6), initializer="zeros", name="cls")
        self.positions = self.add_weight(shape=(1, 5, 6), initializer="zeros", name="positions")
        self.block = KerasBlock()
        self.head = layers.Dense(3)

    def call(self, x: Any) -> Any:
        first = ops.add(ops.zeros_like(x[:, :1]), self.cls)
        x = ops.add(ops.concatenate([first, x], axis=1), self.positions)
        return self.head(ops.take(self.block(x), 0, axis=1))


@pytest.mark.parametrize(("slope", "expected"), [(0.2, []), (0.01, [("forward", "D26")])])
def test_weights_that_no_layer_holds_are_carried(slope: float, expected: Any) -> None:
    x = RNG.normal(size=(8, 4, 6)).astype(np.float32)
    diagnosis = diagnosed(
        lambda: of_torch(TorchTokens(slope)), lambda: of_keras(KerasTokens()), x=x, y=LABELS
    )
    assert found(diagnosis) == expected


# The last state of one recurrent layer is the first one of another.


class TorchTranslator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 5)
        self.encoder = nn.GRU(5, 4, batch_first=True)
        self.decoder = nn.GRU(5, 4, batch_first=True)
        self.out = nn.Linear(4, 12)

    def forward(self, source: Any, target: Any) -> Any:
        _, state = self.encoder(self.words(source))
        return self.out(self.decoder(self.words(target), state)[0])


def translator() -> Any:
    source = keras.Input((6,), dtype="int32")
    target = keras.Input((6,), dtype="int32")
    words = layers.Embedding(12, 5)
    _, state = layers.GRU(4, return_state=True)(words(source))
    x = layers.GRU(4, return_sequences=True)(words(target), initial_state=state)
    return keras.Model([source, target], layers.Dense(12)(x))


def of_words(ignored: int = -100) -> Any:
    def loss(logits: Any, target: Any) -> Any:
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=ignored)

    return loss


def test_a_gradient_that_arrives_at_the_last_state_is_no_difference() -> None:
    diagnosis = diagnosed(
        lambda: of_torch(TorchTranslator(), of_words()),
        lambda: of_keras(translator()),
        x=WORDS,
        x2=WORDS[::-1].copy(),
        y=WORDS,
    )
    assert found(diagnosis) == []


def test_the_label_that_one_side_ignores_is_named() -> None:
    diagnosis = diagnosed(
        lambda: of_torch(TorchTranslator(), of_words(0)),
        lambda: of_keras(translator()),
        x=WORDS,
        x2=WORDS[::-1].copy(),
        y=PADDED,
    )
    assert found(diagnosis) == [("loss", "D42")]
    (finding,) = diagnosis.findings
    assert finding.fix["b"].endswith("ignore_class=0)")
    assert finding.fix["a"] == "nn.CrossEntropyLoss()"


# Padded steps.


class TorchPacked(nn.Module):
    def __init__(self, packed: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 5)
        self.gru = nn.GRU(5, 4, batch_first=True, bidirectional=True)
        self.out = nn.Linear(8, 3)
        self.packed = packed

    def forward(self, words: Any) -> Any:
        x = self.words(words)
        if self.packed:
            lengths = (words != 0).sum(1)
            x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, state = self.gru(x)
        return self.out(torch.cat((state[0], state[1]), 1))


def keras_padded(masked: bool) -> Any:
    return keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(12, 5, mask_zero=masked),
            layers.Bidirectional(layers.GRU(4)),
            layers.Dense(3),
        ]
    )


@pytest.mark.parametrize(("packed", "masked"), [(True, True), (True, False), (False, True)])
def test_padded_steps_that_one_side_leaves_out(packed: bool, masked: bool) -> None:
    diagnosis = diagnosed(
        lambda: of_torch(TorchPacked(packed)),
        lambda: of_keras(keras_padded(masked)),
        x=PADDED,
        y=LABELS,
    )
    if packed == masked:
        assert found(diagnosis) == []
        return
    assert found(diagnosis) == [("forward", "D101")]
    (finding,) = diagnosis.findings
    assert finding.fix["b"] == f"layers.Embedding(words, size, mask_zero={packed})"
    assert ("without" if packed else "enforce_sorted=False") in finding.fix["a"]


# Branches, whose order of execution is free.


class TorchBranches(nn.Module):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(4, 5)])
        self.drops = nn.ModuleList([nn.Dropout(0.2), nn.Dropout(0.2), nn.Dropout(0.2)])
        self.last = nn.Dropout(rate)
        self.out = nn.Linear(15, 3)

    def forward(self, x: Any) -> Any:
        pairs = zip(self.branches, self.drops, strict=True)
        each = [drop(torch.tanh(branch(x))) for branch, drop in pairs]
        return self.out(self.last(torch.cat(each, 1)))


def keras_branches() -> Any:
    inputs = keras.Input((4,))
    each = [layers.Dropout(0.2)(layers.Dense(5, activation="tanh")(inputs)) for _ in range(3)]
    x = layers.Dropout(0.5)(layers.Concatenate()(each))
    return keras.Model(inputs, layers.Dense(3)(x))


@pytest.mark.parametrize(("rate", "expected"), [(0.5, []), (0.4, [("mode", None)])])
def test_dropouts_of_branches_are_matched_by_their_numbers(rate: float, expected: Any) -> None:
    x = RNG.normal(size=(8, 4)).astype(np.float32)
    diagnosis = diagnosed(
        lambda: of_torch(TorchBranches(rate)), lambda: of_keras(keras_branches()), x=x, y=LABELS
    )
    assert found(diagnosis) == expected
    if expected:
        assert diagnosis.findings[0].values == {"a": 0.4, "b": 0.5}


# A convolution that pads in its own forward pass.


class CausalConv(nn.Conv1d):
    def forward(self, input: Any) -> Any:
        return super().forward(F.pad(input, (2 * self.dilation[0], 0)))


class TorchSignal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = CausalConv(2, 4, 3, dilation=2)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        return self.out(torch.relu(self.conv(x.transpose(1, 2))).mean(2))


@pytest.mark.parametrize("padding", ["causal", "same"])
def test_a_derived_convolution_pads_as_it_computes(padding: str) -> None:
    def keras_signal() -> Made:
        inputs = keras.Input((9, 2))
        x = layers.Conv1D(4, 3, dilation_rate=2, padding=padding, activation="relu")(inputs)
        x = layers.GlobalAveragePooling1D()(x)
        return of_keras(keras.Model(inputs, layers.Dense(3)(x)))

    x = RNG.normal(size=(8, 9, 2)).astype(np.float32)
    diagnosis = diagnosed(lambda: of_torch(TorchSignal()), keras_signal, x=x, y=LABELS)
    if padding == "causal":
        assert found(diagnosis) == []
        return
    assert found(diagnosis) == [("forward", None)]
    (finding,) = diagnosis.findings
    assert finding.proved
    assert finding.values == {"a": [[4, 0]], "b": [[2, 2]]}
    assert finding.fix["a"] == "x = F.pad(x, (2, 2))  # with padding=0"
    assert finding.fix["b"] == 'x = layers.ZeroPadding1D((4, 0))(x)  # with padding="valid"'


# The last layer has the weights of the embedding.


class TorchTied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 5)
        self.gru = nn.GRU(5, 5, batch_first=True)
        self.out = nn.Linear(5, 12, bias=False)
        self.out.weight = self.words.weight

    def forward(self, words: Any) -> Any:
        return self.out(self.gru(self.words(words))[0])


class KerasTied(keras.Model):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.words = layers.Embedding(12, 5)
        self.gru = layers.GRU(5, return_sequences=True)
        self.factor = factor

    def call(self, words: Any) -> Any:
        x = self.gru(self.words(words))
        return ops.multiply(ops.matmul(x, ops.transpose(self.words.embeddings)), self.factor)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_a_tied_layer_is_no_layer_of_its_own(factor: float) -> None:
    diagnosis = diagnosed(
        lambda: of_torch(TorchTied(), of_words()),
        lambda: of_keras(KerasTied(factor)),
        x=WORDS,
        y=np.roll(WORDS, 1, 1),
    )
    if factor == 1.0:
        assert found(diagnosis) == []
    else:
        assert found(diagnosis)[0][0] == "forward"


# A normalisation of each channel, which Keras writes as one of groups.


@pytest.mark.parametrize(("epsilon", "expected"), [(1e-5, []), (1e-3, [("forward", "D24")])])
def test_instance_norm_is_group_norm_with_a_group_for_each_channel(
    epsilon: float, expected: Any
) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(2, 4, 1)
            self.norm = nn.InstanceNorm1d(4, affine=True)
            self.out = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return self.out(torch.tanh(self.norm(self.conv(x.transpose(1, 2)))).amax(2))

    def keras_side() -> Made:
        inputs = keras.Input((9, 2))
        x = layers.GroupNormalization(-1, epsilon=epsilon)(layers.Conv1D(4, 1)(inputs))
        x = layers.GlobalMaxPooling1D()(layers.Activation("tanh")(x))
        return of_keras(keras.Model(inputs, layers.Dense(3)(x)))

    x = RNG.normal(size=(8, 9, 2)).astype(np.float32)
    diagnosis = diagnosed(lambda: of_torch(Net()), keras_side, x=x, y=LABELS)
    assert found(diagnosis) == expected
    if expected:
        assert diagnosis.findings[0].fix["a"] == "nn.InstanceNorm1d(4, eps=1e-3)"


# The vector of the padding.


class TorchBag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 5, padding_idx=0)
        self.out = nn.Linear(5, 3)

    def forward(self, words: Any) -> Any:
        return self.out(self.words(words).mean(1))


@pytest.mark.parametrize(("masked", "expected"), [(False, "gradient"), (True, "forward")])
def test_a_vector_of_the_padding_that_one_side_trains(masked: bool, expected: str) -> None:
    def keras_side() -> Made:
        words = layers.Embedding(12, 5, mask_zero=masked)
        net = [keras.Input((6,)), words, layers.GlobalAveragePooling1D(), layers.Dense(3)]
        return of_keras(keras.Sequential(net))

    diagnosis = diagnosed(lambda: of_torch(TorchBag()), keras_side, x=PADDED, y=LABELS)
    assert found(diagnosis) == [(expected, "D101")]
    if not masked:
        assert "without padding_idx" in diagnosis.findings[0].fix["a"]
