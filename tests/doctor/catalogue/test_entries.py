"""The table: every entry is complete, every id is there once, and words find entries."""

import ast
from dataclasses import fields
from typing import get_args

import pytest

from triptych.doctor import catalogue
from triptych.doctor.catalogue import registry
from triptych.doctor.catalogue.checks.registry import CHECKS
from triptych.doctor.catalogue.entry import Difference, Kind
from triptych.doctor.findings import STAGES
from triptych.errors import TriptychError

ENTRIES = list(catalogue.entries().values())
PUBLISHED = [f"D{number:02d}" for number in range(1, 104)]
OPTIONAL = {"fix_torch", "fix_keras", "jax"}


def ids(entry: Difference) -> str:
    return entry.id


def test_the_published_ids_are_there_and_the_others_continue_them():
    known = list(catalogue.entries())
    assert known == [f"D{number:02d}" for number in range(1, len(known) + 1)]
    assert set(PUBLISHED) <= set(known)


def test_no_id_and_no_title_occurs_twice():
    every = [entry for family in registry.FAMILIES for entry in family.ENTRIES]
    assert len({entry.id for entry in every}) == len(every)
    assert len({entry.title for entry in every}) == len(every)


@pytest.mark.parametrize("entry", ENTRIES, ids=ids)
def test_an_entry_is_complete(entry: Difference):
    for name in (each.name for each in fields(entry)):
        value = getattr(entry, name)
        assert value or name in {*OPTIONAL, "portable"}, name
    assert entry.stage in {*STAGES, "none"}
    assert entry.kind in get_args(Kind)
    for sentence in (entry.torch, entry.keras, entry.effect):
        assert sentence.endswith("."), sentence
    assert not entry.title.endswith(".")


@pytest.mark.parametrize("entry", ENTRIES, ids=ids)
def test_a_recorded_name_begins_with_what_was_measured(entry: Difference):
    frameworks = {name.replace(",", " ").replace(".", " ").split()[0] for name in entry.recorded}
    assert frameworks <= set(registry.PACKAGES)
    # Where one side has nothing of the kind, only the other one is measured.
    assert frameworks & {"torch", "keras", "tf"}


@pytest.mark.parametrize("entry", ENTRIES, ids=ids)
def test_a_fix_is_one_line_of_python(entry: Difference):
    for fix in (entry.fix_torch, entry.fix_keras):
        if fix is not None:
            assert "\n" not in fix
            assert len(ast.parse(fix).body) == 1


def test_every_entry_has_a_check_and_every_check_an_entry():
    assert set(CHECKS) == set(catalogue.entries())


def test_names_of_values_tell_the_backends_of_keras():
    assert catalogue.get("D26").backends == ["tensorflow"]
    assert sorted(catalogue.get("D36").backends) == ["jax", "tensorflow", "torch"]
    assert sorted(catalogue.get("D92").backends) == ["jax", "tensorflow"]


def test_an_unknown_id_is_refused_with_a_suggestion():
    with pytest.raises(TriptychError, match=r"^difference 'D0119' is unknown; did you mean 'D119'"):
        catalogue.get("D0119")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["Xavier", "attention"], {"D07"}),
        (["DROPOUT", "f.dropout"], {"D98"}),
        (["batch_first"], {"D99"}),
        (["softmax", "twice"], {"D38"}),
        (["clipnorm"], {"D59", "D60"}),
        (["padding", "same", "stride"], {"D13", "D70", "D112"}),
    ],
)
def test_words_find_entries(words: list[str], expected: set[str]):
    chosen = {entry.id for entry in catalogue.find(words)}
    assert chosen >= expected
    assert len(chosen) < 8


def test_all_words_must_occur():
    assert not catalogue.find(["dropout", "cross-entropy"])
    assert len(catalogue.find([])) == len(ENTRIES)
