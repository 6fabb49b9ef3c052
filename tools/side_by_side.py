"""Write docs/side-by-side.md: the same functions of three engines, one after the other.

``python tools/side_by_side.py`` after every change of these functions; a test compares the page.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "side-by-side.md"
ENGINES = {"torch": "PyTorch", "tensorflow": "TensorFlow", "jax": "JAX"}

# Title, file, and the names of the functions; an engine may lack one of them.
SECTIONS = (
    ("A dense layer", "layers.py", ("build_dense",)),
    ("Batch normalization", "layers.py", ("BatchNorm", "build_batch_norm")),
    ("A residual", "layers.py", ("Residual", "build_residual")),
    ("Softmax cross-entropy", "loss.py", ("cross_entropy", "tabulated_cross_entropy")),
    ("Mean squared error", "loss.py", ("mean_squared_error",)),
    ("The gradients of a batch", "engine.py", ("compute_gradients",)),
    ("K training steps", "engine.py", ("make_step", "train_steps")),
    ("What one step computes, for comparisons", "engine.py", ("trace_step",)),
    ("Clipping gradients", "optimizers.py", ("clip_gradients",)),
    ("From gradients to new weights", "optimizers.py", ("apply_update",)),
    ("Adam", "optimizers.py", ("build_adam",)),
    ("A plan on the device", "engine.py", ("DevicePlan", "to_device")),
)

INTRODUCTION = """# The engines side by side

The same function of each engine has the same name and is in a file of the same name. This page is
made from the sources by `tools/side_by_side.py`.
"""


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


def page() -> str:
    """Return the text of the page."""
    parts = [INTRODUCTION]
    for title, file, names in SECTIONS:
        parts.append(f"## {title}\n")
        for engine, label in ENGINES.items():
            sources = definitions(ROOT / "triptych" / "engines" / engine / file)
            code = "\n\n\n".join(sources[name] for name in names if name in sources)
            path = f"triptych/engines/{engine}/{file}"
            parts.append(f"### {label} ({path})\n\n```python\n{code}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
