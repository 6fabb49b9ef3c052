"""A message is one line of bounded length, whatever a file puts into it."""

import pytest

from triptych.errors import LONGEST_MESSAGE, SpecError, TriptychError, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain × – text", "plain × – text"),
        ("two\nlines\r\nand\ta tab", "two lines  and a tab"),
        ("\x1b]0;title\x07\x1b[2J", r"\x1b]0;title\x07\x1b[2J"),
        ("right\u202eto left, \ud800 alone, \x00", r"right\u202eto left, \ud800 alone, \x00"),
        ("next\x85line\u2028separated", "next line separated"),
        (12, "12"),
        ("", ""),
    ],
)
def test_one_line_has_no_control_characters(text: object, line: str):
    assert one_line(text) == line


@pytest.mark.parametrize(
    "text", ["x" * 301, "x" * 10**6, "\x1b" * 300, "\n" * 10**5, "head" + "\x00" * 10**5 + "tail"]
)
def test_a_long_text_loses_its_middle(text: str):
    line = one_line(text)
    assert len(line) == 300
    assert line[200] == "…"
    assert line.isprintable()
    assert one_line(text, 50) == f"{one_line(text, 1000)[:33]}…{one_line(text, 1000)[-16:]}"


def test_what_is_short_enough_is_not_cut():
    assert one_line("x" * 300) == "x" * 300


def test_every_error_is_one_bounded_line():
    for kind in (TriptychError, SpecError):
        message = str(kind("run/file: " + "a\n" * 10**6 + "; delete it"))
        assert len(message) == LONGEST_MESSAGE
        assert message.startswith("run/file: a a")
        assert message.endswith("; delete it")
        assert message.isprintable()
