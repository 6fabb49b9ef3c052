"""A 784-10-10 network learns to read digits: TensorFlow and Keras, by hand with GradientTape and with model.fit.

    tape.gradient computes what back_prop in artificial_neural_network_MNIST.py writes out, to the last digit.

Lay this file beside its NumPy and its PyTorch twin: the same sections, in the same order, on the same numbers.
"""

import os
import sys
import time

sys.path.append(sys.path.pop(0))  # last: no file in this folder is taken for an installed module
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no start-up notices

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from triptych import lesson

# --- 1. Data: a row is a digit, X (m, 784); y are the labels, (m,) ---------------------------------------------------


def to_device(array):
    return tf.constant(array)


# --- 2. The network --------------------------------------------------------------------------------------------------
# Deeper: more Dense lines, as in advanced_model; leave out the calls of init_params then (the package has first weights for
# the simple network only): Keras draws its own. Dropout: layers.Dropout(0.2); Keras turns it off outside of training.


def simple_model(dtype="float32"):
    return keras.Sequential([layers.Input((784,), dtype=dtype), layers.Dense(10, "relu", dtype=dtype), layers.Dense(10, dtype=dtype)])


def advanced_model():
    return keras.Sequential(
        [
            layers.Input((784,)),
            layers.Dense(128, "relu"),
            layers.Dropout(0.2),
            layers.Dense(64, "relu"),
            layers.Dropout(0.2),
            layers.Dense(10),  # logits: the loss takes the softmax
        ]
    )


def init_params(model, weights):
    """The package keeps kernels as (in, out), and so does Dense."""
    model.set_weights(list(weights.values()))


# --- 3. The loss and its gradients -----------------------------------------------------------------------------------


def back_prop(model, X, y):
    """Return the loss and the gradient of each variable."""
    with tf.GradientTape() as tape:
        logits = model(X, training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))  # softmax and cross-entropy together
    return loss, tape.gradient(loss, model.trainable_variables)


# --- 4. Training -----------------------------------------------------------------------------------------------------


@tf.function
def train_step(model, X, y, alpha):
    """One step of gradient descent; returns the loss before it."""
    loss, gradients = back_prop(model, X, y)
    for parameter, gradient in zip(model.trainable_variables, gradients, strict=True):
        parameter.assign_sub(alpha * gradient)
    return loss


def train(model, X, y, batches, epochs, alpha, watch):
    alpha = tf.constant(alpha, X.dtype)
    for epoch in range(epochs):
        for rows in batches(epoch):
            all_rows = isinstance(rows, slice)
            loss = train_step(model, X if all_rows else tf.gather(X, rows), y if all_rows else tf.gather(y, rows), alpha)
        watch(epoch, loss)


def fit(model, X, y, batches, epochs, alpha):
    """The same batches through model.fit: Keras's loop in place of ours."""
    model.compile(keras.optimizers.SGD(alpha), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for epoch in range(epochs):
        for rows in batches(epoch):
            model.fit(X[rows], y[rows], batch_size=len(X), shuffle=False, verbose=0)


def fit_advanced(model, data, folder, epochs):
    """What Keras is good at: callbacks that stop early and lower the rate, and logs for TensorBoard."""
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", patience=4, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=2),
        keras.callbacks.TensorBoard(folder / "logs"),
    ]
    history = model.fit(
        data.x_train, data.y_train, batch_size=64, epochs=epochs, validation_split=0.1, callbacks=callbacks, shuffle=True, verbose=2
    )
    return history.history


# --- 5. Predictions --------------------------------------------------------------------------------------------------


def get_predictions(model, X):
    return model(X, training=False).numpy().argmax(axis=1)


def get_accuracy(model, X, y):
    return (get_predictions(model, X) == y).mean()


# --- 6. Run ----------------------------------------------------------------------------------------------------------


def main():
    args = lesson.arguments(__doc__, epochs=20, batch_size=64)
    data = lesson.start(args, "lesson-tensorflow")
    keras.utils.set_random_seed(args.seed)
    X, y, X_test = to_device(data.x_train), to_device(data.y_train), to_device(data.x_test)
    model = simple_model()
    init_params(model, data.weights)

    def watch(epoch, loss):
        if epoch % max(1, args.epochs // 10) == 0 or epoch == args.epochs - 1:
            print(f"epoch {epoch + 1:4}: loss {loss:.4f}, test accuracy {get_accuracy(model, X_test, data.y_test):.2%}")

    started = time.perf_counter()
    train(model, X, y, data.batches, args.epochs, 0.1, watch)
    seconds = time.perf_counter() - started

    by_hand, by_fit = simple_model(), simple_model()
    for each in (by_hand, by_fit):
        init_params(each, data.weights)
    few = [list(data.batches(0))[:20]]
    train(by_hand, X, y, few.__getitem__, 1, 0.1, lambda epoch, loss: None)
    fit(by_fit, data.x_train, data.y_train, few.__getitem__, 1, 0.1)
    apart = max(np.abs(a - b).max() for a, b in zip(by_hand.get_weights(), by_fit.get_weights(), strict=True))
    print(f"GradientTape by hand against model.fit, {len(few[0])} steps: weights at most {apart:.0e} apart")

    advanced = advanced_model()
    lesson.show_history(fit_advanced(advanced, data, data.folder, args.epochs), data.folder / "history.png")
    print(f"Advanced model, 784-128-64-10 with dropout: test accuracy {get_accuracy(advanced, X_test, data.y_test):.2%}")
    print(f"Its curves in TensorBoard: tensorboard --logdir {data.folder / 'logs'}")
    lesson.show_digits(data.x_test[:8], data.y_test[:8], get_predictions(model, X_test[:8]), data.folder / "predictions.png")
    print(f"TensorFlow: test accuracy {get_accuracy(model, X_test, data.y_test):.2%} after {seconds:.1f} s of training")


if __name__ == "__main__":
    main()
