"""The process of a tool that is a function: ``… benchmarks.portbench.function_runner MODULE:NAME``.

See `benchmarks.portbench.runner` and `benchmarks.portbench.function_tool`.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from triptych.core import files
from triptych.errors import one_line

from .runner import batch, load, serve


def main() -> None:
    """Call the function for every pair until the standard input ends."""
    module, _, name = sys.argv[1].partition(":")
    try:
        function = getattr(import_module(module), name)
    except Exception as error:
        print(f"{sys.argv[1]}: cannot be imported ({one_line(error)})", flush=True)
        return

    def call(job: dict[str, Any], out: Path) -> None:
        folder = Path(job["folder"])
        a = load(folder / "torch_side.py")
        b = load(folder / "keras_side.py")
        answer = function(a, b, batch(folder))
        values = answer if isinstance(answer, dict) else answer.to_json()
        out.write_text(files.to_json(values))

    serve(call)


if __name__ == "__main__":
    main()
