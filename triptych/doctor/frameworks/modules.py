"""The modules of a package, each of which is for one framework."""

from pkgutil import iter_modules
from types import ModuleType


def module_names(package: ModuleType) -> tuple[str, ...]:
    """Return the names of a package's modules, in alphabetical order.

    Parameters
    ----------
    package : module
        It is imported; its modules need not be.
    """
    return tuple(sorted(module.name for module in iter_modules(package.__path__)))
