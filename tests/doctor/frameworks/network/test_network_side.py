"""A trained network of Triptych as a side, and one of our engines with a planted mistake."""

from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import triptych as tt
from triptych.core import registry, state
from triptych.core.plan import Plan
from triptych.core.split import Split
from triptych.data.reading import Options
from triptych.doctor.diagnosis import diagnose
from triptych.doctor.frameworks.adapter import ModelError, Unsupported
from triptych.doctor.frameworks.network.adapter import Adapter, Trained
from triptych.doctor.model_file import Parts
from triptych.doctor.observation import Change
from triptych.doctor.recorded import RecordedOther
from triptych.doctor.side import local_side
from triptych.doctor.trace import read_trace, record, write_trace
from triptych.engines.numpy import normalization, optimizers
from triptych.engines.numpy.loss import LOSSES
from triptych.spec.losses import Clip
from triptych.training.trained import TrainedRun

BRANCH = (tt.layers.Conv2D("inner", 4, 3, padding=1), tt.layers.BatchNorm("inner_norm"))
NETWORK = tt.Network(
    "small",
    (6, 6, 2),
    (
        tt.layers.Conv2D("conv", 4, 3, padding=1),
        tt.layers.Residual("block", BRANCH),
        tt.layers.ReLU("relu"),
        tt.layers.MaxPool2D("pool"),
        tt.layers.Flatten("flatten"),
        tt.layers.Dense("hidden", 5),
        tt.layers.GELU("gelu"),
        tt.layers.Dropout("drop", 0.3),
        tt.layers.Dense("logits", 3),
    ),
)
RECIPE = tt.Recipe(
    epochs=2,
    batch_size=4,
    dtype="float64",
    optimizer=tt.optimizers.Adam(),
    loss=tt.losses.SoftmaxCrossEntropy(label_smoothing=0.1, l2=0.01),
    clip=Clip(0.5),
    schedule=tt.schedules.Cosine(),
)


def trained(recipe=RECIPE, seed=0, **data):
    """Return a network whose every weight and statistic differs from its initial value."""
    rng = np.random.default_rng(seed)
    weights = {
        name: array + rng.uniform(0, 0.3, array.shape) if array.dtype.kind == "f" else array
        for name, array in state.initial(NETWORK, recipe).items()
    }
    return TrainedRun(Path("run"), NETWORK, recipe, weights, "", "numpy", None, Options(), data)


def adapter(dtype="native", **options):
    return Adapter({"model": Trained(trained(**options), "numpy")}, dtype)


def batch(samples=8):
    rng = np.random.default_rng(1)
    return {"x": rng.normal(size=(samples, 6, 6, 2)), "y": rng.integers(0, 3, samples)}


def observed(side, **options):
    data = batch()
    return side.observe(side.inputs(data), training=True, targets={"y": data["y"]}, **options)


def test_layers_outputs_and_gradients_are_those_of_a_step_of_the_engine():
    side, run, data = adapter(), trained(), batch()
    engine = registry.create("numpy", NETWORK, replace(RECIPE, random="free"))
    engine.load(run.state)
    split = engine.upload(Split(data["x"], data["y"].astype(np.int32)))
    kept = {"drop": np.ones((1, 8, 5), bool)}
    traced = engine.trace(split, Plan(np.array([0.1]), dropout_masks=kept))
    observation = observed(side)
    for call in observation.calls:
        if call.number < [each.kind for each in observation.calls].index("dropout"):
            output = observation.arrays[f"{call.number}/output"]
            assert np.allclose(output, traced[f"output/{call.layer}"], rtol=0, atol=1e-13)
    assert [call.layer for call in observation.calls] == [p.layer.name for p in NETWORK.places]


def test_gradients_are_those_of_the_loss():
    side, data = adapter(), batch()
    observation = observed(side)
    weights = side.weights()
    for name in ("conv/kernel", "inner_norm/scale", "logits/bias"):
        index = (0,) * weights[name].ndim
        losses = []
        for step in (1e-5, -1e-5):
            moved = weights[name].copy()
            moved[index] += step
            side.load({name: moved})
            losses.append(float(observed(side).arrays["loss"]))
            side.load(weights)
        slope = (losses[0] - losses[1]) / 2e-5
        assert observation.arrays[f"gradient/{name}"][index] == pytest.approx(slope, rel=1e-6)
    penalty = observation.arrays["penalty"]
    kernels = [weights[f"{name}/kernel"] for name in ("conv", "inner", "hidden", "logits")]
    assert penalty == pytest.approx(0.005 * sum((kernel**2).sum() for kernel in kernels))
    assert np.array_equal(
        observation.arrays["penalty_gradient/hidden/kernel"], 0.01 * weights["hidden/kernel"]
    )
    logits = {"output": observation.arrays["output"]}
    alone = side.loss(logits, {"y": data["y"]})
    assert alone["loss"] == observation.arrays["loss"]


def test_running_statistics_after_a_pass_and_unchanged_weights():
    side = adapter()
    before = side.weights()
    observation = observed(side)
    number = next(call.number for call in observation.calls if call.layer == "inner_norm")
    values = observation.arrays[f"{number}/input"].reshape(-1, 4)
    mean = 0.9 * before["inner_norm/mean"] + 0.1 * values.mean(0)
    variance = 0.9 * before["inner_norm/variance"] + 0.1 * values.var(0, ddof=1)
    assert np.allclose(observation.arrays["buffer/inner_norm/mean"], mean)
    assert np.allclose(observation.arrays["buffer/inner_norm/variance"], variance)
    for name, array in side.weights().items():
        assert np.array_equal(array, before[name])


def test_dropout_is_drawn_only_if_it_is_wanted():
    side = adapter()
    still, drawn = observed(side), observed(side, dropout=True)
    number = next(call.number for call in still.calls if call.kind == "dropout")
    assert still.calls[number].settings == {"rate": 0.3, "active": True}
    assert (still.arrays[f"{number}/output"] != 0).all()
    output = drawn.arrays[f"{number}/output"]
    assert 0 < (output == 0).mean() < 0.7
    kept = output != 0
    before = still.arrays[f"{number - 1}/output"]
    assert np.allclose(output[kept], before[kept] / 0.7)


def test_an_update_is_adams_after_clipping():
    side = adapter(train=10)
    weights = side.weights()
    trained_names = [n for n in weights if not n.endswith(("mean", "variance"))]
    gradients = {name: np.full_like(weights[name], 0.5) for name in trained_names}
    norm = np.sqrt(sum(0.25 * each.size for each in gradients.values()))
    updates = side.update([gradients])
    step = 0.5 * 0.5 / norm
    expected = updates.rates[0] * step / (step + 1e-8)
    for name in trained_names:
        assert np.allclose(weights[name] - updates.weights[0][name], expected, rtol=1e-9)


def test_a_training_is_the_engines():
    side, run, data = adapter(train=10), trained(), batch()
    rates = np.array(side.rates(3))
    dropless = replace(
        NETWORK,
        layers=tuple(
            replace(layer, rate=0.0) if layer.name == "drop" else layer for layer in NETWORK.layers
        ),
    )
    engine = registry.create("numpy", dropless, RECIPE)
    fresh = state.initial(dropless, RECIPE)
    engine.load(fresh | {name: run.state[name] for name in fresh if name.count("/") == 1})
    engine.run(engine.upload(Split(data["x"], data["y"].astype(np.int32))), Plan(rates))
    weights, losses = side.train(side.inputs(data), {"y": data["y"]}, 3)
    assert losses == engine.wait().tolist()
    assert np.array_equal(weights["conv/kernel"], engine.state()["conv/kernel"])
    assert np.array_equal(weights["inner_norm/mean"], engine.state()["inner_norm/running_mean"])


def test_rates_follow_the_schedule_of_the_runs_own_data():
    rates = adapter(train=10).rates(6)
    cosine = tt.schedules.Cosine()
    assert rates == [1e-3 * cosine.at(step, 3, 2) for step in range(6)]


def test_a_schedule_without_the_size_of_the_data_is_unknown():
    with pytest.raises(Unsupported, match="how many samples"):
        adapter().rates(2)


def test_settings_are_changed_and_restored():
    side = adapter()
    before = observed(side)
    number = next(call.number for call in before.calls if call.layer == "inner_norm")
    side.change([Change("layer", "inner_norm", "epsilon", 0.5)])
    values = before.arrays[f"{number}/input"]
    weights = side.weights()
    variance = values.reshape(-1, 4).var(0)
    normal = (values - values.reshape(-1, 4).mean(0)) / np.sqrt(variance + 0.5)
    expected = normal * weights["inner_norm/scale"] + weights["inner_norm/offset"]
    assert np.allclose(observed(side).arrays[f"{number}/output"], expected)
    side.change([Change("loss", "", "label_smoothing", 0.0)])
    assert observed(side).arrays["loss"] != before.arrays["loss"]
    side.restore()
    assert np.array_equal(observed(side).arrays["output"], before.arrays["output"])


@pytest.mark.parametrize(
    "change",
    [
        Change("layer", "nothing", "epsilon", 1.0),
        Change("layer", "inner_norm", "slope", 1.0),
        Change("layer", "pool", "strides", [1, 2]),
        Change("layer", "inner_norm", "epsilon", -1.0),
        Change("optimizer", "", "amsgrad", True),
        Change("schedule", "", "gamma", 0.1),
        Change("preprocess", "", "mean", 0.1),
    ],
)
def test_what_cannot_be_changed_is_refused_and_changes_nothing(change):
    side, data = adapter(), batch()
    before = side.inputs(data)["input"]
    doubled = Change("preprocess", "", "scale", 2.0)
    with pytest.raises(Unsupported):
        side.change([Change("optimizer", "", "rate", 0.5), doubled, change])
    assert side.description() == adapter().description()
    assert np.array_equal(side.inputs(data)["input"], before)
    side.change([doubled])
    assert np.array_equal(side.inputs(data)["input"], 2 * before)


def test_a_convolution_of_single_channels_is_a_depthwise_one():
    network = tt.Network(
        "depthwise",
        (4, 4, 3),
        (
            tt.layers.Conv2D("conv", 6, 3, groups=3),
            tt.layers.GlobalAvgPool("pool"),
            tt.layers.Dense("logits", 2),
        ),
    )
    arrays = state.initial(network, RECIPE)
    run = TrainedRun(Path("run"), network, RECIPE, arrays, "", "numpy", None, Options(), {})
    side = Adapter({"model": Trained(run, "numpy")}, "native")
    layer = side.description().layers[0]
    assert layer.kind == "depthwise_conv"
    kernel = side.weights()["conv/kernel"]
    assert kernel.shape == (3, 3, 3, 2)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3))
    data = {"y": np.array([0, 1])}
    observation = side.observe(side.inputs({"x": x}), training=True, targets=data)
    second = (x[0, :3, :3, 1] * kernel[:, :, 1, 1]).sum()  # of the second channel
    assert observation.arrays["0/output"][0, 0, 0, 3] == pytest.approx(second)
    assert observation.arrays["gradient/conv/kernel"].shape == kernel.shape
    side.load({"conv/kernel": kernel})
    assert np.array_equal(side.framework_weights()["conv/kernel"], arrays["conv/kernel"])


def test_samples_are_taken_in_the_shapes_that_are_clear():
    side, x = adapter(), batch()["x"]
    taken = side.inputs({"x": x})["input"]
    assert np.array_equal(side.inputs({"x": np.moveaxis(x, -1, 1)})["input"], taken)
    assert np.array_equal(side.inputs({"x": x.reshape(8, -1)})["input"], taken)
    pixels = np.full((1, 6, 6, 2), 51, np.uint8)
    assert np.array_equal(side.inputs({"x": pixels})["input"], np.full((1, 6, 6, 2), 0.2))
    with pytest.raises(ModelError, match=r"takes samples of shape \(6, 6, 2\), .* \(6, 5, 2\)"):
        side.inputs({"x": x[:, :, :5]})
    with pytest.raises(ModelError, match="takes one input"):
        side.inputs({"x": x, "x2": x})


def test_classes_are_numbers_or_rows_with_a_one():
    side, data = adapter(), batch()
    logits = {"output": np.random.default_rng(0).normal(size=(8, 3))}
    numbers = side.loss(logits, {"y": data["y"]})["loss"]
    assert side.loss(logits, {"y": np.eye(3)[data["y"]]})["loss"] == numbers
    assert side.loss(logits, {"y": data["y"].reshape(-1, 1).astype(float)})["loss"] == numbers
    with pytest.raises(ModelError, match="classes from 0 to 2"):
        side.loss(logits, {"y": data["y"] + 1})


# Engines with a planted mistake. The reference is what the engine without it has computed.


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The right engine, recorded in a trace that was written and read."""
    model = {"model": Trained(trained(train=10), "numpy")}
    side = local_side("A", Parts(Path("A"), lambda: model))
    folder = tmp_path_factory.mktemp("recorded") / "reference.trace"
    write_trace(folder, record(side, batch()), batch())
    return read_trace(folder)


def compared(reference):
    model = {"model": Trained(trained(train=10), "numpy")}
    return diagnose(reference, local_side("B", Parts(Path("B"), lambda: model)), batch())


def test_the_engine_agrees_with_itself(reference):
    diagnosis = compared(reference)
    assert diagnosis.verdict == "equal"
    assert not diagnosis.findings
    (stage,) = [stage for stage in diagnosis.stages if stage.stage == "update"]
    assert stage.compared


def test_the_trace_of_the_engine_agrees_with_itself(reference):
    diagnosis = diagnose(reference, RecordedOther(reference), batch())
    assert diagnosis.verdict == "equal"
    assert not [stage.note for stage in diagnosis.stages if stage.note]


def test_a_wrong_epsilon_in_the_engines_batch_norm_is_found(reference):
    right = normalization.BatchNorm.__init__

    def wrong(self, layer):
        right(self, replace(layer, epsilon=100 * layer.epsilon))

    with mock.patch.object(normalization.BatchNorm, "__init__", wrong):
        diagnosis = compared(reference)
    first = diagnosis.findings[0]
    assert first.stage == "forward"
    assert first.layer == {"a": "inner_norm", "b": "inner_norm"}
    assert diagnosis.verdict in ("differ", "undecided")


def test_a_wrong_bias_correction_in_the_engines_adam_is_found(reference):
    def wrong(optimizer, weights, gradients, slots, rate, step):
        mean, square = optimizers.update_moments(optimizer, gradients, slots)
        weights -= rate * mean / (np.sqrt(square) + optimizer.epsilon)

    with mock.patch.dict(optimizers.OPTIMIZERS.builders, {tt.optimizers.Adam: wrong}):
        diagnosis = compared(reference)
    assert [finding.stage for finding in diagnosis.findings] == ["update"]
    assert diagnosis.verdict == "differ"


def test_a_sum_in_place_of_the_mean_in_the_engines_loss_is_found(reference):
    build = LOSSES.builders[tt.losses.SoftmaxCrossEntropy]

    def wrong(loss):
        right = build(loss)
        return lambda logits, labels: tuple(each * len(labels) for each in right(logits, labels))

    with mock.patch.dict(LOSSES.builders, {tt.losses.SoftmaxCrossEntropy: wrong}):
        diagnosis = compared(reference)
    assert diagnosis.findings[0].stage == "loss"
    assert diagnosis.verdict == "differ"


def test_a_wrong_gradient_in_the_engines_batch_norm_is_found(reference):
    right = normalization.BatchNorm.input_gradient

    def wrong(self, dy):
        return 0.5 * right(self, dy)

    with mock.patch.object(normalization.BatchNorm, "input_gradient", wrong):
        diagnosis = compared(reference)
    first = diagnosis.findings[0]
    assert first.stage == "gradient"
    assert "inner_norm" in str(first.layer) + first.title
