import torch
from torch import nn

WINDOW, SERIES, KERNEL, SKIP, HIGHWAY = 24, 4, 3, 6, 5


class LSTNet(nn.Module):
    def __init__(self, filters=8, hidden=10, hidden_skip=3):
        super().__init__()
        self.pt = (WINDOW - KERNEL) // SKIP
        self.conv = nn.Conv2d(1, filters, kernel_size=(KERNEL, SERIES))
        self.gru = nn.GRU(filters, hidden)
        self.gru_skip = nn.GRU(filters, hidden_skip)
        self.linear = nn.Linear(hidden + SKIP * hidden_skip, SERIES)
        self.highway = nn.Linear(HIGHWAY, 1)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x):
        batch = x.size(0)
        c = torch.relu(self.conv(x.unsqueeze(1)))
        c = self.dropout(c).squeeze(3)
        _, r = self.gru(c.permute(2, 0, 1))
        r = self.dropout(r.squeeze(0))
        s = c[:, :, -self.pt * SKIP :].reshape(batch, -1, self.pt, SKIP)
        s = s.permute(2, 0, 3, 1).reshape(self.pt, batch * SKIP, -1)
        _, s = self.gru_skip(s)
        s = self.dropout(s.view(batch, -1))
        out = self.linear(torch.cat([r, s], 1))
        z = x[:, -HIGHWAY:].permute(0, 2, 1).reshape(-1, HIGHWAY)
        return out + self.highway(z).view(-1, SERIES)


def build():
    model = LSTNet()
    return {
        "model": model,
        "loss": nn.L1Loss(reduction="sum"),
        "optimizer": torch.optim.Adam(model.parameters(), lr=0.001),
    }
