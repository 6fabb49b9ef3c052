"""What PyTorch and Keras compute differently under the same names, each with its measurement."""

from .entry import Difference as Difference
from .registry import entries as entries
from .registry import find as find
from .registry import get as get
