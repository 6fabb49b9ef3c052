"""Write docs/catalogue.md: every difference between PyTorch and Keras, with its measured values.

    python tools/catalogue.py

All differences are measured first, in about a minute; if a value is not as recorded, nothing is
written. A test compares the page with the table.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from triptych.cli.differences_view import shown
from triptych.doctor import catalogue
from triptych.doctor.catalogue import measurement
from triptych.doctor.catalogue.entry import Difference
from triptych.doctor.catalogue.registry import FAMILIES, RECORDED_WITH

PAGE = Path(__file__).resolve().parents[1] / "docs" / "catalogue.md"

INTRODUCTION = """# Catalogue of differences

What PyTorch and Keras compute differently under the same names: {count} differences. Each is measured: a check runs both
frameworks on a small case, or reads a default from an instance. The values on this page were measured with {versions}.

| command | what it does |
|---|---|
| `triptych differences` | lists all |
| `triptych differences adam epsilon` | finds those in whose text both words occur |
| `triptych differences D47` | shows one, with what the installed versions do |
| `triptych differences --check` | measures all, and lists every value that is not as recorded; exit status 1 if there is one |

`--json FILE` writes the same as JSON. In a name of a value, the first word is what was measured; "from" means the largest
difference from it, and 0 that it is not larger than rounding in float32. In lines of code, names are those that are usual: `nn` is
`torch.nn`, `F` is `torch.nn.functional`, `optim` is `torch.optim`, and `layers`, `losses`, `optimizers` are those of Keras.
[differences.md](differences.md) tells how Triptych's engines are set so that they agree, and [found.md](found.md) which are faults of a
framework. This page is written by `tools/catalogue.py`.
"""  # noqa: E501


def page() -> str:
    """Return the text of the page."""
    entries = list(catalogue.entries().values())
    introduction = INTRODUCTION.format(
        count=len(entries), versions=measurement.as_text(RECORDED_WITH)
    )
    parts = [introduction]
    for module in FAMILIES:
        parts.append(f"## {module.FAMILY.capitalize()}\n")
        members = [entry for entry in entries if entry.family == module.FAMILY]
        parts += [section(entry) for entry in members]
    return "\n".join(parts)


def section(entry: Difference) -> str:
    """Return the section of a difference."""
    stage = "no single stage" if entry.stage == "none" else entry.stage
    lines = [
        f"### {entry.id} {entry.title}\n",
        f"*{stage}, {entry.kind}*\n",
        f"- **PyTorch**: {entry.torch}",
        f"- **Keras**: {entry.keras}",
    ]
    if entry.jax:
        lines.append(f"- **JAX**: {entry.jax}")
    lines.append(f"- **Effect**: {entry.effect}")
    for label, fix in (("PyTorch", entry.fix_torch), ("Keras", entry.fix_keras)):
        if fix:
            lines.append(f"- **Fix in {label}**: `{fix}`")
    values = [f"{name}: {shown(value)}" for name, value in entry.recorded.items()]
    where = "" if entry.portable else " (depends on the processor)"
    lines.append(f"- **Measured**{where}: {'; '.join(values)}")
    lines.append(f"- **Source**: {entry.source}\n")
    return "\n".join(lines)


def main(
    measure: Annotated[
        bool, typer.Option(help="Measure before writing; without it, the page has old values.")
    ] = True,
) -> None:
    """Measure all differences, and write the page."""
    entries = list(catalogue.entries().values())
    if measure:
        results = measurement.measure(entries)
        changed = [
            change for entry in entries for change in measurement.changes(entry, results[entry.id])
        ]
        for change in changed:
            print(f"{change.id}, {change.name}: {change.recorded} was recorded, {change.measured}")
        missing = sorted({each.missing for each in results.values() if each.missing})
        if changed or missing:
            sys.exit(f"nothing was written; not installed: {', '.join(missing) or 'nothing'}")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
