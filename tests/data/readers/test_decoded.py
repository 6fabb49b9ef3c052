"""What was decoded is kept, until the source changes; whatever happens to it is no matter."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.pictures import COLOUR, SKIP, encoded, table

from triptych.data import loading as data
from triptych.data.readers import decoded, images
from triptych.data.reading import PLAIN, Options

TEN = [encoded()] * 10


def counted(monkeypatch) -> list:
    calls: list = []
    real = images.read_image
    monkeypatch.setattr(images, "read_image", lambda *given: calls.append(1) or real(*given))
    return calls


@pytest.mark.parametrize("kind", ["folder", "Parquet"])
def test_what_was_decoded_is_kept_until_the_source_changes(
    pictures, tmp_path, monkeypatch, kind: str
):
    source = (
        pictures
        if kind == "folder"
        else table(tmp_path / "k.parquet", TEN * 2, [0, 1] * 10, ["p", "q"])
    )
    calls = counted(monkeypatch)
    first = data.load(str(source))
    decoded_once = len(calls)
    again = data.load(str(source))
    assert len(calls) == decoded_once > 0
    assert again.describe() == first.describe()
    data.load(str(source), 0, Options((6, 5)))
    assert len(calls) == 2 * decoded_once
    if kind == "folder":
        (source / "train" / "ape" / "9.png").write_bytes(encoded(COLOUR[::-1]))
    else:
        table(source, TEN * 2, [1, 0] * 10, ["p", "q"])
    assert data.load(str(source)).train.digest != first.train.digest
    assert (
        len(list(decoded.folder().iterdir())) == 2
    )  # one for each of the options, and nothing of the old


@given(st.data())
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_a_damaged_cache_is_decoded_anew_and_rewritten(pictures, drawn):
    (pictures / "train" / "ape" / "1.png").write_bytes(b"")
    whole = data.load(str(pictures), 0, SKIP)
    (kept,) = decoded.folder().glob("*.npz")
    content = bytearray(kept.read_bytes())
    for at in drawn.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=5)):
        content[at] ^= drawn.draw(st.integers(1, 255))
    kept.write_bytes(content[: drawn.draw(st.sampled_from([len(content), len(content) // 2, 0]))])
    for _ in range(2):
        found = data.load(str(pictures), 0, SKIP)
        assert (found.describe(), found.left_out) == (whole.describe(), whole.left_out)


def test_an_interrupted_decoding_leaves_nothing(pictures, cache, monkeypatch):
    def stop(*_) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.load(str(pictures), 0, PLAIN, stop)
    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        data.load(str(pictures))
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_cache_that_cannot_be_written_is_no_matter(pictures, cache):
    cache.write_text("a file where the folder should be")
    assert len(data.load(str(pictures)).train) == 4
