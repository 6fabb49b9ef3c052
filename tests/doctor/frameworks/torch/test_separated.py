"""An attention layer that is seen as four dense layers computes what it did."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from triptych.doctor.frameworks.adapter import Unsupported  # noqa: E402
from triptych.doctor.frameworks.torch.adapter import Adapter  # noqa: E402

pytestmark = pytest.mark.framework

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 8))
PADDING = np.arange(5)[None] >= np.array([[5], [2], [4]])
TARGETS = {"y": RNG.normal(size=(3, 5, 8))}


class Attends(nn.Module):
    def __init__(self, *, batch_first: bool, masked: bool, bias: bool = True) -> None:
        super().__init__()
        options: dict[str, Any] = {"batch_first": batch_first, "bias": bias}
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.4, **options)
        self.masked = masked
        self.batch_first = batch_first

    def forward(self, x: Any) -> Any:
        sequence = x if self.batch_first else x.transpose(0, 1)
        mask = torch.from_numpy(PADDING) if self.masked else None
        causal = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1) if self.masked else None
        made, _ = self.attention(
            sequence, sequence, sequence, key_padding_mask=mask, attn_mask=causal
        )
        return made if self.batch_first else made.transpose(0, 1)


def observed(model: nn.Module, *, separate: bool) -> Any:
    parts = {"model": model, "loss": lambda output, y: ((output - y) ** 2).mean()}
    adapter = Adapter(parts, "float64")
    adapter.inputs({"x": X})
    if separate:
        adapter.separate(["attention"])
    return adapter, adapter.observe({"input": X}, training=True, targets=TARGETS)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_four_dense_layers_make_the_same_outputs_and_gradients(
    batch_first: bool, masked: bool
) -> None:
    torch.manual_seed(1)
    model = Attends(batch_first=batch_first, masked=masked)
    nn.init.normal_(model.attention.in_proj_bias)
    _, whole = observed(model, separate=False)
    adapter, parts = observed(model, separate=True)
    anchors = [call.layer for call in parts.anchors]
    assert anchors == [f"attention.{name}" for name in ("query", "key", "value", "output")]
    np.testing.assert_allclose(parts.arrays["output"], whole.arrays["output"], atol=1e-12)
    for name in ("query", "key", "value", "output"):
        for role in ("kernel", "bias"):
            np.testing.assert_allclose(
                parts.arrays[f"gradient/attention.{name}/{role}"],
                whole.arrays[f"gradient/attention/{name}_{role}"],
                atol=1e-12,
                err_msg=f"{name} {role}",
            )
    described = {layer.path: layer for layer in adapter.description().layers}
    assert described["attention.key"].roles == ("kernel", "bias")
    kernel = model.attention.in_proj_weight.detach().numpy()[8:16].T
    np.testing.assert_allclose(adapter.weights()["attention.key/kernel"], kernel, rtol=1e-6)


def test_a_layer_of_more_than_its_projections_is_left_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.MultiheadAttention(4, 2, add_bias_kv=True))
    adapter = Adapter({"model": model}, "native")
    with pytest.raises(Unsupported, match="more than four"):
        adapter.separate(["1"])
    with pytest.raises(Unsupported, match="no attention layer 0"):
        adapter.separate(["0"])
