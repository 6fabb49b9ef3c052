"""Files that are refused: the message names the cause and the remedy."""

import gzip
import os
import struct

import pytest
from support.csv_files import load

from triptych.data import loading as data
from triptych.data.reading import Options
from triptych.errors import DataError

REFUSED = {
    "html": (
        b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "not a CSV, but an HTML page; fetch it again",
    ),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "git lfs pull"),
    "pickle": (b"\x80\x04\x95\x10" + bytes(40), "a pickle"),
    "parquet": (b"PAR1" + bytes(40), "name must end in .parquet"),
    "one column": (b"5\n4\n3\n", "one column only"),
    "blank lines": (b"label,a\n1,2\n" + b"\n" * 5000, "more blank lines than rows"),
    "cut off": (
        b"label,a,b\n1,2,3\n0,2,3\n1,2",
        "line 4 has 2 columns where line 1 has 3, and it is the last line: the file is cut off",
    ),
    "text among numbers": (
        b"label,a,b\n" + b"1,2,3\n0,1,2\n" * 9 + b"1,2,red\n",
        "line 20, column 3 ('b'): 'red' is not a number",
    ),
    "column of words": (
        b"label,a,sex\n" + b"1,2,male\n0,3,female\n" * 9,
        "column 3 ('sex') holds words, for example 'male'",
    ),
    "two label columns": (
        b"label,class,a\n" + b"1,2,3\n0,1,2\n" * 9,
        "may both be the labels; name one with --label",
    ),
    "a header that is too short": (
        b"label,a\n" + b"1,2,3\n0,1,2\n" * 9,
        "line 2 has 3 columns where line 1 has 2",
    ),
    "a row that is too long": (
        b"label,a,b\n" + b"1,2,3\n0,1,2\n" * 9 + b"1,2,3,4\n",
        "line 20 has 4 columns where line 1 has 3",
    ),
    "no number": (
        b"label,a,b\n" + b"1,2,3\n0,1,2\n" * 9 + b"1,nan,2\n",
        "line 20, column 2 ('a'): NaN is not a finite number",
    ),
    "quantities": (
        b"a,b,y\n" + b"1,2,3.5\n0,1,2.25\n" * 9,
        "label 3.5 is not a whole number or a word",
    ),
    "thousands or decimals": (
        b"a;label\n" + b"1,234;1\n2,345;0\n" * 9,
        "may be a decimal comma or a thousands separator",
    ),
    "pixels with gaps": (
        b"label,pixel0,pixel2,pixel3\n" + b"1,2,3,4\n0,1,2,3\n" * 9,
        "some of an image are left out",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_names_the_cause_and_the_remedy(tmp_path, kind: str):
    content, says = REFUSED[kind]
    with pytest.raises(DataError) as error:
        load(tmp_path / "t.csv", content)
    assert says in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "t.csv"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are Unix's")
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.npz", "t.parquet"])
def test_a_pipe_or_a_device_is_not_waited_for(tmp_path, name: str):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="is a named pipe; a regular file is needed"):
        data.load(str(tmp_path / name))
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(DataError, match="is a device; a regular file is needed"):
        data.load(str(tmp_path / name))


@pytest.mark.parametrize("text", ["28", "0x28", "28x28x3x3", "axb", "-1x5", ""])
def test_a_shape_that_is_none(text: str):
    with pytest.raises(DataError, match="give height and width, for example 28x28"):
        Options(shape=text)


@pytest.mark.parametrize(("option", "value"), [("label", "y"), ("shape", "28x28")])
def test_an_option_that_means_nothing_is_refused(option: str, value: str):
    with pytest.raises(DataError, match=f"digits: --{option} is for .*; leave it out"):
        data.load("digits", 0, Options(**{option: value}))


def test_a_gzip_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    blank = gzip.compress(b"label,a\n1,2\n0,1\n" + b"\n" * 10_000_000)
    with pytest.raises(DataError, match="more blank lines than rows"):
        load(tmp_path / "a.csv.gz", blank)
    large = gzip.compress(b"label,a\n1,2\n0,1\n")[:-4] + struct.pack("<I", 3 * 2**30)
    with pytest.raises(DataError, match="3,221,225,472 bytes, over the limit"):
        load(tmp_path / "b.csv.gz", large)
