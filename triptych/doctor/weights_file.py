"""A's weights in B's layout and under B's names: ready to load."""

from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from numpy.lib.format import write_array
from safetensors.numpy import save

from ..core import files
from .frameworks.adapter import ModelError
from .observation import Arrays

FORMATS = (".safetensors", ".npz")

# How the file is loaded, by the framework.
LOADING = {
    "torch": "model.load_state_dict(safetensors.torch.load_file({name!r}))",
    "keras": "[w.assign(arrays[w.path]) for w in model.weights]",
}


def check_weights_file(path: Path) -> None:
    """Raise `ModelError` unless a file has one of the endings."""
    if path.suffix not in FORMATS:
        raise ModelError(f"{path}: choose a name that ends in {' or '.join(FORMATS)}")


def write_weights(path: Path, weights: Arrays) -> None:
    """Write weights.

    Parameters
    ----------
    path : Path
        Its ending decides the format: ``.safetensors`` or ``.npz``.
    weights : dict of str to ndarray
        By the framework's names, in its layout.
    """
    if path.suffix == ".safetensors":
        contiguous = {name: np.asarray(array, order="C") for name, array in weights.items()}
        files.write(path, save(contiguous))
        return
    content = BytesIO()
    # `numpy.savez` cannot write a weight that has the name of one of its parameters.
    with ZipFile(content, "w") as archive:
        for name, array in weights.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                write_array(member, array, allow_pickle=False)
    files.write(path, content.getvalue())
