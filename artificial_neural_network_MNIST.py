"""A 784-10-10 network learns to read digits: NumPy only, every gradient by hand.

    Z1 = W1·X + b1      A1 = max(Z1, 0)      Z2 = W2·A1 + b2      A2 = softmax(Z2)

Read it next to the PyTorch and the TensorFlow script: the same sections, in the same order, on
the same numbers.
"""

import sys

sys.path.append(sys.path.pop(0))  # last: no file in this folder is taken for an installed module

from triptych import lesson  # first, because NumPy reads the number of threads at its import

import time

import numpy as np

# --- 1. Data: a column is a digit, X (784, m); Y is one-hot, (10, m) -----------------------------


def one_hot(y):
    return np.eye(10, dtype=np.float32)[:, y]


# --- 2. The network ------------------------------------------------------------------------------
# Deeper, or with dropout: find the comments that begin with "deeper" (for dropout: "dropout").
#     "# deeper, instead: CODE"   put CODE in place of the line of code above the comment
#     "# deeper, add: CODE"       remove "# deeper, add: ", so that CODE is a line of its own
# For both at once, take both; where a comment says "both", take that one alone.


def init_params(weights):
    """The package keeps kernels as (in, out), biases flat; here they are (out, in) and (out, 1)."""
    # W1 (10, 784), b1 (10, 1), W2 (10, 10), b2 (10, 1)
    return [w.T.copy() if w.ndim == 2 else w[:, None].copy() for w in weights.values()]


def forward_prop(W1, b1, W2, b2, X):
    # deeper, instead: def forward_prop(W1, b1, W2, b2, W3, b3, X):
    # dropout, instead: def forward_prop(W1, b1, W2, b2, X, keep=1):
    # both, instead: def forward_prop(W1, b1, W2, b2, W3, b3, X, keep=1):
    Z1 = W1 @ X + b1
    A1 = np.maximum(Z1, 0)  # ReLU
    # dropout, add: A1 = A1 * keep
    Z2 = W2 @ A1 + b2
    A2 = softmax(Z2)
    # deeper, instead: A2 = np.maximum(Z2, 0)
    # deeper, add: Z3 = W3 @ A2 + b3
    # deeper, add: A3 = softmax(Z3)
    return Z1, A1, Z2, A2
    # deeper, instead: return Z1, A1, Z2, A2, Z3, A3


def softmax(Z):
    exp = np.exp(Z - Z.max(axis=0))  # the shift changes nothing, and exp cannot overflow
    return exp / exp.sum(axis=0)


# --- 3. The loss and its gradients ---------------------------------------------------------------


def cross_entropy(A2, Y):
    return -np.log((A2 * Y).sum(axis=0)).mean()


def back_prop(Z1, A1, Z2, A2, W1, W2, X, Y):
    # deeper, instead: def back_prop(Z1, A1, Z2, A2, Z3, A3, W1, W2, W3, X, Y):
    m = Y.shape[1]
    dZ2 = (A2 - Y) / m  # softmax and cross-entropy together: the prediction minus the truth
    # deeper, instead: dZ3 = (A3 - Y) / m
    # deeper, add: dW3 = dZ3 @ A2.T
    # deeper, add: db3 = dZ3.sum(axis=1, keepdims=True)
    # deeper, add: dZ2 = W3.T @ dZ3 * (Z2 > 0)
    dW2 = dZ2 @ A1.T
    db2 = dZ2.sum(axis=1, keepdims=True)
    dZ1 = W2.T @ dZ2 * (Z1 > 0)  # back through W2, and through ReLU where it was open
    # dropout, instead: dZ1 = W2.T @ dZ2 * (A1 > 0) / 0.8
    dW1 = dZ1 @ X.T
    db1 = dZ1.sum(axis=1, keepdims=True)
    return dW1, db1, dW2, db2
    # deeper, instead: return dW1, db1, dW2, db2, dW3, db3


# --- 4. Training ---------------------------------------------------------------------------------


def train_step(params, X, Y, alpha):
    """One step of gradient descent, in place; returns the loss before it."""
    layers = forward_prop(*params, X)  # Z1, A1, Z2, A2
    # dropout, instead: keep = (np.random.rand(10, X.shape[1]) >= 0.2) / np.float32(0.8)
    # dropout, add: layers = forward_prop(*params, X, keep)
    gradients = back_prop(*layers, *params[::2], X, Y)  # params[::2] are W1 and W2
    for parameter, gradient in zip(params, gradients, strict=True):
        parameter -= alpha * gradient
    return cross_entropy(layers[-1], Y)


def train(params, X, Y, batches, epochs, alpha, watch):
    for epoch in range(epochs):
        for rows in batches(epoch):
            loss = train_step(params, X[:, rows], Y[:, rows], alpha)
        watch(epoch, loss)


# --- 5. Predictions ------------------------------------------------------------------------------


def get_predictions(params, X):
    return forward_prop(*params, X)[-1].argmax(axis=0)


def get_accuracy(params, X, y):
    return (get_predictions(params, X) == y).mean()


# --- 6. Run --------------------------------------------------------------------------------------


def main():
    args = lesson.arguments(__doc__, epochs=500, batch_size="full")
    data = lesson.start(args, "lesson-numpy")
    # deeper, instead: data = lesson.start(args, "lesson-numpy", hidden=(10, 10))
    X, Y, X_test = data.x_train.T, one_hot(data.y_train), data.x_test.T
    params = init_params(data.weights)

    def watch(epoch, loss):
        if epoch % max(1, args.epochs // 10) == 0 or epoch == args.epochs - 1:
            accuracy = get_accuracy(params, X_test, data.y_test)
            print(f"epoch {epoch + 1:4}: loss {loss:.4f}, test accuracy {accuracy:.2%}")

    started = time.perf_counter()
    train(params, X, Y, data.batches, args.epochs, 0.1, watch)
    seconds = time.perf_counter() - started

    accuracy = get_accuracy(params, X_test, data.y_test)
    print(f"NumPy: test accuracy {accuracy:.2%} after {seconds:.1f} s of training")
    lesson.end(data, get_predictions(params, X_test))


if __name__ == "__main__":
    main()
