"""Lines of code, counted the same way for everyone: no blank lines, no comments, no docstrings."""

import tokenize
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
_SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def lines(path: Path) -> int:
    """Return the lines of code of one Python file."""
    with tokenize.open(path) as file:
        counted, starting = set[int](), True
        for token in tokenize.generate_tokens(file.readline):
            docstring = token.type == tokenize.STRING and starting
            if token.type not in _SILENT and not docstring:
                counted |= set(range(token.start[0], token.end[0] + 1))
            if token.type not in (tokenize.COMMENT, tokenize.NL):
                starting = token.type in (
                    tokenize.NEWLINE,
                    tokenize.INDENT,
                    tokenize.DEDENT,
                    tokenize.ENCODING,
                )
    return len(counted)


@cache
def engine_lines(engine: str) -> int:
    """Return how many lines of code an engine is."""
    return sum(map(lines, (PACKAGE / "engines" / engine).rglob("*.py")))
