"""A 784-10-10 network learns to read digits: PyTorch, autograd, a device, a saved file.

    loss.backward() computes what back_prop in artificial_neural_network_MNIST.py writes out.

The three lessons have the same sections, functions and numbers: lay two of them side by side.
"""

import sys
import time

sys.path.append(sys.path.pop(0))  # last: no file in this folder is taken for an installed module

from triptych import lesson  # first: the number of threads is read when a library is imported
import safetensors.torch as safetensors
import torch
from torch import nn
from torch.nn import functional as F

NAME = "PyTorch"
DEVICE = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

# --- 1. Data --------------------------------------------------------------------------------------


def get_arrays(data):
    """Return the training images X, their labels y, and the test images."""
    # X (m, 784): each row is a digit
    return to_device(data.x_train), to_device(data.y_train), to_device(data.x_test)


def to_device(array):
    return torch.from_numpy(array).to(DEVICE)


# --- 2. The network -------------------------------------------------------------------------------
# To make it deeper, or to add dropout, follow the comments that begin with that word (or both):
#     "# deeper, instead: CODE"   put CODE in place of the next line of code
#     "# deeper, add: CODE"       remove "# deeper, add: ", so that CODE is a line of its own


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
        # deeper, instead: return self.fc3(X)
        return self.fc2(X)  # logits: the loss contains the softmax


def init_params(weights):
    """Return the model with these weights: kernels (in, out) and biases (out,), layer by layer."""
    model = MNISTNet().to(DEVICE)
    # fc1.weight (10, 784), fc1.bias (10,), fc2.weight (10, 10), fc2.bias (10,)
    for parameter, weight in zip(model.parameters(), weights.values(), strict=True):
        parameter.data.copy_(torch.from_numpy(weight.T))
    return model


# --- 3. The loss and its gradients ----------------------------------------------------------------


def back_prop(model, X, y):
    """Return the loss; the gradient of each parameter is in its .grad."""
    model.zero_grad()
    loss = F.cross_entropy(model(X), y)  # softmax and cross-entropy together
    loss.backward()
    return loss.detach()


# --- 4. Training ----------------------------------------------------------------------------------


def train_step(model, X, y, optimizer):
    """Make one step of gradient descent, in place; return the loss before it."""
    loss = back_prop(model, X, y)
    optimizer.step()
    return loss


def train(model, X, y, batches, epochs, alpha):
    """Yield the number of each epoch and the loss of its last step."""
    optimizer = torch.optim.SGD(model.parameters(), alpha)
    for epoch in range(epochs):
        for rows in batches(epoch):
            loss = train_step(model, X[rows], y[rows], optimizer)
        yield epoch, loss


# --- 5. Predictions -------------------------------------------------------------------------------


@torch.inference_mode()
def get_predictions(model, X):
    model.eval()  # no dropout
    predictions = model(X).argmax(dim=1)
    model.train()
    return predictions.cpu().numpy()


def get_accuracy(model, X, y):
    return (get_predictions(model, X) == y).mean()


def save(model, path):
    """Write the weights alone, in a format that can hold nothing else (no pickle)."""
    safetensors.save_file(model.state_dict(), path)


def load(path):
    model = MNISTNet().to(DEVICE)
    model.load_state_dict(safetensors.load_file(path))
    return model


# --- 6. Run ---------------------------------------------------------------------------------------


def main():
    args = lesson.arguments(__doc__, epochs=20, batch_size=64)
    # deeper, instead: data = lesson.start(args, NAME, hidden=(10, 10))
    data = lesson.start(args, NAME)
    torch.manual_seed(args.seed)
    X, y, X_test = get_arrays(data)
    model = init_params(data.weights)

    started = time.perf_counter()
    for epoch, loss in train(model, X, y, data.batches, args.epochs, 0.1):
        if epoch % max(1, args.epochs // 10) == 0 or epoch == args.epochs - 1:
            accuracy = get_accuracy(model, X_test, data.y_test)
            print(f"epoch {epoch + 1:4}: loss {loss:.4f}, test accuracy {accuracy:.2%}")
    seconds = time.perf_counter() - started
    accuracy = get_accuracy(model, X_test, data.y_test)
    print(f"{NAME}: test accuracy {accuracy:.2%} after {seconds:.1f} s of training")

    path = data.folder / "mnist_net.safetensors"
    save(model, path)
    same = (get_predictions(load(path), X_test) == get_predictions(model, X_test)).all()
    print(f"wrote {path}; loaded again, it predicts {'the same' if same else 'SOMETHING ELSE'}")
    lesson.end(data, get_predictions(model, X_test))


if __name__ == "__main__":
    main()
