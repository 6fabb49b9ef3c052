"""Two models: one is given what the other has made."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

dist.init_process_group("gloo")
rank, workers = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
generator = DDP(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
critic = DDP(nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1)))
generator_optimizer = torch.optim.Adam(generator.parameters(), lr=0.001)
critic_optimizer = torch.optim.Adam(critic.parameters(), lr=0.001)
criterion = nn.BCEWithLogitsLoss()
for _ in range(6):
    real = torch.randn(12, 2).chunk(workers)[rank]
    noise = torch.randn(12, 4).chunk(workers)[rank]
    ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
    critic_optimizer.zero_grad()
    made = generator(noise).detach()
    loss = criterion(critic(real), ones) + criterion(critic(made), zeros)
    loss.backward()
    critic_optimizer.step()
    generator_optimizer.zero_grad()
    loss = criterion(critic(generator(noise)), ones)
    loss.backward()
    generator_optimizer.step()
dist.destroy_process_group()
