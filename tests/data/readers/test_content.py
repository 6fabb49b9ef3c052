"""What the first bytes of a file show: one list of kinds for every reader."""

import gzip
import io
import pickle
import zipfile

import numpy as np
import pytest

from triptych.data import loading as data
from triptych.data.readers.content import TEXT, content_of
from triptych.errors import DataError

ROWS = "\n".join(f"{i % 2},{i},{i * i % 7}" for i in range(40))


def first_member(name: str) -> bytes:
    """Return the first bytes of a zip archive whose first file has this name."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"1,2,3\n" * 9)
    return content.getvalue()


# The first bytes of a file, and what it is.
KINDS = {
    "zip": (b"PK\x03\x04\x14\0", "an archive"),
    "xz": (b"\xfd7zXZ\0\0\4", "an xz file"),
    "bzip2 of level 1": (b"BZh11AY&SY\0", "a bzip2 file"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c\0\4", "an archive"),
    "tar": (b"a.csv".ljust(257, b"\0") + b"ustar\x0000", "an archive"),
    "Parquet": (b"PAR1\x15\4\x15\0", "a Parquet file"),
    "MATLAB": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "a MATLAB file"),
    "MATLAB in HDF5": (b"MATLAB 7.3 MAT-file, Platform: GLNXA64", "a MATLAB file of version 7.3"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3", "a PDF file"),
    "PNG": (b"\x89PNG\r\n\x1a\n\0", "a PNG image"),
    "JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "a JPEG image"),
    "Excel of 1997": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a spreadsheet"),
    "IDX of two dimensions": (b"\0\0\x08\2\0\0\0\5", "a file of MNIST's IDX format"),
    "ARFF": (b"\n@RELATION iris\n", "an ARFF file"),
    "JSON": (b' {"label": [1, 2]}', "a JSON file"),
    "a list in JSON": (b'[\n {"label": 1}, {"label": 2}]', "a JSON file"),
    "rows of a CSV in brackets": (b"[1,2,3]\n[4,5,6]\n", "a text file"),
    "LIBSVM": (b"-1 3:0.5 7:1 12:-1e-3\n+1 3:0.25 8:1\n", "a LIBSVM file"),
    "times in a CSV": (b"1 10:30 2.5\n0 11:30 3.5\n", "a text file"),
    "Excel of today": (first_member("[Content_Types].xml"), "a spreadsheet"),
    "OpenDocument": (first_member("mimetype"), "a spreadsheet"),
    "NumPy archive": (first_member("x_train.npy"), "an .npz archive"),
    "zip with a NumPy file in a folder": (first_member("data/x.npy"), "an archive"),
    "XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML file"),
    "a part of a page": (b"<div>Please sign in</div>", "an XML file"),
    "a page": (b"\xef\xbb\xbf\r\n<HTML><body>", "an HTML page"),
    "MP4": (b"\0\0\0\x20ftypisom\0\0\2\0", "a video or another MP4 file"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_files(kind: str):
    head, what = KINDS[kind]
    found = content_of(head)
    assert found is not None
    assert found.what == what


@pytest.mark.parametrize("version", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [{"x": 1}, [1, 2], np.arange(3), (1, "a")], ids=repr)
def test_pickles_of_every_version(version: int, value: object):
    found = content_of(pickle.dumps(value, version))
    assert found is not None
    assert found.what.startswith("a pickle, which can run any code")


HEADERS = ["row,ftype,label", "row,ftypheic,label", "a" * 128 + "DICM,b,label"]


@pytest.mark.parametrize("header", HEADERS)
def test_the_header_of_a_table_is_no_signature(tmp_path, header: str):
    assert content_of(header.encode()) is TEXT
    rows = [f"{i},{i * 3},{i % 2}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]))
    assert data.load(str(tmp_path / "t.csv")).classes == ("0", "1")


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_file_that_is_compressed_twice(tmp_path, name: str):
    (tmp_path / name).write_bytes(gzip.compress(gzip.compress(ROWS.encode())))
    with pytest.raises(DataError, match=r"compressed with gzip twice; unpack it once"):
        data.load(str(tmp_path / name))


NEEDED = {"t.csv": "a CSV", "t.npz": "an .npz", "t.parquet": "a Parquet file"}


@pytest.mark.parametrize("name", NEEDED)
def test_every_reader_has_the_same_words(tmp_path, name: str):
    (tmp_path / name).write_bytes(b"%PDF-1.7\n%\xe2\xe3")
    with pytest.raises(DataError) as error:
        data.load(str(tmp_path / name))
    what = f"not {NEEDED[name]}, but a PDF file; convert it to PNG or JPEG"
    assert str(error.value).endswith(f"{name}: {what}")


def test_a_damaged_jpeg_is_not_called_another_format(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(3):
            (tmp_path / label / f"{i}.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    with pytest.raises(DataError) as error:
        data.load(str(tmp_path))
    assert "not a PNG, JPEG" in str(error.value)
    assert "but a JPEG" not in str(error.value)
