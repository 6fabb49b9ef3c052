"""Names of classes that stay different when they are cut."""

from hypothesis import given
from hypothesis import strategies as st

from triptych.report.class_names import brief_names


def test_what_alike_names_share_is_left_out():
    names = ["number_02_of_them", "number_13_of_them", "cat", "a_name_unlike_any_other_name"]
    assert brief_names(names) == ["…02…", "…13…", "cat", "a_name_unlike_any_other_name"]


def test_one_name_may_be_a_part_of_another():
    assert brief_names(["aaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa"]) == ["……", "…aa…"]


def test_two_groups_with_the_same_middle_stay_different():
    names = [
        "the_cat_01_on_a_mat",
        "the_cat_02_on_a_mat",
        "my_dog_01_in_a_box",
        "my_dog_02_in_a_box",
    ]
    assert brief_names(names) == [
        "the_ca…1…_a_mat",
        "the_ca…2…_a_mat",
        "my_dog…1…_a_box",
        "my_dog…2…_a_box",
    ]


def test_names_that_differ_at_an_end_stay_as_they_are():
    names = [f"a_long_name_of_class_{i}" for i in range(100)]
    assert brief_names(names) == names


@given(st.sets(st.text("ab", min_size=1, max_size=20), min_size=1, max_size=30))
def test_names_stay_different(names: set[str]):
    brief = brief_names(sorted(names))
    assert len(set(brief)) == len(names)
