"""The generator: the same seed gives the same bytes, and every kind of fault has its places."""

import json
from pathlib import Path

import pytest

from benchmarks.portbench.draw import draw
from benchmarks.portbench.families import FAMILIES
from benchmarks.portbench.faults.kind import OUTSIDE, STAGES, Unsuitable
from benchmarks.portbench.faults.registry import KINDS, catalogued, outside
from benchmarks.portbench.generate import OUTSIDE_EVERY, Order, choice, generate
from benchmarks.portbench.truth import apply, patch, truth
from triptych.errors import TriptychError

MOST_DRAWS = 60
EVERY_PLACE = [(kind, family) for kind in KINDS.values() for family in kind.families]


def drawn(kinds, family, name="0"):
    """Return the first pair that has a place for the faults."""
    for attempt in range(MOST_DRAWS):
        try:
            return draw(kinds, family, f"test/{name}/{attempt}")
        except Unsuitable:
            continue
    raise AssertionError(f"{[kind.name for kind in kinds]} never fits into {family}")


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("faults", [0, 1, 2])
def test_a_seed_gives_the_same_bytes(tmp_path, faults):
    order = Order(seed=3, pairs=12, faults=faults)
    for name in ("one", "two"):
        generate(order, tmp_path / name, checked=False)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(list((tmp_path / "one").glob("*/truth.json"))) == 12


def test_another_seed_gives_other_pairs(tmp_path):
    generate(Order(seed=3, pairs=4), tmp_path / "one", checked=False)
    generate(Order(seed=4, pairs=4), tmp_path / "two", checked=False)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert not set(one.values()) & set(two.values())


@pytest.mark.parametrize(
    ("kind", "family"), EVERY_PLACE, ids=[f"{kind.name}-{family}" for kind, family in EVERY_PLACE]
)
def test_every_kind_has_a_place_in_every_family_that_it_claims(kind, family):
    pair = drawn([kind], family)
    written, correct = pair.programs["as written"], pair.programs["correct"]
    for name, program in written.items():
        compile(program.text, f"{name}_side.py", "exec")
        assert "#" not in program.text, "comments would tell what was meant"
    changes = patch(pair, "as written", "correct")
    assert changes, "the fault changes nothing"
    for name, program in written.items():
        pairs = [(change["old"], change["new"]) for change in changes if change["side"] == name]
        assert apply(program.text, pairs) == correct[name].text


@pytest.mark.parametrize("family", FAMILIES)
def test_the_truth_of_a_correct_pair(family):
    pair = drawn([], family)
    facts = truth(pair, None)
    assert (facts["stage"], facts["cause"], facts["verdict"]) == ("none", "none", "equal")
    assert facts["accept"] == {"stages": ["none"], "causes": ["none"]}
    assert facts["anchors"], "no layer of the two programs corresponds"
    assert "patch" not in facts


def test_the_truth_of_a_fault_names_its_layer_on_both_sides():
    facts = truth(drawn([KINDS["bn-eps"]], "normalised"), None)
    assert facts["stage"] == "forward"
    assert facts["cause"] == "D18"
    assert facts["layer"]["keras"].startswith("batch_normalization") or facts["layer"]["keras"]
    assert facts["layer"]["torch"] in {row["torch"] for row in facts["anchors"]}


def test_one_in_ten_faults_is_outside_of_the_catalogue():
    order = Order(seed=5, pairs=100)
    kinds = [choice(order, number, 0)[0][0] for number in range(order.pairs)]
    assert sum(kind.cause == OUTSIDE for kind in kinds) == order.pairs // OUTSIDE_EVERY
    strange = {kind.name for kind in kinds if kind.cause == OUTSIDE}
    assert len(strange) == min(10, len(outside()))


def test_all_kinds_of_the_catalogue_come_in_three_hundred_pairs():
    order = Order(seed=6, pairs=300)
    drawn_kinds = {choice(order, number, 0)[0][0].name for number in range(order.pairs)}
    assert {kind.name for kind in catalogued()} <= drawn_kinds
    assert len(drawn_kinds & {kind.name for kind in outside()}) == order.pairs // OUTSIDE_EVERY


def test_there_are_kinds_at_every_stage():
    assert {kind.stage for kind in catalogued()} == set(STAGES)
    assert len({kind.cause for kind in catalogued()}) >= 50
    assert len(outside()) >= 30


def test_two_faults_of_a_pair_have_different_causes_and_no_slot_in_common():
    order = Order(seed=7, pairs=60, faults=2)
    for number in range(order.pairs):
        kinds, family = choice(order, number, 0)
        if len(kinds) < 2:
            continue
        first, second = kinds
        assert first.cause != second.cause
        assert not first.slots & second.slots
        assert family in first.families
        assert family in second.families
        assert STAGES.index(first.stage) <= STAGES.index(second.stage)


def test_two_faults_can_be_undone_one_at_a_time():
    pair = drawn([KINDS["bn-eps"], KINDS["clip-norm"]], "normalised")
    both, one = pair.programs["as written"], pair.programs["without 1"]
    changes = patch(pair, "as written", "without 1")
    for name, program in both.items():
        pairs = [(change["old"], change["new"]) for change in changes if change["side"] == name]
        assert apply(program.text, pairs) == one[name].text
    assert one["keras"].text != pair.programs["correct"]["keras"].text


def test_the_folder_tells_nothing_about_the_fault(tmp_path):
    generate(Order(seed=8, pairs=6, kinds=("bn-eps",)), tmp_path, checked=False)
    for folder in tmp_path.iterdir():
        number, theme = folder.name.split("-")
        assert number.isdigit()
        assert json.loads((folder / "truth.json").read_text())["kinds"] == ["bn-eps"]
        assert theme.isalpha()


def test_a_kind_in_no_chosen_family_is_refused(tmp_path):
    order = Order(seed=1, pairs=1, kinds=("bn-eps",), families=("dense",))
    with pytest.raises(TriptychError, match="bn-eps is in none of the families dense"):
        generate(order, tmp_path, checked=False)
