import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.core import layout
from triptych.core.registry import entries
from triptych.engines.torch.info import INFO
from triptych.spec import zoo


@pytest.mark.parametrize("engine", list(entries()))
@given(st.tuples(*[st.integers(1, 5)] * 4))
def test_there_and_back_is_the_identity(engine: str, sizes: tuple[int, int, int, int]):
    a, h, w, c = sizes
    patterns = entries()[engine].layout
    fold = (("h", h), ("w", w))
    for role, shape, known in (
        ("dense", (a, h), ()),
        ("vector", (a,), ()),
        ("folded", (h * w * c, a), fold),
        ("image", (a, h, w, c), ()),
        ("flat", (a, h * w * c), fold),
    ):
        array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
        native = layout.to_native(patterns, role, array, known)
        back = layout.to_canonical(patterns, role, native, known)
        # Also where an axis has length 1, whose stride means nothing: PyTorch reads it as a layout.
        if native is not array:
            assert native.strides == np.empty(native.shape).strides
        assert back.flags.c_contiguous
        assert np.array_equal(back, array)


def test_a_dense_layer_after_a_flatten_sees_the_same_pixels():
    """In PyTorch's order the flattened image is permuted, and the folded kernel with it: the
    product is the same.
    """
    network = zoo.dense("colour", [], shape=(4, 3, 2))
    place = network.places[-1]
    rng = np.random.default_rng(0)
    images, kernel = rng.normal(size=(5, 4, 3, 2)), rng.normal(size=(24, 10))
    flat = layout.to_native(INFO.layout, "image", images).reshape(5, -1)
    product = flat @ layout.to_native(INFO.layout, "folded", kernel, place.parameters[0].sizes).T
    assert np.allclose(product, images.reshape(5, -1) @ kernel, atol=1e-12)
    assert not np.allclose(flat @ kernel, images.reshape(5, -1) @ kernel)
