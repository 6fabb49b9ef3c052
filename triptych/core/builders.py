"""Tables of builders: what an engine makes of each class of a specification.

Every engine has one table each for layers, losses and optimizers. Its built-in builders and those
of other packages are registered in the same way.
"""

from typing import Any, Generic, TypeVar

from .. import plugins
from ..errors import EngineError

Builder = TypeVar("Builder")


class BuilderTable(Generic[Builder]):
    """The builders of one engine for one kind of specification.

    Parameters
    ----------
    engine : str
        What people call the engine, for example ``PyTorch``.
    kind : str
        ``layer``, ``loss`` or ``optimizer``.
    """

    def __init__(self, engine: str, kind: str) -> None:
        self.engine = engine
        self.kind = kind
        self.builders: dict[type[Any], Builder] = plugins.watch({})

    def register(self, spec_class: type[Any], builder: Builder) -> None:
        """Let `builder` build what `spec_class` describes, in place of an earlier builder."""
        self.builders[spec_class] = builder

    def find(self, spec: Any) -> Builder:
        """Return the builder of a specification.

        Only the exact class counts: the builder of a base class would ignore what a subclass
        changes.

        Raises
        ------
        EngineError
            If no builder is registered for the class of `spec`.
        """
        spec_class = type(spec)
        if spec_class not in self.builders:
            advice = f"a plug-in can add it with the engine's register_{self.kind}"
            reasons = "; ".join(plugins.left_out)
            raise EngineError(
                f"{self.engine} has no {self.kind} for {spec_class.__name__}; {reasons or advice}"
            )
        return self.builders[spec_class]
