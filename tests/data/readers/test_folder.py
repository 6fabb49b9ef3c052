"""Image files in folders: classes, sizes and colours settled, what cannot be read named or left
out.
"""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.pictures import COLOUR, SKIP, claiming, encoded, error_of, fill, table

from triptych.data import loading as data
from triptych.data.readers import images
from triptych.data.reading import Options
from triptych.errors import DataError

RNG = np.random.default_rng(1)


def read_back(root: Path, content: bytes) -> np.ndarray:
    """Return an image as it is decoded, where all are that one."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            fill(root / split / name, content)
    return data.load(str(root)).train.images[0]


def test_classes_are_the_folders_names_sorted(pictures):
    dataset = data.load(str(pictures))
    assert dataset.classes == ("ape", "bird")
    assert dataset.train.labels.tolist() == [0, 0, 1, 1]
    assert dataset.name == "pictures"
    assert dataset.source.endswith("(image files)")
    assert (dataset.train.images == COLOUR).all()
    assert dataset.describe()["class_names"] == ["ape", "bird"]


def test_one_set_is_split_by_seed_class_by_class(root):
    for i, name in enumerate(("a", "b", "c")):
        fill(root / name, encoded(np.full((2, 2), i, np.uint8)), 20)
    one, same, other = (data.load(str(root), seed) for seed in (0, 0, 1))
    assert (len(one.train), len(one.test)) == (54, 6)
    assert sorted(one.test.labels.tolist()) == [0, 0, 1, 1, 2, 2]
    assert (one.train.images[:, 0, 0, 0] == one.train.labels).all()
    assert one.train.digest == same.train.digest != other.train.digest


@given(
    st.dictionaries(
        st.text("abcXYZ 09_-", min_size=1, max_size=6), st.integers(2, 9), min_size=2, max_size=4
    )
)
@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_no_image_is_lost_or_labelled_otherwise(tmp_path_factory, counts: dict[str, int]):
    root = tmp_path_factory.mktemp("folders")
    classes = sorted(counts)
    for name, count in counts.items():
        fill(
            root / name,
            encoded(np.full((3, 2), classes.index(name) * 20, np.uint8), "BMP"),
            count,
            "bmp",
        )
    if sum(counts.values()) < 10:
        counts[classes[0]] += 10
        fill(
            root / classes[0], encoded(np.zeros((3, 2), np.uint8), "BMP"), counts[classes[0]], "bmp"
        )
    dataset = data.load(str(root))
    assert dataset.classes == tuple(classes)
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    assert np.bincount(labels).tolist() == [counts[name] for name in classes]
    for split in (dataset.train, dataset.test):
        assert (split.images[:, 0, 0, 0] == split.labels * 20).all()
    assert set(dataset.train.labels.tolist()) == set(range(len(classes)))


GREY = RNG.integers(0, 256, (6, 5), np.uint8)
COLOURS = {
    "PNG": (encoded(), COLOUR),
    "BMP": (encoded(kind="BMP"), COLOUR),
    "WebP": (encoded(kind="WEBP", lossless=True), COLOUR),
    "RGBA": (encoded(np.dstack([COLOUR, GREY])), COLOUR),
    "grey": (encoded(GREY), GREY[..., None]),
    "grey with transparency": (encoded(np.dstack([GREY, GREY[::-1]])), GREY[..., None]),
    "grey JPEG": (encoded(np.full((6, 5), 77, np.uint8), "JPEG"), np.full((6, 5, 1), 77)),
    "black and white": (encoded(GREY > 99), (GREY > 99)[..., None] * 255),
    "16 bits": (encoded(GREY.astype(np.uint16) * 257), GREY[..., None]),
    "palette": (
        encoded(np.full((6, 5, 3), (255, 0, 0), np.uint8), "GIF"),
        np.full((6, 5, 3), (255, 0, 0)),
    ),
}


@pytest.mark.parametrize("kind", COLOURS)
def test_every_kind_of_image(root, kind: str):
    content, pixels = COLOURS[kind]
    assert np.array_equal(read_back(root, content), pixels)


def test_sixteen_bits_are_scaled_and_rounded(root):
    deep = RNG.integers(0, 65536, (6, 5), np.uint16)
    assert np.abs(read_back(root, encoded(deep))[..., 0] - deep / 257).max() <= 0.5


def test_of_an_animation_the_first_frame(root):
    content = io.BytesIO()
    frames = [Image.new("RGB", (5, 6), colour) for colour in ("red", "blue")]
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    assert read_back(root, content.getvalue())[0, 0].tolist() == [255, 0, 0]


def test_one_in_colour_makes_all_so(pictures):
    fill(pictures / "train" / "ape", encoded(GREY), 2)
    dataset = data.load(str(pictures))
    assert np.array_equal(dataset.train.images[1], np.dstack([GREY] * 3))
    assert np.array_equal(dataset.train.images[2], COLOUR)


def test_other_sizes_are_refused_unless_one_is_told(pictures):
    odd = pictures / "train" / "bird" / "1.png"
    odd.write_bytes(encoded(RNG.integers(0, 256, (12, 10, 3), np.uint8)))
    with pytest.raises(DataError) as error:
        data.load(str(pictures))
    first = pictures / "train" / "ape" / "0.png"
    assert (
        str(error.value)
        == f"{odd}: an image of 12×10, where {first} has 6×5; scale all to one size, as with "
        "--size 6x5"
    )
    dataset = data.load(str(pictures), 0, Options((6, 5)))
    assert dataset.shape == (6, 5, 3)
    assert np.array_equal(dataset.train.images[0], COLOUR)  # of that size already
    assert data.load(str(pictures), 0, Options((3, 9))).shape == (3, 9, 3)
    with pytest.raises(DataError, match="from 1 to 4096"):
        Options((0, 5))


NOT_AN_IMAGE = "not a PNG, JPEG, BMP, GIF, WebP, PPM or TIFF image"
REMEDIES = {"text": "remove it", "a page": "fetch it again"}
BAD_IMAGES = {
    "nothing": (b"", "no bytes where an image is needed"),
    "no image": (b"\1\2" * 50, f"{NOT_AN_IMAGE}; mend or"),
    "text": (b"x" * 50, f"{NOT_AN_IMAGE}, but a text file; "),
    "a page": (
        b"\n<!DOCTYPE html><html><body>403</body></html>",
        f"{NOT_AN_IMAGE}, but an HTML page; ",
    ),
    "truncated": (
        encoded(RNG.integers(0, 256, (90, 90, 3), np.uint8))[:9000],
        "cannot be read (image file is truncated",
    ),
    "too large": (claiming(5000, 4000), "claims 4,000×5,000 pixels, over the limit of 16,777,216"),
    "a bomb of which Pillow warns": (claiming(10_000, 10_000), "claims 10,000×10,000 pixels"),
    "a bomb that Pillow refuses": (
        claiming(60_000, 60_000),
        "claims far more pixels than the limit",
    ),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
@pytest.mark.parametrize("where", ["folder", "Parquet"])
def test_an_unreadable_image_is_named_or_left_out(pictures, tmp_path, kind: str, where: str):
    content, says = BAD_IMAGES[kind]
    if where == "folder":
        bad, source = pictures / "train" / "bird" / "1.png", str(pictures)
        bad.write_bytes(content)
    else:
        source = str(
            table(tmp_path / "t.parquet", [encoded()] * 7 + [content] + [encoded()] * 8, [0, 1] * 8)
        )
        bad = f"{source}: row 8"
    with pytest.raises(DataError) as error:
        data.load(source)
    assert str(error.value).startswith(f"{bad}: {says}")
    remedy = REMEDIES.get(kind, "mend or remove it")
    assert str(error.value).endswith(f"; {remedy}, or leave such images out: --skip-unreadable")
    assert "\n" not in str(error.value)
    dataset = data.load(source, 0, SKIP)
    assert len(dataset.left_out) == 1
    assert dataset.left_out[0].startswith(f"{bad}: {says.partition(';')[0]}")
    assert dataset.describe()["left_out"] == 1
    assert np.concatenate([dataset.train.labels, dataset.test.labels]).tolist().count(1) == (
        3 if where == "folder" else 7
    )


@given(st.binary(max_size=300), st.integers(0, 200))
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_no_bytes_whatever_bring_a_traceback(pictures, junk: bytes, at: int):
    whole = encoded()
    (pictures / "train" / "bird" / "1.png").write_bytes(whole[:at] + junk + whole[at + len(junk) :])
    message = error_of(pictures, Options((6, 5)))
    assert not message or (
        "1.png: " in message and "--skip-unreadable" in message and "\n" not in message
    )


BAD_FOLDERS = {
    "empty": (
        lambda r: None,
        (
            "no train-images-idx3-ubyte, no data_batch_1.bin, no train.bin and test.bin, "
            "no train*.parquet, no train*.csv, no train*.npz, no folder of images for each class"
        ),
    ),
    "an empty class": (
        lambda r: (fill(r / "a", encoded(), 5), (r / "b").mkdir()),
        "/b: no images in this class; add some, or remove it",
    ),
    "one class only": (
        lambda r: fill(r / "cat", encoded(), 20),
        "every label is cat; a classifier needs at least two classes",
    ),
    "one image of a class": (
        lambda r: (fill(r / "a", encoded(), 20), fill(r / "b", encoded())),
        "class 'b' has 1 training image, of which",
    ),
    "too few": (
        lambda r: (fill(r / "a", encoded(), 2), fill(r / "b", encoded(), 2)),
        "4 samples are too few",
    ),
    "a class for testing only": (
        lambda r: (
            fill(r / "train" / "a", encoded()),
            fill(r / "test" / "a", encoded()),
            fill(r / "test" / "b", encoded()),
        ),
        "/test/b: a class that",
    ),
    "too deep": (
        lambda r: (fill(r / "a" / "b", encoded()), fill(r / "c", encoded())),
        "/a/b: a folder inside a class",
    ),
    "train without test": (
        lambda r: fill(r / "train" / "a", encoded()),
        "must hold CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS",
    ),
    "train and test without classes": (
        lambda r: (fill(r / "train", encoded(), 20), fill(r / "test", encoded(), 20)),
        (
            "test and train are no classes, and not both hold folders of classes; it must hold "
            "CLASS/IMAGE, or train/CLASS/IMAGE and test"
        ),
    ),
    "classes for training only": (
        lambda r: (fill(r / "train" / "a", encoded(), 20), fill(r / "test", encoded(), 20)),
        "test and train are no classes, and not both hold folders of classes",
    ),
    "a name that rings the bell": (
        lambda r: (fill(r / "a\a", encoded()), fill(r / "b", encoded())),
        "needs a name that can be printed",
    ),
}


@pytest.mark.parametrize("kind", BAD_FOLDERS)
def test_a_bad_folder_gets_one_clear_line(root, kind: str):
    make, says = BAD_FOLDERS[kind]
    root.mkdir()
    make(root)
    with pytest.raises(DataError) as error:
        data.load(str(root))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


LINKS = {
    "to itself": (
        lambda r: (r / "loop.png").symlink_to("loop.png"),
        "/loop.png: cannot be read (Too many levels of symbolic links)",
    ),
    "to nothing": (
        lambda r: (r / "gone.png").symlink_to("none.png"),
        "/gone.png: cannot be read (No such file or directory)",
    ),
    "to its own folder": (
        lambda r: (r / "loop").symlink_to(r.resolve()),
        "/loop: a folder inside a class",
    ),
    "to a pipe": (
        lambda r: os.mkfifo(r / "pipe.png"),
        "/pipe.png: no bytes where an image is needed",
    ),
}


@pytest.mark.parametrize("kind", LINKS)
def test_a_link_that_leads_nowhere_or_round_gets_one_clear_line(pictures, kind: str):
    make, says = LINKS[kind]
    make(pictures / "train" / "ape")
    with pytest.raises(DataError) as error:
        data.load(str(pictures))
    assert says in str(error.value)


def test_what_systems_leave_behind_is_passed_over(pictures):
    before = data.load(str(pictures)).train.digest
    for name in (".DS_Store", "Thumbs.db", ".hidden.png", "desktop.ini"):
        (pictures / "train" / "ape" / name).write_bytes(b"x")
    (pictures / "train" / ".git").mkdir()
    for name in ("System Volume Information", "lost+found", "__MACOSX"):
        (pictures / "train" / name).mkdir()
        (pictures / "train" / name / "x").write_bytes(b"x")
    (pictures / "README.txt").write_text("next to the folders")
    assert data.load(str(pictures)).train.digest == before


@pytest.mark.parametrize("name", ["val", "dev", "eval", "Evaluation"])
def test_other_names_of_a_set_that_is_held_out(pictures, name: str):
    train = data.load(str(pictures)).train.digest
    (pictures / "test").rename(pictures / name)
    dataset = data.load(str(pictures))
    assert (dataset.train.digest, dataset.classes) == (train, ("ape", "bird"))
    assert dataset.notes == (f"{name} is the test set: there is no folder test",)


@pytest.mark.parametrize("name", ["val", "dev", "eval", "evaluation"])
def test_sets_without_classes_are_not_taken_for_classes(root, name: str):
    for part in ("train", name):
        fill(root / part, encoded(), 3)
    with pytest.raises(DataError, match=f"{name} and train are no classes|train and {name} are"):
        data.load(str(root))


@pytest.mark.parametrize("names", [("images", "masks"), ("img", "GT"), ("images", "labels")])
def test_images_and_their_masks_are_not_taken_for_classes(root, names: tuple[str, str]):
    for name in names:
        fill(root / name, encoded(), 3)
    with pytest.raises(DataError, match="are no classes, but images and what belongs to each"):
        data.load(str(root))


@pytest.mark.parametrize("names", [("image", "text"), ("label", "target"), ("masks", "no mask")])
def test_classes_may_be_called_as_such_folders_are(root, names: tuple[str, str]):
    for name in names:
        fill(root / name, encoded(), 3)
    assert data.load(str(root)).classes == names


def test_when_all_of_a_split_are_left_out_that_is_said(pictures):
    for path in pictures.glob("test/*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no test image is left"):
        data.load(str(pictures), 0, SKIP)


def test_more_than_fits_is_refused_before_it_is_decoded(pictures, monkeypatch):
    monkeypatch.setattr(images, "LIMIT", 500)
    with pytest.raises(
        DataError,
        match="8 images of 6×5 take 720 bytes, over the limit of 500; give a smaller --size",
    ):
        data.load(str(pictures))


def test_a_size_for_images_that_have_one_is_refused():
    with pytest.raises(DataError, match="--size is for Parquet, image files"):
        data.load("digits", 0, Options((8, 8)))
