"""What makes the loss of one side agree with the other, with the values of the case."""

from collections.abc import Mapping

from .observation import Component

# Where the classes are two, and a loss takes one number for them.
BINARY_LINES: Mapping[str, Mapping[str, str]] = {
    "D37": {
        "torch": "F.binary_cross_entropy_with_logits(logits, target)",
        "keras": "losses.BinaryCrossentropy(from_logits=True)",
    },
    "D38": {
        "torch": "F.binary_cross_entropy(probabilities, target)",
        "keras": "losses.BinaryCrossentropy(from_logits=False)",
    },
}


def binary_line(cause: str | None, framework: str) -> str | None:
    """Return a side's line for a binary cross-entropy; None if the catalogue's line is right."""
    return BINARY_LINES.get(cause or "", {}).get(framework)


# What takes the logarithm of probabilities, of several classes and of two.
LOGARITHM_LINES: Mapping[str, tuple[str, str]] = {
    "torch": ("F.nll_loss(torch.log(output), target)", "F.binary_cross_entropy(output, target)"),
    "keras": ("losses.SparseCategoricalCrossentropy()", "losses.BinaryCrossentropy()"),
}


def logarithm_line(framework: str, *, binary: bool) -> str | None:
    """Return a side's cross-entropy of probabilities; None if it has no such line."""
    lines = LOGARITHM_LINES.get(framework)
    return lines[binary] if lines else None


def ignoring_line(framework: str, label: int) -> str | None:
    """Return how a side ignores a label."""
    if framework == "torch":
        return f"nn.CrossEntropyLoss(ignore_index={label})"
    if framework == "keras":
        return f"losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class={label})"
    return None


def counting_line(framework: str, label: int) -> str | None:
    """Return how a side counts a label that it ignores; None if the label is no class."""
    if label < 0:
        return None
    if framework == "torch":
        return "nn.CrossEntropyLoss()"
    if framework == "keras":
        return "losses.SparseCategoricalCrossentropy(from_logits=True)"
    return None


def weight_line(
    framework: str, number: int, outputs: int, weight: str, loss: Component | None
) -> str:
    """Return how a side gives the loss of one of several outputs another weight.

    Parameters
    ----------
    framework : str
        ``torch``, ``keras``, …
    number : int
        The side's output, from 1.
    outputs : int
        How many the side has.
    weight : str
        The weight, as it is written.
    loss : Component or None
        The side's loss.
    """
    weights = loss.settings.get("loss_weights") if loss else None
    built_in = framework == "keras" and loss is not None and not loss.source
    if isinstance(weights, list) or (weights is None and built_in):
        given = [f"{each:g}" for each in weights or [1.0] * outputs]
        if number <= len(given):
            given[number - 1] = weight
            return f"loss_weights=[{', '.join(given)}]"
    others = "loss_2" if number == 1 else "loss_1"
    factor = "" if weight == "1" else f"{weight} * "
    return f"loss = {others} + {factor}loss_{number}"
