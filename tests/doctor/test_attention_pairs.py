"""Attention as one layer on one side, and written with dense layers on the other."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
from keras import layers, ops  # noqa: E402
from torch import nn  # noqa: E402

from triptych.doctor.diagnosis import diagnose  # noqa: E402
from triptych.doctor.findings import Diagnosis  # noqa: E402
from triptych.doctor.model_file import Parts  # noqa: E402
from triptych.doctor.side import local_side  # noqa: E402

pytestmark = [
    pytest.mark.framework,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation"),  # Keras' own
]

TIME, FEATURES, HEADS = 5, 8, 2
RNG = np.random.default_rng(0)
BATCH = {
    "x": RNG.normal(size=(10, TIME, FEATURES)).astype(np.float32),
    "x2": (np.arange(TIME) < RNG.integers(2, TIME, (10, 1))).astype(np.float32),
    "y": RNG.integers(0, 3, 10),
}

Build = Callable[[], dict[str, Any]]


class Fused(nn.Module):
    def __init__(self, *, hides: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(FEATURES, HEADS, batch_first=True)
        self.head = nn.Linear(FEATURES, 3)
        self.hides = hides

    def forward(self, x: Any, seen: Any) -> Any:
        made, _ = self.attention(x, x, x, key_padding_mask=seen == self.hides)
        return self.head(torch.tanh(x + made).mean(1))


class Separate(nn.Module):
    def __init__(self, *, interleaved: bool) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(FEATURES, FEATURES) for _ in range(4))
        self.head = nn.Linear(FEATURES, 3)
        self.interleaved = interleaved

    def heads(self, x: Any) -> Any:
        if self.interleaved:
            return x.unflatten(-1, (-1, HEADS)).permute(0, 3, 1, 2)
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)

    def forward(self, x: Any, seen: Any) -> Any:
        query, key, value = (self.heads(layer(x)) for layer in (self.q, self.k, self.v))
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        scores = scores.masked_fill(seen[:, None, None] == 0, -1e9)
        made = scores.softmax(-1) @ value
        order = (0, 2, 3, 1) if self.interleaved else (0, 2, 1, 3)
        return self.head(torch.tanh(x + self.o(made.permute(order).flatten(2))).mean(1))


def torch_side(kind: type[nn.Module], **options: Any) -> Build:
    def build() -> dict[str, Any]:
        model = kind(**options)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        return {"model": model, "loss": nn.CrossEntropyLoss(), "optimizer": optimizer}

    return build


def keras_parts(inputs: Any, x: Any, made: Any) -> dict[str, Any]:
    summed = ops.tanh(layers.Add()([x, made]))
    outputs = layers.Dense(3)(layers.GlobalAveragePooling1D()(summed))
    return {
        "model": keras.Model(inputs, outputs),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "optimizer": keras.optimizers.SGD(0.1),
    }


def keras_fused() -> dict[str, Any]:
    inputs = [keras.Input((TIME, FEATURES)), keras.Input((TIME,))]
    mask = ops.not_equal(inputs[1], 0.0)[:, None, :]
    layer = layers.MultiHeadAttention(HEADS, FEATURES // HEADS, name="fused")
    return keras_parts(inputs, inputs[0], layer(inputs[0], inputs[0], attention_mask=mask))


def by_head(x: Any) -> Any:
    return ops.transpose(ops.reshape(x, (-1, TIME, HEADS, FEATURES // HEADS)), (0, 2, 1, 3))


def keras_separate(*, scaled: bool = True, shows: float = 1.0, bias: bool = True) -> Build:
    def build() -> dict[str, Any]:
        inputs = [keras.Input((TIME, FEATURES)), keras.Input((TIME,))]
        x = inputs[0]
        query = by_head(layers.Dense(FEATURES, use_bias=bias, name="wq")(x))
        key = by_head(layers.Dense(FEATURES, name="wk")(x))
        value = by_head(layers.Dense(FEATURES, name="wv")(x))
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        if scaled:
            scores = scores / (FEATURES // HEADS) ** 0.5
        hidden = ops.cast(ops.not_equal(inputs[1], shows), "float32")
        scores = scores - 1e9 * ops.cast(hidden, scores.dtype)[:, None, None, :]
        made = ops.transpose(ops.matmul(ops.softmax(scores), value), (0, 2, 1, 3))
        made = layers.Dense(FEATURES, name="wo")(ops.reshape(made, (-1, TIME, FEATURES)))
        return keras_parts(inputs, x, made)

    return build


def diagnosed(a: Build, b: Build) -> Diagnosis:
    sides = [local_side(name, Parts.of_object(name, build)) for name, build in (("A", a), ("B", b))]
    return diagnose(sides[0], sides[1], BATCH)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch_side(Fused, hides=0), keras_separate()),
        (keras_fused, torch_side(Separate, interleaved=False)),
    ],
)
def test_a_correct_pair_is_acquitted_and_its_layers_belong_together(a: Build, b: Build) -> None:
    answer = diagnosed(a, b)
    assert answer.findings == ()
    assert answer.verdict in ("equal", "rounding")
    pairs = [(row.a.rpartition(".")[2], row.b[-1]) for row in answer.layers[:4]]
    expected = {("query", "q"), ("key", "k"), ("value", "v"), ("output", "o")}
    assert set(pairs) == expected


FUSED = torch_side(Fused, hides=0)


@pytest.mark.parametrize(
    ("a", "b", "cause", "values"),
    [
        (
            FUSED,
            keras_separate(scaled=False),
            "D109",
            ("scores divided by the root of a head's features", "scores not divided"),
        ),
        (
            FUSED,
            keras_separate(shows=0.0),
            "D100",
            (
                "attends to the positions where input1 is not 0",
                "attends to the positions where input1 is 0",
            ),
        ),
        (
            torch_side(Fused, hides=1),
            keras_fused,
            "D100",
            (
                "attends to the positions where input1 is 0",
                "attends to the positions where input1 is not 0",
            ),
        ),
        (
            keras_fused,
            torch_side(Separate, interleaved=True),
            None,
            ("a head has consecutive features", "a head has every n-th feature"),
        ),
    ],
)
def test_a_mistake_in_attention_is_named(
    a: Build, b: Build, cause: str | None, values: tuple[str, str]
) -> None:
    answer = diagnosed(a, b)
    (finding,) = answer.findings
    assert (finding.stage, finding.cause, finding.proved) == ("forward", cause, True)
    assert (finding.values["a"], finding.values["b"]) == values
    assert answer.verdict == "differ"


def test_a_missing_bias_of_one_projection_is_named() -> None:
    (finding,) = diagnosed(FUSED, keras_separate(bias=False)).findings
    assert finding.layer == {"a": "attention.query", "b": "wq"}
    assert finding.title.endswith("has none")
    assert finding.fix["b"] == "layers.Dense(8, use_bias=True)"
