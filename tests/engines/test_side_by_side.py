"""The page that shows the engines' functions next to each other."""

from tools import side_by_side


def test_the_page_is_up_to_date():
    written = side_by_side.PAGE.read_text(encoding="utf-8")
    assert written == side_by_side.page(), "run python tools/side_by_side.py"


def test_every_section_shows_every_framework():
    """And NumPy and Numba, where they have what the frameworks have."""
    for title, names in side_by_side.SECTIONS:
        for engine in side_by_side.ENGINES:
            shown = side_by_side.sections_of(engine, names)
            by_hand = engine in ("numpy", "numba/kernels")
            assert shown or by_hand, f"{title}: nothing of {engine}"
    assert side_by_side.page().count("### NumPy") == len(side_by_side.SECTIONS) - 2
    assert side_by_side.page().count("### Numba") == len(side_by_side.SECTIONS) - 3
