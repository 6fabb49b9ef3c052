"""A 784-10-10 network learns to read digits: NumPy only, every gradient by hand.

    Z1 = W1·X + b1      A1 = max(Z1, 0)      Z2 = W2·A1 + b2      A2 = softmax(Z2)

The three lessons have the same sections, functions and numbers: lay two of them side by side.
"""

import sys
import time

sys.path.append(sys.path.pop(0))  # last: no file in this folder is taken for an installed module

from triptych import lesson  # first: the number of threads is read when a library is imported
import numpy as np

NAME = "NumPy"

# --- 1. Data --------------------------------------------------------------------------------------


def get_arrays(data):
    """Return the training images X, their labels y, and the test images."""
    return data.x_train.T, data.y_train, data.x_test.T  # X (784, m): each column is a digit


def one_hot(y):
    return np.eye(10, dtype=np.float32)[:, y]


# --- 2. The network -------------------------------------------------------------------------------
# To make it deeper, or to add dropout, follow the comments that begin with that word (or both):
#     "# deeper, instead: CODE"   put CODE in place of the next line of code
#     "# deeper, add: CODE"       remove "# deeper, add: ", so that CODE is a line of its own


def init_params(weights):
    """Return the model with these weights: kernels (in, out) and biases (out,), layer by layer."""
    return [np.atleast_2d(weight).T.copy() for weight in weights.values()]  # W1, b1, W2, b2


def forward_prop(model, X, training=False):  # training matters to dropout alone
    # deeper, instead: W1, b1, W2, b2, W3, b3 = model
    W1, b1, W2, b2 = model  # (10, 784), (10, 1), (10, 10), (10, 1)
    Z1 = W1 @ X + b1
    A1 = np.maximum(Z1, 0)  # ReLU
    # dropout, add: if training: A1 = A1 * (np.random.rand(*A1.shape) >= 0.2) / 0.8
    Z2 = W2 @ A1 + b2
    # deeper, add: A2 = np.maximum(Z2, 0)
    # deeper, add: Z3 = W3 @ A2 + b3
    # deeper, instead: return Z1, A1, Z2, A2, Z3, softmax(Z3)
    return Z1, A1, Z2, softmax(Z2)


def softmax(Z):
    exp = np.exp(Z - Z.max(axis=0))  # the shift changes nothing, and exp cannot overflow
    return exp / exp.sum(axis=0)


# --- 3. The loss and its gradients ----------------------------------------------------------------


def cross_entropy(A2, Y):
    return -np.log((A2 * Y).sum(axis=0)).mean()


def back_prop(model, X, y):
    """Return the loss and the gradient of each parameter."""
    # deeper, instead: Z1, A1, Z2, A2, Z3, A3 = forward_prop(model, X, training=True)
    Z1, A1, Z2, A2 = forward_prop(model, X, training=True)
    # deeper, add: W3 = model[4]
    W2 = model[2]
    Y = one_hot(y)
    # deeper, instead: dZ3 = (A3 - Y) / len(y)
    dZ2 = (A2 - Y) / len(y)  # softmax and cross-entropy together: the prediction minus the truth
    # deeper, add: dW3 = dZ3 @ A2.T
    # deeper, add: db3 = dZ3.sum(axis=1, keepdims=True)
    # deeper, add: dZ2 = W3.T @ dZ3 * (Z2 > 0)
    dW2 = dZ2 @ A1.T
    db2 = dZ2.sum(axis=1, keepdims=True)
    # dropout, instead: dZ1 = W2.T @ dZ2 * (A1 > 0) / 0.8
    dZ1 = W2.T @ dZ2 * (Z1 > 0)  # back through W2, and through ReLU where it was open
    dW1 = dZ1 @ X.T
    db1 = dZ1.sum(axis=1, keepdims=True)
    # deeper, instead: return cross_entropy(A3, Y), [dW1, db1, dW2, db2, dW3, db3]
    return cross_entropy(A2, Y), [dW1, db1, dW2, db2]


# --- 4. Training ----------------------------------------------------------------------------------


def train_step(model, X, y, alpha):
    """Make one step of gradient descent, in place; return the loss before it."""
    loss, gradients = back_prop(model, X, y)
    for parameter, gradient in zip(model, gradients, strict=True):
        parameter -= alpha * gradient
    return loss


def train(model, X, y, batches, epochs, alpha):
    """Yield the number of each epoch and the loss of its last step."""
    for epoch in range(epochs):
        for rows in batches(epoch):
            loss = train_step(model, X[:, rows], y[rows], alpha)
        yield epoch, loss


# --- 5. Predictions -------------------------------------------------------------------------------


def get_predictions(model, X):
    return forward_prop(model, X)[-1].argmax(axis=0)


def get_accuracy(model, X, y):
    return (get_predictions(model, X) == y).mean()


# --- 6. Run ---------------------------------------------------------------------------------------


def main():
    args = lesson.arguments(__doc__, epochs=500, batch_size="full")
    # deeper, instead: data = lesson.start(args, NAME, hidden=(10, 10))
    data = lesson.start(args, NAME)
    np.random.seed(args.seed % 2**32)
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
    lesson.end(data, get_predictions(model, X_test))


if __name__ == "__main__":
    main()
