"""Images and JSON from a request, checked; every mistake is a `RequestError` of one line."""

import json
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import one_line
from .errors import RequestError
from .inputs import Input

SPARE_VALUES = 1000  # of a request's JSON, besides its numbers
QUOTED = 60  # characters of the client's that a message repeats


def parse_object(body: bytes | memoryview, most_values: int) -> dict[str, Any]:
    """Return the JSON object in a body.

    Parameters
    ----------
    body : bytes-like
        What the client sent.
    most_values : int
        How many commas and brackets it may have. They are counted before anything is built,
        because three bytes of JSON can become 64 bytes of memory.

    Raises
    ------
    RequestError
        If it is no JSON object, is nested too deeply, repeats a name, or holds NaN.
    """
    content = bytes(body)
    values = sum(map(content.count, (b",", b"[", b"{")))
    if values > most_values:
        raise RequestError(
            400, f"the JSON has {values:,} commas and brackets; the limit is {most_values:,}"
        )
    try:
        parsed = json.loads(
            content.decode(), parse_constant=_refuse_constant, object_pairs_hook=_unique_names
        )
    except RecursionError:
        raise RequestError(400, "the JSON is nested too deeply") from None
    except ValueError as error:  # a UnicodeDecodeError and a number of 5,000 digits included
        raise RequestError(400, f"the body is no valid JSON: {one_line(error, 100)}") from None
    if not isinstance(parsed, dict):
        raise RequestError(400, "the body must be a JSON object")
    return parsed


def _refuse_constant(name: str) -> None:
    raise RequestError(400, f"the JSON holds {name}; only finite numbers are accepted")


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; raise `RequestError` if a name occurs twice."""
    names = dict(pairs)
    if len(names) != len(pairs):
        raise RequestError(400, "the JSON holds an object in which a name occurs twice")
    return names


def quote(value: Any) -> str:
    """Return a name that a client sent, for a message; of other values only their kind."""
    if isinstance(value, str | int | float | bool) or value is None:
        return one_line(repr(value)[: 2 * QUOTED], QUOTED)
    return {list: "a list", dict: "an object"}.get(type(value), "something else")


def most_json_values(shape: tuple[int, ...], batch: int) -> int:
    """Return how many commas and brackets a request with a full batch of images can have."""
    lists = sum(prod(shape[:axis]) for axis in range(len(shape) + 1))
    return batch * (2 * lists + prod(shape)) + SPARE_VALUES


def check_batch(count: int, most: int, where: str) -> None:
    """Raise `RequestError` if a request has no image, or too many."""
    if count < 1:
        raise RequestError(400, f"{where} holds no image")
    if count > most:
        raise RequestError(
            400, f"{where} holds {count:,} images; the limit is {most:,}: send several requests"
        )


def flatten(samples: Any, expected: Input, most: int, where: str) -> list[Any]:
    """Return the numbers of nested lists, one after the other.

    Parameters
    ----------
    samples : object
        From JSON: a list of samples, each of them lists in lists.
    expected : Input
        What they must be.
    most : int
        The largest number of samples.
    where : str
        What the client calls this tensor.

    Raises
    ------
    RequestError
        If a list has another length than the shape demands.
    """
    wanted = f"{where} must be {expected.wanted}"
    if not isinstance(samples, list):
        raise RequestError(400, f"{wanted}, not {quote(samples)}")
    check_batch(len(samples), most, where)
    level: list[Any] = samples
    for axis, size in enumerate(expected.shape):
        for part in level:
            if not isinstance(part, list):
                raise RequestError(400, f"{wanted}; a list is missing at axis {axis + 1}")
            if len(part) != size:
                raise RequestError(
                    400, f"{wanted}; axis {axis + 1} has {len(part)} entries in place of {size}"
                )
        level = list(chain.from_iterable(level))
    return level


def floats_of(numbers: list[Any], dtype: np.dtype[Any], where: str) -> NDArray[Any]:
    """Return numbers of JSON as floats; raise `RequestError` if one is no finite number."""
    others = set(map(type, numbers)) - {int, float}
    if others:
        example = next(value for value in numbers if type(value) in others)
        raise RequestError(400, f"{where} must hold numbers only, not {quote(example)}")
    try:
        with np.errstate(over="ignore"):
            floats = np.array(numbers, np.float64).astype(dtype)
    except OverflowError:
        raise RequestError(400, f"{where} holds a number that is too large") from None
    check_finite(floats, where)
    return floats


def check_finite(array: NDArray[Any], where: str) -> None:
    """Raise `RequestError` if a number is NaN or infinite."""
    if not np.isfinite(array).all():
        dtype = array.dtype.name
        raise RequestError(400, f"{where} holds NaN, or a number too large for {dtype}")


def bytes_of(numbers: list[Any], where: str) -> NDArray[np.uint8]:
    """Return whole numbers of JSON as bytes; raise `RequestError` if one is not 0 to 255."""
    if set(map(type, numbers)) - {int} or not 0 <= min(numbers) <= max(numbers) <= 255:
        raise RequestError(400, f"{where} is UINT8: it must hold whole numbers from 0 to 255 only")
    return np.array(numbers, np.uint8)
