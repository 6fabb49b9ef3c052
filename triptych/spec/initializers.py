"""The names of the initializers, with the exact formula of each.

The variance is s/n, with n the fan that the name implies: LeCun 1/fan_in (LeCun et al. 1998, section 4.6), Glorot
2/(fan_in + fan_out) (Glorot & Bengio 2010, eq. 16), He 2/fan_in (He et al. 2015, eq. 10). ``_uniform``: ±√(3·variance);
``_normal``: untruncated, as PyTorch's ``*_normal_``; ``_truncated``: cut at two standard deviations and widened by
1/0.8796 so that the variance is kept, as Keras's ``HeNormal`` and the like. ``torch_uniform`` is ±1/√fan_in, what PyTorch's
layers begin with, biases included.
"""

FAMILIES = ("he", "glorot", "lecun")
DISTRIBUTIONS = ("uniform", "normal", "truncated")
KERNELS = (
    *(f"{family}_{distribution}" for family in FAMILIES for distribution in DISTRIBUTIONS),
    "torch_uniform",
)
BIASES = ("zeros", "torch_uniform")
