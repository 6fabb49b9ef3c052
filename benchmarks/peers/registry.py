"""The peers by key."""

from dataclasses import dataclass

from triptych.core.selection import EngineSpec


@dataclass(frozen=True)
class Peer:
    """What is known of a peer without importing it.

    Attributes
    ----------
    spec : EngineSpec
        The framework that its process imports, and the peer's name in place of a backend.
    description : str
        A few words.
    proved : bool
        Whether it can be fed the same batches. Other peers are timed, but not ranked.
    like : str
        The framework whose formulas its optimizer has: ``torch`` or ``keras``.
    slow : bool
        Whether it compiles for up to a minute: then it takes part only with ``--all-backends``.
    """

    spec: EngineSpec
    description: str
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
