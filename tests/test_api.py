"""The public Python API: what the README and docs/api.md show."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from support.commands import run as run_command
from support.engines import needs_torch

import triptych as tt
from triptych.core import events
from triptych.errors import EngineError, SpecError
from triptych.training import run_folder

NETWORK = tt.dense(784, 16, 10, dropout=0.2)
RECIPE = tt.Recipe(epochs=2, batch_size=64, optimizer=tt.optimizers.Adam(), validation=0.1)


@pytest.fixture(scope="module")
def data() -> tt.Dataset:
    return tt.load_data("digits")


@pytest.fixture(scope="module")
def run(data: tt.Dataset, tmp_path_factory: pytest.TempPathFactory) -> tt.TrainingResult:
    return tt.train("numpy", NETWORK, RECIPE, data, runs=tmp_path_factory.mktemp("runs"))


def test_every_public_name_is_there():
    for name in tt.__all__:
        assert getattr(tt, name) is not None
    assert set(dir(tt)) == set(tt.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tt.nothing


def test_importing_it_imports_nothing_else():
    code = (
        "import sys, triptych; print(sorted({'numpy', 'rich', 'typer', 'torch'} & "
        "set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_training_returns_what_its_folder_holds(run: tt.TrainingResult):
    assert run.folder
    results = run_folder.read_results(run.folder, "train")
    assert run.accuracy == results["accuracy"]["value"]
    assert run.history == results["history"]
    assert [epoch["epoch"] for epoch in run.history] == [1, 2]
    assert list(run.state)[:2] == ["hidden/kernel", "hidden/bias"]
    assert repr(run) == (f"<784-16-10 in NumPy: test accuracy {run.accuracy:.2%} after 2 epochs>")


def test_events_are_those_of_the_log(data: tt.Dataset, run: tt.TrainingResult):
    assert run.folder
    seen = list(tt.iter_train("numpy", NETWORK, RECIPE, data, runs=None))
    logged = run_folder.read_events(run.folder)
    assert [event.type for event in seen if event.type != "block"] == [
        event["type"] for event in logged if event["type"] != "block"
    ]
    assert isinstance(seen[-1], events.ResultReady)
    assert seen[-1].result["accuracy"]["value"] == run.accuracy


def test_nothing_is_written_or_printed_unless_asked(
    data: tt.Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []
    quiet = tt.train(
        "numpy", NETWORK, RECIPE, data, runs=None, on_event=lambda event: seen.append(event.type)
    )
    assert quiet.folder is None
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""
    assert seen[0] == "begin"
    assert seen[-1] == "result"
    tt.train("numpy", NETWORK, RECIPE, data, runs=None, progress=True)
    assert capsys.readouterr().out.startswith("epoch 1/2: loss ")


def test_an_interrupted_training_goes_on_to_the_same_weights(
    data: tt.Dataset, run: tt.TrainingResult, tmp_path: Path
):
    half = tt.train("numpy", NETWORK, RECIPE, data, runs=tmp_path, should_stop=lambda: True)
    assert half.folder
    assert half.accuracy is None
    assert "interrupted" in repr(half)
    done = tt.resume(half.folder)
    assert done.accuracy == run.accuracy
    for name, array in run.state.items():
        assert np.array_equal(array, done.state[name]), name
    one = dataclasses.replace(done, history=done.history[:1])
    assert repr(one).endswith("after 1 epoch>")
    longer = tt.resume(half.folder, epochs=3, data=data)
    assert len(longer.history) == 3


@pytest.mark.process
def test_a_run_of_arrays_needs_its_data_again(data: tt.Dataset, tmp_path: Path):
    arrays = tt.Dataset("mine", "arrays", data.train, data.test)
    half = tt.train("numpy", NETWORK, RECIPE, arrays, runs=tmp_path, should_stop=lambda: True)
    assert half.folder
    with pytest.raises(tt.TriptychError, match="was made from arrays, so it cannot be loaded"):
        tt.resume(half.folder)
    command = run_command("train", "--resume", str(half.folder), cwd=tmp_path)
    assert command.returncode == 2
    assert "was made from arrays" in command.stderr
    with pytest.raises(SpecError, match="epochs must be a whole number"):
        tt.resume(half.folder, epochs="3", data=arrays)
    assert len(tt.resume(half.folder, data=arrays).history) == 2


def test_a_prediction_comes_from_a_result_a_folder_or_a_file(
    data: tt.Dataset, run: tt.TrainingResult
):
    assert run.folder
    images = data.test.images
    prediction = tt.predict(run, images)
    assert prediction.classes.shape == (len(images),)
    assert prediction.probabilities.shape == (len(images), 10)
    assert prediction.probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (prediction.classes == data.test.labels).mean() == run.accuracy
    for stored in (run.folder, str(run.folder), run.folder / "last" / "state.safetensors"):
        assert np.array_equal(tt.predict(stored, images).classes, prediction.classes)


@pytest.mark.parametrize("engine", ["torch", "jax"])
def test_a_prediction_is_made_in_any_engine(data: tt.Dataset, run: tt.TrainingResult, engine: str):
    pytest.importorskip(engine)
    expected = tt.predict(run, data.test.images).probabilities
    found = tt.predict(run, data.test.images, engine=engine).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_mistakes_are_triptych_errors(data: tt.Dataset, run: tt.TrainingResult, tmp_path: Path):
    with pytest.raises(tt.TriptychError, match=r"images must be uint8, 0–255, or floats"):
        tt.predict(run, np.zeros((3, 28, 28, 1), int))
    with pytest.raises(SpecError, match=r"takes inputs of shape \(28, 28, 1\)"):
        tt.predict(run, np.zeros((3, 8, 8, 1)))
    with pytest.raises(tt.TriptychError, match=r"holds no state\.safetensors"):
        tt.predict(tmp_path, data.test.images)
    with pytest.raises(EngineError, match="engine 'keras' is unknown"):
        tt.train("keras", NETWORK, RECIPE, data, runs=None)
    with pytest.raises(SpecError, match="the images are"):
        tt.train("numpy", tt.dense(4, 3), RECIPE, data, runs=None)
    with pytest.raises(tt.TriptychError, match="give the numbers of a sample and the classes"):
        tt.dense(10)
    with pytest.raises(SpecError, match="optimizer must be of class Optimizer, not 'adam'"):
        tt.Recipe(3, 64, "adam")
    with pytest.raises(SpecError, match="there are no images to classify"):
        tt.predict(run, data.test.images[:0])


def test_a_name_in_place_of_a_part_is_answered_with_what_to_pass(data: tt.Dataset):
    with pytest.raises(tt.TriptychError, match="data must be a Dataset, not 'digits'; load it"):
        tt.train("numpy", NETWORK, RECIPE, "digits", runs=None)
    for network, advice in (("mlp", r"zoo\.get\('mlp'\)"), ("dense", r"dense\(784, 128, 10\)")):
        message = f"network must be a Network, not '{network}'; pass {advice}"
        with pytest.raises(tt.TriptychError, match=message):
            tt.train("numpy", network, RECIPE, data, runs=None)
        with pytest.raises(tt.TriptychError, match=message):
            tt.compare(network, RECIPE, data, runs=None)
        with pytest.raises(tt.TriptychError, match=message):
            tt.verify([NETWORK, network], RECIPE, data)
    with pytest.raises(tt.TriptychError, match=r"recipe must be a Recipe, .*; pass Recipe\(epochs"):
        tt.verify(NETWORK, {"epochs": 3}, data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 3}, r"size 3: give height and width in pixels, such as \(28, 28\)"),
        ({"size": "28x28"}, r"size '28x28': give height and width in pixels"),
        ({"size": (28,)}, r"size \(28,\): give height and width in pixels"),
        ({"shape": (28, 28)}, r"shape \(28, 28\): give a text, for example '28x28'"),
        ({"label": 3}, "label 3: give a text, for example 'class'"),
        ({"white": "16"}, "white '16': give a whole number from 1 to 65,535"),
        ({"seed": "x"}, "load_data: seed must be a whole number of at least 0, not 'x'"),
    ],
)
def test_options_of_data_that_make_no_sense(options: dict, message: str):
    with pytest.raises(tt.TriptychError, match=message):
        tt.load_data("digits", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "compare: seeds must be a whole number of at least 1, not 0"),
        ({"threads": 0}, "compare: threads must be a whole number of at least 1, not 0"),
        ({"engines": "torch"}, r"a list of names, such as \['torch'\]"),
        ({"engines": 3}, r"a list of names, such as \['torch'\], not 3"),
        ({"engines": [3]}, "engine '3' is unknown"),
        ({"wait": "long"}, "compare: wait must be a number of at least 0, not 'long'"),
        ({"wait": -1}, "compare: wait must be a number of at least 0, not -1"),
    ],
)
def test_a_comparison_that_makes_no_sense_leaves_no_folder(
    data: tt.Dataset, tmp_path: Path, options: dict, message: str
):
    with pytest.raises(tt.TriptychError, match=message):
        tt.compare(NETWORK, RECIPE, data, runs=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_verification_compares_at_least_one_step(data: tt.Dataset):
    for steps in (0, -1):
        with pytest.raises(SpecError, match="steps must be a whole number of at least 1"):
            tt.verify(NETWORK, RECIPE, data, steps=steps)


@needs_torch
@pytest.mark.parametrize("function", [tt.compare, tt.verify])
def test_workers_end_with_an_error_in_a_callback(data: tt.Dataset, function):
    """Also while the error is kept with its traceback, as a notebook keeps it."""
    before = psutil.Process().children()
    workers: list[psutil.Process] = []

    def fail(event) -> None:
        children = psutil.Process().children()
        workers.extend(child for child in children if child not in before)
        if workers:
            raise RuntimeError("in the callback")

    options = {"runs": None} if function is tt.compare else {}
    with pytest.raises(RuntimeError, match="in the callback") as error:
        function(NETWORK, RECIPE, data, engines=["torch"], on_event=fail, **options)
    assert workers
    assert not any(worker.is_running() for worker in workers)
    assert error


def test_dense_knows_images_by_their_size():
    assert tt.dense(784, 10).input_shape == (28, 28, 1)
    assert tt.dense(3072, 10).input_shape == (32, 32, 3)
    assert tt.dense(4, 8, 3).input_shape == (1, 1, 4)
    assert tt.dense(64, 8, 3, shape=(8, 8, 1)).input_shape == (8, 8, 1)
    with pytest.raises(tt.TriptychError, match="are not 65 numbers"):
        tt.dense(65, 3, shape=(8, 8, 1))


@pytest.mark.process
@pytest.mark.slow
def test_a_comparison_shows_itself(data: tt.Dataset):
    pytest.importorskip("torch")
    seen: list[str] = []
    result = tt.compare(
        NETWORK,
        RECIPE,
        data,
        engines=["numpy", "torch"],
        runs=None,
        wait=0,
        on_event=lambda event: seen.append(event.type),
    )
    assert result.equal
    assert result.folder is None
    assert set(result.accuracy) == {"numpy", "torch"}
    assert result.accuracy["numpy"] == pytest.approx(result.accuracy["torch"], abs=0.02)
    assert seen[0] == "seed"
    assert seen[-1] == "result"
    assert repr(result) == "<784-16-10 in NumPy, PyTorch: equal>"
    html = result._repr_html_()
    assert "<table>" in html
    assert "PyTorch" in html
    assert "<svg" in html


@pytest.mark.process
def test_a_verification_proves_engines_equal(data: tt.Dataset):
    pytest.importorskip("torch")
    result = tt.verify(NETWORK, RECIPE, data, engines=["numpy", "torch"], steps=12)
    assert result.equal
    assert 0 < result.largest < 1e-11
    assert result.divergences == []
    assert [event.row for event in result.compared] == ["torch"]
    assert [event.verdict for event in result.verdicts] == ["rounding"]
    assert repr(result) == f"<1 proof of torch: equal, differences up to {result.largest:.0e}>"
    html = result._repr_html_()
    # 12 steps, and the smaller last batch.
    assert "<td>784-16-10 adam</td><td>torch</td><td>13</td>" in html


@pytest.mark.process
def test_a_precision_that_a_backend_announces_is_accepted_as_in_a_comparison(data: tt.Dataset):
    pytest.importorskip("torch")
    result = tt.verify(NETWORK, RECIPE, data, engines=["torch/bf16"], steps=3)
    (verdict,) = result.verdicts
    assert (verdict.verdict, verdict.as_announced) == ("precision", True)
    assert result.equal
    unannounced = dataclasses.replace(verdict, as_announced=False)
    assert not dataclasses.replace(result, verdicts=[unannounced]).equal
    assert repr(tt.VerificationResult([], [], [])) == "<nothing was compared>"


def test_no_public_name_is_that_of_a_subpackage():
    """The import of a subpackage would put the package in the place of the function."""
    folder = Path(tt.__file__).parent
    modules = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not modules & set(tt.__all__)


def test_new_data_is_loaded_as_the_network_takes_it(
    data: tt.Dataset, run: tt.TrainingResult, tmp_path: Path
):
    """Also of a result that has no folder."""
    Image.fromarray(255 - data.test.images[0, ..., 0]).save(tmp_path / "digit.png")
    for trained in (run, dataclasses.replace(run, folder=None)):
        new = tt.load_new_data(trained, tmp_path / "digit.png", invert=True)
        assert new.labels is None
        assert np.array_equal(new.images[0], data.test.images[0])
        assert new.warnings == ()
        (warning,) = tt.load_new_data(trained, tmp_path / "digit.png").warnings
        assert "the ground is light" in warning


def test_a_result_needs_its_folder_for_nothing(data: tt.Dataset, run: tt.TrainingResult):
    elsewhere = dataclasses.replace(run, folder=Path("deleted"))
    new = tt.load_new_data(elsewhere)  # the test split of its own data
    assert np.array_equal(new.images, data.test.images)
    predicted = tt.predict(elsewhere, new.images)
    assert np.array_equal(predicted.classes, tt.predict(run, data.test.images).classes)


@pytest.mark.process
def test_export_of_a_result_and_of_a_folder(
    run: tt.TrainingResult, data: tt.Dataset, tmp_path: Path
):
    pytest.importorskip("onnxruntime")
    stages: list[tuple[str, str, int, int]] = []
    (of_result,) = tt.export(
        run, "onnx", data=data, out=tmp_path, on_stage=lambda *stage: stages.append(stage)
    )
    assert of_result.verdict == "rounding"
    assert of_result.file == tmp_path / "onnx" / "model.onnx"
    assert stages[0] == ("onnx", "writing", 0, 0)
    assert run.folder is not None
    # The data of a run is loaded again.
    (of_folder,) = tt.iter_export(run.folder, ["onnx"])
    assert of_folder.file == run.folder / "export" / "onnx" / "model.onnx"
    assert of_folder.verification.largest == of_result.verification.largest


def test_what_export_needs(run: tt.TrainingResult, data: tt.Dataset, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(tt.TriptychError, match="did you mean 'onnx'"):
        tt.export(run, "onxx")
    of_arrays = dataclasses.replace(run, provenance=run.provenance | {"source": ""})
    with pytest.raises(tt.TriptychError, match="data="):
        tt.export(of_arrays, "onnx", out=tmp_path)
    without_folder = dataclasses.replace(run, folder=None)
    with pytest.raises(tt.TriptychError, match="out="):
        tt.export(without_folder, "onnx", data=data)
