"""Draw docs/memory.svg: the size of what trains on streamed data, over several epochs.

python -m benchmarks.streaming memory --kinds raw --gigabytes 5 --json one.json
python -m benchmarks.streaming memory --kinds raw --gigabytes 5 --workers 2 --json two.json
python tools/memory.py one.json two.json
"""

import io
import json
import sys
from pathlib import Path

import matplotlib
from matplotlib import pyplot

from triptych.core.files import write

DOCS = Path(__file__).resolve().parent.parent / "docs"
INCHES = (8, 3)


def draw(paths: list[Path]) -> str:
    """Return an SVG with a line for each file; a dot is the end of an epoch."""
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "triptych", "font.size": 9}
    figure, axes = pyplot.subplots(figsize=INCHES, layout="constrained")
    for path in paths:
        measured = json.loads(path.read_text(encoding="utf-8"))
        seconds, sizes = zip(*measured["samples"], strict=True)
        axes.plot(seconds, sizes, linewidth=1, label=measured["label"])
        ends = measured["epochs"]
        at_ends = [max(size for at, size in measured["samples"] if at <= end) for end in ends]
        axes.plot(ends, at_ends, "k.", markersize=5)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds; a dot is the end of an epoch, and the largest size so far")
    axes.set_ylabel("MB of the largest process")
    axes.legend(loc="lower right")
    content = io.StringIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def main() -> None:
    """Draw the files that are named."""
    if len(sys.argv) == 1:
        raise SystemExit(__doc__)
    write(DOCS / "memory.svg", draw([Path(name) for name in sys.argv[1:]]))


if __name__ == "__main__":
    main()
