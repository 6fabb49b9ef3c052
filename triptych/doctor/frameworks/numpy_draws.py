"""Random numbers that a model draws with NumPy while it runs, such as dropout written by hand.

While a pass is observed, the functions of ``numpy.random`` are replaced, and so are the generators
to which the user's code refers. What they draw evenly is followed as the frameworks' own numbers
are, see `triptych.doctor.frameworks.draws`; other draws whose mean is known return it.
"""

import copy
import functools
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from ..observation import Array
from .draws import Draw, Draws
from .namespaces import replaced_entry

# By its name, what a function of NumPy does to random numbers.
FOLLOWED = {
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "floor": "floor",
    "logical_not": "not",
    "invert": "not",
}
UNIFORM = frozenset({"rand", "random", "random_sample", "ranf", "sample", "uniform"})
NORMAL = frozenset({"normal", "randn", "standard_normal"})
BINOMIAL = frozenset({"binomial"})
REPLACED = UNIFORM | NORMAL | BINOMIAL
# Draws that stay random.
OTHERS = frozenset(
    ("permutation", "permuted", "shuffle", "choice", "randint", "random_integers", "integers")
    + ("exponential", "laplace", "gamma", "beta", "poisson", "lognormal", "geometric")
)
GENERATORS = (np.random.Generator, np.random.RandomState)


class Drawn(np.ndarray):
    """An array of random numbers, or a mask that was made of them.

    Attributes
    ----------
    draws : Draws or None
        What is known of it.
    """

    draws: Draws | None

    def __array_finalize__(self, template: Any) -> None:
        """Take what is known of an array for another view of it."""
        self.draws = getattr(template, "draws", None)
        draw = self.draws.of(template) if self.draws else None
        if self.draws and draw:
            self.draws.note(self, draw)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Compute with the numbers, or with their means where these take their place."""
        name = FOLLOWED.get(ufunc.__name__, "") if method == "__call__" else ""
        written = kwargs.get("out", ())
        if method == "at":
            written = inputs[:1]
        draws = next(each.draws for each in (*inputs, *written) if isinstance(each, Drawn))
        given = draws.arguments(name, inputs) if draws else inputs
        if "out" in kwargs:
            kwargs["out"] = tuple(map(_plain, written))
        made = getattr(ufunc, method)(*map(_plain, given), **kwargs)
        if draws is None:
            return made
        if name and isinstance(made, np.ndarray):
            made = _noted(draws, name, given, made)
        if not written or not isinstance(written[0], Drawn):
            return made
        # Other numbers are in the array now.
        draw = draws.of(made)
        draws.forget(written[0])
        if draw is not None:
            draws.note(written[0], draw)
        return written[0] if method != "at" else None

    def __setitem__(self, place: Any, value: Any) -> None:
        """Write into the array, whose numbers are then no longer known."""
        super().__setitem__(place, value)
        if self.draws is not None:
            self.draws.forget(self)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Choose between two arrays by a mask; other functions compute with the numbers."""
        blended = self.draws.blended(func.__name__, args) if self.draws else None
        if blended is not None:
            return blended
        return super().__array_function__(func, types, args, kwargs)

    def astype(self, *args: Any, **kwargs: Any) -> Any:
        """Return the numbers in another dtype."""
        made = _plain(self).astype(*args, **kwargs)
        return made if self.draws is None else _noted(self.draws, "move", (self,), made)


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Drawn) else value


def _noted(draws: Draws, name: str, args: tuple[Any, ...], made: Array) -> Any:
    """Return what a function has made of draws, as one of them if it is followed."""
    seen = made.view(Drawn)
    seen.draws = draws
    result = draws.result(name, args, seen)
    return result if draws.of(result) else _plain(result)


def _filled(array: Array, value: float, like: Any) -> Array:
    dtype = array.dtype if array.dtype.kind == "f" else getattr(like, "dtype", np.float64)
    return np.full(array.shape, value, dtype)


class NumpyDraws:
    """Follows what NumPy draws in one pass.

    Parameters
    ----------
    tell : callable
        Called with each draw for which its mean is taken, once.

    Attributes
    ----------
    draws : Draws
        What is known of arrays.
    """

    def __init__(self, tell: Callable[[Draw], None]) -> None:
        self._tell = tell
        self._random: set[str] = set()  # functions whose draws stay random
        self.draws = Draws(
            lambda value: isinstance(value, np.ndarray),
            lambda array: array.dtype.kind == "f",
            _filled,
            tell,
        )

    @contextmanager
    def followed(self, namespaces: Iterable[dict[str, Any]]) -> Generator[None]:
        """Replace what draws.

        Parameters
        ----------
        namespaces : iterable of dict
            Where the user's code may hold functions of NumPy, or generators.
        """
        names = [name for name in (*REPLACED, *OTHERS, "default_rng") if hasattr(np.random, name)]
        originals = {name: getattr(np.random, name) for name in names}
        made = {name: self._wrapped(f"np.random.{name}", each) for name, each in originals.items()}
        by_id = {id(each): made[name] for name, each in originals.items()}
        with ExitStack() as stack:
            for name, wrapper in made.items():
                stack.enter_context(replaced_entry(np.random.__dict__, name, wrapper))
            for namespace in namespaces:
                for name, value in list(namespace.items()):
                    other = by_id.get(id(value))
                    if isinstance(value, GENERATORS):
                        other = Followed(self, value)
                    if other is not None:
                        stack.enter_context(replaced_entry(namespace, name, other))
            yield

    def _wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        if name.endswith("default_rng"):
            return lambda *args, **kwargs: self._generator(function, args, kwargs)
        return self.following(name, function)

    def _generator(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> "Followed":
        """Return the generator that ``default_rng`` makes; of a generator, the same one."""
        given = next(iter((*args, *kwargs.values())), None)
        return given if type(given) is Followed else Followed(self, function(*args, **kwargs))

    def following(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that draws as another one, and whose numbers are followed."""
        kind = name.rpartition(".")[2]

        @functools.wraps(function)
        def draw(*args: Any, **kwargs: Any) -> Any:
            made = function(*args, **kwargs)
            # On one number the model may decide what it does.
            if kind in OTHERS or not isinstance(made, np.ndarray):
                return self._left(name, made)
            if kind in UNIFORM:
                low, high = _range(args, kwargs) if kind == "uniform" else (0.0, 1.0)
                seen = made.view(Drawn)
                seen.draws = self.draws
                self.draws.drawn(name, seen, low, high)
                return seen
            mean = _mean(kind, args, kwargs)
            if mean is None:
                return self._left(name, made)
            share = mean if kind in BINOMIAL else None
            self.draws.told(name, share)
            return np.full(made.shape, mean, made.dtype if made.dtype.kind == "f" else np.float64)

        return draw

    def _left(self, name: str, made: Any) -> Any:
        """Return a draw that stays random, and tell of the first one of its function."""
        if name not in self._random:
            self._random.add(name)
            self._tell(Draw(name, 0, replaced=False))
        return made


def _range(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[float, float]:
    """Return between which numbers ``uniform`` draws; nothing that is followed if it varies."""
    given = {"low": 0.0, "high": 1.0} | dict(zip(("low", "high"), args, strict=False)) | kwargs
    if np.ndim(given["low"]) or np.ndim(given["high"]):
        return 0.0, 0.0
    return float(given["low"]), float(given["high"])


def _mean(kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
    """Return the mean of a draw, or None if it is not one number."""
    if kind in NORMAL:
        mean = kwargs.get("loc", args[0] if args else 0.0) if kind == "normal" else 0.0
        return None if np.ndim(mean) else float(mean)
    given = dict(zip(("n", "p"), args, strict=False)) | kwargs
    single = kind in BINOMIAL and not np.ndim(given["p"]) and np.all(given["n"] == 1)
    return float(given["p"]) if single else None


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Draw fixed numbers of NumPy's own generator, and put its state back."""
    state = np.random.get_state()  # noqa: NPY002 - users draw from it
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


class Followed:
    """A generator of NumPy whose draws are followed.

    Parameters
    ----------
    follower : NumpyDraws
        What follows them.
    generator : Generator or RandomState
        The user's.
    """

    def __init__(self, follower: NumpyDraws, generator: Any) -> None:
        self._follower = follower
        self._generator = generator

    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The class of the user's generator, for which the user's code may ask."""
        return type(self._generator)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Followed":
        """Return a generator that draws the same numbers, and is followed."""
        return Followed(self._follower, copy.deepcopy(self._generator, memo))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._generator, name)
        if name in REPLACED | OTHERS:
            return self._follower.following(f"{type(self._generator).__name__}.{name}", value)
        return value
