from pathlib import Path

import numpy as np
import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(input_size=6, hidden_size=12, num_layers=2, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0]


def build():
    model = Encoder()
    arrays = np.load(Path(__file__).with_name("weights.npz"))
    model.gru.load_state_dict({name: torch.tensor(arrays[name]) for name in arrays.files})
    return model
