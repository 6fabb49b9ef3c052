"""What every layer of the Numba engine is."""

from dataclasses import dataclass, field

from .memory import Array, Memory


@dataclass
class Training:
    """What belongs to a forward pass in training; in evaluation there is none.

    Attributes
    ----------
    masks : dict of str to ndarray of bool
        What each dropout layer keeps, by its name.
    outputs : dict of str to ndarray or None
        Where the output of every layer is recorded, by its name; None if it is not.
    """

    masks: dict[str, Array] = field(default_factory=dict[str, Array])
    outputs: dict[str, Array] | None = None


class Layer(Memory):
    """Base of all layers: without parameters and buffers, with memory of its own.

    Parameters
    ----------
    name : str
        Of the layer in its network.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.parameters: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}

    def forward(self, x: Array, training: Training | None) -> Array:
        """Return the output for a batch, and keep what the backward pass needs.

        Parameters
        ----------
        x : ndarray, shape (batch, …)
            The input, which must not change until the backward pass.
        training : Training or None
            None in evaluation.
        """
        raise NotImplementedError

    def parameter_gradients(self, dy: Array) -> None:
        """Write the gradients of the parameters, from that of the output, shape (batch, …)."""

    def input_gradient(self, dy: Array) -> Array:
        """Return the gradient of the input, from that of the output, shape (batch, …)."""
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        """Write the gradients of the parameters and return that of the input."""
        self.parameter_gradients(dy)
        return self.input_gradient(dy)

    def update_buffers(self) -> None:
        """Let the running statistics take over those of the batch; called once in a step."""

    @property
    def learns(self) -> bool:
        """Whether it has parameters."""
        return bool(self.parameters)

    def with_inner(self) -> list["Layer"]:
        """Return the layers inside this one, in order of computation, then this one."""
        return [self]
