"""Weights that the real frameworks wrote: the same logits, in every engine that can run here."""

from pathlib import Path

import numpy as np
import pytest
from support.engines import needs_all, needs_torch
from support.foreign import (
    IMAGES,
    NETWORK,
    keras_arrays,
    keras_model,
    torch_logits,
    torch_model,
)

from triptych import api
from triptych.importing.weights import framework_of_file, import_weights, save_imported
from triptych.training.inference import compute_logits
from triptych.training.trained import TrainedRun

ROUNDING = 1e-5  # of the largest logit, in float32


def check(path: Path, framework: str, expected: np.ndarray) -> None:
    network = NETWORK.like(framework)
    assert framework_of_file(path, network, None) == framework
    imported = import_weights(path, network, framework)
    folder, _ = save_imported(imported, path.parent / "runs")
    trained = TrainedRun.read(folder)
    scale = np.abs(expected).max()
    assert expected.std(axis=0).min() > 0.001 * scale  # so that a wrong order would be seen
    for engine in ("numpy", "torch" if framework == "torch" else "tensorflow"):
        logits = compute_logits(
            trained.network, trained.recipe, trained.state, IMAGES, engine=engine
        )
        assert np.abs(logits - expected).max() < ROUNDING * scale
    predicted = api.predict(folder, IMAGES).classes
    assert (predicted == expected.argmax(axis=1)).all()


@needs_torch
def test_a_state_dict_of_pytorch(tmp_path):
    from safetensors.torch import save_file

    model = torch_model()
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    check(path, "torch", torch_logits(model))


@needs_all
@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_weights_of_keras(tmp_path, kind: str):
    from safetensors.numpy import save_file

    model = keras_model()
    path = tmp_path / f"weights.{kind}"
    if kind == "npz":
        np.savez(path, **keras_arrays(model))
    else:
        save_file(keras_arrays(model), path)
    check(path, "keras", np.asarray(model(IMAGES)))
