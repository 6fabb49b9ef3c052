"""Steps of preprocessing as NumPy code, which both sides may use."""

from __future__ import annotations

from .design import Part
from .style import Style


def lines(steps: list[Part], style: Style, source: str) -> tuple[list[str], str]:
    """Return the lines that compute steps, and the expression of the result.

    Parameters
    ----------
    steps : list of Part
        In order of computation.
    style : Style
        The side's style.
    source : str
        The name of the raw array.
    """
    code: list[str] = []
    value = source
    for step in steps:
        if code or value != source:
            code.append(f"x = {value}")
            value = "x"
        before, value = STEPS[step.kind](step, value, style)
        code += before
    return code, value


def _scale(step: Part, x: str, style: Style) -> tuple[list[str], str]:
    forms = ('{}.astype("float32") / {}', "{}.astype(np.float32) / {:.1f}")
    return [], style.pick("scale", forms).format(x, step["by"])


def _convert(step: Part, x: str, style: Style) -> tuple[list[str], str]:
    return [], style.pick("scale", ('{}.astype("float32")', "{}.astype(np.float32)")).format(x)


def _centre(step: Part, x: str, style: Style) -> tuple[list[str], str]:
    return [], f"({x} - {step['mean']}) / {step['std']}"


def _standardise(step: Part, x: str, style: Style) -> tuple[list[str], str]:
    freedom = ", ddof=1" if step["ddof"] else ""
    axis = step["axis"]
    keep = ", keepdims=True" if axis == 1 else ""
    return [
        f"mean = {x}.mean(axis={axis}{keep})",
        f"std = {x}.std(axis={axis}{freedom}{keep})",
    ], f"({x} - mean) / std"


def _median(step: Part, x: str, style: Style) -> tuple[list[str], str]:
    if step["lower"]:
        return [f"middle = torch.from_numpy({x}).median(dim=0).values.numpy()"], f"{x} - middle"
    return [f"middle = np.median({x}, axis=0)"], f"{x} - middle"


def _flip_channels(step: Part, x: str, style: Style) -> tuple[list[str], str]:
    return [], f"{x}[..., ::-1]"


def _crop(step: Part, x: str, style: Style) -> tuple[list[str], str]:
    first = step["first"]
    last = first + step["size"]
    return [], f"{x}[:, {first}:{last}, {first}:{last}]"


def _window(step: Part, x: str, style: Style) -> tuple[list[str], str]:
    return [], f"{x}[:, {step['first']}:{step['first'] + step['size']}]"


def _reverse(step: Part, x: str, style: Style) -> tuple[list[str], str]:
    return [], f"{x}[:, ::-1]"


def _log(step: Part, x: str, style: Style) -> tuple[list[str], str]:
    return [], f"np.{step['function']}({x})"


STEPS = {
    "scale": _scale,
    "convert": _convert,
    "centre": _centre,
    "standardise": _standardise,
    "median": _median,
    "flip_channels": _flip_channels,
    "crop": _crop,
    "window": _window,
    "reverse": _reverse,
    "log": _log,
}
