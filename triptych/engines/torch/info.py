"""What is known of the PyTorch engine before PyTorch is imported."""

from ...core.engine_info import EngineInfo

INFO = EngineInfo(
    name="torch",
    label="PyTorch",
    color=("#e0472b", "#ff7c62"),
    requires="torch",
    install="pip install 'triptych[torch]'",
    backends={
        "eager": "eager",
        "onednn": "oneDNN's products where they are float32's",
        "bf16": "autocast to bfloat16, reduced precision",
        "compiled": "torch.compile",
    },
    reduced=("bf16",),
    compile_seconds={"compiled": 25.0},
    argued={
        "gpu": "cuda, and mps on Apple machines",
        "debugging": "a step runs line by line in Python's debugger; "
        "autograd names the operation that failed",
        "scalability": "from one device to clusters, with torch.distributed",
    },
    layout={
        "dense": "i o -> o i",  # Linear keeps (out, in)
        "folded": "(h w c) o -> o (c h w)",  # the dense layer after a flatten
        "folded_vector": "(h w c) -> (c h w)",  # normalization after a flatten
        "conv": "h w i o -> o i h w",
        "image": "b h w c -> b c h w",
        "flat": "b (h w c) -> b (c h w)",
    },
    native="DistributedDataParallel",
)
