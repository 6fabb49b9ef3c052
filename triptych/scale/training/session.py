"""A training with several workers: what is different from one in this process."""

from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from ...core.events import Event, WorkersRestarted
from ...core.registry import check_shared_masks
from ...core.shell import quoted
from ...data.dataset import Dataset
from ...data.streaming.split import StreamedSplit
from ...errors import EngineError, TriptychError, counted
from ...spec.network import Network
from ...spec.recipe import Recipe
from ...training.loggers import CheckpointInterval
from ...training.saved import SavedRun, resumable
from ...training.session import Session, Settings
from .client import RayEnded, TrainingWorkers, WorkersLost

MOST_LOSSES = 3  # of workers in a row, without a checkpoint between them


class WorkersSession(Session):
    """A training and its run folder, whose engine is several workers together.

    If a worker ends, all are started again, and the training goes on from the last checkpoint of
    its own run folder.

    Parameters
    ----------
    settings, network, recipe, dataset, runs, saved, every
        As of `triptych.training.session.Session`.
    address : str, optional
        The address of a cluster of Ray; by default the workers are on this machine.

    Raises
    ------
    TriptychError
        If something is not installed, or Ray or the workers cannot be started.
    """

    def __init__(
        self,
        settings: Settings,
        network: Network,
        recipe: Recipe,
        dataset: Dataset,
        runs: Path | None,
        saved: SavedRun | None = None,
        *,
        every: CheckpointInterval | None = None,
        address: str | None = None,
    ) -> None:
        network.check_fits(dataset.shape, len(dataset.classes))
        _check(settings, network, recipe)
        if settings.native and isinstance(dataset.train, StreamedSplit):
            raise EngineError(
                "native workers hold the data in memory; leave out --stream, or --native"
            )
        size = 0
        if dataset.known is None:  # otherwise the images stay in their files
            size = sum(split.images.nbytes for split in (dataset.train, dataset.test))
        self._workers = TrainingWorkers(settings, address, size)
        self._is_locked_outside = saved is not None
        self._is_restarting = False
        self._stop_requested = False
        try:
            super().__init__(
                settings, network, recipe, dataset, runs, saved, every=every, source=self._workers
            )
        except BaseException:
            self._workers.close()
            raise

    def stop(self) -> None:
        """Request an end after the steps in flight; a signal handler may call it."""
        self._stop_requested = True
        if self._is_restarting:
            self._workers.stop()  # there are no steps in flight, and what is saved is whole
        else:
            super().stop()

    def events(self) -> Generator[Event]:
        """Train to the end, and test there; the workers end with the last event.

        Yields
        ------
        Event
            As of `Session.events`; and `WorkersRestarted`.

        Raises
        ------
        TriptychError
            As of `Session.events`; and if workers are lost again and again, or Ray has ended.
        """
        with closing(self._workers):
            try:
                try:
                    yield from super().events()
                except WorkersLost as lost:
                    yield from self._going_on(lost)
            except RayEnded as error:
                if self.folder is None:
                    raise
                advice = quoted("triptych", "train", "--resume", str(self.folder))
                raise TriptychError(
                    f"{error}; what was saved before is whole; go on with: {advice}"
                ) from None

    def _going_on(self, lost: WorkersLost) -> Generator[Event]:
        """Go on from the last checkpoint with the workers that are started instead of lost ones."""
        losses = 0
        step = -1
        while True:
            self._is_restarting = True
            with self._saved(lost) as saved:
                losses = losses + 1 if saved.position.step == step else 1
                step = saved.position.step
                restarted = WorkersRestarted(step, self.training.position.step - step, str(lost))
                self.training.position = saved.position
                yield restarted
                if losses > MOST_LOSSES:
                    raise TriptychError(
                        f"{lost}, {losses} times in a row at step {step:,}; what was saved before "
                        "is whole; go on with: "
                        + quoted("triptych", "train", "--resume", str(self.folder))
                    )
                try:
                    if not self._open_again(saved, restarted):
                        return
                    yield from super().events()
                    return
                except WorkersLost as again:
                    lost = again

    def _open_again(self, saved: SavedRun, restarted: WorkersRestarted) -> bool:
        """Build the engines anew; return False if an end was requested meanwhile."""
        try:
            if self._stop_requested:
                return False
            self._open(None, saved)
        except WorkersLost:
            raise
        except TriptychError:
            if self._stop_requested:
                return False
            raise
        self._is_restarting = False
        if self._stop_requested:
            super().stop()
        self._log(restarted)
        return True

    @contextmanager
    def _saved(self, lost: WorkersLost) -> Generator[SavedRun]:
        """Read the last checkpoint; no other process trains in the folder meanwhile."""
        if self.folder is None:
            raise TriptychError(f"{lost}; there is no run folder from which the training can go on")
        if self._is_locked_outside:
            yield SavedRun.read(self.folder)
            return
        with resumable(self.folder) as saved:
            yield saved

    @property
    def notes(self) -> list[str]:
        """What a person should know before the training begins, a sentence each."""
        workers = self.settings.workers
        notes = [*super().notes, f"{workers} workers, each with a part of every batch."]
        batch = self.training.planner.batch
        if batch < workers:
            notes.append(
                f"A batch has {counted(batch, 'sample')}, so {workers - batch} of the workers have "
                "nothing to do."
            )
        return notes


def _check(settings: Settings, network: Network, recipe: Recipe) -> None:
    """Raise `EngineError` for what several workers cannot do."""
    if settings.device not in ("cpu", "auto"):
        raise EngineError(
            f"several workers compute on processors; leave out --device {settings.device}"
        )
    if settings.workers > 1:
        check_shared_masks(network, recipe)
