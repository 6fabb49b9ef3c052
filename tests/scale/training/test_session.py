"""A training whose workers are lost at any request, without Ray: the engine is in this process."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.trainings import NETWORK, PER_EPOCH, RECIPE, check_log, outcome, states, trained

import triptych as tt
from triptych.core import registry
from triptych.core.events import BlockTrained, WorkersRestarted
from triptych.data.dataset import Dataset
from triptych.errors import EngineError, TriptychError
from triptych.process import server
from triptych.process.client import EngineHost, RemoteEngine, checked
from triptych.process.protocol import Message
from triptych.scale.training import client
from triptych.scale.training import session as workers_session
from triptych.scale.training.client import RayEnded, WorkersLost
from triptych.scale.training.session import MOST_LOSSES, WorkersSession
from triptych.training import run_folder
from triptych.training.loggers import CheckpointInterval
from triptych.training.session import Settings

EVERY = 10  # steps between two checkpoints
SETTINGS = Settings("numpy", "eager", workers=2)


class FakeWorkers(EngineHost):
    """One engine in this process, which forgets everything where workers are to be lost.

    Attributes
    ----------
    lost_at : set of int
        The numbers of the requests, from 0, at which a worker ends.
    """

    lost_at: ClassVar[set[int]] = set()
    asked: ClassVar[int] = 0
    closed: ClassVar[bool] = False

    def __init__(self, settings: Settings, address: str | None, stored_bytes: int) -> None:
        super().__init__(settings.engine, settings.backend, settings.device)
        self.worker = server.Worker(registry.create)
        FakeWorkers.closed = False

    def ask(self, do: str, arrays: Any = None, **values: Any) -> Message:
        number = FakeWorkers.asked
        FakeWorkers.asked += 1
        if number in self.lost_at:
            self.worker = server.Worker(registry.create)
            raise WorkersLost("worker 2 of 2 has ended")
        request = Message({"do": do} | values, arrays or {})
        return checked(server.answered(self.worker, request))

    def create(self, settings: Settings, network: tt.Network, recipe: tt.Recipe) -> RemoteEngine:
        self._splits.clear()
        return self.build("trained", network, recipe)

    def cpu_seconds(self) -> float:
        return 0.0

    def stop(self) -> None:
        raise AssertionError("nothing is to be ended by force")

    def close(self) -> None:
        FakeWorkers.closed = True


@pytest.fixture
def fake(monkeypatch) -> type[FakeWorkers]:
    monkeypatch.setattr(workers_session, "TrainingWorkers", FakeWorkers)
    monkeypatch.setattr(FakeWorkers, "lost_at", set())
    monkeypatch.setattr(FakeWorkers, "asked", 0)
    return FakeWorkers


def session(root: Path, digits: Dataset, **options: Any) -> WorkersSession:
    every = CheckpointInterval(steps=EVERY)
    return WorkersSession(SETTINGS, NETWORK, RECIPE, digits, root, every=every, **options)


def finish(running: WorkersSession) -> list[WorkersRestarted]:
    return [event for event in running.events() if isinstance(event, WorkersRestarted)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, digits: Dataset) -> Path:
    return trained(tmp_path_factory.mktemp("undisturbed"), digits)


def test_wherever_workers_are_lost_the_run_is_the_undisturbed_one(
    fake, undisturbed: Path, tmp_path: Path, digits: Dataset
):
    """Requests of a whole training in turn: building, steps, checkpoints, validation, the test."""
    running = session(tmp_path / "whole", digits)
    opening = fake.asked
    assert finish(running) == []
    assert states(running.folder) == states(undisturbed)
    requests = fake.asked
    assert requests > opening + 3 * PER_EPOCH / 8
    for number in [*range(opening, requests - 6, 8), *range(requests - 6, requests)]:
        fake.asked = 0
        fake.lost_at = {number}
        running = session(tmp_path / str(number), digits)
        restarted = finish(running)
        if not restarted:  # blocks are longer on a calm machine, so this request was not reached
            assert fake.asked <= number
            continue
        (event,) = restarted
        assert event.why == "worker 2 of 2 has ended"
        assert event.again <= EVERY
        folder = running.folder
        assert folder is not None
        assert states(folder) == states(undisturbed)
        assert outcome(folder) == outcome(undisturbed)
        check_log(folder, RECIPE.epochs)
        logged = [e for e in run_folder.read_events(folder) if e["type"] == "workers-restarted"]
        assert logged == [event.to_json()]
        assert fake.closed


def test_workers_that_are_lost_again_and_again_end_the_training(
    fake, tmp_path: Path, digits: Dataset
):
    """Each time while their engines are built anew; the run folder is whole and can go on."""
    running = session(tmp_path, digits)
    fake.lost_at = set(range(fake.asked + 5, fake.asked + 100))
    with pytest.raises(TriptychError, match=f"{MOST_LOSSES + 1} times in a row at step"):
        finish(running)
    assert fake.closed
    fake.lost_at = set()
    assert running.folder
    result = tt.resume(running.folder, data=digits)
    assert result.details is not None
    assert result.details["steps"] == 3 * PER_EPOCH


def test_losses_with_a_checkpoint_between_them_do_not_end_the_training(
    fake, undisturbed: Path, tmp_path: Path, digits: Dataset
):
    running = session(tmp_path, digits)
    restarts = 0
    for event in running.events():
        restarts += isinstance(event, WorkersRestarted)
        # The request after the next checkpoint, each time.
        if isinstance(event, BlockTrained) and event.step % EVERY == 0 and restarts < 6:
            fake.lost_at = {fake.asked + 1}
    assert restarts == 6 > MOST_LOSSES
    assert running.folder
    assert states(running.folder) == states(undisturbed)
    check_log(running.folder, RECIPE.epochs)


def test_an_end_that_is_requested_while_workers_are_lost_is_an_end(
    fake, tmp_path: Path, digits: Dataset
):
    running = session(tmp_path, digits)
    saved = -1
    for event in running.events():
        if isinstance(event, BlockTrained) and event.step >= 2 * EVERY:
            fake.lost_at = {fake.asked + 1}  # after that of a checkpoint
        if isinstance(event, WorkersRestarted):
            saved = event.step
            # What a signal handler calls; the real workers are ended by force then.
            running._workers.stop = lambda: None  # type: ignore[method-assign]
            running.stop()
    assert running.result is None
    assert running.training.position.step == saved
    assert fake.closed
    assert running.folder
    assert run_folder.is_unfinished(running.folder)


def test_the_end_of_ray_is_told_with_the_command_that_goes_on(
    fake, monkeypatch, tmp_path: Path, digits: Dataset
):
    running = session(tmp_path, digits)
    folder = running.folder
    events = running.events()
    next(events)

    def end(self: FakeWorkers, do: str, arrays: Any = None, **values: Any) -> Message:
        raise RayEnded("Ray has ended: killed")

    monkeypatch.setattr(FakeWorkers, "ask", end)
    with pytest.raises(TriptychError, match="Ray has ended: killed; what was") as e:
        next(events)
    assert str(e.value).endswith(f"go on with: triptych train --resume {folder}")
    assert fake.closed


def test_without_a_run_folder_nothing_can_go_on(fake, digits: Dataset):
    running = WorkersSession(SETTINGS, NETWORK, RECIPE, digits, None)
    fake.lost_at = {fake.asked + 3}
    with pytest.raises(TriptychError, match="has ended; there is no run folder from which"):
        finish(running)
    assert fake.closed


def test_the_log_and_the_results_tell_how_many_workers_trained(
    fake, tmp_path: Path, digits: Dataset
):
    running = session(tmp_path, digits)
    finish(running)
    assert running.folder
    assert run_folder.read_events(running.folder)[0]["workers"] == 2
    assert run_folder.read_results(running.folder, "train")["workers"] == 2


def test_what_workers_cannot_do_is_refused_before_ray_is_started(
    monkeypatch, tmp_path: Path, digits: Dataset
):
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "cache"))

    def start(*_: Any) -> None:
        raise AssertionError("Ray is started")

    monkeypatch.setattr(client, "Driver", start)
    settings = Settings("torch", "eager", "cuda", workers=2)
    with pytest.raises(EngineError, match="leave out --device cuda"):
        WorkersSession(settings, NETWORK, RECIPE, digits, tmp_path)
    free = tt.Recipe(1, 64, random="free")
    with pytest.raises(EngineError, match="share the dropout masks of one process"):
        WorkersSession(SETTINGS, NETWORK, free, digits, tmp_path)
    monkeypatch.setattr(client, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="pip install torch"):
        WorkersSession(SETTINGS, NETWORK, RECIPE, digits, tmp_path)
    assert not list(tmp_path.glob("*-train-*"))
    with pytest.raises(TriptychError, match="workers must be a whole number"):
        tt.train("numpy", NETWORK, RECIPE, digits, workers=0)


def test_a_batch_that_is_too_small_for_all_workers_is_noted(fake, digits: Dataset):
    recipe = tt.Recipe(1, 1)
    running = WorkersSession(SETTINGS, NETWORK, recipe, digits, None)
    assert running.notes[-1] == "A batch has 1 sample, so 1 of the workers have nothing to do."
