"""The contract of `triptych.core.engine.Engine`: the same tests for all engines."""

import numpy as np
import pytest
from support.engines import loaded_engine, rows
from support.errors import relative_errors
from threadpoolctl import threadpool_info

from triptych.core import registry, state
from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.errors import EngineError
from triptych.parity.specimens import SPECIMENS
from triptych.spec import zoo
from triptych.spec.layers import Conv2D, Dense, Dropout, Flatten
from triptych.spec.network import Network
from triptych.spec.optimizers import SGD, SHORTHANDS, optimizer
from triptych.spec.recipe import Recipe

NETWORK = zoo.get("regularized")


def build(name: str, backend: str, optimizer_name: str = "adam", dtype="float64", **changes):
    recipe = Recipe(1, 64, optimizer(optimizer_name), dtype=dtype, **changes)
    engine = registry.create(name, NETWORK, recipe, backend=backend)
    start = state.initial(NETWORK, recipe)
    rng = np.random.default_rng(3)
    for (
        array_name,
        array,
    ) in start.items():  # slots of a run that is under way; second moments are never negative
        if array.dtype.kind == "f" and state.kind(array_name) != "weights":
            start[array_name] = np.abs(rng.normal(size=array.shape)).astype(array.dtype)
    if "step" in start:
        start["step"] = np.array(7)
    engine.load(start)
    return engine, start, BatchPlanner(NETWORK, recipe, 200, 3)


@pytest.mark.parametrize(("name", "backend"), rows())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("chosen", list(SHORTHANDS))
def test_a_state_goes_in_and_comes_out_to_the_bit(name, backend, dtype, chosen):
    engine, start, _ = build(name, backend, chosen, dtype)
    found = engine.state()
    assert list(found) == list(start)
    for key, array in start.items():
        assert found[key].dtype == array.dtype, key
        assert np.array_equal(found[key], array), key
        assert found[key].flags.c_contiguous
    found["hidden1/kernel"][:] = 0  # a copy: the engine's own is untouched
    assert np.array_equal(engine.state()["hidden1/kernel"], start["hidden1/kernel"])


@pytest.mark.parametrize(("name", "backend"), rows())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_is_in_the_recipes_dtype(name, backend, dtype, few: Split):
    """A stray upcast in float32 hides rounding and costs time; a stray downcast in float64 breaks
    the proof.
    """
    engine, _, schedule = build(name, backend, dtype=dtype)
    data = engine.upload(few)
    plan = next(schedule.plans())
    for key, array in engine.trace(data, plan).items():
        assert array.dtype == dtype, key
    engine.run(data, plan)
    losses = engine.wait()
    assert losses.dtype == dtype
    assert losses.shape == (3,)
    assert engine.wait().shape == (0,)
    assert engine.logits(data).dtype == dtype
    assert all(array.dtype == dtype for key, array in engine.state().items() if key != "step")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("make", "chosen"), [(SPECIMENS[i % len(SPECIMENS)], name) for i, name in enumerate(SHORTHANDS)]
)
def test_numpy_computes_in_no_other_dtype(dtype, make, chosen, few: Split, monkeypatch):
    """Every array that a layer or an update makes, not only what comes out at the end."""
    from triptych.engines.numpy import layer as base
    from triptych.engines.numpy import optimizers

    network, recipe = make(zoo.GREY, 10), Recipe(1, 64, optimizer(chosen), dtype=dtype)
    engine = loaded_engine("numpy", network, recipe)
    seen: set[str] = set()
    for cls in {
        kind
        for layer in engine.layers
        for kind in type(layer).__mro__
        if issubclass(kind, base.Layer)
    }:
        methods = {"forward", "parameter_gradients", "input_gradient", "backward", "update_buffers"}
        for method in methods & set(vars(cls)):
            original = getattr(cls, method)

            def watched(self, *arguments, original=original):
                y = original(self, *arguments)
                kept = (
                    *arguments[:1],
                    y,
                    *vars(self).values(),
                    *self.gradients.values(),
                    *self.buffers.values(),
                )
                seen.update(
                    str(a.dtype) for a in kept if isinstance(a, np.ndarray) and a.dtype.kind == "f"
                )
                return y

            monkeypatch.setattr(cls, method, watched)
    kinds = type(engine.recipe.optimizer)
    update = optimizers.OPTIMIZERS.builders[kinds]

    def updating(o, w, g, slots, rate, step):
        update(o, w, g, slots, rate, step)
        seen.update(str(a.dtype) for a in (w, g, *slots.values()))

    monkeypatch.setitem(optimizers.OPTIMIZERS.builders, kinds, updating)
    engine.run(engine.upload(few), next(BatchPlanner(network, recipe, 200, 3).plans()))
    assert seen == {dtype}


@pytest.mark.parametrize(("name", "backend"), rows())
def test_a_trace_is_ordered_and_changes_nothing(name, backend, few: Split):
    engine, start, schedule = build(name, backend)
    data = engine.upload(few)
    plan = next(schedule.plans())
    seen = engine.trace(data, plan)
    outputs = [f"output/{layer.name}" for layer in NETWORK.layers]
    assert list(seen)[: len(outputs) + 1] == [*outputs, "loss"]
    assert [key.split("/")[1] for key in seen if key.startswith("gradient/")] == ["output"] * 2 + [
        "hidden2"
    ] * 2 + ["hidden1"] * 2
    assert list(engine.trace(data, plan, outputs=False)) == list(seen)[len(outputs) :]
    assert all(np.array_equal(array, start[key]) for key, array in engine.state().items())
    assert engine.wait().shape == (0,)


@pytest.mark.parametrize(("name", "backend"), rows())
def test_the_loss_is_that_of_the_step_before_its_update(name, backend, few: Split):
    engine, _, schedule = build(name, backend)
    data, plan = engine.upload(few), next(schedule.plans())
    before = engine.trace(data, plan)["loss"]
    engine.run(data, plan[:1])
    assert engine.wait()[0] == pytest.approx(before, rel=1e-14)


@pytest.mark.parametrize(("name", "backend"), rows())
def test_evaluation_drops_nothing(name, backend, few: Split):
    engine, start, _ = build(name, backend)
    x = few.pixels("float64").reshape(200, -1)
    for n in ("hidden1", "hidden2"):
        x = np.maximum(x @ start[f"{n}/kernel"] + start[f"{n}/bias"], 0)
    expected = x @ start["output/kernel"] + start["output/bias"]
    assert np.allclose(engine.logits(engine.upload(few)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "backend"), rows())
def test_the_rate_of_each_step_is_obeyed(name, backend, few: Split):
    engine, start, schedule = build(name, backend, "sgd")
    data, plan = engine.upload(few), next(schedule.plans())
    engine.run(data, Plan(np.array([0.0, 0.0, 0.0]), plan.indices, plan.dropout_masks))
    assert all(np.array_equal(array, start[key]) for key, array in engine.state().items())
    changing = Plan(np.array([0.3, 0.1, 0.7]), plan.indices, plan.dropout_masks)
    engine.run(data, changing)
    reference, _, _ = build("numpy", "eager", "sgd")
    reference.run(reference.upload(few), changing)
    assert max(relative_errors(reference.state(), engine.state(), "update").values()) < 1e-13


@pytest.mark.parametrize(("name", "backend"), rows())
def test_a_state_that_does_not_fit_is_refused_by_name(name, backend):
    engine, start, _ = build(name, backend)
    for broken, says in (
        ({k: v for k, v in start.items() if k != "hidden2/bias/m"}, "lacks 'hidden2/bias/m'"),
        (
            start | {"hidden1/kernel": start["hidden1/kernel"].T},
            r"hidden1/kernel: shape \(128, 784\)",
        ),
        (
            start | {"output/bias": start["output/bias"].astype(np.float32)},
            "output/bias: dtype float32",
        ),
        (start | {"other": np.zeros(1)}, "has 'other'"),
    ):
        with pytest.raises(ValueError, match=says):
            engine.load(broken)


@pytest.mark.parametrize(("name", "backend"), rows())
def test_in_free_mode_each_draws_its_own_masks(name, backend, few: Split):
    engine, start, schedule = build(name, backend, "sgd", "float32", random="free")
    plan = next(schedule.plans())
    assert plan.dropout_masks == {}
    data = engine.upload(few)
    traces = [engine.trace(data, plan) for _ in range(2)]
    share = (traces[0]["output/dropout1"] == 0).mean() - (traces[0]["output/relu1"] == 0).mean()
    assert 0.03 < share < 0.25  # a fifth of what ReLU left open
    assert not np.array_equal(traces[0]["output/dropout1"], traces[1]["output/dropout1"])
    engine.run(data, plan)
    assert np.isfinite(engine.wait()).all()
    assert not np.array_equal(engine.state()["output/bias"], start["output/bias"])


@pytest.mark.parametrize(("name", "backend"), rows())
def test_no_global_of_the_framework_is_left_changed(name, backend, few: Split):
    if name == "torch":
        import torch

        look = lambda: (  # noqa: E731
            torch.get_default_dtype(),
            torch.backends.mkldnn.matmul.fp32_precision,
            torch.is_grad_enabled(),
        )
    elif name == "tensorflow":
        import keras

        look = lambda: (  # noqa: E731
            keras.config.floatx(),
            keras.config.epsilon(),
            str(keras.config.dtype_policy()),
        )
    elif name == "jax":
        import jax

        look = lambda: (  # noqa: E731
            jax.config.jax_enable_x64,
            jax.config.jax_default_matmul_precision,
            jax.config.jax_default_device,
        )
    else:
        loaded = {library["filepath"] for library in threadpool_info()}
        look = lambda: (  # noqa: E731
            np.geterr(),
            np.get_printoptions()["precision"],
            [library for library in threadpool_info() if library["filepath"] in loaded],
        )
    before = look()
    for dtype in ("float64", "float32"):
        engine, _, schedule = build(name, backend, dtype=dtype)
        data = engine.upload(few)
        engine.run(data, next(schedule.plans()))
        engine.wait()
        engine.logits(data)
        engine.trace(data, next(schedule.plans()))
    assert look() == before


@pytest.mark.parametrize("backend", ["compiled", "xla"])
def test_tensorflow_traces_once_for_each_shape(backend: str, few: Split):
    pytest.importorskip("tensorflow")
    engine, _, _ = build("tensorflow", backend)
    data = engine.upload(few)
    schedule = BatchPlanner(NETWORK, Recipe(4, 64, optimizer("adam"), dtype="float64"), 200, 2)
    for plan in schedule.plans():
        engine.run(data, plan)
    engine.wait()
    assert engine.train_graph.experimental_get_tracing_count() == len(schedule.kinds()) == 3


def test_jax_traces_once_for_each_shape_whoever_asks(few: Split, monkeypatch):
    pytest.importorskip("jax")
    from triptych.engines.jax import engine as module

    traced, select_batch = [], module.select_batch
    monkeypatch.setattr(module, "select_batch", lambda *a: traced.append(a) or select_batch(*a))
    recipe = Recipe(4, 64, optimizer("adam", rate=0.00123), dtype="float64")  # of no other test
    schedule, start = BatchPlanner(NETWORK, recipe, 200, 2), state.initial(NETWORK, recipe)
    for _ in range(2):
        engine = registry.create("jax", NETWORK, recipe)
        engine.load(start)
        data = engine.upload(few)
        for plan in schedule.plans():
            engine.run(data, plan)
        engine.wait()
    assert len(traced) == len(schedule.kinds()) == 3


def test_what_cannot_be_had_is_said(monkeypatch):
    recipe = Recipe()
    for name in ("numpy", *(["numba"] if registry.entry("numba").installed else [])):
        # A comparison on another device has these in it, too.
        assert registry.create(name, NETWORK, recipe, device="cuda").device == "cpu"
    for call, says in (
        (lambda: registry.create("pytorch", NETWORK, recipe), "did you mean 'torch'"),
        (lambda: registry.create("numpy", NETWORK, recipe, backend="xla"), "no backend 'xla'"),
    ):
        with pytest.raises(EngineError, match=says):
            call()
    monkeypatch.setattr("triptych.core.engine_info.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"not installed: pip install 'triptych\[torch\]'"):
        registry.create("torch", NETWORK, recipe)


WITH_DEVICES = [
    row for row in rows(others=False) if not registry.entry(row.values[0]).processor_only
]


@pytest.mark.parametrize(("name", "backend"), WITH_DEVICES)
def test_devices_that_are_not_there(name: str, backend: str):
    for device, says in (
        ("cuda", "sees no cuda device"),
        ("tpu", "unknown|known"),
        ("mps", "mps device"),
    ):
        with pytest.raises(EngineError, match=says):
            registry.create(name, NETWORK, Recipe(), device=device, backend=backend)
    assert registry.create(name, NETWORK, Recipe(), device="auto", backend=backend).device == "cpu"


def test_an_optimizer_without_an_update_is_refused_when_the_engine_is_built():
    class Unknown(SGD):
        pass

    with pytest.raises(EngineError, match="NumPy has no optimizer for Unknown"):
        registry.create("numpy", NETWORK, Recipe(optimizer=Unknown()))


def test_the_reference_comes_first_and_the_optional_engines_last():
    names = list(registry.entries())
    assert names[0] == registry.REFERENCE
    assert set(names) >= set(registry.BUILT_IN)
    optional = [registry.entry(name).optional for name in names[1:]]
    assert optional == sorted(optional)
    assert list(registry.entry("torch").backends) == ["eager", "onednn", "bf16", "compiled"]


@pytest.mark.parametrize(("name", "backend"), rows())
def test_names_and_sizes_that_no_framework_stumbles_over(name: str, backend: str):
    """An image smaller than the kernel before it is padded; names of methods, of arguments, and of
    keys inside the engines.
    """
    layers = (
        Conv2D("values", 2, 3, padding=1),
        Dropout("images", 0.2),
        Flatten("type"),
        Dense("output", 3),
    )
    network, recipe = (
        Network("my/net", (2, 2, 1), layers),
        Recipe(1, "full", dtype="float64", seed=2**62),
    )
    split = Split(
        np.arange(20, dtype=np.uint8).reshape(5, 2, 2, 1), np.array([0, 1, 2, 0, 1], np.int32)
    )
    plan, ends = BatchPlanner(network, recipe, 5).plan(0, 1, 5), []
    for engine in (
        registry.create("numpy", network, recipe),
        registry.create(name, network, recipe, backend=backend),
    ):
        engine.load(state.initial(network, recipe))
        engine.run(engine.upload(split), plan)
        engine.wait()
        ends.append(engine.state())
    assert max(relative_errors(*ends, "update").values()) < 1e-13
