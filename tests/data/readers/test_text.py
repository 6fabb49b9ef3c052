"""Lists of names for messages."""

import pytest

from triptych.data.readers.text import listed

LISTS = {
    "none": ([], 150, "nothing"),
    "one": (["a"], 150, "a"),
    "one that is longer than the list may be": (["a" * 30], 20, "a" * 30),
    "some": (["a", "b", "c"], 150, "a, b, c"),
    "two that are longer": (["a" * 30, "b" * 30], 20, f"{'a' * 30}, {'b' * 30}"),
    "as long as the list may be": (["aaa"] * 4, 18, "aaa, aaa, aaa, aaa"),
    "one character longer": (["aaa"] * 4, 17, "aaa, …, aaa (4 in all)"),
    "many": ([f"pixel{i}" for i in range(1000)], 30, "pixel0, pixel1, …, pixel999 (1,000 in all)"),
    "of several lines": (["a\nb", "c"], 150, "a b, c"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_of_names(kind: str):
    names, most, text = LISTS[kind]
    assert listed(names, most) == text
