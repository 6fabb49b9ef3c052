"""A script for several workers that computes what one process does, also with unequal parts."""

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset


class Points(Dataset):
    def __init__(self, count):
        generator = torch.Generator().manual_seed(5)
        self.x = torch.randn(count, 6, generator=generator)
        self.y = (self.x.sum(1) > 0).long() + (self.x[:, 0] > 0.5).long()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Parts:
    """The part of each batch that one worker has; the parts may be unequal."""

    def __init__(self, samples, batch, rank, workers, shuffle):
        self.samples, self.batch, self.rank, self.workers = samples, batch, rank, workers
        self.shuffle, self.epoch = shuffle, 0

    def __iter__(self):
        order = torch.arange(self.samples)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.epoch)
            order = torch.randperm(self.samples, generator=generator)
        for batch in order.split(self.batch):
            yield batch.tensor_split(self.workers)[self.rank].tolist()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    dist.init_process_group("nccl")
    rank, workers = dist.get_rank(), dist.get_world_size()

    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model).to(rank)
    model = DistributedDataParallel(model, device_ids=[rank])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)

    training, test = Points(45), Points(14)
    parts = Parts(45, arguments.batch_size, rank, workers, shuffle=True)
    loader = DataLoader(training, batch_sampler=parts)
    test_loader = DataLoader(test, batch_sampler=Parts(14, 14, rank, workers, shuffle=False))

    for epoch in range(arguments.epochs):
        parts.epoch = epoch
        model.train()
        for step, (x, y) in enumerate(loader):
            x, y = x.to(rank), y.to(rank)
            whole = min(arguments.batch_size, 45 - step * arguments.batch_size)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y, reduction="sum") * workers / whole
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            scheduler.step()

        model.eval()
        correct = torch.zeros(2, device=rank)
        with torch.no_grad():
            for x, y in test_loader:
                right = model(x.to(rank)).argmax(1) == y.to(rank)
                correct += torch.stack([right.sum(), torch.tensor(len(y))])
        dist.all_reduce(correct)
        if rank == 0:
            print(f"epoch {epoch}: {correct[0] / correct[1]:.3f}")
            torch.save(model.module.state_dict(), "exact.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
