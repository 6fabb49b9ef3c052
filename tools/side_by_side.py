"""Write docs/side-by-side.md: the same functions of every engine, one after the other.

``python tools/side_by_side.py`` after every change of these functions; a test compares the page.
"""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "side-by-side.md"
ENGINES = {
    "numpy": "NumPy",
    "numba/kernels": "Numba",
    "torch": "PyTorch",
    "tensorflow": "TensorFlow",
    "jax": "JAX",
}
OTHER_ALGORITHMS = ("winograd.py",)  # functions of the same names, to be read after the others

# Title, and the names of the functions and classes; an engine may lack some or all of them.
SECTIONS = (
    (
        "A dense layer",
        ("Dense", "build_dense", "dense_forward", "dense_gradients", "dense_input_gradient"),
    ),
    (
        "A convolution",
        (
            "Conv2D",
            "build_convolution",
            "convolve",
            "convolve_weight_gradient",
            "convolve_input_gradient",
        ),
    ),
    (
        "Batch normalization",
        (
            "BatchNorm",
            "build_batch_norm",
            "channel_sums",
            "channel_squares",
            "scale_channels",
            "channel_gradient_sums",
            "channel_input_gradient",
        ),
    ),
    ("A residual", ("Residual", "build_residual")),
    ("Softmax cross-entropy", ("cross_entropy", "tabulated_cross_entropy")),
    ("Mean squared error", ("mean_squared_error", "squared_error")),
    ("The gradients of a batch", ("compute_gradients", "block_gradients")),
    ("K training steps", ("make_step", "train_steps", "dense_steps")),
    ("What one step computes, for comparisons", ("trace_step",)),
    ("Clipping gradients", ("clip_gradients",)),
    ("From gradients to new weights", ("apply_update", "update_range")),
    ("Adam", ("adam", "build_adam")),
    ("A plan on the device", ("DevicePlan", "to_device")),
)

INTRODUCTION = """# The engines side by side

The same function of each engine has the same name and is in a file of the same name. In NumPy every
gradient is written by hand, next to what it is the gradient of. Numba's functions are the same
formulas as loops, which are compiled; they have names of their own, because one function computes
one array. This page is made from the sources by `tools/side_by_side.py`.
"""


@cache
def definitions(path: Path) -> dict[str, str]:
    """Return the source of every function, method and class of a file, by name."""
    source = path.read_text(encoding="utf-8")
    sources: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            lines = source.splitlines()[first_line(node) - 1 : node.end_lineno]
            unindented = [line[node.col_offset :] for line in lines]
            sources.setdefault(node.name, "\n".join(unindented))
    return sources


def first_line(node: ast.FunctionDef | ast.ClassDef) -> int:
    """Return the number of a definition's first line, its decorators included."""
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def sections_of(engine: str, names: tuple[str, ...]) -> str:
    """Return the code of an engine that has some of these names, file by file, as Markdown."""
    folder = ROOT / "triptych" / "engines" / engine
    parts: list[str] = []
    for path in sorted(folder.glob("*.py")):
        if path.name in OTHER_ALGORITHMS:
            continue
        sources = definitions(path)
        code = "\n\n\n".join(sources[name] for name in names if name in sources)
        if code:
            place = path.relative_to(ROOT).as_posix()
            parts.append(f"### {ENGINES[engine]} ({place})\n\n```python\n{code}\n```\n")
    return "\n".join(parts)


def page() -> str:
    """Return the text of the page."""
    parts = [INTRODUCTION]
    for title, names in SECTIONS:
        parts.append(f"## {title}\n")
        for engine in ENGINES:
            code = sections_of(engine, names)
            if code:
                parts.append(code)
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
