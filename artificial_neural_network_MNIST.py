"""A 784-10-10 network learns to read digits: NumPy only, every gradient by hand.

    Z1 = W1·X + b1      A1 = max(Z1, 0)      Z2 = W2·A1 + b2      A2 = softmax(Z2)

Lay this file beside its PyTorch and its TensorFlow twin: the same sections, in the same order, on the same numbers.
"""

import sys
import time

sys.path.append(sys.path.pop(0))  # last: no file in this folder is taken for an installed module

import numpy as np

from triptych import lesson

# --- 1. Data: a column is a digit, X (784, m); Y is one-hot, (10, m) -------------------------------------------------


def one_hot(y):
    return np.eye(10, dtype=np.float32)[:, y]


# --- 2. The network --------------------------------------------------------------------------------------------------
# Deeper: give init_params a W3 (10, 10) and b3 (10, 1), say 0.3 * np.random.randn(10, 10) and zeros; forward_prop a line A2 =
# relu(Z2), Z3 = W3 @ A2 + b3, A3 = softmax(Z3); and back_prop, from the back, dZ3 = A3 - Y, its dW3 and db3, and
# dZ2 = W3.T @ dZ3 * (Z2 > 0). Both return the new ones, too. Dropout: in training A1 *= keep / 0.8 with
# keep = np.random.rand(*A1.shape) >= 0.2, and the same keep going back: dZ1 *= keep / 0.8.


def init_params(weights):
    """The package keeps kernels as (in, out) and biases flat; here they are (out, in) and (out, 1)."""
    return [w.T.copy() if w.ndim == 2 else w[:, None].copy() for w in weights.values()]  # W1 (10, 784), b1 (10, 1), W2, b2


def forward_prop(W1, b1, W2, b2, X):
    Z1 = W1 @ X + b1
    A1 = np.maximum(Z1, 0)  # ReLU
    Z2 = W2 @ A1 + b2
    A2 = softmax(Z2)
    return Z1, A1, Z2, A2


def softmax(Z):
    exp = np.exp(Z - Z.max(axis=0))  # the shift changes nothing, and exp cannot overflow
    return exp / exp.sum(axis=0)


# --- 3. The loss and its gradients -----------------------------------------------------------------------------------


def cross_entropy(A2, Y):
    return -np.log((A2 * Y).sum(axis=0)).mean()


def back_prop(Z1, A1, Z2, A2, W1, W2, X, Y):
    m = Y.shape[1]
    dZ2 = (A2 - Y) / m  # softmax and cross-entropy together: what was said, minus what is true
    dW2 = dZ2 @ A1.T
    db2 = dZ2.sum(axis=1, keepdims=True)
    dZ1 = W2.T @ dZ2 * (Z1 > 0)  # back through W2, and through ReLU where it was open
    dW1 = dZ1 @ X.T
    db1 = dZ1.sum(axis=1, keepdims=True)
    return dW1, db1, dW2, db2


# --- 4. Training -----------------------------------------------------------------------------------------------------


def train_step(params, X, Y, alpha):
    """One step of gradient descent, in place; returns the loss before it."""
    W1, b1, W2, b2 = params
    Z1, A1, Z2, A2 = forward_prop(W1, b1, W2, b2, X)
    for parameter, gradient in zip(params, back_prop(Z1, A1, Z2, A2, W1, W2, X, Y), strict=True):
        parameter -= alpha * gradient
    return cross_entropy(A2, Y)


def train(params, X, Y, batches, epochs, alpha, watch):
    for epoch in range(epochs):
        for rows in batches(epoch):
            loss = train_step(params, X[:, rows], Y[:, rows], alpha)
        watch(epoch, loss)


# --- 5. Predictions --------------------------------------------------------------------------------------------------


def get_predictions(params, X):
    return forward_prop(*params, X)[-1].argmax(axis=0)


def get_accuracy(params, X, y):
    return (get_predictions(params, X) == y).mean()


# --- 6. Run ----------------------------------------------------------------------------------------------------------


def main():
    args = lesson.arguments(__doc__, epochs=500, batch_size="full")
    data = lesson.start(args, "lesson-numpy")
    X, Y, X_test = data.x_train.T, one_hot(data.y_train), data.x_test.T
    params = init_params(data.weights)

    def watch(epoch, loss):
        if epoch % max(1, args.epochs // 10) == 0 or epoch == args.epochs - 1:
            print(f"epoch {epoch + 1:4}: loss {loss:.4f}, test accuracy {get_accuracy(params, X_test, data.y_test):.2%}")

    started = time.perf_counter()
    train(params, X, Y, data.batches, args.epochs, 0.1, watch)
    seconds = time.perf_counter() - started

    lesson.show_digits(data.x_test[:8], data.y_test[:8], get_predictions(params, X_test[:, :8]), data.folder / "predictions.png")
    print(f"NumPy: test accuracy {get_accuracy(params, X_test, data.y_test):.2%} after {seconds:.1f} s of training")


if __name__ == "__main__":
    main()
