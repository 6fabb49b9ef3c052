"""The training loop: steps, epochs, validation, callbacks. It yields events.

It uses any engine through the `Engine` protocol. The order of samples, dropout masks, augmentation
and learning rates are pure functions of the step (see `BatchPlanner`). A training therefore goes on
from its `Position` and the engine's state, in the same engine or in another one.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import numpy as np

from ..core import metrics
from ..core.engine import Engine
from ..core.events import (
    BlockTrained,
    EpochEnded,
    Event,
    RateCut,
    StoppedEarly,
    TrainingCompleted,
    TrainingInterrupted,
)
from ..core.plan import Plan, samples_digest
from ..core.planner import BatchPlanner
from ..core.split import Split
from ..core.state import State
from ..errors import SpecError, TriptychError
from .feeding import Evaluator, feed_of
from .position import Position, best_monitor, monitors_of, restores_best

SECONDS_OF_A_BLOCK = 0.25  # about the longest time before a request to stop takes effect
LONGEST_BLOCK = 1024  # steps
STEPS_TIMED_FIRST = 4  # single steps before the block's length is chosen; the first one compiles


class Training:
    """One training. Between two events, `position` and the engine's state fit together.

    Parameters
    ----------
    engine : Engine
        With the state of `position` loaded.
    planner : BatchPlanner
        The batches of the training split.
    train : Split
        What the network is trained on.
    validation : Split, optional
        Evaluated after each epoch.
    position : Position, optional
        Where the training goes on; by default it begins.
    best : dict of str to ndarray, optional
        The state of the best epoch so far.
    pause : int, optional
        No block of steps goes beyond a multiple of this number, so that a checkpoint can be written
        there.
    cpu_seconds : callable, optional
        Returns the processor time that the engine has used, in seconds; by default that of this
        process.
    """

    def __init__(
        self,
        engine: Engine,
        planner: BatchPlanner,
        train: Split,
        validation: Split | None = None,
        position: Position | None = None,
        best: State | None = None,
        pause: int | None = None,
        cpu_seconds: Callable[[], float] = time.process_time,
    ) -> None:
        self.engine = engine
        self.planner = replace(planner, block=1)
        self.recipe = planner.recipe
        self.validation = validation
        self.best_by = best_monitor(self.recipe)
        self.position = position or Position.at_start(self.recipe)
        self.best = best
        self.pause = pause
        self.cpu_seconds = cpu_seconds
        self._stop_requested = False
        self._step_seconds: list[float] = []
        self.feed = feed_of(engine, train, self.planner, self.position.step)
        self._evaluator = Evaluator(engine, validation) if validation else None

    @property
    def best_epoch(self) -> int:
        """The best epoch so far, from 1; 0 if there is none."""
        return self.position.memories[self.best_by.name].best_epoch

    @property
    def done(self) -> bool:
        """Whether all steps are made, or a callback has ended the training."""
        return self.position.stopped is not None or self.position.step >= self.planner.steps

    def stop(self) -> None:
        """Request an end after the block in flight. A signal handler may call it."""
        self._stop_requested = True

    def events(self) -> Generator[Event]:
        """Train.

        Yields
        ------
        Event
            `BlockTrained`; at the end of an epoch `RateCut` and `StoppedEarly`, if they apply, and
            then `EpochEnded`; at the end of all `TrainingCompleted` or `TrainingInterrupted`.

        Raises
        ------
        TriptychError
            If a loss is not finite.
        """
        while not self.done and not self._stop_requested:
            block = self._train_block()
            at_end_of_epoch: list[Event] = []
            if self.position.step % self.planner.steps_per_epoch == 0:
                at_end_of_epoch = self._end_epoch(block.rate)
            yield block
            yield from at_end_of_epoch
        if self.done:
            yield TrainingCompleted(self.position.step, self.best_epoch)
        else:
            yield TrainingInterrupted(self.position.step, self.best_epoch)

    def finish(self) -> int:
        """Load the weights that the recipe wants at the end; return their epoch, from 1."""
        if restores_best(self.recipe) and self.best is not None:
            self.engine.load(self.best)
            return self.best_epoch
        return len(self.position.history)

    def _train_block(self) -> BlockTrained:
        """Make the next steps, all of them of one epoch."""
        position = self.position
        begun = time.perf_counter()
        cpu_begun = self.cpu_seconds()
        epoch, step_of_epoch = divmod(position.step, self.planner.steps_per_epoch)
        start, steps, batch = next(self.planner.within(epoch, step_of_epoch))
        if self.pause is not None:
            steps = min(steps, self.pause - start % self.pause)
        plan = self.planner.plan(start, steps, batch, rate=position.base_rate)
        planned = time.perf_counter()
        losses = self._run(plan)
        ended = time.perf_counter()
        position.cpu_seconds += self.cpu_seconds() - cpu_begun
        self._check_finite(losses, epoch + 1)
        for loss in losses:
            position.loss_sum += loss * batch  # a smaller last batch has a smaller weight
        position.step += steps
        position.seconds += ended - begun
        self._choose_block((ended - planned) / steps, steps)
        return BlockTrained(
            epoch=epoch + 1,
            step=position.step,
            steps=steps,
            rate=float(plan.rates[-1]),
            seconds=(ended - begun) / steps,
            losses=[float(f"{loss:.7g}") for loss in losses],
            samples=samples_digest(plan),
        )

    def _run(self, plan: Plan) -> list[float]:
        data, plan = self.feed.take(plan)
        self.engine.run(data, plan)
        return [float(loss) for loss in self.engine.wait()]

    def _check_finite(self, losses: list[float], epoch: int) -> None:
        for number, loss in enumerate(losses, 1):
            if not np.isfinite(loss):
                step = self.position.step + number
                raise TriptychError(
                    f"the loss is {loss} at step {step} (epoch {epoch}): the training diverged; "
                    "try "
                    f"a lower learning rate than {self.position.base_rate:g}, or clip gradients"
                )

    def _choose_block(self, step_seconds: float, steps: int) -> None:
        """After the first steps, choose how many steps make a block; lengthen it if it is short.

        Parameters
        ----------
        step_seconds : float
            Of a step of the block that has ended.
        steps : int
            How many steps it had.
        """
        block = self.planner.block
        if len(self._step_seconds) < STEPS_TIMED_FIRST:
            self._step_seconds.append(step_seconds)
            if len(self._step_seconds) == STEPS_TIMED_FIRST:
                block = int(SECONDS_OF_A_BLOCK / max(min(self._step_seconds), 1e-9))
        elif steps == block and 2 * steps * step_seconds < SECONDS_OF_A_BLOCK:
            block *= 2  # a call takes some time of its own, which single steps have most of
        if block != self.planner.block:
            self.planner = replace(self.planner, block=max(1, min(block, LONGEST_BLOCK)))

    def _end_epoch(self, rate: float) -> list[Event]:
        """Evaluate the epoch that has just ended, and let the callbacks act on it."""
        position = self.position
        number = position.step // self.planner.steps_per_epoch
        epoch = EpochEnded(
            epoch=number,
            step=position.step,
            loss=position.loss_sum / self.planner.samples,
            rate=rate,
            base_rate=position.base_rate,
            seconds=position.seconds,
            cpu_seconds=position.cpu_seconds,
        )
        if self._evaluator:
            validation_loss, accuracy = self._validate(self._evaluator)
            epoch = replace(epoch, validation_loss=validation_loss, validation_accuracy=accuracy)
        actions = self._ask_callbacks(epoch)
        if self.best_epoch == number:
            self.best = self.engine.state()
        position.history.append(epoch.to_json())
        position.loss_sum = 0.0
        position.seconds = 0.0
        position.cpu_seconds = 0.0
        return [*actions, epoch]

    def _ask_callbacks(self, epoch: EpochEnded) -> list[Event]:
        """Show an epoch to everything that watches it; do what the callbacks want."""
        actions: list[Event] = []
        for monitor in monitors_of(self.recipe):
            memory = self.position.memories[monitor.name]
            actions += [_typed(act, epoch) for act in monitor.on_epoch_end(epoch.to_json(), memory)]
        for action in actions:
            if isinstance(action, RateCut):
                self.position.base_rate = action.base_rate
            elif isinstance(action, StoppedEarly):
                self.position.stopped = action.why
        return actions

    def _validate(self, evaluator: Evaluator) -> tuple[float, float]:
        """Return loss and accuracy of the validation split."""
        logits = evaluator.logits()
        labels = evaluator.split.labels
        accuracy = metrics.accuracy(metrics.predictions(logits), labels)
        return self.recipe.loss.evaluate(logits, labels), accuracy


def _typed(action: dict[str, Any], epoch: EpochEnded) -> Event:
    """Return what a callback wants as an event; raise `SpecError` for what the loop cannot do."""
    match action:
        case {"type": "cut", "base_rate": base_rate}:
            return RateCut(epoch.step, epoch.epoch, base_rate)
        case {"type": "stop", "why": why}:
            return StoppedEarly(epoch.step, epoch.epoch, why)
        case _:
            raise SpecError(
                f"a callback asked for {action!r}; it may ask for "
                "{'type': 'stop', 'why': ...} or {'type': 'cut', 'base_rate': ...}"
            )
