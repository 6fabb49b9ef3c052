"""Contestants that are not engines: the same job as users of a framework write it, behind as much of the waist as a timing needs.

A peer is called ENGINE and BACKEND, and its file ENGINE_BACKEND.py; what follows a hyphen in the backend is a variant of that file's.
"""

from dataclasses import dataclass

from triptych.core.selection import EngineSpec


@dataclass(frozen=True)
class Peer:
    """What is known of a peer without importing it.

    Attributes
    ----------
    spec : Spec
        The framework that its process imports, and its name there.
    about : str
        A few words.
    proved : bool
        Whether it can be fed the same batches. What cannot is timed, but not ranked.
    like : str
        Whose formulas its optimizer has by default, as in `triptych.spec.optimizers`.
    slow : bool
        Whether it compiles first, which takes up to a minute: takes part only where asked.
    """

    spec: EngineSpec
    about: str
    proved: bool = True
    like: str = "torch"
    slow: bool = False


_ALL = (
    Peer(
        EngineSpec("numpy", "original"),
        "NumPy as the lesson writes it: column-major, one-hot, float32",
    ),
    Peer(
        EngineSpec("numpy", "sklearn"),
        "scikit-learn's MLPClassifier: shuffles by itself, drops nothing",
        proved=False,
    ),
    Peer(EngineSpec("torch", "plain"), "PyTorch: nn.Sequential, eager, tensors in memory"),
    Peer(EngineSpec("torch", "plain-onednn"), "PyTorch, products through oneDNN"),
    Peer(EngineSpec("torch", "plain-channels_last"), "PyTorch, images channels last"),
    Peer(EngineSpec("torch", "plain-bf16"), "PyTorch, channels last, under bf16 autocast"),
    Peer(EngineSpec("torch", "plain-compiled"), "PyTorch, channels last, torch.compile", slow=True),
    Peer(
        EngineSpec("torch", "loader"),
        "PyTorch, batches from a DataLoader that shuffles",
        proved=False,
    ),
    Peer(EngineSpec("tensorflow", "keras-fit"), "Keras Sequential: fit, predict", like="keras"),
    Peer(
        EngineSpec("tensorflow", "keras-function"),
        "Keras Sequential: a tf.function for each step, direct calls",
        like="keras",
    ),
    Peer(
        EngineSpec("tensorflow", "keras-xla"),
        "Keras Sequential: such a tf.function compiled by XLA",
        like="keras",
        slow=True,
    ),
)

PEERS: dict[str, Peer] = {peer.spec.key: peer for peer in _ALL}
