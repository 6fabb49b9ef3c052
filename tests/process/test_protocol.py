"""Messages between processes: whole, in order, and a cut-off one is an end and not a crash."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.core.planner import BatchPlanner
from triptych.process import protocol
from triptych.spec import zoo
from triptych.spec.recipe import Recipe


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), st.integers(0, 5)
    ),
    st.sampled_from("?iqdfB"),
)
def test_there_and_back(sizes: dict[str, int], kind: str):
    arrays = {name: np.ones((n, 3), kind).T for name, n in sizes.items()} | {"scalar": np.array(3)}
    stream = io.BytesIO()
    protocol.send(stream, {"do": "x", "n": 1}, arrays)
    stream.seek(0)
    message, found = protocol.receive(stream)
    assert message == {"do": "x", "n": 1}
    assert list(found) == list(arrays)
    assert all(
        np.array_equal(found[name], a)
        and found[name].dtype == a.dtype
        and found[name].shape == a.shape
        for name, a in arrays.items()
    )


def test_plans_there_and_back():
    plans = list(BatchPlanner(zoo.get("regularized"), Recipe(1, 64), 200, 2).plans())
    found = protocol.unpack_plans(protocol.pack_plans(plans))
    assert len(found) == len(plans) == 3
    for a, b in zip(plans, found, strict=True):
        assert np.array_equal(a.rates, b.rates)
        assert np.array_equal(a.indices, b.indices)
        assert all(
            np.array_equal(a.dropout_masks[name], b.dropout_masks[name]) for name in a.dropout_masks
        )
    (full,) = protocol.unpack_plans(
        protocol.pack_plans([next(BatchPlanner(zoo.get("classic"), Recipe(3), 200).plans())])
    )
    assert full.indices is None


def test_a_message_that_was_cut_off_is_an_end():
    stream = io.BytesIO()
    protocol.send(stream, {"do": "x"}, {"a": np.ones(100)})
    whole = stream.getvalue()
    for length in (0, 3, 8, 20, len(whole) - 1):
        with pytest.raises(EOFError):
            protocol.receive(io.BytesIO(whole[:length]))
