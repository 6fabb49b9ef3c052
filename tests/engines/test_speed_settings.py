"""What the engines do for speed alone: that it is in force, and that it changes no result."""

import numpy as np
import pytest
from support.engines import loaded_engine
from support.errors import relative_errors

from triptych.core import state
from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.spec import zoo
from triptych.spec.layers import Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU
from triptych.spec.network import Network
from triptych.spec.optimizers import optimizer
from triptych.spec.recipe import Recipe


def traced(
    name: str, split: Split, network: Network, recipe: Recipe, backend: str | None = None
) -> state.State:
    engine = loaded_engine(name, network, recipe, backend)
    return engine.trace(
        engine.upload(split),
        BatchPlanner(network, recipe, len(split)).plan(0, 1, len(split)),
        outputs=False,
    )


def apart(
    split: Split, network: Network, name: str, backend: str | None = None, dtype="float64"
) -> float:
    """Return how far loss and gradients of a full batch are from NumPy's in float64, relative to
    the largest.
    """
    exact, other = (Recipe(1, dtype=d, seed=5) for d in ("float64", dtype))
    found = state.cast(traced(name, split, network, other, backend), "float64")
    return max(relative_errors(traced("numpy", split, network, exact), found).values())


class TestTorch:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("torch")

    @pytest.mark.parametrize(
        "pool", [MaxPool2D("pool"), MaxPool2D("pool", 3, 2, 1), MaxPool2D("pool", 2, 1)], ids=repr
    )
    def test_a_maximum_comes_before_its_relu_and_is_shown_as_written(
        self, few: Split, pool: MaxPool2D
    ):
        """With half of the windows negative throughout, where each order finds another place of the
        maximum.
        """
        network = Network(
            "n",
            (28, 28, 1),
            (Conv2D("conv", 4), ReLU("relu"), pool, Flatten("flatten"), Dense("output", 10)),
        )
        recipe = Recipe(1, dtype="float64")
        engine = loaded_engine("torch", network, recipe)
        assert engine.model.fast_order == [0, 2, 1, 3, 4]
        plan = BatchPlanner(network, recipe, len(few)).plan(0, 1, len(few))
        seen = engine.trace(engine.upload(few), plan)
        assert [key for key in seen if key.startswith("output/")] == [
            f"output/{layer.name}" for layer in network.layers
        ]
        assert 0.1 < (seen["output/pool"] == 0).mean() < 0.9
        assert seen["output/relu"].shape[1:] == (26, 26, 4)
        assert apart(few, network, "torch") < 1e-12

    @pytest.mark.parametrize(("name", "last"), [("lenet", True), ("lenet-bn", False)])
    def test_kernels_lie_channels_last_unless_there_is_a_batchnorm(self, name: str, last: bool):
        """And so do slots: an optimizer's fused kernel goes through memory as it lies."""
        import torch

        engine = loaded_engine("torch", zoo.get(name), Recipe(1, 64, optimizer("adam")))
        kernel = engine.weights["conv2/kernel"]
        assert kernel.is_contiguous(memory_format=torch.channels_last) == last
        assert [
            engine.optimizer.state[kernel][slot].stride() for slot in ("exp_avg", "exp_avg_sq")
        ] == [kernel.stride()] * 2

    def test_bf16_is_reduced_in_float32_and_nothing_in_float64(self, few: Split):
        network = zoo.get("lenet")
        assert apart(few, network, "torch", "bf16") < 1e-12
        assert 1e-4 < apart(few, network, "torch", "bf16", "float32") < 0.1

    def test_onednn_is_never_reduced(self, few: Split):
        """Whatever this processor's oneDNN makes of float32."""
        assert apart(few, zoo.get("custom"), "torch", "onednn", "float32") < 1e-5

    @pytest.mark.parametrize(("exact", "during"), [(True, "bf16"), (False, "none")])
    def test_onednn_is_in_force_where_it_is_exact_and_no_longer_than_a_step(
        self, few: Split, monkeypatch, exact: bool, during: str
    ):
        import torch

        from triptych.engines.torch import precision

        monkeypatch.setattr(precision, "exact", lambda: exact)
        engine = loaded_engine("torch", zoo.get("classic"), Recipe(1), "onednn")
        said, before = [], torch.backends.mkldnn.matmul.fp32_precision
        engine.model.register_forward_hook(
            lambda *_: said.append(torch.backends.mkldnn.matmul.fp32_precision)
        )
        engine.run(engine.upload(few), Plan(np.array([0.1])))
        assert said == [during]
        assert torch.backends.mkldnn.matmul.fp32_precision == before


class TestTensorFlow:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("tensorflow")

    def test_a_training_traces_three_graphs_at_most_and_then_none(self, few: Split):
        """The five pairs (K, B) that a training has: single steps, blocks that grow, the rest of an
        epoch, its smaller batch.
        """
        network, recipe = zoo.get("classic"), Recipe(2, 32)
        engine, schedule = (
            loaded_engine("tensorflow", network, recipe),
            BatchPlanner(network, recipe, len(few)),
        )
        data, counts = engine.upload(few), []
        for _ in range(2):
            for start, steps, batch in (
                (0, 1, 32),
                (1, 2, 32),
                (3, 3, 32),
                (6, 1, 8),
                (7, 4, 32),
                (11, 1, 32),
            ):
                engine.run(data, schedule.plan(start, steps, batch))
            assert len(engine.wait()) == 12
            counts.append(engine.train_graph.experimental_get_tracing_count())
        assert counts == [3, 3]

    def test_evaluation_traces_two_graphs_at_most(self, few: Split):
        engine = loaded_engine("tensorflow", zoo.get("classic"), Recipe(1))
        for rows in (200, 150, 50, 7):
            assert (
                len(engine.logits(engine.upload(Split(few.images[:rows], few.labels[:rows]))))
                == rows
            )
        assert engine.logits_graph.experimental_get_tracing_count() == 2

    @pytest.mark.parametrize("bias", [True, False])
    def test_more_samples_than_inputs_or_fewer_give_the_same_gradients(
        self, few: Split, bias: bool
    ):
        layers = (
            Flatten("flatten"),
            Dense("wide", 300, bias=bias),
            ReLU("relu"),
            Dense("hidden", 20, bias=bias),
            Dropout("off", 0.0),
        )
        assert (
            apart(
                few,
                Network("n", (28, 28, 1), (*layers, Dense("output", 10, bias=bias))),
                "tensorflow",
            )
            < 1e-12
        )
