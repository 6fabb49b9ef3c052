"""A 784-10-10 network learns to read digits: PyTorch, autograd, a device, batches, a saved file.

    loss.backward() computes what back_prop in artificial_neural_network_MNIST.py writes out.

Read it next to the NumPy and the TensorFlow script: the same sections, in the same order, on the
same numbers.
"""

import sys

sys.path.append(sys.path.pop(0))  # last: no file in this folder is taken for an installed module

from triptych import lesson  # first, because PyTorch reads the number of threads at its import

import time

import safetensors.torch as safetensors
import torch
from torch import nn
from torch.nn import functional as F

from triptych.core import files

# --- 1. Data: a row is a digit, X (m, 784); y are the labels, (m,) -------------------------------


def to_device(array, device):
    return torch.from_numpy(array).to(device)


# --- 2. The network ------------------------------------------------------------------------------
# Deeper, or with dropout: find the comments that begin with "deeper" (for dropout: "dropout").
#     "# deeper, instead: CODE"   put CODE in place of the line of code above the comment
#     "# deeper, add: CODE"       remove "# deeper, add: ", so that CODE is a line of its own
# For both at once, take both. Autograd finds the new gradients; model.eval() turns dropout off.


class MNISTNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 10)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(10, 10)
        # deeper, add: self.fc3 = nn.Linear(10, 10)
        # dropout, add: self.dropout = nn.Dropout(0.2)

    def forward(self, X):
        X = self.relu(self.fc1(X))
        # dropout, add: X = self.dropout(X)
        # deeper, add: X = self.relu(self.fc2(X))
        return self.fc2(X)  # logits: the loss takes the softmax
        # deeper, instead: return self.fc3(X)


def init_params(model, weights):
    """The package keeps kernels as (in, out); Linear keeps (out, in)."""
    with torch.no_grad():
        # fc1.weight, fc1.bias, fc2.weight, fc2.bias
        for parameter, w in zip(model.parameters(), weights.values(), strict=True):
            parameter.copy_(torch.from_numpy(w.T))


# --- 3. The loss and its gradients ---------------------------------------------------------------


def back_prop(model, X, y):
    """Leave the gradients in each parameter's .grad; return the loss."""
    model.zero_grad()
    loss = F.cross_entropy(model(X), y)  # softmax and cross-entropy together
    loss.backward()
    return loss


# --- 4. Training ---------------------------------------------------------------------------------


def train_step(model, optimizer, X, y):
    """One step of gradient descent; returns the loss before it."""
    loss = back_prop(model, X, y)
    optimizer.step()
    return loss.detach()


def train(model, X, y, batches, epochs, alpha, watch):
    optimizer = torch.optim.SGD(model.parameters(), lr=alpha)
    model.train()
    for epoch in range(epochs):
        for rows in batches(epoch):
            loss = train_step(model, optimizer, X[rows], y[rows])
        watch(epoch, loss)


# --- 5. Predictions, saving, loading -------------------------------------------------------------


@torch.inference_mode()
def get_predictions(model, X):
    model.eval()
    predictions = model(X).argmax(dim=1)
    model.train()
    return predictions


def get_accuracy(model, X, y):
    return (get_predictions(model, X) == y).float().mean().item()


def save(model, path):
    """Weights only, in a format that can hold nothing else (no pickle)."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    files.write(path, safetensors.save(tensors))  # under a temporary name until the file is whole


def load(path, device):
    model = MNISTNet().to(device)
    model.load_state_dict(safetensors.load_file(path))
    return model


# --- 6. Run --------------------------------------------------------------------------------------


def main():
    args = lesson.arguments(__doc__, epochs=20, batch_size=64)
    data = lesson.start(args, "lesson-pytorch")
    # deeper, instead: data = lesson.start(args, "lesson-pytorch", hidden=(10, 10))
    device = "cpu"
    if torch.cuda.is_available():
        device = "cuda"
    elif torch.backends.mps.is_available():
        device = "mps"
    X, X_test = to_device(data.x_train, device), to_device(data.x_test, device)
    y, y_test = to_device(data.y_train, device).long(), to_device(data.y_test, device).long()
    model = MNISTNet().to(device)
    init_params(model, data.weights)

    def watch(epoch, loss):
        if epoch % max(1, args.epochs // 10) == 0 or epoch == args.epochs - 1:
            accuracy = get_accuracy(model, X_test, y_test)
            print(f"epoch {epoch + 1:4}: loss {loss:.4f}, test accuracy {accuracy:.2%}")

    started = time.perf_counter()
    train(model, X, y, data.batches, args.epochs, 0.1, watch)
    seconds = time.perf_counter() - started

    accuracy = get_accuracy(model, X_test, y_test)
    print(f"PyTorch on {device}: test accuracy {accuracy:.2%} after {seconds:.1f} s of training")

    path = data.folder / "mnist_net.safetensors"
    save(model, path)
    predictions = get_predictions(model, X_test)
    same = torch.equal(predictions, get_predictions(load(path, device), X_test))
    print(f"wrote {path}; loaded again, it predicts {'the same' if same else 'SOMETHING ELSE'}")
    lesson.end(data, predictions.cpu().numpy())


if __name__ == "__main__":
    main()
