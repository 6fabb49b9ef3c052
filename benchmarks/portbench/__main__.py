"""The command ``python -m benchmarks.portbench``: generates pairs, checks them, scores tools."""

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from triptych.core.files import write
from triptych.errors import TriptychError

from .families import FAMILIES
from .faults.registry import KINDS
from .function_tool import FunctionTool
from .generate import Order, check_folder, generate
from .harvest import write_pairs
from .requirement import FIGURES, Requirement
from .score import CommandTool, Tool, score
from .summary import summary, text

USER_ERROR = 2  # exit status
STOPPED = 130  # exit status after Ctrl-C: 128 plus the number of the signal


def main() -> None:
    """Run the command line.

    The exit status is 1 if a pair is not right or a figure is not what is required, and 2 after a
    user's mistake.
    """
    options = _arguments()
    try:
        options.run(options)
    except TriptychError as error:
        print(f"portbench: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        print("portbench: stopped", file=sys.stderr)
        sys.exit(STOPPED)


def _generate(options: argparse.Namespace) -> None:
    _known(options.kinds, KINDS, "kind")
    _known(options.families, FAMILIES, "family")
    order = Order(options.seed, options.pairs, options.faults, options.kinds, options.families)
    generate(order, options.out, checked=not options.unchecked)


def _harvest(options: argparse.Namespace) -> None:
    folders = write_pairs(options.out, options.names)
    print(f"{len(folders)} specimens are in {options.out}")


def _check(options: argparse.Namespace) -> None:
    found = check_folder(options.folder)
    wrong = {name: problems for name, problems in found.items() if problems}
    for name, problems in wrong.items():
        print(f"{name}: {'; '.join(problems)}")
    print(f"{len(found) - len(wrong)} of {len(found)} pairs are what their truth says")
    if wrong:
        sys.exit(1)


def _known(names: tuple[str, ...], table: Mapping[str, object], word: str) -> None:
    for name in names:
        if name not in table:
            raise TriptychError(f"{word} {name!r} is unknown; known are {', '.join(table)}")


def _score(options: argparse.Namespace) -> None:
    if options.folder is None and options.specimens is None:
        raise TriptychError("what is scored? Give FOLDER or --specimens FOLDER")
    if options.function:
        tool: Tool = FunctionTool(options.function, options.limit)
    else:
        tool = CommandTool(options.command, options.limit)
    requirements = [Requirement.parse(text) for text in options.require]
    with closing(tool):
        figures = _figures(options, tool)
    if options.json:
        write(options.json, json.dumps(figures, indent=1) + "\n")
    problems = [each.problem(scored) for scored in figures.values() for each in requirements]
    if any(problems):
        print(*filter(None, problems), sep="\n", file=sys.stderr)
        sys.exit(1)


def _figures(options: argparse.Namespace, tool: Tool) -> dict[str, Any]:
    """Score the folders, and print the figures of each."""
    figures = {}
    for title, folder in (("generated", options.folder), ("specimens", options.specimens)):
        if folder is None:
            continue
        results = options.results or Path(f"{folder.resolve()}.scores")
        figures[title] = summary(score(folder, tool, results / title))
        print(f"\n{folder}", *text(figures[title]), sep="\n", flush=True)
    return figures


def _kinds(options: argparse.Namespace) -> None:
    for kind in KINDS.values():
        print(f"{kind.stage:9} {kind.cause:8} {kind.name:20} {kind.title}")
    print(f"{len(KINDS)} kinds of faults")


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.portbench", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    made = commands.add_parser("generate", help="write pairs with known faults")
    made.add_argument("--seed", type=int, required=True, metavar="N")
    made.add_argument("--pairs", type=int, default=300, metavar="N", help="%(default)s by default")
    made.add_argument("--faults", type=int, choices=(0, 1, 2), default=1, help="in each pair")
    made.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    made.add_argument("--kinds", type=_names, default=(), metavar="NAME,…")
    made.add_argument("--families", type=_names, default=(), metavar="NAME,…")
    made.add_argument("--unchecked", action="store_true", help="run no program")
    made.set_defaults(run=_generate)
    harvested = commands.add_parser("harvest", help="write pairs rebuilt from public threads")
    harvested.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    harvested.add_argument("--names", type=_names, default=(), metavar="NAME,…")
    harvested.set_defaults(run=_harvest)
    checked = commands.add_parser("check", help="draw pairs again, and run them")
    checked.add_argument("folder", type=Path, metavar="FOLDER")
    checked.set_defaults(run=_check)
    scored = commands.add_parser("score", help="run a tool on pairs, and print how good it is")
    scored.add_argument("folder", type=Path, nargs="?", metavar="FOLDER")
    tool = scored.add_mutually_exclusive_group(required=True)
    tool.add_argument(
        "--command", help="of the tool, with {a}, {b}, {batch} and {json} for the files of a pair"
    )
    tool.add_argument(
        "--function",
        metavar="MODULE:NAME",
        help="called with both build functions and the batch, in a process that has imported all",
    )
    scored.add_argument("--specimens", type=Path, metavar="FOLDER", help="more pairs, apart")
    scored.add_argument("--limit", type=float, default=300, metavar="SECONDS", help="for a pair")
    scored.add_argument("--results", type=Path, metavar="FOLDER", help="FOLDER.scores by default")
    scored.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    scored.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="NAME=SHARE",
        help=f"exit with 1 unless a figure ({', '.join(FIGURES)}) is at least this share; "
        "at most for false-alarms",
    )
    scored.set_defaults(run=_score)
    listed = commands.add_parser("kinds", help="list the kinds of faults")
    listed.set_defaults(run=_kinds)
    return parser.parse_args()


if __name__ == "__main__":
    main()
