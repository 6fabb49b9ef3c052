"""The names of the initializers, with the exact formula of each.

The first part of a name determines the variance of the values:

* ``lecun``: 1/fan_in (LeCun et al. 1998, section 4.6)
* ``glorot``: 2/(fan_in + fan_out) (Glorot & Bengio 2010, eq. 16)
* ``he``: 2/fan_in (He et al. 2015, eq. 10)

The second part determines the distribution:

* ``uniform``: between ±√(3·variance)
* ``normal``: a normal distribution that is not truncated, as in PyTorch's ``kaiming_normal_``
* ``truncated``: a normal distribution that is cut at two standard deviations, then multiplied by
  1/0.8796 so that it has the variance above, as in Keras's ``HeNormal``

``torch_uniform`` is uniform between ±1/√fan_in: the default of PyTorch's layers, also for biases.
"""

FAMILIES = ("he", "glorot", "lecun")
DISTRIBUTIONS = ("uniform", "normal", "truncated")
KERNELS = (
    *(f"{family}_{distribution}" for family in FAMILIES for distribution in DISTRIBUTIONS),
    "torch_uniform",
)
BIASES = ("zeros", "torch_uniform")
