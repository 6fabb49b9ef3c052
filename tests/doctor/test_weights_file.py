"""A's weights in B's layout, ready to load."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from triptych.doctor.frameworks.adapter import ModelError
from triptych.doctor.weights_file import check_weights_file, write_weights


def test_both_formats_hold_the_same(tmp_path):
    weights = {
        "dense/kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3).T,
        "step": np.array(3),  # such as the number of batches that a BatchNorm has seen
        "file": np.ones(2),  # parameters of numpy.savez
        "allow_pickle": np.ones(3),
    }
    write_weights(tmp_path / "w.safetensors", weights)
    write_weights(tmp_path / "w.npz", weights)
    loaded = load_file(tmp_path / "w.safetensors")
    with np.load(tmp_path / "w.npz", allow_pickle=False) as archive:
        for name, array in weights.items():
            assert np.array_equal(loaded[name], array)
            assert np.array_equal(archive[name], array)


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"ends in .safetensors or .npz"):
        check_weights_file(tmp_path / "w.h5")
