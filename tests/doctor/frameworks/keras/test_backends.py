"""The backends of Keras: each in a process of its own, with the same model and weights."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triptych.doctor.diagnosis import diagnose
from triptych.doctor.model_file import ModelFile
from triptych.doctor.side import SideProcess

pytestmark = [pytest.mark.framework, pytest.mark.process, pytest.mark.slow]

SCRIPT = """
import sys

import keras
import numpy as np
from keras import layers, ops

from triptych.doctor.frameworks.keras import adapter

inputs = keras.Input((6, 6, 2))
x = layers.Conv2D(3, 3, strides=2, padding="same", activation="relu", name="a")(inputs)
x = layers.BatchNormalization(name="b")(x)
x = layers.MaxPooling2D(2, strides=1, name="p")(x)
x = ops.gelu(x)
x = layers.Flatten(name="c")(x)
x = layers.Dropout(0.5, name="d")(x)
outputs = layers.Dense(3, activation="softmax", name="e")(x)
side = adapter.Adapter(
    {
        "model": keras.Model(inputs, outputs),
        "loss": "sparse_categorical_crossentropy",
        "optimizer": keras.optimizers.Adam(0.1),
    },
    "native",
)
rng = np.random.default_rng(0)
batch = {"x": rng.normal(size=(5, 6, 6, 2)).astype("float32"), "y": np.array([0, 1, 2, 1, 0])}
inputs = side.inputs(batch)
side.load({name: rng.uniform(0.1, 0.5, array.shape) for name, array in side.weights().items()})
targets = {"y": batch["y"]}
seen = side.observe(inputs, training=True, targets=targets)
forced = {
    f"{call.number}/{part}": rng.normal(size=seen.arrays[f"{call.number}/{part}"].shape)
    for call in seen.anchors
    for part in ("input", "output", "input_gradient", "output_gradient")
}
again = side.observe(inputs, training=True, targets=targets, forced=forced)
trained, losses = side.train(inputs, targets, 2)
gradients = {
    name.removeprefix("gradient/"): array
    for name, array in seen.arrays.items()
    if name.startswith("gradient/")
}
updates = side.update([gradients, gradients])
unlikely = {"output": np.array([[1.0, 0.0, 0.0]], "float32")}
arrays = {"clipped": side.loss(unlikely, {"y": np.array([1])})["loss"]}
arrays |= {f"seen/{name}": array for name, array in seen.arrays.items()}
arrays |= {f"forced/{name}": array for name, array in again.arrays.items()}
arrays |= {f"trained/{name}": array for name, array in trained.items()}
arrays |= {f"updated/{name}": array for name, array in updates.weights[1].items()}
arrays["kinds"] = np.array([f"{call.number} {call.kind} {call.name}" for call in seen.calls])
np.savez(sys.argv[1], **arrays)
"""


def run(backend: str, path: Path) -> Any:
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return np.load(path)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_keras_on_another_backend_is_seen_as_on_tensorflow(backend: str, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    pytest.importorskip(backend)
    other = run(backend, tmp_path / "other.npz")
    on_tensorflow = run("tensorflow", tmp_path / "tensorflow.npz")
    missing = {"seen/output_gradient", "forced/output_gradient"}
    # TensorFlow's loss is computed from the logits, past the output.
    assert set(other) - set(on_tensorflow) == missing
    assert list(other["kinds"]) == list(on_tensorflow["kinds"])
    for name in on_tensorflow:
        if name != "kinds":
            np.testing.assert_allclose(
                other[name], on_tensorflow[name], rtol=2e-4, atol=2e-5, err_msg=name
            )
    assert np.max(np.abs(other["seen/gradient/a/kernel"])) > 1e-3


MODEL = """
import os

os.environ["KERAS_BACKEND"] = "{backend}"
import keras


def build():
    layers = [keras.Input((6,)), keras.layers.Dense(4, activation="softmax")]
    return {{
        "model": keras.Sequential(layers),
        "loss": "sparse_categorical_crossentropy",
        "optimizer": keras.optimizers.SGD(0.1),
    }}
"""


@pytest.mark.parametrize("other", ["torch", "jax"])
def test_a_file_chooses_its_backend_and_clipped_probabilities_are_named(
    other: str, tmp_path: Path
) -> None:
    pytest.importorskip("keras")
    pytest.importorskip(other)
    pytest.importorskip("tensorflow")
    rng = np.random.default_rng(0)
    batch = {"x": 60 * rng.normal(size=(24, 6)).astype("f4"), "y": rng.integers(0, 4, 24)}
    processes: list[SideProcess] = []
    for name, backend in (("A", "tensorflow"), ("B", other)):
        path = tmp_path / f"on_{backend}.py"
        path.write_text(MODEL.format(backend=backend))
        processes.append(SideProcess(name, ModelFile(path)))
    try:
        a, b = (process.start() for process in processes)
        answer = diagnose(a, b, batch)
    finally:
        for process in processes:
            process.close()
    assert "(tensorflow " in answer.a.version
    assert f"({other} " in answer.b.version
    (finding,) = answer.findings
    assert (finding.stage, finding.cause, finding.proved) == ("loss", "D36", True)


TIMED = """
import sys

import keras
import numpy as np
from keras import layers

from triptych.doctor.frameworks.adapter import Unsupported
from triptych.doctor.frameworks.keras import adapter

keras.utils.set_random_seed(0)  # a unit that is off for all samples leaves its scale to rounding
model = keras.Sequential(
    [keras.Input((6,)), layers.Dense(5, "relu"), layers.BatchNormalization(), layers.Dense(3)]
)
parts = {
    "model": model,
    "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "optimizer": keras.optimizers.Adam(0.01),
}
rng = np.random.default_rng(0)
batch = {"x": rng.normal(size=(8, 6)).astype("float32"), "y": rng.integers(0, 3, 8)}
side = adapter.Adapter(parts, "native")
inputs, targets = side.inputs(batch), {"y": batch["y"]}
before = side.weights()
expected, _ = side.train(inputs, targets, 3)
calls = side.user_calls(inputs, targets)
for _ in range(3):
    calls.train()
after = side.weights()
for name, array in expected.items():
    np.testing.assert_allclose(after[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
    assert np.abs(after[name] - before[name]).max() > 1e-3, name
function = adapter.Adapter(parts | {"model": lambda x: model(x)}, "native")
function.inputs(batch)
try:
    function.user_calls(inputs, targets)
except Unsupported as error:
    assert "not timed on JAX" in str(error)
    print("refused")
"""


def test_what_is_timed_on_jax_makes_the_steps_that_were_compared() -> None:
    pytest.importorskip("keras")
    pytest.importorskip("jax")
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-W", "ignore", "-c", TIMED]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip() == "refused"
