"""Mistakes of users, and errors that nothing foresees, end in one clear line."""

import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from support.commands import start
from support.fake_side import FakeSide, activation, dense

from triptych.doctor import diagnosis
from triptych.doctor.batch import checked, read_batch
from triptych.doctor.diagnosis import diagnose
from triptych.doctor.frameworks.adapter import ModelError, Unsupported
from triptych.doctor.model_file import Parts
from triptych.doctor.observation import Call, Observation
from triptych.doctor.repeats import check_numbers, check_repeats
from triptych.doctor.worker import SideWorker
from triptych.errors import EngineError
from triptych.process.protocol import Message

GENERATOR = np.random.default_rng(8)
X = GENERATOR.normal(size=(12, 5))
BATCH = {"x": X, "y": GENERATOR.normal(size=(12, 2))}


def pair() -> tuple[Any, Any]:
    return tuple(
        FakeSide(name, framework, [dense("1", 5, 6, 1), activation("tanh"), dense("2", 6, 2, 2)])
        for name, framework in (("A", "torch"), ("B", "keras"))
    )


# Errors inside a stage


def failing(monkeypatch: pytest.MonkeyPatch, stage: str, error: Exception) -> None:
    def examine(examination: Any) -> Any:
        raise error

    monkeypatch.setattr(f"triptych.doctor.stages.{stage}.examine", examine)


def test_an_unforeseen_error_ends_its_stage_alone(monkeypatch: Any, capsys: Any) -> None:
    assert diagnose(*pair(), BATCH).verdict in ("equal", "rounding")
    failing(monkeypatch, "loss", KeyError("3/output"))
    result = diagnose(*pair(), BATCH)
    assert result.verdict == "undecided"
    notes = {row.stage: row.note for row in result.stages if row.note}
    assert notes == {
        "loss": "loss: an error that is not foreseen, KeyError: '3/output' (TRIPTYCH_DEBUG=1 shows "
        "where, for a report of the error)"
    }
    assert len(result.stages) == 12
    assert not capsys.readouterr().err
    monkeypatch.setenv("TRIPTYCH_DEBUG", "1")
    diagnose(*pair(), BATCH)
    assert "KeyError: '3/output'" in capsys.readouterr().err


def test_an_error_of_a_user_s_metric_ends_its_stage_alone(monkeypatch: Any) -> None:
    failing(monkeypatch, "metric", ModelError("a.py: line 9: TypeError: no number"))
    result = diagnose(*pair(), BATCH)
    assert result.verdict == "undecided"
    (note,) = [row.note for row in result.stages if row.note]
    assert note == "metric: a.py: line 9: TypeError: no number"


def test_nothing_goes_on_without_a_process(monkeypatch: Any) -> None:
    failing(monkeypatch, "forward", EngineError("the B worker ended with status -11"))
    with pytest.raises(EngineError, match="the B worker ended"):
        diagnose(*pair(), BATCH)


def test_an_unforeseen_error_before_the_stages_is_one_line(monkeypatch: Any) -> None:
    def aligned(*_: Any) -> Any:
        raise IndexError("list index out of range")

    monkeypatch.setattr(diagnosis, "aligned", aligned)
    with pytest.raises(ModelError, match=r"cannot be compared: .* IndexError: list index out"):
        diagnose(*pair(), BATCH)


# Models


def observation(output: Any, hidden: Any) -> Observation:
    calls = (Call(0, "fc", "Linear", "dense", anchor=True), Call(1, "", "torch.log", "function"))
    return Observation(calls, {"0/output": X, "1/output": hidden, "output": output})


def test_a_model_that_is_random_in_evaluation_mode_is_named_with_its_layer() -> None:
    first = observation(X, X)
    check_repeats(first, observation(X * (1 + 1e-15), X), "float64")
    check_repeats(first, observation(X, X + 1), "float64")  # it has no effect
    with pytest.raises(ModelError, match=r"other outputs .* first in torch\.log; what is random"):
        check_repeats(first, observation(X + 1e-3, X + 1e-3), "float64")
    with pytest.raises(ModelError, match="first after its last layer"):
        check_repeats(first, observation(X + 0.1, X), "native")


def test_attention_that_returns_nan_names_its_masked_keys() -> None:
    nan = np.full_like(X, np.nan)
    calls = (Call(0, "mix", "MultiheadAttention", "attention", anchor=True),)
    lost = Observation(calls, {"0/output": nan, "output": nan})
    with pytest.raises(ModelError, match=r"first in mix \(MultiheadAttention\).*\(D127\)$"):
        check_numbers(lost, "A")


def test_a_reference_that_returns_nan_is_named_with_its_layer() -> None:
    nan = np.where(X > 0, X, np.nan)
    check_numbers(observation(X, nan), "A")
    check_numbers(observation(np.where(X > 0, X, -np.inf), X), "A")  # a mask of logits
    with pytest.raises(ModelError, match=r"^A: the model returns NaN .* first in torch\.log"):
        check_numbers(observation(nan, nan), "A")


# The process of a side


def refused(path: Path, build: Any, do: str = "description", **values: Any) -> str:
    """Return the refusal of a worker."""
    worker = SideWorker()
    worker.parts = Parts(path, build)
    reply = worker.answer(Message({"do": do, "dtype": "native"} | values, {}))
    return reply.values["refused"]


def test_a_model_that_ends_the_process_is_an_error_of_the_file() -> None:
    def build() -> Any:
        raise SystemExit("no data here")

    assert "a.py: SystemExit: no data here" in refused(Path("a.py"), build)


def test_a_refusal_begins_with_the_file() -> None:
    assert refused(Path("a.py"), lambda: 3).startswith("a.py: the model is of type int")
    assert refused(Path("a.py"), lambda: (len, 1)).startswith("a.py: the model is of type tuple")


def test_the_line_of_a_module_next_to_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "blocks.py").write_text("\n\ndef make():\n    raise ValueError('no block')\n")
    names: dict[str, Any] = {}
    module = tmp_path / "blocks.py"
    exec(compile(module.read_text(), module, "exec"), names)
    message = refused(tmp_path / "side.py", names["make"])
    assert message.endswith("side.py: blocks.py, line 4: ValueError: no block")


def test_a_model_that_wants_a_gpu_gets_advice() -> None:
    def build() -> Any:
        raise RuntimeError("No CUDA GPUs are available")

    assert "both sides run on the processor: use torch.device('cpu')" in refused(Path("a"), build)


# Batches

TYPES = ["bool", "int8", "int16", "int64", "uint8", "uint16", "float16", "float32", "float64"]
REFUSED = {
    "complex64": np.zeros((4, 3), np.complex64),
    "str": np.array(["a", "b"]),
    "object": np.array([None, {}], dtype=object),
    "longdouble": np.zeros((4, 3), np.longdouble),
    "datetime64": np.zeros(4, "datetime64[s]"),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ["=", ">"])
@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_batches_of_numbers_are_read(tmp_path: Path, dtype: str, order: str, ending: str) -> None:
    from safetensors.numpy import save_file

    x = (np.arange(12).reshape(4, 3) % 5).astype(dtype)
    path = tmp_path / f"batch.{ending}"
    if ending == "npz":
        np.savez(path, x=x.astype(x.dtype.newbyteorder(order)))
    else:
        save_file({"x": x}, path)
    for batch in (read_batch(path), checked({"x": x.astype(x.dtype.newbyteorder(order))})):
        assert batch["x"].dtype == np.dtype(dtype)
        assert batch["x"].dtype.isnative
        np.testing.assert_array_equal(batch["x"], x)


@pytest.mark.parametrize("name", REFUSED)
def test_batches_of_something_else_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"x2 is of type .*; give floats"):
        checked({"x": X, "x2": REFUSED[name]})
    np.savez(tmp_path / "batch.npz", x=X, x2=REFUSED[name])
    with pytest.raises(Exception, match=r"batch\.npz: .*array 'x2' is of type .*, not of numbers"):
        read_batch(tmp_path / "batch.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_batch_with_nan_is_refused(value: float) -> None:
    x = X.copy()
    x[3, 2] = value
    with pytest.raises(ModelError, match="x has NaN or infinity"):
        checked({"x": x})
    assert set(checked({"x": X, "val_loss": np.array([1.0, value])})) == {"x", "val_loss"}


def test_an_input_that_is_a_number_has_no_samples() -> None:
    with pytest.raises(ModelError, match="x2 has 0 samples, x has 12"):
        checked({"x": X, "x2": np.array(3.0)})


# PyTorch


@pytest.mark.framework
def test_what_torch_users_do_wrong_is_named() -> None:
    torch = pytest.importorskip("torch")
    from torch import nn

    from triptych import diagnose as diagnose_models

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 2)

        def forward(self, x: Any) -> Any:
            return self.fc(x) + torch.rand(2)

    batch = {"x": X.astype(np.float32)}
    with pytest.raises(ModelError, match="B: the model gives other outputs when it runs again"):
        diagnose_models(lambda: nn.Linear(5, 2), lambda: Noisy(), batch)
    with pytest.raises(ModelError, match="A: the model is on meta; move it to the CPU"):
        diagnose_models(lambda: nn.Linear(5, 2, device="meta"), lambda: nn.Linear(5, 2), batch)
    with pytest.raises(ModelError, match=r"A: .* shapes cannot be multiplied \(12x5 and 4x2\)"):
        diagnose_models(lambda: nn.Linear(4, 2), lambda: nn.Linear(5, 2), batch)
    with pytest.raises(ModelError, match=r"B: .* missing 1 required positional argument"):
        diagnose_models(lambda: nn.Linear(5, 2), lambda: nn.Bilinear(5, 5, 2), batch)


@pytest.mark.framework
def test_an_optimizer_that_needs_a_closure_is_not_compared() -> None:
    torch = pytest.importorskip("torch")
    from support.torch_sides import side

    model = torch.nn.Linear(5, 2)
    optimizer = torch.optim.LBFGS(model.parameters())
    adapter = side(model=model, loss=torch.nn.MSELoss(), optimizer=optimizer)
    with pytest.raises(Unsupported, match="LBFGS computes the loss itself"):
        adapter.train(adapter.inputs({"x": X}), {"y": BATCH["y"]}, 1)


# Ctrl-C


@pytest.mark.slow
@pytest.mark.process
def test_ctrl_c_ends_both_processes_and_leaves_files_whole(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(
        "import pathlib, time\npathlib.Path('started').touch()\n"
        "def build():\n    while True:\n        time.sleep(0.1)\n"
    )
    np.savez(tmp_path / "batch.npz", x=X)
    (tmp_path / "answer.json").write_text("before")
    arguments = ("hangs.py", "hangs.py", "--batch", "batch.npz", "--json", "answer.json")
    process = start("doctor", *arguments, cwd=tmp_path)
    family = psutil.Process(process.pid)
    deadline = time.monotonic() + 250
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    workers = family.children(recursive=True)
    assert workers
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped" in errors
    assert "Traceback" not in errors
    assert not psutil.wait_procs(workers, timeout=30)[1]
    assert (tmp_path / "answer.json").read_text() == "before"
    assert not list(tmp_path.glob("*.tmp*"))
