"""A 784-10-10 network learns to read digits: PyTorch, with autograd, a device, mini-batches, saving and loading.

    loss.backward() computes what back_prop in artificial_neural_network_MNIST.py writes out, to the last digit.

Lay this file beside its NumPy and its TensorFlow twin: the same sections, in the same order, on the same numbers.
"""

import sys
import time

sys.path.append(sys.path.pop(0))  # last: no file in this folder is taken for an installed module

import safetensors.torch as safetensors
import torch
from torch import nn
from torch.nn import functional as F

from triptych import files, lesson

# --- 1. Data: a row is a digit, X (m, 784); y are the labels, (m,) ---------------------------------------------------


def to_device(array, device):
    return torch.from_numpy(array).to(device)


# --- 2. The network --------------------------------------------------------------------------------------------------
# Deeper: give __init__ an fc3 and forward another line; autograd finds the gradients by itself. Leave out the call of
# init_params then (the package has first weights for this network only): PyTorch draws its own.
# Dropout: self.dropout = nn.Dropout(0.2), and self.dropout(...) around the ReLU; model.eval() turns it off.


class MNISTNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 10)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(10, 10)

    def forward(self, X):
        return self.fc2(self.relu(self.fc1(X)))  # logits: the loss takes the softmax


def init_params(model, weights):
    """The package keeps kernels as (in, out); Linear keeps (out, in)."""
    with torch.no_grad():
        for parameter, w in zip(model.parameters(), weights.values(), strict=True):  # fc1.weight, fc1.bias, fc2.weight, fc2.bias
            parameter.copy_(torch.from_numpy(w.T))


# --- 3. The loss and its gradients -----------------------------------------------------------------------------------


def back_prop(model, X, y):
    """Leave the gradients in each parameter's .grad; return the loss."""
    model.zero_grad()
    loss = F.cross_entropy(model(X), y)  # softmax and cross-entropy together
    loss.backward()
    return loss


# --- 4. Training -----------------------------------------------------------------------------------------------------


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


# --- 5. Predictions, saving, loading ---------------------------------------------------------------------------------


@torch.inference_mode()
def get_predictions(model, X):
    model.eval()
    predictions = model(X).argmax(dim=1)
    model.train()
    return predictions


def get_accuracy(model, X, y):
    return (get_predictions(model, X) == y).float().mean().item()


def save(model, path):
    """Weights only, in a format that can hold nothing else (no pickle), under a temporary name until the file is whole."""
    files.write(path, safetensors.save({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}))


def load(path, device):
    model = MNISTNet().to(device)
    model.load_state_dict(safetensors.load_file(path))
    return model


# --- 6. Run ----------------------------------------------------------------------------------------------------------


def main():
    args = lesson.arguments(__doc__, epochs=20, batch_size=64)
    data = lesson.start(args, "lesson-pytorch")
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    X, X_test = to_device(data.x_train, device), to_device(data.x_test, device)
    y, y_test = to_device(data.y_train, device).long(), to_device(data.y_test, device).long()
    model = MNISTNet().to(device)
    init_params(model, data.weights)

    def watch(epoch, loss):
        if epoch % max(1, args.epochs // 10) == 0 or epoch == args.epochs - 1:
            print(f"epoch {epoch + 1:4}: loss {loss:.4f}, test accuracy {get_accuracy(model, X_test, y_test):.2%}")

    started = time.perf_counter()
    train(model, X, y, data.batches, args.epochs, 0.1, watch)
    seconds = time.perf_counter() - started

    save(model, data.folder / "mnist_net.safetensors")
    again = load(data.folder / "mnist_net.safetensors", device)
    same = torch.equal(get_predictions(model, X_test), get_predictions(again, X_test))
    print(f"wrote {data.folder / 'mnist_net.safetensors'}; loaded again, it predicts {'the same' if same else 'SOMETHING ELSE'}")
    lesson.show_digits(data.x_test[:8], data.y_test[:8], get_predictions(model, X_test[:8]).cpu().numpy(), data.folder / "predictions.png")
    print(f"PyTorch on {device}: test accuracy {get_accuracy(model, X_test, y_test):.2%} after {seconds:.1f} s of training")


if __name__ == "__main__":
    main()
