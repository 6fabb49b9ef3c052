"""The header of an npy file: what NumPy wrote is read, and nothing else."""

import io

import numpy as np
import pytest

from triptych.core.npy import read_npy_header


def header_of(array: np.ndarray, version: tuple[int, int] | None = None):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    file.seek(0)
    header = read_npy_header(file)
    assert len(file.read()) == array.nbytes  # the file is left behind the header
    return header


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_what_numpy_writes(version):
    header = header_of(np.zeros((3, 5), "<f4"), version)
    assert (header.shape, header.dtype, header.order) == ((3, 5), np.dtype("<f4"), "C")
    header = header_of(np.asfortranarray(np.zeros((4, 2), ">i8")), version)
    assert (header.shape, header.dtype, header.order) == ((4, 2), np.dtype(">i8"), "F")


def claiming(text: str, version: bytes = b"\x01\x00") -> io.BytesIO:
    return io.BytesIO(b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode())


@pytest.mark.parametrize(
    ("shape", "reason"), [("(-1, 3)", "claims the shape"), ("(True, 3)", "claims the shape")]
)
def test_shapes_that_make_no_sense(shape, reason):
    file = claiming(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}")
    with pytest.raises(ValueError, match=reason):
        read_npy_header(file)


def test_other_bytes_and_versions():
    good = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}"
    assert read_npy_header(claiming(good)).shape == (3,)
    with pytest.raises(ValueError, match="version"):
        read_npy_header(claiming(good, b"\x09\x00"))
    with pytest.raises(ValueError, match="magic"):
        read_npy_header(io.BytesIO(b"PK\x03\x04" * 10))
    with pytest.raises(ValueError, match="large"):
        read_npy_header(claiming(good + " " * 20_000))
