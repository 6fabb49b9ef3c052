"""Write docs/threads.md: public threads, what was reported in them, and what the doctor finds.

    python -m benchmarks.portbench harvest --out harvested
    python -m benchmarks.portbench score --specimens harvested --command "triptych doctor …"
    python -m tools.threads harvested.scores/specimens

The first two commands are those of the page. A test compares its threads with the specimens.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.portbench.harvest import missing, names, truth
from triptych.core.files import write

PAGE = Path(__file__).resolve().parents[1] / "docs" / "threads.md"

INTRODUCTION = """# Public threads and what the doctor finds

{count} threads, one of them about a book, in which somebody asks why two implementations give different results. Each was rebuilt as a small pair of programs for
the versions installed here, from what the thread and the code that it names say; sizes are smaller and data are random. No code was copied, and no
data set is needed. {unexplained} of them were never explained, as far as the stored copies of the threads tell. The programs, with the facts about each
thread, are in `benchmarks/portbench/harvested`.

```
python -m benchmarks.portbench harvest --out harvested
python -m benchmarks.portbench score --specimens harvested --command "triptych doctor {{a}} {{b}} --batch {{batch}} --json {{json}}"
triptych doctor harvested/sednn-41/torch_side.py harvested/sednn-41/keras_side.py --batch harvested/sednn-41/batch.npz
```

The doctor is not told what to look for. It finds every difference that the truth lists in {found} of {count} specimens. A finding shows its stage, its
cause in the [catalogue](catalogue.md), and its largest effect, as a share of the size of what was compared. *Suspected* means that the doctor applied no
fix that removes the difference. What a rebuilt program cannot show: how much of the gap that was reported comes from which finding, since the poster's
data and hours of training are not here. This page is written by `tools/threads.py`.
"""  # noqa: E501


def page(answers: dict[str, dict[str, Any]]) -> str:
    """Return the text of the page.

    Parameters
    ----------
    answers : dict
        What the doctor answered about each specimen, by name.
    """
    facts = {name: truth(name) for name in names()}
    open_ones = [name for name in facts if facts[name]["explained"] is None]
    settled = [name for name in facts if facts[name]["explained"] is not None]
    found = [name for name in facts if not missing(facts[name], answers[name])]
    parts = [
        INTRODUCTION.format(count=len(facts), unexplained=len(open_ones), found=len(found)),
        "## Never explained\n",
        *[section(name, facts[name], answers[name]) for name in open_ones],
        "## Explained\n",
        *[section(name, facts[name], answers[name]) for name in settled],
    ]
    return "\n".join(parts)


def section(name: str, facts: dict[str, Any], answer: dict[str, Any]) -> str:
    """Return the section of a specimen."""
    lines = [
        f"### {name}: {facts['title']}\n",
        f"- **Thread**: <{facts['source']}>",
        f"- **Reported**: {facts['reported']}",
    ]
    if facts["explained"]:
        lines.append(f"- **Explained there**: {facts['explained']}")
    lines.append(f"- **Rebuilt**: {facts['rebuilt']}")
    lines.append(f"- **Verdict of the doctor**: {answer['verdict']}\n")
    rows = [row(finding) for finding in answer["findings"]]
    if rows:
        lines += [
            "| stage | cause | finding | effect | proved |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    lines += [f"Not found: {text}.\n" for text in missing(facts, answer)]
    return "\n".join(lines)


def row(finding: dict[str, Any]) -> str:
    """Return the line of a finding in its table."""
    effect = {
        name: size for name, size in finding["effect"].items() if name not in ("bound", "share")
    }
    largest = max(effect, key=lambda name: effect[name], default=None)
    cells = (
        finding["stage"],
        finding["cause"] or "",
        finding["title"].replace("|", "\\|"),
        f"{largest} {effect[largest]:.2g}" if largest else "",
        "yes" if finding["proved"] else "suspected",
    )
    return f"| {' | '.join(cells)} |"


def main(answers: Annotated[Path, typer.Argument(help="the folder with the answers")]) -> None:
    """Write the page from the answers that `score` has kept."""
    kept = {name: json.loads((answers / f"{name}.json").read_text())["answer"] for name in names()}
    write(PAGE, page(kept))


if __name__ == "__main__":
    typer.run(main)
