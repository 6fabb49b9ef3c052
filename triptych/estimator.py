"""The former place of `triptych.sklearn.TriptychClassifier`."""

import warnings

from .sklearn import TriptychClassifier

__all__ = ["TriptychClassifier"]

warnings.warn(
    "triptych.estimator is deprecated: import TriptychClassifier from triptych",
    DeprecationWarning,
    stacklevel=2,
)
