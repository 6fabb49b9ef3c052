"""The text of ``--help``."""

import typer
from typer.testing import CliRunner

from triptych.cli.app import Group

small = typer.Typer(cls=Group)


@small.callback()
def _two_commands() -> None:
    pass


@small.command()
def first() -> None:
    """Do the first thing.

    A paragraph that is written
    on two lines.

    The next paragraph.
    """


def test_a_paragraph_goes_on_where_the_source_begins_a_line() -> None:
    help_text = CliRunner().invoke(small, ["first", "--help"]).output
    lines = [line.strip() for line in help_text.splitlines()]
    assert "A paragraph that is written on two lines." in lines
    assert (
        lines.index("The next paragraph.")
        - lines.index("A paragraph that is written on two lines.")
        == 2
    )  # an empty line between paragraphs stays
