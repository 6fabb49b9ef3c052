"""What is known of the Numba engine before Numba is imported."""

from ...core.engine_info import EngineInfo

INFO = EngineInfo(
    name="numba",
    label="Numba",
    color=("#8a5a2b", "#d09a66"),
    requires="numba",
    install="pip install 'triptych[numba]'",
    backends={"compiled": "NumPy's formulas as compiled loops"},
    argued={
        "gpu": "none: processor only",
        "debugging": "print works inside a compiled loop, but a debugger does not stop there",
        "scalability": "one process, with as many threads as the processor has cores",
    },
    packages=("llvmlite",),
    environment={"NUMBA_NUM_THREADS": "{threads}"},
    optional=True,
    processor_only=True,
)
