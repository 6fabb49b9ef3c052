"""One network in NumPy, PyTorch, TensorFlow and JAX: proved equal, then compared fairly.

``import triptych`` imports nothing else; a name is imported on first use (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .api import (
        compare,
        compare_models,
        dense,
        diagnose,
        export,
        iter_compare,
        iter_export,
        iter_sweep,
        iter_train,
        iter_verify,
        iter_verify_script,
        iter_verify_workers,
        load_data,
        load_new_data,
        predict,
        resume,
        sweep,
        train,
        verify,
        verify_run,
        verify_script,
        verify_workers,
    )
    from .data.dataset import Dataset
    from .errors import TriptychError
    from .results import (
        ComparisonResult,
        Prediction,
        ScriptResult,
        SweepResult,
        TrainingResult,
        VerificationResult,
        WorkersResult,
    )
    from .scale.sweep.grid import Grid
    from .sklearn import TriptychClassifier
    from .spec import callbacks, layers, losses, optimizers, schedules, zoo
    from .spec.augmentation import Augmentation
    from .spec.network import Network
    from .spec.recipe import Recipe

__all__ = [
    "Augmentation",
    "ComparisonResult",
    "Dataset",
    "Grid",
    "Network",
    "Prediction",
    "Recipe",
    "ScriptResult",
    "SweepResult",
    "TrainingResult",
    "TriptychClassifier",
    "TriptychError",
    "VerificationResult",
    "WorkersResult",
    "__version__",
    "callbacks",
    "compare",
    "compare_models",
    "dense",
    "diagnose",
    "export",
    "iter_compare",
    "iter_export",
    "iter_sweep",
    "iter_train",
    "iter_verify",
    "iter_verify_script",
    "iter_verify_workers",
    "layers",
    "load_data",
    "load_new_data",
    "losses",
    "optimizers",
    "predict",
    "resume",
    "schedules",
    "sweep",
    "train",
    "verify",
    "verify_run",
    "verify_script",
    "verify_workers",
    "zoo",
]

# In which module each public name is; a name without an entry is a module of `triptych.spec`.
_MODULES = {
    "Augmentation": "spec.augmentation",
    "ComparisonResult": "results",
    "Dataset": "data.dataset",
    "Grid": "scale.sweep.grid",
    "Network": "spec.network",
    "Prediction": "results",
    "Recipe": "spec.recipe",
    "ScriptResult": "results",
    "SweepResult": "results",
    "TrainingResult": "results",
    "TriptychClassifier": "sklearn",
    "TriptychError": "errors",
    "VerificationResult": "results",
    "WorkersResult": "results",
    "compare": "api",
    "compare_models": "api",
    "dense": "api",
    "diagnose": "api",
    "export": "api",
    "iter_compare": "api",
    "iter_export": "api",
    "iter_sweep": "api",
    "iter_train": "api",
    "iter_verify": "api",
    "iter_verify_script": "api",
    "iter_verify_workers": "api",
    "load_data": "api",
    "load_new_data": "api",
    "predict": "api",
    "resume": "api",
    "sweep": "api",
    "train": "api",
    "verify": "api",
    "verify_run": "api",
    "verify_script": "api",
    "verify_workers": "api",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'triptych' has no attribute {name!r}")
    if name not in _MODULES:
        return import_module(f".spec.{name}", __name__)
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
