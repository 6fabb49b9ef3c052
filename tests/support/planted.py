"""Calibrations whose truth is known: what each row's step takes is what it does times planted
costs, and a little noise.
"""

from itertools import islice

import numpy as np

from triptych.advise import calibration, model
from triptych.advise.calibration import Calibration, Sample
from triptych.advise.sampling import cases
from triptych.advise.workload import Case
from triptych.core.selection import EngineSpec
from triptych.process import machine

NUMPY, TORCH, COMPILED = (
    EngineSpec("numpy", "eager"),
    EngineSpec("torch", "eager"),
    EngineSpec("torch", "compiled"),
)


def costs(overhead: float = 2e-5, memory: float = 1e-10, arithmetic: float = 1e-11) -> np.ndarray:
    """Seconds for each term: the same for all terms of a share."""
    each = {"overhead": overhead, "memory": memory, "arithmetic": arithmetic}
    free = ("samples", "samples drawn", "windows")
    return np.array([each[share] if name not in free else 0 for share, name in model.TERMS])


def seconds(case: Case, planted: np.ndarray) -> float:
    return float(model.amounts(case) @ planted)


def calibrated(
    rows: dict[EngineSpec, np.ndarray],
    noise: float = 0.02,
    networks: int = 60,
    timed: dict[EngineSpec, int] | None = None,
) -> Calibration:
    """Return a calibration of this machine, in which a row has timed all networks, or the first of
    them.
    """
    rng, samples = np.random.default_rng(1), list[Sample]()
    for number, case in enumerate(islice(cases(), networks)):
        there = {
            spec: planted
            for spec, planted in rows.items()
            if number < (timed or {}).get(spec, networks)
        }
        samples.append(
            Sample(
                case,
                {
                    spec.key: seconds(case, planted) * rng.lognormal(0, noise)
                    for spec, planted in there.items()
                },
            )
        )
    return Calibration(
        machine.processor(),
        1,
        calibration.versions(),
        tuple(rows),
        {},
        tuple(samples),
    )
