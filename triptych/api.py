"""The public Python API: load data, train, compare, verify, predict, sweep.

The commands and the scikit-learn classifier call these functions. None of them prints anything,
unless ``progress=True``; errors of the user are `triptych.errors.TriptychError`.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .core import devices, metrics, registry
from .core.events import BlockTimed, Evaluated, Event
from .core.probabilities import softmax
from .core.selection import Selection, select
from .core.state import State
from .data import loading
from .data.dataset import Dataset
from .data.reading import Options, Progress
from .errors import EngineError, TriptychError
from .process import machine
from .progress import line_of
from .results import (
    ComparisonResult,
    Prediction,
    ScriptResult,
    SweepResult,
    TrainingResult,
    VerificationResult,
    WorkersResult,
)
from .scale.messages import MOST_WORKERS
from .spec import zoo
from .spec.network import Network
from .spec.placement import Shape
from .spec.recipe import Recipe
from .spec.validation import check_number, check_whole
from .training import inference
from .training.loggers import CheckpointInterval
from .training.new_data import NewData, read_new
from .training.saved import SavedRun, resumable
from .training.session import Session, Settings
from .training.trained import TrainedRun

if TYPE_CHECKING:
    from .bench.session import ComparisonSession
    from .doctor.findings import Diagnosis
    from .exporting.export import ExportResult
    from .exporting.targets import Target
    from .exporting.web_runtime import WebRuntime
    from .parity.replay import ReplayResult
    from .process.pool import Workers
    from .scale.sweep.grid import Grid
    from .scale.sweep.session import SweepSession

OnEvent = Callable[[Event], Any]
ShouldStop = Callable[[], bool]
OnStage = Callable[[str, str, int, int], Any]
WORKERS = (1, 2, 3)  # numbers of workers that are compared with one process
IMAGE_SHAPES: dict[int, Shape] = {784: (28, 28, 1), 3072: (32, 32, 3)}


def load_data(
    source: str | Path | None = None,
    *,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    label: str | None = None,
    shape: str | None = None,
    white: int | None = None,
    skip_unreadable: bool = False,
    stream: bool = False,
    on_progress: Progress | None = None,
) -> Dataset:
    """Load a data set by name, or from a file or folder.

    Parameters
    ----------
    source : str or Path, optional
        ``digits``, ``mnist``, ``fashion-mnist``, ``kmnist``, ``cifar10``, or a path (docs/data.md).
        By default ``mnist_test.csv`` in the working directory, else MNIST in the cache, else
        digits.
    seed : int
        Decides how a single set is shuffled and split into training and test data.
    size : tuple of int, optional
        (height, width), in pixels, to which image files are scaled.
    label : str, optional
        The column that holds the labels.
    shape : str, optional
        What a row of numbers is: ``28x28`` for example, or ``table``.
    white : int, optional
        The number that is white in an array of pixels, from 1 to 65,535; by default it is found.
    skip_unreadable : bool
        Whether images that cannot be read are left out.
    stream : bool
        Whether images, in Parquet or in a folder, are read while they are trained on, so that they
        need not fit into memory. Whatever else needs them all reads them into memory then.
    on_progress : callable, optional
        Called with the number of images decoded so far and of all images.

    Raises
    ------
    DataError
        The message names the file and what is wrong in it.
    """
    check_whole("load_data", "seed", seed, 0)
    options = Options(size, skip_unreadable, label, shape, white, stream)
    name = None if source is None else str(source)
    return loading.load(name, seed, options, on_progress)


def dense(*widths: int, dropout: float = 0.0, shape: Shape | None = None) -> Network:
    """Build a network of dense layers with ReLU between them.

    Parameters
    ----------
    *widths : int
        Numbers of one sample, units of each hidden layer, classes: ``dense(784, 128, 64, 10)``.
    dropout : float
        Dropout rate after each hidden layer, in [0, 1).
    shape : tuple of int, optional
        The shape of one sample, (height, width, channels). By default 784 numbers are an image of
        28×28 and 3,072 a colour image of 32×32; any other number is a row of a table.

    Raises
    ------
    SpecError
        If the widths or the dropout rate make no sense.
    """
    if len(widths) < 2:
        raise TriptychError(f"dense{widths}: give the numbers of a sample and the classes")
    inputs, *hidden, classes = widths
    shape = shape or IMAGE_SHAPES.get(inputs, (1, 1, inputs))
    name = "-".join(str(width) for width in widths)
    network = zoo.dense(name, hidden, dropout, shape=shape, classes=classes)
    if int(np.prod(shape)) != inputs:
        raise TriptychError(f"dense{widths}: samples of shape {shape} are not {inputs} numbers")
    return network


def training_settings(
    engine: str,
    backend: str | None = None,
    device: str = "cpu",
    workers: int = 1,
    native: bool = False,
) -> Settings:
    """Return where a training runs.

    Raises
    ------
    EngineError
        If the engine, the backend or the device is unknown, or the engine cannot use the device.
    """
    name, _, with_backend = str(engine).partition("/")
    if with_backend and name in registry.entries():
        raise EngineError(
            f"engine {engine!r} is unknown; the backend has an option of its own: "
            f"triptych train {name} --backend {with_backend}"
        )
    known = registry.entry(engine)
    devices.check_device(device)
    if known.processor_only and device not in ("cpu", "auto"):
        raise EngineError(f"{known.label} runs on the processor only; leave out --device {device}")
    check_whole("train", "workers", workers, 1, most=MOST_WORKERS)
    if native:
        registry.check_native(known)
        if workers == 1:
            raise EngineError(
                "native is how several workers add their gradients; give workers, too"
            )
    return Settings(engine, known.backend(backend), device, _threads(), workers, native)


def training_session(
    settings: Settings,
    network: Network,
    recipe: Recipe,
    data: Dataset,
    runs: str | Path | None,
    *,
    every: CheckpointInterval | None = None,
    address: str | None = None,
) -> Session:
    """Prepare a training; its `Session.events` trains. `train` and `iter_train` are simpler.

    Parameters
    ----------
    settings : Settings
        Where it runs.
    network, recipe, data, runs
        As of `train`.
    every : CheckpointInterval, optional
        As `checkpoint_interval` returns it.
    address : str, optional
        As of `train`.
    """
    check_parts(network, recipe, data)
    folder = None if runs is None else Path(runs)
    create = _session_class(settings, address)
    return create(settings, network, recipe, data, folder, every=every)


def _session_class(settings: Settings, address: str | None) -> Callable[..., Session]:
    """Return what makes the session of a training in this process, or with several workers."""
    if settings.workers == 1 and address is None:
        return Session
    from .scale.training.session import WorkersSession

    return partial(WorkersSession, address=address)


def checkpoint_interval(every: int | str | None) -> CheckpointInterval | None:
    """Return what ``checkpoint_every`` of `train` means; None for None."""
    return None if every is None else CheckpointInterval.of(every)


def check_parts(network: Any, recipe: Any, data: Any) -> None:
    """Raise `TriptychError` if something else was given, such as a name, and say what to pass."""
    if not isinstance(network, Network):
        advice = "dense(784, 128, 10)"
        if isinstance(network, str) and network in zoo.ZOO:
            advice = f"zoo.get({network!r})"
        raise TriptychError(f"network must be a Network, not {network!r}; pass {advice}")
    if not isinstance(recipe, Recipe):
        raise TriptychError(
            f"recipe must be a Recipe, not {recipe!r}; pass Recipe(epochs=3, batch_size=64)"
        )
    if not isinstance(data, Dataset):
        raise TriptychError(f"data must be a Dataset, not {data!r}; load it with load_data(…)")


def iter_train(
    engine: str,
    network: Network,
    recipe: Recipe,
    data: Dataset,
    *,
    backend: str | None = None,
    device: str = "cpu",
    runs: str | Path | None = "runs",
    checkpoint_every: int | str | None = None,
    workers: int = 1,
    native: bool = False,
    address: str | None = None,
    should_stop: ShouldStop | None = None,
) -> Iterator[Event]:
    """Train a network, and yield the events of the training (`triptych.core.events`).

    The parameters are those of `train`. If the iteration ends early, the run folder holds the
    training up to its last checkpoint.
    """
    settings = training_settings(engine, backend, device, workers, native)
    every = checkpoint_interval(checkpoint_every)
    session = training_session(settings, network, recipe, data, runs, every=every, address=address)
    return _session_events(session, should_stop)


def train(
    engine: str,
    network: Network,
    recipe: Recipe,
    data: Dataset,
    *,
    backend: str | None = None,
    device: str = "cpu",
    runs: str | Path | None = "runs",
    checkpoint_every: int | str | None = None,
    workers: int = 1,
    native: bool = False,
    address: str | None = None,
    should_stop: ShouldStop | None = None,
    on_event: OnEvent | None = None,
    progress: bool = False,
) -> TrainingResult:
    """Train a network in one engine, and test it once at the end.

    Parameters
    ----------
    engine : str
        ``numpy``, ``torch``, ``tensorflow`` or ``jax``.
    network : Network
        What is trained.
    recipe : Recipe
        How it is trained.
    data : Dataset
        What it is trained and tested on.
    backend : str, optional
        One of the engine's own; its first by default.
    device : str
        ``cpu``, ``cuda``, ``mps`` or ``auto``.
    runs : str, Path or None
        The folder in which the run folder is made; None writes nothing.
    checkpoint_every : int or str, optional
        After how many steps a checkpoint is written, or after how many seconds: ``"30s"``. By
        default after ten seconds, and at the end of an epoch after one.
    workers : int
        How many processes train the network together; more than one needs Ray and PyTorch
        (docs/workers.md). They compute what one process does.
    native : bool
        Whether the framework's own data-parallel training adds their gradients, as in
        `verify_workers`.
    address : str, optional
        The address of a cluster of Ray on which the workers run; by default they run on this
        machine, and a single one in this process.
    should_stop : callable, optional
        Asked after each block of steps; if it returns True, the training is saved and ends.
    on_event : callable, optional
        Called with each event.
    progress : bool
        Whether to print a line for each epoch.

    Raises
    ------
    TriptychError
        If something does not fit together, the training diverges, or a file cannot be written.
    """
    settings = training_settings(engine, backend, device, workers, native)
    every = checkpoint_interval(checkpoint_every)
    session = training_session(settings, network, recipe, data, runs, every=every, address=address)
    return _finish(session, should_stop, on_event, progress)


def resume(
    folder: str | Path,
    engine: str | None = None,
    *,
    epochs: int | None = None,
    data: Dataset | None = None,
    backend: str | None = None,
    device: str = "cpu",
    checkpoint_every: int | str | None = None,
    workers: int = 1,
    native: bool = False,
    address: str | None = None,
    should_stop: ShouldStop | None = None,
    on_event: OnEvent | None = None,
    progress: bool = False,
) -> TrainingResult:
    """Go on with a training that was stopped, or train a finished one further.

    Parameters
    ----------
    folder : str or Path
        The run folder.
    engine : str, optional
        The engine that goes on; by default the one that trained last.
    epochs : int, optional
        Epochs of the whole run, those before included.
    data : Dataset, optional
        The data of the run; by default it is loaded again from where it came.
    backend, device, checkpoint_every, workers, native, address, should_stop, on_event, progress
        As of `train`.

    Raises
    ------
    TriptychError
        If the folder holds no such run, or the data is not the same.
    """
    if epochs is not None:
        check_whole("resume", "epochs", epochs, 1)
    every = checkpoint_interval(checkpoint_every)
    with resumable(Path(folder)) as saved:
        saved = saved.extended(epochs)
        settings = resumed_settings(saved, engine, backend, device, workers, native)
        data = _data_of_saved(saved, data)
        session = resumed_session(settings, saved, data, every=every, address=address)
        return _finish(session, should_stop, on_event, progress)


def _data_of_saved(saved: SavedRun, data: Dataset | None) -> Dataset:
    """Return the data of a run; without it, load it again from where it came."""
    if data is not None:
        return data
    return loading.load(saved.source_to_load(), saved.recipe.seed, saved.reading)


def resumed_settings(
    saved: SavedRun,
    engine: str | None,
    backend: str | None,
    device: str,
    workers: int = 1,
    native: bool = False,
) -> Settings:
    """Return where a run goes on: without an engine, where it was trained last."""
    if engine is None:
        engine = saved.engine or registry.REFERENCE
        backend = backend or saved.backend
    return training_settings(engine, backend, device, workers, native)


def resumed_session(
    settings: Settings,
    saved: SavedRun,
    data: Dataset,
    *,
    every: CheckpointInterval | None = None,
    address: str | None = None,
) -> Session:
    """Prepare to go on with a run in its folder, on the same data; `resume` is simpler."""
    check_parts(saved.network, saved.recipe, data)
    saved.check_same(data)
    create = _session_class(settings, address)
    return create(settings, saved.network, saved.recipe, data, None, saved, every=every)


def comparison_session(
    network: Network,
    recipe: Recipe,
    data: Dataset,
    chosen: Selection,
    *,
    seeds: int = 1,
    wait: float = 60.0,
    runs: str | Path | None = "runs",
    workers: "Workers | None" = None,
) -> "ComparisonSession":
    """Prepare a comparison; its ``events`` compare. `compare` and `iter_compare` are simpler.

    Parameters
    ----------
    network, recipe, data, seeds, wait, runs
        As of `compare`.
    chosen : Selection
        The engines, and where they run.
    workers : Workers, optional
        The workers of the rows if they were started before, while the data was read.
    """
    from .bench.contestants import Settings as Contest
    from .bench.session import ComparisonSession

    check_parts(network, recipe, data)
    check_whole("compare", "seeds", seeds, 1)
    check_whole("compare", "threads", chosen.threads, 1)
    check_number("compare", "wait", wait, 0)
    settings = Contest(network, recipe, chosen.rows, chosen.threads, chosen.device, wait)
    folder = None if runs is None else Path(runs)
    return ComparisonSession(settings, data, seeds, folder, workers, named=chosen.named)


def iter_compare(
    network: Network,
    recipe: Recipe,
    data: Dataset,
    *,
    engines: Sequence[str] | None = None,
    all_backends: bool = False,
    seeds: int = 1,
    threads: int = 1,
    device: str = "cpu",
    wait: float = 60.0,
    runs: str | Path | None = "runs",
) -> Iterator[Event]:
    """Compare engines, and yield the events. The parameters are those of `compare`."""
    chosen = select(engines, all_backends, threads=threads, device=device)
    session = comparison_session(network, recipe, data, chosen, seeds=seeds, wait=wait, runs=runs)
    return session.events()


def compare(
    network: Network,
    recipe: Recipe,
    data: Dataset,
    *,
    engines: Sequence[str] | None = None,
    all_backends: bool = False,
    seeds: int = 1,
    threads: int = 1,
    device: str = "cpu",
    wait: float = 60.0,
    runs: str | Path | None = "runs",
    on_event: OnEvent | None = None,
    progress: bool = False,
) -> ComparisonResult:
    """Train one network in several engines on the same batches; prove them equal, and time them.

    Each engine runs in a process of its own.

    Parameters
    ----------
    network : Network
        What is trained.
    recipe : Recipe
        How it is trained; its validation and callbacks are left out, so that all make equal steps.
    data : Dataset
        What it is trained and tested on.
    engines : sequence of str, optional
        ``numpy``, ``torch``, ``tensorflow/xla`` for example; all that are installed by default.
        NumPy, the reference, always takes part.
    all_backends : bool
        Whether each engine takes part in all of its backends.
    seeds : int
        How many seeds, counted up from that of the recipe.
    threads : int
        Threads of each engine.
    device : str
        ``cpu``, ``cuda``, ``mps`` or ``auto``.
    wait : float
        How long to wait, in all, for a busy machine to become calm, in seconds.
    runs : str, Path or None
        The folder in which the run folder is made; None writes nothing.
    on_event : callable, optional
        Called with each event.
    progress : bool
        Whether to print a line for what is done.

    Raises
    ------
    TriptychError
        If something does not fit together, or fewer than two engines can run.
    """
    chosen = select(engines, all_backends, threads=threads, device=device)
    session = comparison_session(network, recipe, data, chosen, seeds=seeds, wait=wait, runs=runs)
    drawn: list[dict[str, Any]] = []
    with closing(session.events()) as happening:
        for event in watched(happening, on_event, progress, recipe.epochs):
            is_first_seed = not session.results
            if is_first_seed and isinstance(event, BlockTimed | Evaluated):
                drawn.append(event.to_json())
    note = draw_report(session.folder)
    return ComparisonResult(network, recipe, session.results, session.folder, drawn, note)


def draw_report(folder: Path | None) -> str | None:
    """Draw figures and report.html of a comparison; return what to install, if needed."""
    if folder is None:
        return None
    from .report.artifacts import illustrate

    return illustrate(folder)


def iter_verify(
    network: Network | Sequence[Network],
    recipe: Recipe | Sequence[Recipe],
    data: Dataset,
    *,
    engines: Sequence[str] | None = None,
    all_backends: bool = False,
    steps: int | None = None,
    threads: int = 1,
    device: str = "cpu",
) -> Iterator[Event]:
    """Prove engines equal, and yield the events. The parameters are those of `verify`."""
    chosen = select(engines, all_backends, threads=threads, device=device)
    return verification(network, recipe, data, chosen, steps)


def verification(
    network: Network | Sequence[Network],
    recipe: Recipe | Sequence[Recipe],
    data: Dataset,
    chosen: Selection,
    steps: int | None = None,
) -> Generator[Event]:
    """Prove the chosen engines equal, and yield the events; `verify` is simpler."""
    from .parity.verify import Case, default_steps
    from .parity.verify import verify as verify_cases

    check_whole("verify", "threads", chosen.threads, 1)
    if steps is not None:
        check_whole("verify", "steps", steps, 1)
    cases = [
        Case(each, trained, steps or default_steps(each))
        for each, trained in _checked_pairs(network, recipe, data)
    ]
    return verify_cases(data, cases, chosen.rows, threads=chosen.threads, device=chosen.device)


def verify(
    network: Network | Sequence[Network],
    recipe: Recipe | Sequence[Recipe],
    data: Dataset,
    *,
    engines: Sequence[str] | None = None,
    all_backends: bool = False,
    steps: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    on_event: OnEvent | None = None,
    progress: bool = False,
) -> VerificationResult:
    """Prove engines equal to NumPy, step by step: outputs, loss, gradients and updates.

    Parameters
    ----------
    network : Network or sequence of Network
        What is trained.
    recipe : Recipe or sequence of Recipe
        How; every network is verified with every recipe. The proof is in float64; for a recipe in
        float32 the float32 verdict follows.
    data : Dataset
        Its training split is used.
    engines, all_backends, threads, device, on_event, progress
        As of `compare`.
    steps : int, optional
        Steps compared; 500 by default, and fewer for heavy networks.

    Raises
    ------
    TriptychError
        If something does not fit together.
    """
    chosen = select(engines, all_backends, threads=threads, device=device)
    with closing(verification(network, recipe, data, chosen, steps)) as happening:
        return VerificationResult.of(watched(happening, on_event, progress, epochs=0))


def iter_verify_run(
    folder: str | Path, data: Dataset | None = None
) -> "Generator[Event, None, ReplayResult]":
    """Train a run again and compare it; yield the events and return what came of it.

    The parameters are those of `verify_run`.
    """
    from .parity.replay import replayed

    saved = SavedRun.read(Path(folder))
    data = _data_of_saved(saved, data)
    saved.check_same(data)
    return (yield from replayed(saved, data, _threads()))


def verify_run(folder: str | Path, data: Dataset | None = None) -> "ReplayResult":
    """Check that a run, however often it was disturbed, is the training that its recipe describes.

    The log must tell every step once, with the samples of its batch. Then the run is trained again
    in this process, up to its last checkpoint, and the losses in the log and the saved state are
    compared with that.

    Parameters
    ----------
    folder : str or Path
        A run folder of `train`, finished or not.
    data : Dataset, optional
        Its data; by default it is loaded again from where it came.

    Returns
    -------
    ReplayResult
        ``equal`` is the verdict; if one process of one engine has trained all, to the bit.

    Raises
    ------
    TriptychError
        If the folder holds no such run, or the data is not the same.
    """
    events = iter_verify_run(folder, data)
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def _checked_counts(workers: int | Sequence[int]) -> list[int]:
    """Return numbers of workers as a list; raise an error for one that is not possible."""
    counts = _as_list(workers)
    for count in counts:
        check_whole("verify", "workers", count, 1, most=MOST_WORKERS)
    return counts


def iter_verify_workers(
    network: Network | Sequence[Network] | None,
    recipe: Recipe | Sequence[Recipe],
    data: Dataset,
    *,
    workers: int | Sequence[int] = WORKERS,
    engines: Sequence[str] | None = None,
    all_backends: bool = False,
    steps: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    native: bool = False,
) -> Generator[Event]:
    """Prove several workers equal to one, and yield the events; see `verify_workers`."""
    from .parity.verify import Case
    from .scale.certificate import STEPS
    from .scale.verification import default_networks
    from .scale.verification import verify_workers as verify_cases

    check_whole("verify", "threads", threads, 1)
    steps = STEPS if steps is None else steps
    check_whole("verify", "steps", steps, 1)
    counts = _checked_counts(workers)
    chosen = select(engines, all_backends, threads=threads, device=device)
    named = None if engines is None else {str(name).partition("/")[0] for name in engines}
    rows = [row for row in chosen.rows if named is None or row.engine in named]
    if network is None:
        check_parts(zoo.get("custom"), _as_list(recipe)[0], data)
        network = default_networks(data.shape, len(data.classes))
    pairs = _checked_pairs(network, recipe, data)
    cases = [Case(each, trained, steps) for each, trained in pairs]
    return verify_cases(data, cases, rows, counts, threads=threads, device=device, native=native)


def verify_workers(
    network: Network | Sequence[Network] | None,
    recipe: Recipe | Sequence[Recipe],
    data: Dataset,
    *,
    workers: int | Sequence[int] = WORKERS,
    engines: Sequence[str] | None = None,
    all_backends: bool = False,
    steps: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    native: bool = False,
    on_event: OnEvent | None = None,
    progress: bool = False,
) -> WorkersResult:
    """Prove that several workers that train one network compute what one process does.

    Each engine is compared with itself, in float64: after every step the weights, running
    statistics and optimizer slots of the workers are those of one process, and all workers are
    equal to the bit. Otherwise the result names the mistake that reproduces the difference.

    Parameters
    ----------
    network : Network, sequence of Network, or None
        What is trained; by default ``custom``, and ``lenet-bn`` with a dropout.
    recipe : Recipe or sequence of Recipe
        How; every network is trained with every recipe.
    data : Dataset
        Its training split is used.
    workers : int or sequence of int
        Numbers of workers, at most 64. Several need PyTorch, which adds their gradients.
    engines, all_backends, threads, device, on_event, progress
        As of `compare`; NumPy takes part only if it is named, or no engine is.
    steps : int, optional
        Steps compared; 200 by default.
    native : bool
        Whether the workers are those of the framework's own data-parallel training
        (`DistributedDataParallel`, `MultiWorkerMirroredStrategy`); they are compared with one
        process, and with as many workers of the one mechanism. TensorFlow's servers then listen on
        every interface of this machine, without a password.

    Raises
    ------
    TriptychError
        If something does not fit together.
    """
    happening = iter_verify_workers(
        network,
        recipe,
        data,
        workers=workers,
        engines=engines,
        all_backends=all_backends,
        steps=steps,
        threads=threads,
        device=device,
        native=native,
    )
    with closing(happening):
        return WorkersResult.of(watched(happening, on_event, progress, epochs=0))


def iter_verify_script(
    script: str | Path,
    arguments: Sequence[str] = (),
    *,
    workers: int | Sequence[int] = 2,
    steps: int | None = None,
    double: bool = False,
    threads: int = 1,
    timeout: float | None = None,
) -> Generator[Event]:
    """Compare a script's workers with one process, and yield the events; see `verify_script`."""
    from .doctor.script import verification

    steps = verification.STEPS if steps is None else steps
    check_whole("verify", "steps", steps, 1, most=verification.MOST_STEPS)
    check_whole("verify", "threads", threads, 1)
    timeout = verification.SECONDS_WITHOUT_STEP if timeout is None else timeout
    check_number("verify", "timeout", timeout, 0, above=True)
    counts = _checked_counts(workers)
    described = verification.Script(Path(script), arguments, steps, double, threads, timeout)
    return verification.verify_script(described, counts)


def verify_script(
    script: str | Path,
    arguments: Sequence[str] = (),
    *,
    workers: int | Sequence[int] = 2,
    steps: int | None = None,
    double: bool = False,
    threads: int = 1,
    timeout: float | None = None,
    on_event: OnEvent | None = None,
    progress: bool = False,
) -> ScriptResult:
    """Compare a PyTorch script with several workers with the same script with one process.

    The script is one that ``torchrun`` starts. It is run on this machine's processor with one
    process and with several, and recorded. Samples, outputs, loss, gradients, rate, weights and
    buffers are compared at each step, up to what rounding explains; the first that differ are
    named, with the mistake if one reproduces the numbers. It runs the code of the script.

    Parameters
    ----------
    script : str or Path
        The script.
    arguments : sequence of str
        Its arguments. ``{64/workers}`` in one is 64 divided by the number of workers.
    workers : int or sequence of int
        Numbers of workers, at most 64. With 1, the script is run again.
    steps : int, optional
        How many updates are compared, at most; 100 by default.
    double : bool
        Whether the script is run in double precision, where rounding is smaller.
    threads : int
        Threads of each process.
    timeout : float, optional
        Seconds without a step after which the script counts as hanging; 300 by default.
    on_event, progress
        As of `compare`.

    Raises
    ------
    TriptychError
        If there is no such script, or arguments make no sense. If the script fails, this is in the
        result.
    """
    happening = iter_verify_script(
        script,
        arguments,
        workers=workers,
        steps=steps,
        double=double,
        threads=threads,
        timeout=timeout,
    )
    with closing(happening):
        return ScriptResult.of(watched(happening, on_event, progress, epochs=0))


def predict(
    trained: TrainingResult | TrainedRun | str | Path,
    images: NDArray[Any],
    *,
    engine: str = "numpy",
    backend: str | None = None,
    device: str = "cpu",
) -> Prediction:
    """Classify images with a trained network, in any engine.

    Parameters
    ----------
    trained : TrainingResult, TrainedRun, str or Path
        What `train` returned, or a run folder, or a state file.
    images : ndarray of uint8 or floats, shape (n, h, w, c)
        Pixels 0–255 as uint8, or numbers that are taken as they are; those of a table must be
        standardised as the training data was. `load_new_data` returns such arrays.
    engine : str
        The engine that computes.
    backend : str, optional
        One of the engine's own; its first by default.
    device : str
        ``cpu``, ``cuda``, ``mps`` or ``auto``.

    Raises
    ------
    TriptychError
        If the images do not fit the network, or there is no trained state.
    """
    run = _trained_run(trained)
    logits = inference.compute_logits(
        run.network, run.recipe, run.state, images, engine=engine, backend=backend, device=device
    )
    return Prediction(metrics.predictions(logits), softmax(logits))


def load_new_data(
    trained: TrainingResult | TrainedRun | str | Path,
    *sources: str | Path,
    invert: bool = False,
    label: str | None = None,
    shape: str | None = None,
    white: int | None = None,
    skip_unreadable: bool = False,
    on_progress: Progress | None = None,
) -> NewData:
    """Load data that a trained network shall classify, as its training data was read.

    Images are scaled and converted to the network's size and colours; rows of a table are
    standardised with the mean and deviation of the training data.

    Parameters
    ----------
    trained : TrainingResult, TrainedRun, str or Path
        What `train` returned, or a run folder, or a state file.
    *sources : str or Path
        Image files, or one file or folder of any format, or the name of a data set. Without any,
        the test split of the run's own data is loaded.
    invert : bool
        Whether light and dark are exchanged.
    label, shape, white, skip_unreadable, on_progress
        As of `load_data`; by default as the training data was read.

    Raises
    ------
    TriptychError
        If the data cannot be read, or does not fit the network or its classes.
    """
    options = Options(None, skip_unreadable, label, shape, white)
    names = [str(source) for source in sources]
    run = _trained_run(trained)
    return read_new(run, names, options, invert=invert, progress=on_progress)


def export_targets(
    to: str | Sequence[str], web_runtime: str | Path | None = None
) -> "tuple[list[Target], WebRuntime | None]":
    """Return the targets of an export, and the runtime of web pages if one of them is a page.

    Parameters
    ----------
    to, web_runtime
        As of `export`.

    Raises
    ------
    TriptychError
        If a target is unknown, or a package of it is missing.
    """
    from .exporting.targets import target
    from .exporting.web import find_runtime

    targets = [target(name) for name in ([to] if isinstance(to, str) else to)]
    for each in targets:
        each.check_installed()
    if not any(each.is_page for each in targets):
        return targets, None
    return targets, find_runtime(None if web_runtime is None else Path(web_runtime))


def iter_export(
    trained: TrainingResult | TrainedRun | str | Path,
    to: str | Sequence[str],
    *,
    data: Dataset | None = None,
    out: str | Path | None = None,
    web_runtime: str | Path | None = None,
    on_stage: OnStage | None = None,
) -> "Iterator[ExportResult]":
    """Export as `export` does, and yield the result of each target when it is verified.

    The parameters are those of `export`.
    """
    from .exporting.export import export_model
    from .exporting.model import TrainedModel
    from .exporting.verification import Reference

    targets, runtime = export_targets(to, web_runtime)
    run = _trained_run(trained)
    folder = _export_folder(trained, run, out)
    if data is None:
        data = _data_of(run)
    model = TrainedModel.of(
        run.network, run.recipe, run.state, data, engine=run.engine, sha256=run.sha256
    )
    reference = Reference.of(model, data.test)
    for each in targets:
        notify = partial(on_stage or _ignore_stage, each.name)
        yield export_model(
            each,
            folder / each.name,
            model,
            reference,
            data.test,
            notify,
            web_runtime=runtime,
        )


def export(
    trained: TrainingResult | TrainedRun | str | Path,
    to: str | Sequence[str],
    *,
    data: Dataset | None = None,
    out: str | Path | None = None,
    web_runtime: str | Path | None = None,
    on_stage: OnStage | None = None,
) -> "list[ExportResult]":
    """Export a trained network to other runtimes, and verify what each of them computes.

    Parameters
    ----------
    trained : TrainingResult, TrainedRun, str or Path
        What `train` returned, or a run folder, or a state file.
    to : str or sequence of str
        Names of targets; docs/export.md lists them.
    data : Dataset, optional
        Its test split is used for the verification. By default the data of the run is loaded
        again.
    out : str or Path, optional
        The folder in which each target gets a folder; by default ``export`` in the run folder.
    web_runtime : str or Path, optional
        The folder of the npm package onnxruntime-web, for the target ``web``; by default it is
        looked up in ``node_modules`` of the working directory and the folders above it.
    on_stage : callable, optional
        Called with the target, what is being done (``writing`` or ``verifying``), the samples
        that are done and their number.

    Returns
    -------
    list of ExportResult
        One for each target. Its ``verdict`` is ``formula`` if the export computes something else
        than the network.

    Raises
    ------
    TriptychError
        If a target is unknown, or a package of it is missing; or if a model cannot be written or
        loaded.
    """
    exports = iter_export(
        trained, to, data=data, out=out, web_runtime=web_runtime, on_stage=on_stage
    )
    return list(exports)


def _ignore_stage(target: str, stage: str, done: int, total: int) -> None:
    """Do nothing with the progress of an export."""


def _data_of(run: TrainedRun) -> Dataset:
    """Load the data of a run again; raise `TriptychError` if the run does not say which it was."""
    if run.source is None:
        raise TriptychError(
            "which data the network was trained with is not recorded; give it, as data= in "
            "Python or with --data"
        )
    return loading.load(run.source, run.recipe.seed, run.reading)


def _export_folder(
    trained: TrainingResult | TrainedRun | str | Path, run: TrainedRun, out: str | Path | None
) -> Path:
    from .exporting.export import EXPORTS

    if out is not None:
        return Path(out)
    folder = trained.folder if isinstance(trained, TrainingResult) else run.folder
    if folder is None:
        raise TriptychError("the run has no folder; give one, as out= in Python")
    return folder / EXPORTS


def watched(
    events: Iterable[Event], on_event: OnEvent | None, progress: bool, epochs: int
) -> Iterator[Event]:
    """Yield events, after each was given to the callback and printed.

    Parameters
    ----------
    events : iterable of Event
        What happens.
    on_event : callable or None
        Called with each event.
    progress : bool
        Whether to print a line for the important ones.
    epochs : int
        Epochs of the recipe.
    """
    for event in events:
        if on_event is not None:
            on_event(event)
        line = line_of(event, epochs) if progress else None
        if line is not None:
            print(line, flush=True)
        yield event


def _as_list(one_or_several: Any) -> list[Any]:
    """Return the networks or recipes of a verification; a name, which is a mistake, is one."""
    if isinstance(one_or_several, Sequence) and not isinstance(one_or_several, str):
        return list(one_or_several)
    return [one_or_several]


def _checked_pairs(network: Any, recipe: Any, data: Dataset) -> list[tuple[Network, Recipe]]:
    """Return every network with every recipe of a verification; raise if one is something else."""
    pairs = list(product(_as_list(network), _as_list(recipe)))
    for each, trained in pairs:
        check_parts(each, trained, data)
    return pairs


def _threads() -> int:
    """Return the threads that libraries of this process use by default."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdecimal() else machine.processors()


def _session_events(session: Session, should_stop: ShouldStop | None) -> Generator[Event]:
    for event in session.events():
        yield event
        if should_stop is not None and should_stop():
            session.stop()


def _finish(
    session: Session, should_stop: ShouldStop | None, on_event: OnEvent | None, progress: bool
) -> TrainingResult:
    """Train to the end, and return what came of it."""
    with closing(_session_events(session, should_stop)) as events:
        for _ in watched(events, on_event, progress, session.recipe.epochs):
            pass
    assert session.final_state is not None
    return TrainingResult(
        engine=session.settings.engine,
        network=session.network,
        recipe=session.recipe,
        state=session.final_state,
        history=session.training.position.history,
        folder=session.folder,
        details=session.result,
        provenance=session.dataset.provenance(),
    )


def _trained_run(trained: TrainingResult | TrainedRun | str | Path) -> TrainedRun:
    """Return a trained network with its provenance; what a training has returned is not read."""
    if isinstance(trained, TrainedRun):
        return trained
    if not isinstance(trained, TrainingResult):
        return TrainedRun.read(Path(trained))
    provenance = trained.provenance
    return TrainedRun(
        path=trained.folder or Path(),
        network=trained.network,
        recipe=trained.recipe,
        state=trained.state,
        sha256="",
        engine=trained.engine,
        source=provenance["source"] or None,
        reading=Options.from_json(provenance["reading"]),
        data=provenance["data"],
    )


def diagnose(
    a: Any,
    b: Any,
    batch: str | Path | State | None = None,
    *,
    pairs: dict[str, str] | None = None,
    weights_file: str | Path | None = None,
    time: bool = False,
    threads: int = 1,
    on_stage: Callable[[str], Any] | None = None,
) -> "Diagnosis":
    """Find out why two implementations of a model give different numbers.

    Parameters
    ----------
    a, b : str, Path, or object
        The reference and the other side. ``FILE.py`` or ``FILE.py:FUNCTION`` is run in a process of
        its own. A model, a dict with any of model, optimizer, loss, metric, schedule, preprocess,
        callbacks, or a function without arguments that returns either is used in this process; of
        these, only a function can be compared in double precision. So can a pair of a function
        ``f(parameters, *inputs)`` and its parameters, or a dict with the key ``parameters``.
        A may be the folder of a trace that ``triptych record`` wrote.
    batch : str, Path, or dict of str to ndarray, optional
        ``x`` (``x2``, …), ``y``, and ``val_loss`` where a callback needs it; or an npz file with
        them. By default the batch of the trace.
    pairs : dict of str to str, optional
        Which layer of B belongs to a layer of A, by their paths, where this cannot be found out.
    weights_file : str or Path, optional
        A file that gets A's weights in B's layout and under B's names, ready to load there; it ends
        in ``.safetensors`` or ``.npz``.
    time : bool
        Whether to time both sides if they are equal. Both must be files then.
    threads : int
        The threads of each side while it is timed.
    on_stage : callable, optional
        Called with the name of each stage before it is examined, and with what is timed.

    Returns
    -------
    Diagnosis
        Its ``verdict`` is ``equal``, ``rounding``, ``differ`` or ``undecided``; its ``findings``
        are the differences with cause, effect and fix; its ``timing`` the times of both sides, or
        why there are none.

    Raises
    ------
    TriptychError
        If a side or the batch cannot be used.
    """
    from .doctor import diagnosis, sources, stopwatch
    from .doctor.batch import checked
    from .doctor.weights_file import check_weights_file, write_weights

    if weights_file is not None:
        check_weights_file(Path(weights_file))
    machine.check_threads(threads)
    a, b = map(_as_side, (a, b))
    reference = sources.recorded(a) or a
    arrays = checked(batch if batch is not None else getattr(reference, "batch", None))
    see = on_stage or diagnosis.ignore_stage
    with sources.opened(reference, b) as (one, other):
        result = diagnosis.diagnose(one, other, arrays, mapping=pairs, on_stage=see)
        if weights_file is not None:
            write_weights(Path(weights_file), other.framework_weights())
        if not time:
            return result
        files = [sources.file_of(reference), sources.file_of(b)]
        contest = stopwatch.prepared(result.verdict, files, [one, other], arrays)
    return replace(result, timing=contest.timed(threads=threads, see=see))


def compare_models(
    a: str | Path,
    b: str | Path,
    batch: str | Path | State,
    *,
    pairs: dict[str, str] | None = None,
    threads: int = 1,
    on_stage: Callable[[str], Any] | None = None,
) -> "Diagnosis":
    """Compare the speed of two implementations of a model, if they are equal.

    It is `diagnose` with ``time=True``.

    Parameters
    ----------
    a, b : str or Path
        ``FILE.py`` or ``FILE.py:FUNCTION``.
    batch, pairs, threads, on_stage
        As in `diagnose`.

    Returns
    -------
    Diagnosis
        Its ``timing`` has ``parts``, the training step and the inference, each with the times of
        both sides and the ``ratio`` of B to A with its interval; or the ``reason`` why there is no
        ratio.

    Raises
    ------
    TriptychError
        If a side or the batch cannot be used.
    """
    return diagnose(a, b, batch, pairs=pairs, time=True, threads=threads, on_stage=on_stage)


def _as_side(source: Any) -> Any:
    """Return what a training has returned as a trained network, and every other source as it is."""
    return _trained_run(source) if isinstance(source, TrainingResult) else source


def sweep_session(
    grid: "Grid | str | Path",
    *,
    address: str | None = None,
    runs: str | Path = "runs",
    retime: bool = False,
    on_data: Callable[[str], Any] | None = None,
) -> "SweepSession":
    """Prepare a sweep; its ``events`` run it. `sweep` and `iter_sweep` are simpler.

    Parameters
    ----------
    grid, address, runs, retime
        As of `sweep`.
    on_data : callable, optional
        Called with the name or path of each data set before it is read.
    """
    from .scale.ray.client import check_installed
    from .scale.sweep.grid import Grid
    from .scale.sweep.session import SweepSession, SweepSettings

    if isinstance(grid, str | Path):
        grid = Grid.read(grid)
    if not isinstance(grid, Grid):
        raise TriptychError(f"grid must be a Grid or the path of a TOML file, not {grid!r}")
    check_installed("a sweep")  # before the data is read, which may take long
    return SweepSession(grid.load(on_data), SweepSettings(address, Path(runs), retime))


def iter_sweep(
    grid: "Grid | str | Path",
    *,
    address: str | None = None,
    runs: str | Path = "runs",
    retime: bool = False,
) -> Iterator[Event]:
    """Run the cells of a grid, and yield the events. The parameters are those of `sweep`.

    If the iteration ends early, everything that is finished is kept, and another call goes on.
    """
    return sweep_session(grid, address=address, runs=runs, retime=retime).events()


def sweep(
    grid: "Grid | str | Path",
    *,
    address: str | None = None,
    runs: str | Path = "runs",
    retime: bool = False,
    on_event: OnEvent | None = None,
    progress: bool = False,
) -> SweepResult:
    """Train every cell of a grid: engines × data sets × networks × recipes × seeds, on Ray.

    Cells that were finished by an earlier call are not run again. A cell that fails is recorded
    with its error, and the others go on.

    Parameters
    ----------
    grid : Grid, str or Path
        What is trained, or a TOML file that describes it (docs/sweeps.md).
    address : str, optional
        The address of a cluster of Ray; by default Ray is started on this machine.
    runs : str or Path
        The folder in which the folder of the sweep is made: ``sweep-NAME``.
    retime : bool
        Whether timed cells that ran on a busy node are run again.
    on_event : callable, optional
        Called with each event.
    progress : bool
        Whether to print a line for each cell.

    Returns
    -------
    SweepResult
        With the cells, and the folder in which ``cells.parquet`` and ``report.html`` are.

    Raises
    ------
    TriptychError
        If the grid makes no sense, data cannot be read, or Ray cannot be started or reached.
    """
    session = sweep_session(grid, address=address, runs=runs, retime=retime)
    with closing(session.events()) as happening:
        for _ in watched(happening, on_event, progress, epochs=0):
            pass
    note = draw_sweep(session.folder)
    return sweep_result(session.folder, note)


def draw_sweep(folder: Path) -> str | None:
    """Draw report.html of a sweep; return what to install, if needed."""
    from .report.sweep import illustrate

    return illustrate(folder)


def sweep_result(folder: str | Path, note: str | None = None) -> SweepResult:
    """Return what is in the folder of a sweep, also of one that was stopped.

    Parameters
    ----------
    folder : str or Path
        The folder.
    note : str, optional
        Which package is missing to draw the page.
    """
    from .scale.sweep.folder import read_table

    cells, about = read_table(Path(folder))
    return SweepResult(cells, int(about["cells"]), Path(folder), note)
