"""A recurrent layer that takes time first; each batch in two parts, averaged once."""

from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

dist.init_process_group("gloo")
rank, workers = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
model = DDP(nn.LSTM(3, 5, 2, dropout=0.3))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20)
x, y = torch.randn(7, 24, 3), torch.randn(24, 5)
for _ in range(12):
    for number, part in enumerate(torch.arange(24).chunk(workers)[rank].chunk(2)):
        with nullcontext() if number else model.no_sync():
            outputs, _ = model(x[:, part])
            (nn.functional.mse_loss(outputs[-1], y[part]) / 2).backward()
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
dist.destroy_process_group()
