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
    residual_model,
    torch_logits,
    torch_model,
)

from triptych import api
from triptych.errors import TriptychError
from triptych.importing.weights import (
    framework_of_file,
    import_weights,
    read_weights,
    save_imported,
)
from triptych.spec import zoo
from triptych.training.inference import compute_logits
from triptych.training.trained import TrainedRun

ROUNDING = 1e-5  # of the largest logit, in float32


def check(path: Path, framework: str, expected: np.ndarray) -> None:
    network = NETWORK.like(framework)
    weights = read_weights(path, network)
    assert framework_of_file(weights, None) == framework
    imported = import_weights(weights, network, framework)
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


@needs_torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TorchScript
def test_files_of_torch_save_are_refused_with_the_way_to_save(tmp_path):
    import torch

    model = torch_model()
    torch.save(model.state_dict(), tmp_path / "zip.pt")
    torch.save(model, tmp_path / "whole.pt")
    torch.save(model.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.jit.script(model).save(tmp_path / "script.pt")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(TriptychError, match="a pickle, which is never opened") as error:
            read_weights(path, NETWORK)
        assert str(error.value).endswith(
            'safetensors.torch.save_file(model.state_dict(), "model.safetensors")'
        )


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


@needs_torch
def test_a_residual_network_of_pytorch(tmp_path):
    """The names decide within `layer1`; the rest needs `--map`, because nothing tells its order."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = residual_model().eval()
    with torch.no_grad():
        for name, array in model.state_dict().items():
            if name.endswith(("running_mean", "running_var", "bias")):
                array.uniform_(0.5, 1.5)
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    network = zoo.get("resnet20", shape=(8, 8, 3))
    images = np.random.default_rng(0).random((6, 8, 8, 3), np.float32)
    with pytest.raises(TriptychError, match="decide it: --map bn1=norm0"):
        import_weights(read_weights(path, network), network, "torch")
    chosen = {
        "bn1": "norm0",
        "layer2.0.shortcut.1": "norm2_1s",
        "layer3.0.shortcut.1": "norm3_1s",
    }
    imported = import_weights(read_weights(path, network), network, "torch", chosen)
    assert any("layer1.0.conv1" in warning for warning in imported.warnings)
    with torch.no_grad():
        expected = model(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    logits = compute_logits(network, imported.recipe, imported.state, images, engine="numpy")
    assert np.abs(logits - expected).max() < 10 * ROUNDING * np.abs(expected).max()
