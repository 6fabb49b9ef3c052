"""Data one folder too high or too low, or of another kind: the message names the cause and the way
out.
"""

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import SKIP, encoded, error_of, fill, table

from triptych.data import hints
from triptych.data import loading as data
from triptych.data.readers import cifar, folder
from triptych.data.readers.content import content_of
from triptych.data.reading import PLAIN
from triptych.errors import DataError

PICKLED = b"\x80\x04\x95\x0b\0\0\0\0\0\0\0]\x94(K\x01K\x02K\x03e."  # [1, 2, 3]
DIGITS = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def four(place: Path, name: str = "{}-{}-idx{}-ubyte") -> None:
    """Write MNIST's four files, of 20 images each."""
    for part in ("train", "t10k"):
        for what, array in (("images", DIGITS), ("labels", np.arange(20, dtype=np.uint8) % 10)):
            path = place / name.format(part, what, array.ndim)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(idx(array))


def records(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name in (*cifar.TRAIN, *cifar.TEST):
        content = np.zeros((10, cifar.RECORD), np.uint8)
        content[:, 0] = range(10)
        (place / name).write_bytes(content.tobytes())
    (place / "batches.meta.txt").write_text("airplane\n")


def pickles(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name in (*cifar.TRAIN, *cifar.TEST):
        (place / name.removesuffix(".bin")).write_bytes(PICKLED)


def files(place: Path, **contents: bytes) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (place / name.replace("__", ".")).write_bytes(content)


def saved_to_disk(root: Path) -> None:
    for part in ("train", "test"):
        files(root / part, data__arrow=b"\xff\xff\xff\xff" + bytes(99), state__json=b"{}")
    files(root, dataset_dict__json=b'{"splits": ["train", "test"]}')


def split(root: Path, *parts: str) -> None:
    for part in parts:
        for name in ("ape", "bird"):
            fill(root / part / name, encoded(), 2)


def hub_cache(root: Path) -> None:
    """The Hub's cache: links in a snapshot that lead to blobs."""
    (root / "blobs").mkdir(parents=True)
    for part in ("train", "test"):
        blob = table(root / "blobs" / part, [encoded()] * 10, [0, 1] * 5)
        place = root / "snapshots" / "0a1b2c" / "plain"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{part}-00000-of-00001.parquet").symlink_to(blob)


# What is made in a folder, which path in it is given, and what is said; ROOT is the folder.
ASTRAY: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "torchvision's processed": (
        lambda r: (four(r / "raw"), files(r / "processed", training__pt=b"PK")),
        "processed",
        "training.pt is a pickle, which can run any code when it is read: use --data ROOT/raw",
    ),
    "one of MNIST's files": (
        four,
        "train-images-idx3-ubyte",
        "this is one of MNIST's files: give their folder, ROOT",
    ),
    "above CIFAR-10": (
        lambda r: records(r / "cifar-10-batches-bin"),
        "",
        "holds CIFAR-10 binary files in cifar-10-batches-bin; use --data ROOT/cifar-10-batches-bin",
    ),
    "above CIFAR-10's pickles": (
        lambda r: pickles(r / "cifar-10-batches-py"),
        "",
        (
            "ROOT/cifar-10-batches-py/data_batch_1: a pickle, which can run any code when it is "
            "read; needed is CIFAR-10's binary version"
        ),
    ),
    "one of CIFAR-10's files": (
        records,
        "data_batch_1.bin",
        "this is one of CIFAR-10's files: give their folder, ROOT",
    ),
    "CIFAR-100's pickles": (
        lambda r: files(r / "cifar-100-python", train=b"\x80\2", test=b"\x80\2", meta=b"\x80\2"),
        "cifar-100-python",
        (
            "CIFAR-100's Python version is a pickle, which can run any code when it is read; "
            "needed is its binary version"
        ),
    ),
    "the Hub's cache": (
        hub_cache,
        "",
        "this folder holds Parquet files in snapshots/0a1b2c; use --data ROOT/snapshots/0a1b2c",
    ),
    "the Hub's converted files": (
        lambda r: table(r / "train" / "0000.parquet", [encoded()] * 10, [0, 1] * 5),
        "train",
        (
            "name one of its Parquet files, or the folder above if that holds the folders train "
            "and test"
        ),
    ),
    "save_to_disk": (
        saved_to_disk,
        "",
        "a data set as save_to_disk writes it, in Arrow files; write each split as Parquet",
    ),
    "save_to_disk of one split": (
        saved_to_disk,
        "train",
        "a data set as save_to_disk writes it, in Arrow files; write each split as Parquet",
    ),
    "wrapped once more": (
        lambda r: split(r / "mnist_png", "train", "test"),
        "",
        "a folder inside a class; ROOT must hold CLASS/IMAGE, or",
    ),
    "wrapped once more, where": (
        lambda r: split(r / "mnist_png", "train", "test"),
        "",
        "; use --data ROOT/mnist_png",
    ),
    "wrapped twice, with a test set without classes": (
        lambda r: (
            split(r / "trainingSet", "trainingSet"),
            fill(r / "testSet" / "testSet", encoded(), 9),
        ),
        "",
        "; use --data ROOT/trainingSet/trainingSet",
    ),
    "images in no folder": (
        lambda r: fill(r, encoded(), 9),
        "",
        "its images must be in a folder for each class: CLASS/IMAGE",
    ),
    "the folder of one class": (
        lambda r: split(r, "train", "test"),
        "train/ape",
        "this is the folder of one class: use --data ROOT",
    ),
    "the folder of one class of a set to split": (
        lambda r: split(r, "."),
        "ape",
        "this is the folder of one class: use --data ROOT",
    ),
    "one image": (
        lambda r: split(r, "."),
        "ape/0.png",
        "this is one image: give a folder with a folder of images for each class",
    ),
    "only arrays of MATLAB": (
        lambda r: files(r, train_32x32__mat=b"MATLAB 5.0"),
        "",
        "train_32x32.mat is a MATLAB file: read it with scipy",
    ),
}


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("kind", ASTRAY)
def test_data_that_is_somewhere_else_is_found(root: Path, kind: str, skip: bool):
    make, given_path, says = ASTRAY[kind]
    root.mkdir()
    make(root)
    message = error_of(root / given_path, SKIP if skip else PLAIN)
    places = (root, root.resolve())  # what is above a relative path is named in full
    assert any(says.replace("ROOT", str(place)) in message for place in places)
    assert "mend" not in message
    assert "\n" not in message
    assert "--skip-unreadable" not in message


# MNIST's files somewhere below the folder that is given.
BELOW: dict[str, tuple[Callable[[Path], object], str]] = {
    "torchvision's root": (lambda r: four(r / "MNIST" / "raw"), ""),
    "torchvision's MNIST": (lambda r: four(r / "MNIST" / "raw"), "MNIST"),
    "in folders of their names": (
        lambda r: four(r, "{0}-{1}-idx{2}-ubyte/{0}-{1}-idx{2}-ubyte"),
        "",
    ),
}


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("kind", BELOW)
def test_mnist_below_a_folder_is_read(root: Path, kind: str, skip: bool):
    make, given_path = BELOW[kind]
    make(root)
    dataset = data.load(str(root / given_path), 0, SKIP if skip else PLAIN)
    assert np.array_equal(dataset.train.images[..., 0], DIGITS)
    assert dataset.test.labels.tolist() == [*range(10)] * 2


def test_two_data_sets_below_a_folder_are_named(root: Path):
    for name in ("MNIST", "FashionMNIST"):
        four(root / name / "raw")
    assert "FashionMNIST/raw, MNIST/raw" in error_of(root)


OTHER_FILES = {
    "x.pt": (
        b"PK\3\4",
        "a pickle, which can run any code when it is read: save its arrays as an .npz",
    ),
    "mnist.pkl.gz": (
        gzip.compress(b"x"),
        "a pickle, which can run any code when it is read: save its arrays as an .npz",
    ),
    "x.mat": (
        b"MATLAB 5.0",
        "a MATLAB file: read it with scipy.io.loadmat and save its arrays as an .npz",
    ),
    "x.H5": (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file: read it with h5py and save its arrays as an .npz",
    ),
    "x.npy": (b"\x93NUMPY", "one array without labels: save images and labels in one .npz"),
    "cifar-10-binary.tar.gz": (
        gzip.compress(b"x"),
        "an archive: unpack it and give the file or folder inside; or: triptych data fetch cifar10",
    ),
    "archive.rar": (b"Rar!", "an archive: unpack it and give the file or folder inside"),
    "x.arff": (b"@RELATION x", "an ARFF file: save it as a CSV with a column label"),
    "x.bz2": (b"BZh9", "a compressed file: unpack it"),
    "x.arrow": (b"ARROW1", "an Arrow file: write it as Parquet: Dataset.to_parquet"),
    "page": (b"<!doctype html>\n<p>", "an HTML page: fetch it again"),
    "hdf": (b"\x89HDF\r\n\x1a\n", "an HDF5 file: read it with h5py"),
    "pickled": (PICKLED, "a pickle, which can run any code when it is read"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "a pointer of Git LFS: get the file itself: git lfs pull",
    ),
    "notes.log": (b"hello", "a text file"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_a_file_of_another_kind_is_named(root: Path, name: str):
    content, says = OTHER_FILES[name]
    root.mkdir()
    (root / name).write_bytes(content)
    message = error_of(root / name)
    assert "unknown kind of file; one of .csv" in message
    assert f"this is {says}" in message
    assert "\n" not in message


def test_no_pickle_is_opened_to_find_out(tmp_path: Path):
    bomb = f"cbuiltins\nopen\n(S'{tmp_path / 'run'}'\nS'w'\ntR.".encode()
    for name in ("x.pkl", "x.pt", "x"):
        (tmp_path / name).write_bytes(bomb)
        assert "unknown kind" in error_of(tmp_path / name)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["pipe", "pipe.parquet", "pipe.pkl", "pipe.png"])
def test_a_pipe_is_never_waited_for(tmp_path: Path, name: str):
    os.mkfifo(tmp_path / name)
    assert "regular file" in error_of(tmp_path / name)


def test_pipes_in_the_place_of_parquet_files(root: Path):
    root.mkdir()
    for name in ("train.parquet", "test.parquet"):
        os.mkfifo(root / name)
    assert "regular file" in error_of(root)


def test_a_device_in_the_place_of_a_file(tmp_path: Path):
    (tmp_path / "zero.parquet").symlink_to("/dev/zero")
    assert "regular file" in error_of(tmp_path / "zero.parquet")


def test_a_folder_that_hides_a_name_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
):
    monkeypatch.chdir(tmp_path)
    split(tmp_path / "mnist" / "mnist_png", "train", "test")
    explanation = (
        "--data mnist means the folder mnist in the working directory; for the data set mnist: "
    )
    with pytest.raises(DataError, match="a folder inside a class") as error:
        data.load("mnist")
    assert str(error.value).endswith(f"then --data {cache / 'mnist'}")
    assert (
        hints.hiding("mnist", Path("mnist"))
        == f"{explanation}triptych data fetch mnist, then --data {cache / 'mnist'}"
    )
    four(cache / "mnist")
    assert hints.hiding("mnist", Path("mnist")) == f"{explanation}--data {cache / 'mnist'}"
    (tmp_path / "digits").write_text("x")
    with pytest.raises(
        DataError, match="for the data set digits rename the file or work in another folder"
    ) as error:
        data.load("digits")
    assert str(error.value).count("the data set digits") == 1
    assert "means" not in error_of(tmp_path / "mnist")


def test_a_folder_that_hides_a_name_and_can_be_read_is_noted(tmp_path: Path):
    line = hints.hiding("cifar10", tmp_path)
    assert line.startswith(
        f"--data cifar10 means the folder {tmp_path} in the working directory; for the data set "
        "cifar10: "
    )


# What is made below a folder of images, and the notes or the refusal.
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "train and test": (("train", "test"), ()),
    "training and testing": (("training", "testing"), ()),
    "capitals": (("Train", "TEST"), ()),
    "train and val": (("train", "val"), ("val is the test set: there is no folder test",)),
    "training and validation": (
        ("training", "Validation"),
        ("Validation is the test set: there is no folder test",),
    ),
    "all three": (
        ("train", "valid", "test"),
        ("valid is left out: neither training nor test set",),
    ),
    "and others": (
        ("train", "val", "test", "extra"),
        ("extra and val are left out: neither training nor test set",),
    ),
}


@pytest.mark.parametrize("kind", PARTS)
def test_the_parts_of_a_data_set(root: Path, kind: str):
    names, notes = PARTS[kind]
    for at, name in enumerate(names):
        for label, count in (("ape", 2), ("bird", 3)):
            fill(root / name / label, encoded(np.full((2, 2), 40 * at + 40, np.uint8)), count)
    dataset = folder.read(root, PLAIN, None)
    assert dataset.classes == ("ape", "bird")
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert dataset.test is not None
    assert dataset.test.labels.tolist() == [0, 0, 1, 1, 1]
    second = names.index("test") if "test" in names else 1
    assert (dataset.train.images == 40).all()
    assert (dataset.test.images == 40 * second + 40).all()
    assert dataset.notes == notes


NO_CLASSES = {
    "train and val": (
        ("train", "val"),
        "train and val are no classes, and not both hold folders of classes",
    ),
    "training and testing": (("training", "testing"), "testing and training are no classes"),
    "three parts": (("train", "valid", "test"), "test, train and valid are no classes"),
    "parts and a class": (("train", "test", "bus"), "test and train are no classes"),
    "one part": (("train",), "train is no class, and there is no other folder"),
    "one part twice": (
        ("train", "Training"),
        "Training and train are the same part of a data set; keep one of them",
    ),
}


@pytest.mark.parametrize("kind", NO_CLASSES)
def test_parts_that_hold_images_are_no_classes(root: Path, kind: str):
    names, says = NO_CLASSES[kind]
    for name in names:
        fill(root / name, encoded(), 20)
    assert says in error_of(root)


def test_a_class_may_be_called_train(root: Path):
    for name in ("bus", "train"):
        fill(root / name, encoded(), 20)
    assert data.load(str(root)).classes == ("bus", "train")


def test_a_training_set_alone_says_how_to_split_one_off(root: Path):
    split(root, "train")
    assert (
        f"there is train, but no test; to have a test set split off, give {root / 'train'}; it "
        "must hold" in error_of(root)
    )
    fill(root / "test" / "unknown", encoded(), 2)
    assert f"to have a test set split off, give {root / 'train'}" in error_of(root)


@given(st.binary(max_size=400))
def test_any_first_bytes_may_come(head: bytes):
    content = content_of(head)
    assert content is None or content.what.isprintable()
