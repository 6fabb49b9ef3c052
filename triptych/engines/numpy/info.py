"""What is known of the NumPy engine before NumPy is imported."""

from ...core.engine_info import EngineInfo

INFO = EngineInfo(
    name="numpy",
    label="NumPy",
    color=("#1f77c9", "#5aa9f2"),
    requires="numpy",
    install="pip install numpy",
    backends={"eager": "from scratch"},
    processor_only=True,
    argued={
        "gpu": "none: processor only",
        "debugging": "every number is an array you can print; a wrong gradient is yours to find",
        "scalability": "one process, with as many threads as its BLAS has",
    },
)
