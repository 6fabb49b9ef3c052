"""What is printed: durations in words, lines that fit."""

import io

import pytest
from rich.console import Console

from triptych.cli.say import duration, say

LONG = (
    "The machine was busy, so the times are not reliable and no row is named the fastest: "
    "other programs used 62% of it"
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1 second"),
        (75, "75 seconds"),
        (100, "2 minutes"),
        (25 * 60, "25 minutes"),
        (90 * 60, "90 minutes"),
        (79_446, "22 hours"),
        (40 * 3600, "2 days"),
        (2e7, "231 days"),
    ],
)
def test_a_duration_is_in_the_unit_that_fits(seconds: float, words: str):
    assert duration(seconds) == words


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_breaks_lines_between_words(width: int):
    out = io.StringIO()
    say(Console(file=out, width=width, force_terminal=True, color_system=None), LONG)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert " ".join(line.strip() for line in lines) == LONG


def test_a_pipe_gets_one_line():
    out = io.StringIO()
    say(Console(file=out, width=40), LONG)
    assert out.getvalue() == LONG + "\n"


def test_brackets_are_text_unless_markup_is_asked_for():
    out = io.StringIO()
    say(Console(file=out), "[red]a[/red]")
    say(Console(file=out), "[red]a[/red]", markup=True)
    assert out.getvalue() == "[red]a[/red]\na\n"
