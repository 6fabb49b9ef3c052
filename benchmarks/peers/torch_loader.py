"""PyTorch with a DataLoader, as its tutorials have it: the loader shuffles, so that nobody can feed it batches."""

from collections.abc import Iterable
from itertools import chain, islice, repeat
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from triptych.core.plan import Plan
from triptych.core.split import Split

from . import torch_plain


class Engine(torch_plain.Engine):
    def upload(self, split: Split) -> Any:
        native = super().upload(split)
        return chain.from_iterable(
            repeat(
                DataLoader(
                    TensorDataset(native.x, native.y), int(self.recipe.batch_size), shuffle=True
                )
            )
        )

    def batches(self, data: Any, plan: Plan) -> Iterable[tuple[Tensor, Tensor]]:
        return islice(data, len(plan))
