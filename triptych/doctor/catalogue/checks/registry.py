"""The table of all checks; importing this module fills it."""

from . import activations as activations
from . import arithmetic as arithmetic
from . import convolution_pooling as convolution_pooling
from . import data_metrics_modes as data_metrics_modes
from . import initialization as initialization
from . import layout as layout
from . import losses as losses
from . import normalization as normalization
from . import optimizers as optimizers
from . import schedules_callbacks as schedules_callbacks
from . import sequences as sequences
from .support import CHECKS as CHECKS
