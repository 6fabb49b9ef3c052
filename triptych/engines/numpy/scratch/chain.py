"""A network's layers, in stretches, with those that mix samples between them; and the layer that is two chains, added."""

from collections.abc import Sequence

from ....spec.layers import Flatten
from ....spec.placement import PlacedLayer
from .crew import Crew
from .layers import Layer, Training
from .products import Array
from .stretch import Line, Loss, Stretch, divided, first_to_learn, fitting, least

PATIENCE = 4  # a layer that should take more than so many times the samples of the stretch before it begins a new one


class Chain:
    """Stretches, with the layers that mix samples between them. A whole network ends in a stretch, and the loss belongs to it."""

    def __init__(self, layers: Sequence[Layer], places: Sequence[PlacedLayer], crew: Crew) -> None:
        self.segments: list[Stretch | Line] = []
        start = 0
        for i, layer in enumerate(layers):
            before = places[start:i]
            made = any(not isinstance(place.layer, Flatten) for place in before)
            if layer.mixes or (made and PATIENCE * fitting(before) < least(places[i])):
                if before:
                    self.segments.append(Stretch(Line(layers[start:i], before), crew))
                start = i
            if layer.mixes:
                self.segments.append(Line([layer], places[i : i + 1]))
                start = i + 1
        if start < len(layers):
            self.segments.append(Stretch(Line(layers[start:], places[start:]), crew))
        self.layers = list(layers)
        self.first = first_to_learn(self.segments)

    def every(self) -> list[Layer]:
        return [layer for segment in self.segments for layer in segment.every()]

    def bind(self, gradient: Array) -> None:
        """Let every layer write its gradients into a flat array, where they lie in order."""
        for segment, own in zip(self.segments, divided(gradient, self.segments), strict=True):
            segment.bind(own)

    def forward(self, x: Array, training: Training | None = None) -> Array:
        for segment in self.segments:
            x = segment.forward(x, training)
        return x

    def backward(self, dy: Array, into: bool = True) -> Array:
        return self._back(len(self.segments) - 1, dy, into)

    def around(self, x: Array, training: Training, loss: Loss) -> Array:
        """Go forward, through the loss, and back: return the loss, with every gradient where it was told to be."""
        *before, last = self.segments
        for segment in before:
            x = segment.forward(x, training)
        assert isinstance(last, Stretch)
        value, dx = last.around(x, training, loss, self.first < len(before))
        self._back(len(before) - 1, dx, False)
        return value

    def _back(self, start: int, dy: Array, into: bool) -> Array:
        for i in range(start, -1 if into else self.first - 1, -1):
            dy = self.segments[i].backward(dy, into or i > self.first)
        return dy


class Residual(Layer):
    """y = branch(x) + projection(x), the projection being the identity where there is none: ∂x is the sum of both."""

    def __init__(self, name: str, branch: Line | Chain, projection: Line | Chain) -> None:
        super().__init__(name)
        self.branch, self.projection = branch, projection

    @property
    def mixes(self) -> bool:
        return any(layer.mixes for layer in self.every()[:-1])

    def forward(self, x: Array, training: Training | None = None) -> Array:
        return self.branch.forward(x, training) + self.projection.forward(x, training)

    def backward(self, dy: Array, into: bool = True) -> Array:
        around, through = self.projection.backward(dy, into), self.branch.backward(dy, into)
        return around + through if into else dy

    def every(self) -> list[Layer]:
        return [*self.branch.every(), *self.projection.every(), self]

    def bind(self, gradient: Array) -> None:
        parts = (self.branch, self.projection)
        for part, own in zip(parts, divided(gradient, parts), strict=True):
            part.bind(own)

    def twin(self) -> "Residual":
        assert isinstance(self.branch, Line)
        assert isinstance(self.projection, Line)  # what mixes samples has no twins
        return Residual(self.name, self.branch.twin(), self.projection.twin())
