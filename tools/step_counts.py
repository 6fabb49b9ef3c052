"""Measure one engine's training step, in a process of its own; `tools/step_profile.py` starts it.

    python -m tools.step_counts ENGINE WORKLOAD     prints the figures as JSON
    python -m tools.step_counts products WORKLOAD   prints the time of the matrix products alone

Everything is counted in one step of an engine that has made steps before, so that nothing of the
compilation and of the first use is in it.
"""

import json
import re
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import accumulate
from math import prod
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from benchmarks.job import Job
from benchmarks.training import Training, images
from benchmarks.workloads import WORKLOADS
from triptych.advise.workload import Case
from triptych.core import registry, state
from triptych.core.plan import Plan
from triptych.errors import EngineError

TIMED_SECONDS = 2.0  # of wall time, at least, in which steps are timed
FEWEST_REPEATS = 5  # of a plan that is timed, however long it takes
PRODUCT_SECONDS = 0.2  # of wall time, at least, for each product
TRACED_STEPS = 4  # of TensorFlow's graph
PRODUCTS = "products"  # in place of an engine


@dataclass
class Tally:
    """What has been counted.

    Attributes
    ----------
    operations : int
        What the framework runs one after the other.
    moved : int or None
        Bytes that the operations read and write; None if the framework does not tell.
    products : int or None
        How many of the operations are products of two matrices; None if that is not counted.
    """

    operations: int = 0
    moved: int | None = None
    products: int | None = None

    def move(self, count: int) -> None:
        """Add bytes."""
        self.moved = (self.moved or 0) + count


@dataclass(frozen=True)
class StepFigures:
    """The figures of a training step.

    Attributes
    ----------
    operations : float or None
        What the framework runs one after the other.
    python_calls : float
        Functions that Python calls.
    moved : float or None
        Bytes that the operations read and write.
    peak : int or None
        Bytes of new memory that the step holds at most at a time.
    seconds : float
        Processor time.
    first_seconds : float
        Processor time from the import of the framework to the end of the first step.
    """

    operations: float | None
    python_calls: float
    moved: float | None
    peak: int | None
    seconds: float
    first_seconds: float


class Products(NamedTuple):
    """The matrix products of a step.

    Attributes
    ----------
    count : int
        How many there are.
    seconds : float
        Their processor time.
    """

    count: int
    seconds: float


class Loaded(NamedTuple):
    """An engine with its data, ready to make steps.

    Attributes
    ----------
    engine, data : object
        The engine, and the split on its device.
    plan : Plan
        Of K steps.
    """

    engine: Any
    data: Any
    plan: Plan

    def make_steps(self, plan: Plan) -> None:
        """Make the steps of a plan, and wait until they are finished."""
        self.engine.run(self.data, plan)
        self.engine.wait()


# --- Every engine --------------------------------------------------------------------------------


def measure(name: str, training: Training) -> StepFigures:
    """Return the figures of an engine.

    Parameters
    ----------
    name : str
        The engine's name.
    training : Training
        What it trains; its ``steps`` are the K steps of a plan.

    Raises
    ------
    EngineError
        If the engine is not installed, or cannot train the network.
    """
    before = time.process_time()
    loaded = load(name, training)
    one_step = loaded.plan[:1]
    loaded.make_steps(one_step)
    first_seconds = time.process_time() - before
    loaded.make_steps(loaded.plan)
    loaded.make_steps(loaded.plan)
    seconds = step_seconds(loaded)
    python_calls = count_python_calls(loaded)
    loaded.make_steps(one_step)  # TensorFlow traces a graph for another number of steps
    peak = PEAKS[name](loaded) if name in PEAKS else None
    tally = Tally()
    counted_steps = 1
    if name in COUNTERS:
        counted_steps = COUNTERS[name](loaded, tally)
    return StepFigures(
        operations=tally.operations / counted_steps if name in COUNTERS else None,
        python_calls=python_calls,
        moved=tally.moved,
        peak=peak,
        seconds=seconds,
        first_seconds=first_seconds,
    )


def load(name: str, training: Training) -> Loaded:
    """Return an engine with random images, the first weights and a plan."""
    network = training.network
    job = Job(network, training.recipe, images(network, training.samples, None))
    engine = registry.create(name, network, training.recipe)
    engine.load(state.initial(network, training.recipe))
    plan = next(job.plans(training.steps))
    return Loaded(engine, engine.upload(job.split), plan)


def load_again(loaded: Loaded) -> Loaded:
    """Return an engine of the same class, which has made no steps, with the same data."""
    engine = type(loaded.engine)(loaded.engine.network, loaded.engine.recipe)
    engine.load(loaded.engine.state())
    return loaded._replace(engine=engine)


def step_seconds(loaded: Loaded) -> float:
    """Return the processor time of a step: the median of many plans, divided by their steps."""
    seconds: list[float] = []
    end = time.perf_counter() + TIMED_SECONDS
    while len(seconds) < FEWEST_REPEATS or time.perf_counter() < end:
        before = time.process_time()
        loaded.make_steps(loaded.plan)
        seconds.append(time.process_time() - before)
    return median(seconds) / len(loaded.plan)


def count_python_calls(loaded: Loaded) -> float:
    """Return how many functions Python calls in a step: written in Python, or in C."""
    calls = 0

    def see(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        loaded.make_steps(loaded.plan)
    finally:
        sys.setprofile(before)
    return calls / len(loaded.plan)


def traced_peak(loaded: Loaded) -> int:
    """Return the bytes that NumPy and Python have allocated at most, beyond those before a step."""
    tracemalloc.start()
    try:
        loaded.make_steps(loaded.plan[:1])
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        loaded.make_steps(loaded.plan[:1])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before


# --- NumPy ---------------------------------------------------------------------------------------


class CountedArray(np.ndarray):
    """An array that counts the operations on it, in the `tally` of its class.

    What comes out of an operation counts too. A view is no operation: nothing is read or written.
    """

    tally = Tally()

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any
    ) -> Any:
        operands = [as_plain(each) for each in inputs]
        if out is not None:
            options["out"] = tuple(as_plain(each) for each in out)
        result = getattr(ufunc, method)(*operands, **options)
        self.record(operands, result)
        if ufunc is np.matmul and min(np.ndim(each) for each in operands) > 1:
            self.tally.products = (self.tally.products or 0) + prod(result.shape[:-2])
        return out[0] if out is not None else as_counted(result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        plain_args = as_plain(args)
        plain_kwargs = {key: as_plain(value) for key, value in kwargs.items()}
        result = function(*plain_args, **plain_kwargs)
        operands = list(arrays_in([*plain_args, *plain_kwargs.values()]))
        if not any(np.may_share_memory(result, each) for each in operands):
            self.record(operands, result)
        return as_counted(result)

    def __getitem__(self, key: Any) -> Any:
        return self.copied(as_plain(self)[as_plain(key)])

    def copy(self, order: Any = "C") -> Any:
        """Return a copy."""
        return self.copied(as_plain(self).copy(order))

    def reshape(self, *shape: Any, **options: Any) -> Any:
        """Return the same numbers in another shape: a view where that is possible."""
        return self.copied(as_plain(self).reshape(*shape, **options))

    def copied(self, result: Any) -> Any:
        """Count the numbers that have been read and written, if `result` is not a view."""
        if not np.may_share_memory(as_plain(self), result):
            self.record([result], result)
        return as_counted(result)

    def record(self, operands: Iterable[Any], result: Any) -> None:
        """Count one operation."""
        self.tally.operations += 1
        self.tally.move(size_of(operands) + size_of([result]))


class CountedGenerator:
    """A generator of random numbers, whose arrays are counted."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def random(self, shape: tuple[int, ...]) -> Any:
        """Return uniform numbers."""
        numbers = self.generator.random(shape)
        CountedArray.tally.operations += 1
        CountedArray.tally.move(numbers.nbytes)
        return as_counted(numbers)


def as_counted(value: Any) -> Any:
    """Return an array as a counted one, anything else as it is."""
    return value.view(CountedArray) if isinstance(value, np.ndarray) else value


def as_plain(value: Any) -> Any:
    """Return a counted array as NumPy's own, also inside of lists and tuples."""
    if isinstance(value, CountedArray):
        return value.view(np.ndarray)
    if isinstance(value, list | tuple):
        return type(value)(as_plain(each) for each in value)
    return value


def arrays_in(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the arrays among values, also those inside of lists and tuples."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from arrays_in(value)
        elif isinstance(value, np.ndarray):
            yield value


def size_of(values: Iterable[Any]) -> int:
    """Return the bytes of the arrays among values."""
    return sum(array.nbytes for array in arrays_in(values))


def count_numpy(loaded: Loaded, tally: Tally) -> int:
    """Count the operations on arrays; return in how many steps."""
    engine = loaded.engine
    CountedArray.tally = tally
    for layer in engine.layers:
        layer.parameters = {leaf: as_counted(array) for leaf, array in layer.parameters.items()}
    engine.arrays = {name: as_counted(array) for name, array in engine.arrays.items()}
    engine.mask_generator = CountedGenerator(engine.mask_generator)
    data = loaded.data._replace(x=as_counted(loaded.data.x), y=as_counted(loaded.data.y))
    engine.run(data, loaded.plan[:1])
    return 1


# --- Numba ---------------------------------------------------------------------------------------


@contextmanager
def counted_kernels(tally: Tally) -> Generator[None]:
    """Count the calls of compiled functions by Python, and the bytes of the arrays they are given.

    An array is read once, and written once if it has changed. All functions must have been compiled
    before: the compiler does not know what takes their place here.
    """
    from numba.core.dispatcher import Dispatcher

    from triptych.engines.numba.compilation import ParallelKernel

    modules = [
        module for name, module in sys.modules.items() if name.startswith("triptych.engines.numba")
    ]
    parallel = {
        value for m in modules for value in vars(m).values() if isinstance(value, ParallelKernel)
    }
    replaced = [
        (owner, attribute, value)
        for owner in [*modules, *parallel]
        for attribute, value in vars(owner).items()
        if isinstance(value, Dispatcher)
    ]
    for owner, attribute, value in replaced:
        setattr(owner, attribute, counted_call(value, tally))
    try:
        yield
    finally:
        for owner, attribute, value in replaced:
            setattr(owner, attribute, value)


def counted_call(function: Callable[..., Any], tally: Tally) -> Callable[..., Any]:
    """Return a function that counts its calls and the bytes of its arrays."""

    def call(*arguments: Any) -> Any:
        arrays = list(arrays_in(arguments))
        before = [array.copy() for array in arrays]
        result = function(*arguments)
        tally.operations += 1
        tally.move(size_of(arrays))
        for array, old in zip(arrays, before, strict=True):
            if not np.array_equal(array, old, equal_nan=array.dtype.kind == "f"):
                tally.move(array.nbytes)
        return result

    return call


def count_numba(loaded: Loaded, tally: Tally) -> int:
    """Count the calls of compiled functions; return in how many steps.

    The steps of a dense network are one call, in which the arrays of all steps are given. So the
    bytes are those of the general path, where each layer is a call of its own.
    """
    with counted_kernels(tally):
        loaded.make_steps(loaded.plan)
    tally.moved = None
    by_layers = Tally()
    count_moved_by_layers(loaded, by_layers)
    tally.moved = by_layers.moved
    return len(loaded.plan)


def count_moved_by_layers(loaded: Loaded, tally: Tally) -> None:
    """Count one step in which each layer is a call of its own."""
    engine = loaded.engine
    engine.dense_steps = None
    one_step = loaded.plan[:1]
    loaded.make_steps(one_step)  # compiles
    select_batch = engine.select_batch

    def counted_selection(*arguments: Any) -> Any:
        x, y, masks = select_batch(*arguments)
        if one_step.indices is not None:
            tally.move(2 * size_of([x, y]))
        tally.move(size_of(masks.values()))
        return x, y, masks

    engine.select_batch = counted_selection
    with counted_kernels(tally):
        loaded.make_steps(one_step)


# --- PyTorch -------------------------------------------------------------------------------------


def count_torch(loaded: Loaded, tally: Tally) -> int:
    """Count the operations of ``aten`` that are no views; return in how many steps."""
    import torch
    from torch.utils import _pytree
    from torch.utils._python_dispatch import TorchDispatchMode

    def tensors(values: Any) -> list[Any]:
        return [each for each in _pytree.tree_leaves(values) if isinstance(each, torch.Tensor)]

    def size(values: Any) -> int:
        return sum(each.numel() * each.element_size() for each in tensors(values))

    def changed(function: Any, arguments: Any) -> list[Any]:
        pairs = zip(function._schema.arguments, arguments, strict=False)
        return [value for about, value in pairs if about.alias_info and about.alias_info.is_write]

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            if func.namespace != "aten" or func.is_view:
                return result
            tally.operations += 1
            in_place = size(changed(func, args))
            written = in_place or size(result)
            read = size([args, kwargs or {}])
            if func.overloadpacket is torch.ops.aten.index_select:
                read = written
            tally.move(read + written)
            return result

    with Counting():
        loaded.make_steps(loaded.plan[:1])
    return 1


def torch_peak(loaded: Loaded) -> int:
    """Return the bytes that tensors have at most, beyond those before the step."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loaded.make_steps(loaded.plan[:1])
    events = profiler.profiler.kineto_results.events()
    changes = [event for event in events if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return max(accumulate((event.nbytes() for event in changes), initial=0))


# --- TensorFlow ----------------------------------------------------------------------------------


def count_tensorflow(loaded: Loaded, tally: Tally) -> int:
    """Count the nodes of the loop that TensorFlow's profiler sees; return in how many steps.

    The profiler names an event of a node ``NAME:KIND``. After some steps it leaves out the nodes
    that have turned out to be fast, so an engine without steps before is counted.
    """
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    fresh = load_again(loaded)
    few_steps = loaded.plan[:TRACED_STEPS]
    fresh.make_steps(few_steps)  # makes the graph
    options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=3, python_tracer_level=0)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder, options):
            fresh.make_steps(few_steps)
        (path,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace()
        space.ParseFromString(path.read_bytes())
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                tally.operations += bool(re.fullmatch(r"while/body/\S+:_?[A-Z]\w+", name))
    return len(few_steps)


# --- JAX -----------------------------------------------------------------------------------------

# Instructions of XLA that compute nothing and move nothing.
NO_OPERATIONS = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}


def compiled_step(loaded: Loaded) -> Any:
    """Return the executable of one step."""
    from triptych.engines.jax import engine as functions

    engine = loaded.engine
    with engine.settings():
        step = functions.select_step(engine.to_device(loaded.plan), 0)
        carry = (engine.arrays, engine.key)
        # XLA counts every sample of a split as read, not only those of the step.
        samples = len(loaded.data.x)
        if step.indices is not None:
            samples = len(step.indices)
        data = functions.DeviceSplit(loaded.data.x[:samples], loaded.data.y[:samples])
        lowered = functions.train_step.lower(engine.task, engine.update_rule, data, carry, step)
        return lowered.compile()


def count_jax(loaded: Loaded, tally: Tally) -> int:
    """Count the instructions of the compiled step; return of how many steps they are."""
    step = compiled_step(loaded)
    _, _, main = step.as_text().partition("\nENTRY ")
    body, _, _ = main.partition("\n}")
    for line in body.splitlines()[1:]:
        kind = re.match(r"\s*(?:ROOT )?%?[\w.-]+ = (?:\(.*?\)|\S+) ([\w-]+)\(", line)
        assert kind, line
        tally.operations += kind[1] not in NO_OPERATIONS
    tally.move(int(step.cost_analysis()["bytes accessed"]))
    return 1


def jax_peak(loaded: Loaded) -> int:
    """Return the bytes of all intermediate results that the compiler keeps at the same time."""
    return compiled_step(loaded).memory_analysis().temp_size_in_bytes


COUNTERS: dict[str, Callable[[Loaded, Tally], int]] = {
    "numpy": count_numpy,
    "numba": count_numba,
    "torch": count_torch,
    "tensorflow": count_tensorflow,
    "jax": count_jax,
}
PEAKS: dict[str, Callable[[Loaded], int]] = {
    "numpy": traced_peak,
    "numba": traced_peak,
    "torch": torch_peak,
    "jax": jax_peak,
}


# --- The products alone --------------------------------------------------------------------------


def measure_products(training: Training) -> Products:
    """Return the matrix products of a step, computed by NumPy's BLAS.

    Their sizes are those of `benchmarks.floor`; each time is the median of many.
    """
    samples = training.samples
    batch_size = training.recipe.batch_size
    batch = samples if isinstance(batch_size, str) else batch_size
    case = Case(training.network, training.recipe, batch)
    count = 0
    seconds = 0.0
    for work in case.works:
        for product in work.products:
            one = seconds_of_product(product.m, product.k, product.n, training.recipe.dtype)
            count += product.count
            seconds += product.count * one
    return Products(count, seconds)


def seconds_of_product(m: int, k: int, n: int, dtype: str) -> float:
    """Return the processor time of a product of an (m, k) and a (k, n) matrix."""
    first = np.ones((m, k), dtype)
    second = np.ones((k, n), dtype)
    out = np.empty((m, n), dtype)
    times = max(1, 10**7 // (m * k * n))  # in one measurement, so that the clock is fine enough
    seconds: list[float] = []
    end = time.perf_counter() + PRODUCT_SECONDS
    while len(seconds) < FEWEST_REPEATS or time.perf_counter() < end:
        before = time.process_time()
        for _ in range(times):
            np.matmul(first, second, out=out)
        seconds.append(time.process_time() - before)
    return median(seconds) / times


def main() -> None:
    """Print the figures of one engine, or of the products, as one line of JSON."""
    name, workload = sys.argv[1:]
    training = WORKLOADS[workload]
    assert isinstance(training, Training)
    if name == PRODUCTS:
        figures = measure_products(training)._asdict()
    else:
        try:
            figures = asdict(measure(name, training))
        except EngineError as error:
            figures = {"error": str(error)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
