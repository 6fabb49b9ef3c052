"""How often a training is saved: every K steps, or every T seconds."""

from pathlib import Path

import pytest
from support.trainings import NETWORK, PER_EPOCH, RECIPE

from triptych.core.events import BlockTrained, EpochEnded
from triptych.data.dataset import Dataset
from triptych.errors import TriptychError
from triptych.training import checkpoint, loggers
from triptych.training.loggers import CheckpointInterval
from triptych.training.session import Session, Settings


def saved_steps(session: Session) -> list[int]:
    """Train; return the step of the checkpoint after each event, each step once."""
    steps: list[int] = []
    for _ in session.events():
        assert session.folder
        _, _, _, provenance = checkpoint.load_state(session.folder / "last" / checkpoint.STATE)
        step = provenance["training"]["step"]
        if step not in steps:
            steps.append(step)
    return steps


def session(root: Path, digits: Dataset, every: CheckpointInterval | None) -> Session:
    return Session(Settings("numpy", "eager"), NETWORK, RECIPE, digits, root, every=every)


def test_a_checkpoint_is_written_after_exactly_every_k_steps(tmp_path: Path, digits: Dataset):
    """Also where an epoch ends between two of them, and where both fall together."""
    total = 3 * PER_EPOCH
    for every in (10, PER_EPOCH, 1000):
        running = session(tmp_path / str(every), digits, CheckpointInterval.of(every))
        assert saved_steps(running) == [0, *range(every, total, every), total]


def test_a_checkpoint_at_the_end_of_an_epoch_holds_the_epoch(tmp_path: Path, digits: Dataset):
    running = session(tmp_path, digits, CheckpointInterval.of(PER_EPOCH))
    for event in running.events():
        if isinstance(event, EpochEnded):
            assert running.folder
            path = running.folder / "last" / checkpoint.STATE
            position = checkpoint.load_state(path)[3]["training"]
            assert len(position["history"]) == event.epoch


def test_a_checkpoint_is_written_after_so_many_seconds(
    tmp_path: Path, digits: Dataset, monkeypatch
):
    """The clock stands still but for a second at each block."""
    now = [0.0]
    monkeypatch.setattr(loggers.time, "monotonic", lambda: now[0])
    running = session(tmp_path, digits, CheckpointInterval.of("2.5 s"))
    steps: list[int] = []
    seen: list[int] = [0]
    for event in running.events():
        if isinstance(event, BlockTrained):
            now[0] += 1.0
            steps.append(event.step)
        assert running.folder
        path = running.folder / "last" / checkpoint.STATE
        seen.append(checkpoint.load_state(path)[3]["training"]["step"])
    saved = sorted(set(seen))
    assert saved[0] == 0
    assert saved[-1] == 3 * PER_EPOCH
    # The time of a block is counted after its checkpoint was due, so the fourth block is saved.
    assert saved[1] == steps[3]


def test_what_is_no_interval_is_refused():
    for wrong in ("", "0", "0s", "-5", "1e3", "3.5", "10m", True, 0, -1, "9" * 400):
        with pytest.raises(TriptychError, match="give a number of steps, for example 500"):
            CheckpointInterval.of(wrong)
    assert CheckpointInterval.of(500) == CheckpointInterval(steps=500)
    assert CheckpointInterval.of("1.5s") == CheckpointInterval(seconds=1.5)
