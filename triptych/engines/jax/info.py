"""What is known of the JAX engine before JAX is imported."""

from ...core.engine_info import EngineInfo

INFO = EngineInfo(
    name="jax",
    label="JAX",
    color=("#2a9d63", "#5fd39a"),
    requires="jax",
    install="pip install 'triptych[jax]'",
    backends={"scan": "jit, lax.scan where it is fast"},
    argued={
        "gpu": "cuda",
        "debugging": "a jitted step is traced once: print becomes jax.debug.print, "
        "or jax.disable_jit runs it line by line",
        "scalability": "from one device to clusters and TPUs, "
        "by sharding arrays under the same jit",
    },
    packages=("jaxlib",),
    environment={"PJRT_NPROC": "{threads}", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    optional=True,
)
