"""PyTorch with a DataLoader, as in its tutorials. It shuffles, so it cannot be fed batches."""

from collections.abc import Iterable
from itertools import chain, islice, repeat
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from triptych.core.plan import Plan
from triptych.core.split import Split

from . import torch_plain


class Engine(torch_plain.Engine):
    """Plain PyTorch on the batches of a DataLoader."""

    def upload(self, split: Split) -> Any:
        """Return an iterator over batches, epoch after epoch without end."""
        native = super().upload(split)
        dataset = TensorDataset(native.x, native.y)
        loader = DataLoader(dataset, int(self.recipe.batch_size), shuffle=True)
        return chain.from_iterable(repeat(loader))

    def batches(self, data: Any, plan: Plan) -> Iterable[tuple[Tensor, Tensor]]:
        """Return as many of the loader's batches as a plan has steps."""
        return islice(data, len(plan))
