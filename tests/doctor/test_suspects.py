"""Calls without weights between two layers: how many are looked at."""

import time

import numpy as np

from triptych.doctor.observation import Arrays, Call, Observation
from triptych.doctor.suspects import MOST_RESULTS, results, suspects


def chain(calls: int, factor: float) -> Observation:
    """Return a pass whose calls each multiply what they get."""
    arrays: Arrays = {"0/output": np.arange(1.0, 4.0)}
    for number in range(1, calls):
        arrays[f"{number}/output"] = arrays[f"{number - 1}/output"] * factor
    return Observation(tuple(Call(n, "", "scale", "function") for n in range(calls)), arrays)


def test_each_call_that_changes_numbers_is_a_result() -> None:
    found = results(chain(5, 2.0), 0, 4, 1e-6)
    assert [result.call.number for result in found] == [1, 2, 3]


def test_a_file_with_many_calls_takes_little_time() -> None:
    begun = time.process_time()
    a, b = (results(chain(9_000, factor), 0, 9_000, 1e-9) for factor in (1.001, 1.002))
    assert [len(a), len(b)] == [MOST_RESULTS, MOST_RESULTS]
    assert a[0].call.number == 1
    assert suspects(a, b, None, 1e-9)
    assert time.process_time() - begun < 5
