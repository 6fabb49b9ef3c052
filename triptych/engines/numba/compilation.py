"""How functions are compiled, and where the compiled code is kept for the next process.

A function that Python calls is a `kernel`: its machine code is stored in a file. A function that
only kernels call is `inlined` into their machine code and needs no file. Which activation and which
update a kernel uses is known only when a network is built; so these are functions by themselves,
which a kernel is given by their `address`, and only those that a network uses are compiled.

Numba's own cache compares the source of the kernel's module, but not that of the modules whose
functions it calls: after a change of one of those, the old machine code would still be used. Here
the machine code is in a folder whose name depends on all sources of this package and on the version
of the compiler. (Numba itself compares its own version, the processor and the types of the
arguments.)
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import llvmlite
from numba import get_num_threads, njit
from numba.core import caching
from numba.core.ccallback import CFunc

# The compiler may reorder sums and contract a product and a sum into one instruction, which is what
# makes vector instructions possible. It must not assume that there is no NaN and no infinity.
REORDERING = {"contract", "reassoc", "nsz"}

ARITHMETIC: dict[str, Any] = {"error_model": "numpy", "fastmath": REORDERING}

# Kernels get all their memory from Python, so their arrays need no reference counts. Without them
# (``_nrt``) compiling takes a fifth less time. A function that makes an array is then refused.
OPTIONS: dict[str, Any] = {**ARITHMETIC, "_nrt": False}

SOURCES = Path(__file__).parent


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function that only compiled functions call."""
    return njit(**OPTIONS)(function)


def expanded(function: Callable[..., Any]) -> Any:
    """Let the code of a function take the place of its calls, so that it can return a view."""
    return njit(**OPTIONS, inline="always")(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls, for one thread."""
    return _with_cache(njit(**OPTIONS)(function))


class ParallelKernel:
    """A function that Python calls, whose ``prange`` loops are shared by the threads.

    With one thread it is compiled as a kernel without threads, where ``prange`` is ``range``. That
    takes a third less time, and no loop waits until it is handed out.

    Parameters
    ----------
    function : callable
        The function in Python.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.alone = kernel(function)
        self.shared = _with_cache(njit(**OPTIONS, parallel=True)(function), "shared")

    def for_shares(self, shares: int) -> Any:
        """Return what is compiled for this many shares of the work."""
        return self.alone if shares == 1 else self.shared

    def __call__(self, *arguments: Any) -> Any:
        """Call what is compiled for the present number of threads."""
        return self.for_shares(get_num_threads())(*arguments)


def parallel_kernel(function: Callable[..., Any]) -> ParallelKernel:
    """Compile a function that Python calls, whose ``prange`` loops are shared by the threads."""
    return ParallelKernel(function)


def address(function: Callable[..., Any], name: str, signature: Any) -> int:
    """Compile a function that kernels call by its address, for one thread.

    Parameters
    ----------
    function : callable
        It takes numbers and pointers, and returns nothing.
    name : str
        Unique in its module; the name of the file of its machine code.
    signature : numba signature
        The types of its arguments.
    """
    function.__qualname__ = name
    typed = (signature.args, signature.return_type)
    # With reference counts: without them there is no array of a pointer (`carray`).
    compiled: Any = CFunc(function, typed, locals={}, options=ARITHMETIC)
    with suppress(RuntimeError):
        compiled._cache = _FunctionCache(function)
    compiled.compile()
    FUNCTIONS_BY_ADDRESS.append(compiled)
    return compiled.address


FUNCTIONS_BY_ADDRESS: list[Any] = []  # the machine code lives as long as its object


def _with_cache(dispatcher: Any, variant: str = "") -> Any:
    """Let a compiled function keep its machine code in a file, where a folder can be written.

    `variant` tells what is compiled from the same function in different ways.
    """
    with suppress(RuntimeError):  # no folder can be written: every process compiles anew
        dispatcher._cache = _FunctionCache(dispatcher.py_func, variant)
    return dispatcher


@cache
def sources_digest() -> str:
    """Return what identifies the sources of all compiled functions, and their compiler."""
    digest = sha256(llvmlite.__version__.encode())
    for path in sorted(SOURCES.rglob("*.py")):
        digest.update(str(path.relative_to(SOURCES)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _KeyedFolder:
    """A folder of its own for each version of the sources."""

    def get_cache_path(self) -> str:
        folder = super().get_cache_path()  # pyright: ignore[reportAttributeAccessIssue]
        return str(Path(folder) / f"numba-{sources_digest()[:16]}")


class _ChosenFolder(_KeyedFolder, caching.UserProvidedCacheLocator):
    """In the folder NUMBA_CACHE_DIR."""


class _PackageFolder(_KeyedFolder, caching.InTreeCacheLocator):
    """In the folder ``__pycache__`` next to the source."""


class _UserFolder(_KeyedFolder, caching.UserWideCacheLocator):
    """In the user's cache folder, for an installation that cannot be written."""


class _CacheFiles(caching.CompileResultCacheImpl):
    """The files of one function, in the first of the folders that can be written."""

    _locator_classes = (_ChosenFolder, _PackageFolder, _UserFolder)


class _KeyedFiles(caching.IndexDataCacheFile):
    """An index, and files of machine code that are named after their keys.

    Numba numbers them. Two processes that store different code at the same moment may then take the
    same number, and a key would lead to the code of another. Here the worst that happens is
    that the index lacks one of them, which is compiled again.
    """

    def save(self, key: Any, data: Any) -> None:
        digest = sha256(repr(key).encode()).hexdigest()[:16]
        name = f"{self._index_name.removesuffix('.nbi')}.{digest}.nbc"
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})


class _FunctionCache(caching.FunctionCache):
    """The machine code of one function, or of one variant of it."""

    _impl_class = _CacheFiles

    def __init__(self, function: Callable[..., Any], variant: str = "") -> None:
        super().__init__(function)
        self._variant = variant
        self._cache_file = _KeyedFiles(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        """Return what tells the entries apart: types, processor, name and variant.

        Numba's key has the variables of an enclosing function, which differ from process to
        process if they are compiled functions. Here they follow from the name.
        """
        return sig, codegen.magic_tuple(), self._py_func.__qualname__, self._variant
