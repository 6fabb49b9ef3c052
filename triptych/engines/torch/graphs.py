"""Steps as CUDA graphs: recorded once and replayed, so that a step costs one launch in place of one for each kernel.

What changes from step to step is copied to where the graph reads it. The first steps of a kind are made as they come, beside the
current stream, because libraries choose kernels and take memory then, which is forbidden while a graph is recorded
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ... import optimizers as spec
from ...recipe import Recipe

FIRST = 3  # steps of a kind that are made before one is recorded


@dataclass(frozen=True)
class Drawn:
    """What is drawn for a step, on the device; of all steps of a plan together, with one axis more in front."""

    order: Tensor | None
    masks: dict[str, Tensor]
    augmentation: dict[str, Tensor]

    def each(self, change: Callable[[Tensor], Tensor]) -> "Drawn":
        """Return the same with every tensor changed."""
        masks, augmentation = ({name: change(tensor) for name, tensor in kind.items()} for kind in (self.masks, self.augmentation))
        return Drawn(None if self.order is None else change(self.order), masks, augmentation)

    def __getitem__(self, k: int) -> "Drawn":
        return self.each(lambda tensor: tensor[k])

    def tensors(self) -> list[Tensor]:
        return [*([] if self.order is None else [self.order]), *self.masks.values(), *self.augmentation.values()]


Step = Callable[[Tensor, Tensor, Drawn, float | Tensor], Tensor]  # with images, labels, what is drawn, and the rate: the loss


def recordable(recipe: Recipe) -> bool:
    """Return whether fused kernels make the update, which read the rate from the device, as a float32."""
    o = recipe.optimizer
    plain = isinstance(o, spec.SGD) and (not o.momentum or o.velocity == "gradients")
    return recipe.dtype == "float32" and (plain or (isinstance(o, spec.Adam) and not o.epsilon_first))


class Recorder:
    """Makes steps, and from the fourth of a kind on replays them.

    Parameters
    ----------
    step : Step
        Makes one.
    optimizer : torch.optim.Optimizer
    own : torch.Generator
        Of masks that are not dealt: a replay draws on.
    """

    def __init__(self, step: Step, optimizer: torch.optim.Optimizer, own: torch.Generator) -> None:
        self.step, self.optimizer, self.own = step, optimizer, own
        self.made: Counter[object] = Counter()
        self.known: dict[object, Recorded] = {}

    def __call__(self, x: Tensor, y: Tensor, drawn: Drawn, rate: float) -> Tensor:
        kind = (x.data_ptr(), *(tensor.shape for tensor in drawn.tensors()))
        self.made[kind] += 1
        if self.made[kind] <= FIRST:
            return beside(lambda: self.step(x, y, drawn, rate))
        if kind not in self.known:
            self.known[kind] = Recorded(self, x, y, drawn)
        return self.known[kind].replay(drawn, rate)


class Recorded:
    """A step, and the memory that its graph reads."""

    def __init__(self, by: Recorder, x: Tensor, y: Tensor, drawn: Drawn) -> None:
        self.x, self.y, self.drawn = x, y, drawn.each(torch.clone)
        self.rate = torch.zeros((), device=x.device)
        groups = by.optimizer.param_groups
        for group in groups:  # torch.optim asks for this where it is recorded, and warns of it elsewhere
            group["capturable"] = True
        self.launch = record(lambda: by.step(x, y, self.drawn, self.rate), by.own)
        for group in groups:
            group["capturable"] = False

    def replay(self, drawn: Drawn, rate: float) -> Tensor:
        for mine, theirs in zip(self.drawn.tensors(), drawn.tensors(), strict=True):
            mine.copy_(theirs)
        self.rate.fill_(rate)
        return self.launch().clone()


def record(step: Callable[[], Tensor], own: torch.Generator) -> Callable[[], Tensor]:
    """Record a step without making it, and return what makes it."""
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(own)
    with torch.cuda.graph(graph):
        loss = step()

    def replay() -> Tensor:
        graph.replay()
        return loss

    return replay


def beside(step: Callable[[], Tensor]) -> Tensor:
    """Make a step beside the current stream, which waits for it."""
    current, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        loss = step()
    current.wait_stream(side)
    return loss
