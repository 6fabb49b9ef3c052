"""Titles and fix lines of findings, with the values of the case."""

import re
from collections.abc import Mapping
from typing import Any

from .catalogue.registry import entries
from .code_lines import (
    arithmetic_line,
    call_line,
    keyword,
    layer_line,
    mask_line,
    padding_line,
    pool_line,
    reduction_line,
)
from .examination import Examination
from .hypotheses import Hypothesis, words_of
from .observation import CONVOLUTIONS, Arrays, Call, Description, Layer, Settings, array_names

# The frameworks' own classes of convolutions, and their functions.
OF_FRAMEWORK = re.compile(r"(Separable|Depthwise)?Conv\dD|Conv\dd|F\.conv\dd")

# What PyTorch calls an activation, if it is not the canonical name.
TORCH_FUNCTIONS = {
    "exponential": "torch.exp",
    "log_sigmoid": "F.logsigmoid",
    "hard_sigmoid": "F.hardsigmoid",
    "hard_silu": "F.hardswish",
    "hard_tanh": "F.hardtanh",
    "tanh": "torch.tanh",
    "sigmoid": "torch.sigmoid",
}


def catalogue_fix(cause: str | None, framework: str) -> str | None:
    """Return the catalogue's line for a side, or None.

    Parameters
    ----------
    cause : str or None
        The id in the catalogue.
    framework : str
        ``torch``, ``keras``, …
    """
    entry = entries().get(cause or "")
    known = {} if entry is None else {"torch": entry.fix_torch, "keras": entry.fix_keras}
    return known.get(framework)


def fix_lines(
    cause: str | None, descriptions: tuple[Description, Description]
) -> dict[str, str | None]:
    """Return the catalogue's lines for sides A and B; None where there is none."""
    return {
        side: catalogue_fix(cause, description.framework)
        for side, description in zip("ab", descriptions, strict=True)
    }


def catalogue_title(cause: str | None) -> str | None:
    """Return the title of a difference in the catalogue, or None."""
    entry = entries().get(cause or "")
    return None if entry is None else entry.title


def place_of(call: Call) -> str:
    """Return where a call is: the path of its layer, or the name of the function."""
    return call.layer or call.name


def layer_of(description: Description, path: str) -> Layer | None:
    """Return a layer by its path, or None."""
    return next((layer for layer in description.layers if layer.path == path), None)


def activation_line(framework: str, settings: Settings) -> str | None:
    """Return the call of an activation in a framework, or None."""
    function = settings.get("function", "")
    written = [
        keyword(framework, setting, value)
        for setting, value in settings.items()
        if setting != "function"
    ]
    arguments = ", ".join(["x", *[each for each in written if each]])
    if function == "linear":
        return "x"
    if "gain" in settings:
        return catalogue_fix("D29", framework)
    if framework == "torch":
        return f"{TORCH_FUNCTIONS.get(function, f'F.{function}')}({arguments})"
    return f"keras.activations.{function}({arguments})" if framework == "keras" else None


class Writer:
    """Writes titles and fix lines of one comparison.

    Parameters
    ----------
    examination : Examination
        The comparison.
    names : mapping of str to str
        ``a`` and ``b``: what the sides are called.
    """

    def __init__(self, examination: Examination, names: Mapping[str, str]) -> None:
        self.descriptions = {"a": examination.a_description, "b": examination.b_description}
        self.weights = {"a": examination.a_weights, "b": examination.b_weights}
        self.names = names

    def title(self, hypothesis: Hypothesis) -> str:
        """Return the title of a difference of settings."""
        known = catalogue_title(hypothesis.cause)
        words = words_of(hypothesis.values, self.names, known)
        call = hypothesis.b
        thing = known or (f"{call.name} ({call.layer})" if call.layer else call.name)
        return f"{thing}: {words}"

    def fixes(self, hypothesis: Hypothesis) -> dict[str, str | None]:
        """Return a line for either side that gives it the other's settings."""
        known = fix_lines(hypothesis.cause, (self.descriptions["a"], self.descriptions["b"]))
        calls = {"a": hypothesis.a, "b": hypothesis.b}
        lines: dict[str, str | None] = {}
        for side, other in (("a", 1), ("b", 0)):
            wanted = {setting: values[other] for setting, values in hypothesis.values.items()}
            other_call = calls["b" if side == "a" else "a"]
            line = self._padding_or_mask(side, calls[side], wanted)
            lines[side] = line or self._line(side, calls[side], wanted, other_call) or known[side]
        return lines

    def _padding_or_mask(self, side: str, call: Call, wanted: Mapping[str, Any]) -> str | None:
        """Return the line of what is no argument of a layer, or None.

        A convolution has no argument for other ends than its framework knows, and a layer that is
        derived from one may pad in its own forward pass.
        """
        framework = self.descriptions[side].framework
        padding = wanted.get("padding")
        if call.kind not in CONVOLUTIONS or not isinstance(padding, list):
            return mask_line(framework, wanted)
        is_derived = OF_FRAMEWORK.fullmatch(call.name) is None
        has_argument = keyword(framework, "padding", padding) != ""
        return None if has_argument and not is_derived else padding_line(framework, padding)

    def functions(self, applied: Mapping[str, Settings]) -> dict[str, str | None]:
        """Return a line for either side that gives it the activation of the other one, or none.

        Parameters
        ----------
        applied : mapping of str to dict
            By side, the activation that it applies; empty if the sides do not differ in one.
        """
        if not applied:
            return {}
        nothing: Settings = {"function": "linear"}
        return {
            side: activation_line(self.descriptions[side].framework, applied.get(other, nothing))
            for side, other in (("a", "b"), ("b", "a"))
        }

    def _line(self, side: str, call: Call, wanted: Mapping[str, Any], other: Call) -> str | None:
        framework = self.descriptions[side].framework
        if call.kind == "reduction":
            return reduction_line(framework, {**call.settings, **wanted})
        if call.kind == "rescaling" and not call.layer:
            return arithmetic_line(wanted)
        if "function" in wanted:
            return activation_line(framework, other.settings)
        if "pooling" in wanted:
            return pool_line(framework, other.settings)
        layer = layer_of(self.descriptions[side], call.layer)
        if call.anchor and layer is not None:
            weights: Arrays = array_names(self.weights[side], layer.path)
            return layer_line(framework, layer, weights, wanted)
        return call_line(framework, call, layer, wanted)
