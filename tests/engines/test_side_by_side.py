"""The page that shows the engines' functions next to each other."""

from tools import side_by_side


def test_the_page_is_up_to_date():
    written = side_by_side.PAGE.read_text(encoding="utf-8")
    assert written == side_by_side.page(), "run python tools/side_by_side.py"


def test_every_section_shows_every_engine():
    for title, file, names in side_by_side.SECTIONS:
        for engine in side_by_side.ENGINES:
            path = side_by_side.ROOT / "triptych" / "engines" / engine / file
            shown = set(names) & set(side_by_side.definitions(path))
            assert shown, f"{title}: nothing of {engine}"
