"""A script as tutorials write it: DistributedSampler divides the samples, each batch is a mean."""

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler


class Points(Dataset):
    def __init__(self, count):
        generator = torch.Generator().manual_seed(5)
        self.x = torch.randn(count, 6, generator=generator)
        self.y = self.x[:, :1] - self.x[:, 1:2] ** 2

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Trainer:
    def __init__(self, model, loader, test_loader, optimizer, gpu_id):
        self.gpu_id = gpu_id
        self.loader = loader
        self.test_loader = test_loader
        self.optimizer = optimizer
        self.model = DDP(model.to(gpu_id), device_ids=[gpu_id])

    def run_batch(self, source, targets):
        self.optimizer.zero_grad()
        output = self.model(source)
        loss = nn.functional.mse_loss(output, targets)
        loss.backward()
        self.optimizer.step()

    def run_epoch(self, epoch):
        size = len(next(iter(self.loader))[0])
        print(f"[GPU{self.gpu_id}] Epoch {epoch} | batch size {size} | steps {len(self.loader)}")
        self.loader.sampler.set_epoch(epoch)
        for source, targets in self.loader:
            self.run_batch(source.to(self.gpu_id), targets.to(self.gpu_id))

    def test(self):
        self.model.eval()
        total = torch.zeros(1, device=self.gpu_id)
        with torch.no_grad():
            for source, targets in self.test_loader:
                output = self.model(source.to(self.gpu_id))
                total += ((output - targets.to(self.gpu_id)) ** 2).sum()
        self.model.train()
        dist.all_reduce(total)
        return total.item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(backend="nccl")
    gpu_id = int(os.environ["LOCAL_RANK"])

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    training, test = Points(arguments.samples), Points(12)
    sampler = DistributedSampler(training)
    loader = DataLoader(training, batch_size=arguments.batch_size, sampler=sampler)
    test_sampler = DistributedSampler(test, shuffle=False)
    test_loader = DataLoader(test, batch_size=4, sampler=test_sampler)
    trainer = Trainer(model, loader, test_loader, optimizer, gpu_id)
    for epoch in range(arguments.epochs):
        trainer.run_epoch(epoch)
        error = trainer.test()
        if gpu_id == 0:
            print(f"Epoch {epoch}: squared error {error:.3f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
