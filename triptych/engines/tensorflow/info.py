"""What is known of the TensorFlow engine before TensorFlow is imported."""

from ...core.engine_info import EngineInfo

INFO = EngineInfo(
    name="tensorflow",
    label="TensorFlow",
    color=("#b98300", "#e6b13a"),
    requires="tensorflow",
    install="pip install 'triptych[tensorflow]'",
    backends={"compiled": "tf.function", "xla": "XLA", "fit": "Keras fit"},
    argued={
        "gpu": "cuda",
        "debugging": "inside tf.function a step is a graph: print becomes tf.print, "
        "and errors speak of generated code",
        "scalability": "from one device to clusters and TPUs, with tf.distribute",
    },
    packages=("tensorflow-cpu", "keras"),
    environment={
        "TF_NUM_INTRAOP_THREADS": "{threads}",
        "TF_NUM_INTEROP_THREADS": "{threads}",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    },
    notices=("All log messages before absl::InitializeLog()", "oneDNN custom operations are on"),
    native="MultiWorkerMirroredStrategy",
    native_is_open=True,
)
